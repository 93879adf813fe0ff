//! HDF5 object headers and the messages in them: groups, attributes, committed types, datasets.
//!
//! All in the forms of HDF5 1.8 to 1.10 that need the fewest bytes: version 2 headers with a checksum, links and
//! attributes inside the header. The names of messages are those of the HDF5 file format specification, version 3.

use crate::USER_BLOCK_BYTES;
use crate::datatype::Datatype;
use crate::lookup3::lookup3;

/// Address within the file, as HDF5 counts: from the end of the user block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// The address of this offset in the file, which lies behind the user block.
    pub(crate) const fn of(offset: u64) -> Self {
        Self(offset.saturating_sub(USER_BLOCK_BYTES))
    }
}

/// No address.
pub(crate) const UNDEFINED: Address = Address(u64::MAX);

/// An object header in the making.
#[derive(Debug, Default)]
pub(crate) struct Object {
    messages: Vec<u8>,
}

/// Message types.
const DATASPACE: u8 = 0x01;
const LINK_INFO: u8 = 0x02;
const DATATYPE: u8 = 0x03;
const FILL_VALUE: u8 = 0x05;
const LINK: u8 = 0x06;
const LAYOUT: u8 = 0x08;
const GROUP_INFO: u8 = 0x0a;
const ATTRIBUTE: u8 = 0x0c;
const ATTRIBUTE_INFO: u8 = 0x15;
const REFERENCE_COUNT: u8 = 0x16;

/// Message flag: never changes.
const CONSTANT: u8 = 1;
/// Message flag: the body says where the content is.
const SHARED: u8 = 2;

/// Binary logarithm of the chunks that one block of a chunk index may have without being cut into pages. More than
/// the nodes of the largest table.
const INDEX_PAGE_BITS: u8 = 20;

impl Object {
    /// A group without links.
    pub(crate) fn group() -> Self {
        let mut object = Self::default();
        object.message(LINK_INFO, 0, &[&[0, 0][..], &undefined(), &undefined()].concat());
        object.message(GROUP_INFO, CONSTANT, &[0, 0]);
        object.expect_attributes();
        object
    }

    /// A committed datatype that this many objects refer to, its link included.
    pub(crate) fn datatype(datatype: &Datatype, references: u32) -> Self {
        let mut object = Self::default();
        object.message(DATATYPE, CONSTANT, &datatype.encoded());
        object.message(REFERENCE_COUNT, 0, &[&[0][..], &references.to_le_bytes()].concat());
        object
    }

    /// A dataset of one dimension, of a committed type. Its layout is still missing.
    pub(crate) fn dataset(elements: u64, datatype: Address) -> Self {
        // Enough for a contiguous dataset.
        let mut object = Self { messages: Vec::with_capacity(128) };
        object.message(DATASPACE, 0, &dataspace(Some(elements)));
        // Shared, version 3, committed.
        object.message_of(DATATYPE, CONSTANT | SHARED, &[&[3, 2], &datatype.0.to_le_bytes()]);
        // Space is allocated when there is data; nothing is ever filled in.
        object.message(FILL_VALUE, CONSTANT, &[3, 2 | 1 << 2]);
        object
    }

    /// The storage is one run of bytes.
    pub(crate) fn contiguous(mut self, at: Address, bytes: u64) -> Self {
        self.message_of(LAYOUT, 0, &[&[4, 1], &at.0.to_le_bytes(), &bytes.to_le_bytes()]);
        self
    }

    /// The storage is parts of other datasets, listed in an object of a global heap.
    pub(crate) fn virtual_dataset(mut self, heap: Address, object: u32) -> Self {
        let place = [&heap.0.to_le_bytes()[..], &object.to_le_bytes()].concat();
        self.message(LAYOUT, 0, &[&[4, 3][..], &place].concat());
        self.expect_attributes();
        self
    }

    /// The storage is chunks of this many elements, found through an index of fixed size.
    pub(crate) fn chunked(mut self, elements: u16, element_bytes: u16, index: Address) -> Self {
        // No flags, two dimensions (the second is the bytes of an element), two bytes for each.
        let mut body = vec![4, 2, 0, 2, 2];
        body.extend(elements.to_le_bytes());
        body.extend(element_bytes.to_le_bytes());
        // Index type 3: fixed array.
        body.extend([3, INDEX_PAGE_BITS]);
        body.extend(index.0.to_le_bytes());
        self.message(LAYOUT, 0, &body);
        self.expect_attributes();
        self
    }

