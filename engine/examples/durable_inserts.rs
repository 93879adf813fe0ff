//! Durable single inserts a second from 1, 2, 4 and 8 threads, each beside the plain `pwrite` and `fdatasync` of the same
//! moment: `cargo run --release -p cidstore-engine --example durable_inserts -- FOLDER [ROUNDS]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for one figure")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cidstore_core::E;
use cidstore_engine::{Durability, Store};

const EACH: Duration = Duration::from_millis(1500);

/// Syncs a second of one record each in a file that is there already: what the disk gives.
fn raw(folder: &Path) -> f64 {
    let path = folder.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
    file.write_all_at(&vec![0; 16 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < EACH {
        file.write_all_at(&[1; 64], count * 64).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn inserts(folder: &Path, threads: u64) -> f64 {
    let path = folder.join(format!("{threads}.h5"));
    let store = Store::options().durability(Durability::Immediate).open(&path).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, stop, done) = (&store, &stop, &done);
            scope.spawn(move || {
                let mut key = u128::from(thread) << 64;
                while !stop.load(Ordering::Relaxed) {
                    key += 1;
                    let scattered = key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
                    store.insert(E::from_u128(scattered), E::from_u128(1)).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(EACH);
        stop.store(true, Ordering::Relaxed);
    });
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    let metrics = store.metrics();
    let (syncs, groups) = (&metrics.log_sync_latency, &metrics.group_sizes);
    print!(
        "  [{:.2} in a group, sync {:.0} us of {:.0}]",
        groups.sum() as f64 / groups.count() as f64,
        syncs.sum() as f64 / syncs.count() as f64 / 1000.0,
        EACH.as_micros() as f64 / syncs.count() as f64,
    );
    store.close().unwrap();
    rate
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".into());
    let rounds = arguments.next().map_or(3, |text| text.parse().unwrap());
    for _ in 0..rounds {
        let folder = tempfile::tempdir_in(&folder).unwrap();
        let floor = raw(folder.path());
        print!("raw {floor:.0}/s");
        for threads in [1, 2, 4, 8] {
            let rate = inserts(folder.path(), threads);
            print!("  {threads}: {rate:.0} ({:.2} x)", rate / floor);
        }
        println!();
    }
}
