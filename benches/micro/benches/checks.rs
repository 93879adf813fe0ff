//! The checks of bytes: the codes of a page's entries, CRC-32C of a log record, an entry and a page.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use cidstore_core::crc::{crc32c, entry_checksum};
use cidstore_core::ecc::check_page;
use cidstore_micro::{bytes, sound_page};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn ecc(c: &mut Criterion) {
    let page = sound_page();
    assert_eq!(check_page(&page).uncorrectable, 0);
    c.bench_function("ecc/page", |b| b.iter(|| check_page(black_box(&page))));
}

fn crc(c: &mut Criterion) {
    let entry = sound_page().entries[0];
    c.bench_function("crc/entry", |b| b.iter(|| entry_checksum(black_box(&entry))));
    let mut group = c.benchmark_group("crc");
    for count in [64, 4096, 1 << 20] {
        let bytes = bytes(count);
        group.throughput(Throughput::Bytes(count as u64));
        group.bench_function(format!("{count} bytes"), |b| b.iter(|| crc32c(black_box(&bytes))));
    }
    group.finish();
}

criterion_group!(benches, ecc, crc);
criterion_main!(benches);
