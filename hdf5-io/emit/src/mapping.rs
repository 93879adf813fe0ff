//! The parts of virtual datasets, and the global heap that lists them.

use crate::object::with_checksum;

/// Smallest global heap collection that libhdf5 reads.
const COLLECTION_BYTES_MIN: usize = 4096;

/// The list of the parts of a virtual dataset: each takes as many elements as are told here, from where the part before ends,
/// from the whole of the dataset that `name` writes the path of.
pub(crate) fn mapping(parts: &[u64], name: impl Fn(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0];
    out.extend((parts.len() as u64).to_le_bytes());
    let mut first = 0;
    for (index, &elements) in parts.iter().enumerate() {
        // "." is the file itself.
        out.extend(b".\0");
        name(index, &mut out);
        out.push(0);
        out.extend(block(0, elements));
        out.extend(block(first, elements));
        first += elements;
    }
    with_checksum(out)
}

/// A selection of neighbouring elements: a hyperslab of one block, version 1. Page numbers have 28 bits.
fn block(first: u64, elements: u64) -> [u8; 32] {
    let last = first + elements.max(1) - 1;
    // Type, version, nothing, bytes that follow, dimensions, blocks, first and last.
    let words = [2, 1, 0, 16, 1, 1, first as u32, last as u32].map(u32::to_le_bytes);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(words.as_flattened());
    bytes
}

/// A global heap collection; its objects are numbered from 1.
pub(crate) fn heap(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        content.extend((index as u16 + 1).to_le_bytes());
        content.extend([1, 0, 0, 0, 0, 0]);
        content.extend((object.len() as u64).to_le_bytes());
        content.extend(object);
        content.resize(content.len().next_multiple_of(8), 0);
    }
    // The rest is object 0, whose own head is counted in its length.
    let bytes = (16 + content.len() + 16).max(COLLECTION_BYTES_MIN);
    let rest = bytes - 16 - content.len();
    let mut out = [&b"GCOL"[..], &[1, 0, 0, 0], &(bytes as u64).to_le_bytes(), &content].concat();
    out.extend([0; 8]);
    out.extend((rest as u64).to_le_bytes());
    out.resize(bytes, 0);
    out
}
