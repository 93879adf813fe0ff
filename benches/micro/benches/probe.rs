//! One comparison of all tags of a bucket, by each back end that this processor has.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use cidstore_core::probe::{Probe, equal, scalar::Scalar};
use cidstore_micro::tags;
use criterion::{Criterion, criterion_group, criterion_main};

fn probe(c: &mut Criterion) {
    let tags = tags();
    let tag = tags[3].to_le_bytes()[5];
    let expected = Scalar.equal(&tags, tag);
    assert_ne!(expected, 0, "the tag is there");
    let mut group = c.benchmark_group("probe");
    let mut one = |name: &str, equal: &dyn Fn(&[u64; 8], u8) -> u64| {
        assert_eq!(equal(&tags, tag), expected, "{name}");
        group.bench_function(name, |b| b.iter(|| equal(black_box(&tags), black_box(tag))));
    };
    one("scalar", &|tags, tag| Scalar.equal(tags, tag));
    one("built in", &|tags, tag| equal(tags, tag));
    #[cfg(target_arch = "x86_64")]
    {
        use cidstore_core::probe::{avx2::Avx2, avx512::Avx512, sse2::Sse2};

        one("sse2", &|tags, tag| Sse2::new().equal(tags, tag));
        if let Some(avx2) = Avx2::new() {
            one("avx2", &|tags, tag| avx2.equal(tags, tag));
        }
        if let Some(avx512) = Avx512::new() {
            one("avx512", &|tags, tag| avx512.equal(tags, tag));
        }
    }
    group.finish();
}

criterion_group!(benches, probe);
criterion_main!(benches);
