//! What one growth of a file with many segments costs: the metadata made, written to the other of two areas and synced,
//! then its superblock, synced. `cargo run --release --example growth -- DIRECTORY [SEGMENTS]`
//!
//! By turns with that, two bare pages are written to the same places and synced: what the disk takes for two syncs of
//! next to nothing is no fault of the metadata.

use std::fs::OpenOptions;
use std::io::{Error, Result, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cidstore_core::layout::superblock::{Segment, Superblock};
use cidstore_core::layout::table::{TableRoot, TableSlot};
use cidstore_core::layout::view::{FileDescription, VIEW_OFFSET};
use cidstore_hdf5_emit::Emitter;

const ROUNDS: u64 = 40;
const AREA_BYTES: u64 = 4 << 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or_else(|| Error::other("name a directory"))?;
    let count: u32 =
        arguments.next().map_or(Ok(5000), |text| text.parse()).map_err(Error::other)?;
    let path = Path::new(&directory).join("growth.h5");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    let segments: Vec<Segment> = (0..count)
        .map(|index| Segment { first_file_page: 4 + index * 16, page_count: 16 })
        .collect();
    let leaves = vec![TableSlot { page: 1, checksum: 1 }; 512];
    let directory = vec![TableSlot { page: 1, checksum: 1 }; 512 * 512];
    let root = TableRoot { slot_count: directory.len() as u64, ..TableRoot::default() };
    let (mut emits, mut rounds, mut bares, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let superblock = Superblock {
            roots: [root; 3],
            global_depth: 18,
            checkpoint_number: round,
            file_bytes: 3 * AREA_BYTES,
            ..Superblock::new()
        };
        let started = Instant::now();
        let description = FileDescription {
            superblock: &superblock,
            segments: [&segments, &segments[..1], &segments[..1]],
            bucket_count: 1,
            leaves: [&leaves; 3],
            directory: &directory,
        };
        let area = AREA_BYTES * (1 + round % 2);
        let metadata = Emitter::default().emit(&description, area);
        emits.push(started.elapsed());
        bytes = metadata.body.len();
        file.write_all_at(&metadata.body, area)?;
        file.sync_data()?;
        file.write_all_at(&metadata.header, VIEW_OFFSET)?;
        file.sync_data()?;
        rounds.push(started.elapsed());
        let started = Instant::now();
        for offset in [area, VIEW_OFFSET] {
            file.write_all_at(&[round as u8; 4096], offset)?;
            file.sync_data()?;
        }
        bares.push(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        (times[times.len() / 2], times[times.len() / 10])
    };
    let (emit, emit_best) = median(&mut emits);
    let (whole, whole_best) = median(&mut rounds);
    let (bare, bare_best) = median(&mut bares);
    writeln!(
        std::io::stdout(),
        "{count} segments: {bytes} bytes; made in {emit:.1?} (tenth: {emit_best:.1?}), with both syncs {whole:.1?} \
         (tenth: {whole_best:.1?}); two syncs of one page each {bare:.1?} (tenth: {bare_best:.1?})"
    )
}
