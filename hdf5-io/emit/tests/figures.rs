//! How large the metadata is, from an empty store to a terabyte: a fixed part, some bytes a segment, some a table node.

use cidstore_core::layout::superblock::{Segment, Superblock};
use cidstore_core::layout::table::{SLOTS_PER_TABLE_PAGE, TableRoot, TableSlot};
use cidstore_core::layout::view::FileDescription;
use cidstore_hdf5_emit::Emitter;

/// Segments as the engine adds them until a space has this many pages: doubling to 2 MiB, then an eighth more.
fn grow(pages: u32, next: &mut u32) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut count = 0_u32;
    while count < pages {
        let page_count = match count {
            0 => 16,
            1..512 => count,
            _ => (count / 8 / 512 * 512).max(512),
        };
        segments.push(Segment { first_file_page: *next, page_count });
        *next += page_count;
        count += page_count;
    }
    segments
}

/// Bytes of metadata of a file with this many pages of buckets and half as many of values.
fn metadata_bytes(pages: u32) -> (usize, u64) {
    let mut next = 4;
    let spaces = [grow(pages, &mut next), grow(pages / 2, &mut next), grow(pages / 32, &mut next)];
    let slots = (pages * 2).next_power_of_two() as usize;
    let directory = vec![TableSlot { page: 1, checksum: 7 }; slots];
    let leaf = TableSlot { page: 3, checksum: 9 };
    let leaves = vec![leaf; slots.div_ceil(SLOTS_PER_TABLE_PAGE)];
    let root = TableRoot { slot_count: slots as u64, ..TableRoot::default() };
    let file_bytes = u64::from(next) * 4096;
    let superblock = Superblock {
        roots: [root; 3],
        file_bytes,
        global_depth: slots.ilog2(),
        ..Superblock::new()
    };
    let description = FileDescription {
        superblock: &superblock,
        segments: spaces.each_ref().map(Vec::as_slice),
        bucket_count: pages.into(),
        leaves: [&leaves, &leaves[..1], &leaves],
        directory: &directory,
    };
    (Emitter::default().emit(&description, 16384).body.len(), file_bytes)
}

#[test]
fn beyond_64_mib_the_metadata_is_below_a_thousandth() {
    for pages in [11_000, 100_000, 1 << 20, 1 << 24] {
        let (bytes, file_bytes) = metadata_bytes(pages);
        assert!(file_bytes >= 64 << 20);
        assert!(bytes as u64 * 1000 <= file_bytes, "{bytes} bytes for a file of {file_bytes}");
    }
}

#[test]
fn an_empty_store_pays_three_pages() {
    let (bytes, _) = metadata_bytes(16);
    assert!(bytes <= 3 * 4096 - 128, "{bytes} bytes");
}