    /// Adds a link to a group.
    pub(crate) fn link(&mut self, name: &str, to: Address) {
        // Version 1; no flags: one byte for the length of the name, a hard link.
        let head = [1, 0, name.len() as u8];
        self.message_of(LINK, 0, &[&head, name.as_bytes(), &to.0.to_le_bytes()]);
    }

    /// Adds an attribute: one element if `elements` is `None`.
    pub(crate) fn attribute(
        &mut self,
        name: &str,
        datatype: &Datatype,
        elements: Option<u64>,
        content: &[u8],
    ) {
        debug_assert_eq!(
            content.len() as u64,
            u64::from(datatype.bytes()) * elements.unwrap_or(1),
            "{name}"
        );
        let (datatype, dataspace) = (datatype.encoded(), dataspace(elements));
        let mut body = vec![3, 0];
        for bytes in [name.len() + 1, datatype.len(), dataspace.len()] {
            body.extend((bytes as u16).to_le_bytes());
        }
        body.push(0);
        body.extend(name.bytes());
        body.push(0);
        body.extend(datatype);
        body.extend(dataspace);
        body.extend(content);
        self.message(ATTRIBUTE, 0, &body);
    }

    /// Adds an attribute of text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.attribute(name, &Datatype::Ascii(text.len() as u32), None, text.as_bytes());
    }

    /// The object as it lies in the file.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.messages.len() + 14);
        out.extend(b"OHDR");
        // Version 2; four bytes for the length.
        out.extend([2, 2]);
        out.extend((self.messages.len() as u32).to_le_bytes());
        out.extend(self.messages);
        with_checksum(out)
    }

    /// Room for attributes.
    pub(crate) fn expecting_attributes(mut self) -> Self {
        self.expect_attributes();
        self
    }

    /// Without this message some programs take an object for one without attributes.
    fn expect_attributes(&mut self) {
        self.message(ATTRIBUTE_INFO, 0, &[&[0, 0][..], &undefined(), &undefined()].concat());
    }

    fn message(&mut self, kind: u8, flags: u8, body: &[u8]) {
        self.message_of(kind, flags, &[body]);
    }

    /// A message whose body is these pieces.
    fn message_of(&mut self, kind: u8, flags: u8, body: &[&[u8]]) {
        let bytes: usize = body.iter().map(|piece| piece.len()).sum();
        let [low, high, ..] = bytes.to_le_bytes();
        self.messages.extend([kind, low, high, flags]);
        for piece in body {
            self.messages.extend_from_slice(piece);
        }
    }
}

/// The header and the only block of a chunk index, to be placed at `at`.
pub(crate) fn chunk_index(at: Address, chunks: &[Address]) -> Vec<u8> {
    const HEADER_BYTES: usize = 28;
    // Version 0, chunks without filters, bytes of an element.
    let mut header = [&b"FAHD"[..], &[0, 0, 8, INDEX_PAGE_BITS]].concat();
    header.extend((chunks.len() as u64).to_le_bytes());
    header.extend((at.0 + HEADER_BYTES as u64).to_le_bytes());
    let header = with_checksum(header);
    debug_assert_eq!(header.len(), HEADER_BYTES);
    let mut block = [&b"FADB"[..], &[0, 0], &at.0.to_le_bytes()].concat();
    block.reserve(chunks.len() * 8 + 4);
    for chunk in chunks {
        block.extend(chunk.0.to_le_bytes());
    }
    [header, with_checksum(block)].concat()
}

/// Appends the checksum of what is there.
pub(crate) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = lookup3(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn undefined() -> [u8; 8] {
    UNDEFINED.0.to_le_bytes()
}

/// A dataspace message: version 2, a single element or one dimension.
fn dataspace(elements: Option<u64>) -> Vec<u8> {
    match elements {
        None => vec![2, 0, 0, 0],
        Some(elements) => [&[2, 1, 0, 1][..], &elements.to_le_bytes()].concat(),
    }
}
