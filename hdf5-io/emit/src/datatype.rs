//! HDF5 datatypes: what a page's bytes mean, field by field.

/// A datatype. All numbers are little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Datatype {
    /// An unsigned integer of this many bytes.
    Unsigned(u32),
    /// ASCII text of exactly this many bytes.
    Ascii(u32),
    /// Elements of one type, one after another.
    Array(Box<Datatype>, u32),
    /// Named members without gaps between them.
    Compound(Vec<(&'static str, Datatype)>),
}

use Datatype::{Array, Ascii, Compound, Unsigned};

/// Version of all datatype messages: the first in which members need no padding, since HDF5 1.8.
const VERSION: u8 = 3;

impl Datatype {
    /// Bytes of one element.
    pub(crate) fn bytes(&self) -> u32 {
        match self {
            Unsigned(bytes) | Ascii(bytes) => *bytes,
            Array(element, count) => element.bytes() * count,
            Compound(members) => members.iter().map(|(_, member)| member.bytes()).sum(),
        }
    }

    /// The datatype message.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut start = |class: u8, bits: [u8; 3]| {
            out.push(VERSION << 4 | class);
            out.extend(bits);
            out.extend(self.bytes().to_le_bytes());
        };
        match self {
            Unsigned(bytes) => {
                start(0, [0; 3]);
                out.extend(0_u16.to_le_bytes());
                out.extend((bytes * 8).to_le_bytes().into_iter().take(2));
            }
            // Padded with zeros, of which there are none, in ASCII.
            Ascii(_) => start(3, [1, 0, 0]),
            Array(element, count) => {
                start(10, [0; 3]);
                out.push(1);
                out.extend(count.to_le_bytes());
                element.encode(out);
            }
            Compound(members) => {
                let [low, high, ..] = (members.len() as u32).to_le_bytes();
                start(6, [low, high, 0]);
                let offset_bytes = bytes_for(self.bytes());
                let mut offset = 0_u32;
                for (name, member) in members {
                    out.extend(name.bytes());
                    out.push(0);
                    out.extend(offset.to_le_bytes().into_iter().take(offset_bytes));
                    member.encode(out);
                    offset += member.bytes();
                }
            }
        }
    }
}

/// Bytes that the offsets of members take in a compound of this size.
fn bytes_for(size: u32) -> usize {
    (size.ilog2() / 8 + 1) as usize
}

/// A byte.
pub(crate) const U8: Datatype = Unsigned(1);
/// Two bytes.
pub(crate) const U16: Datatype = Unsigned(2);
/// Four bytes.
pub(crate) const U32: Datatype = Unsigned(4);
/// Eight bytes.
pub(crate) const U64: Datatype = Unsigned(8);

/// `count` of `element`.
pub(crate) fn array(element: Datatype, count: usize) -> Datatype {
    Array(Box::new(element), count as u32)
}
