//! What a fuzzer's bytes do to a file: a list of small edits, six bytes each.
//!
//! Mutating edits instead of the file lets the fuzzer work on inputs of a few bytes, and a change of one
//! byte of input is a change of one edit.

use cidstore_core::layout::PAGE_BYTES;

/// Bytes of an edit in the fuzzer's input.
pub const EDIT_BYTES: usize = 6;
/// Edits that are read from one input; more would only repeat each other.
const EDITS_MAX: usize = 32;

/// One change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What to do: see [`Edit::apply`].
    pub code: u8,
    /// Where.
    pub offset: u32,
    /// With what.
    pub byte: u8,
}

impl Edit {
    /// The bytes that decode to this edit.
    #[must_use]
    pub fn encode(self) -> [u8; EDIT_BYTES] {
        let [a, b, c, d] = self.offset.to_le_bytes();
        [self.code, a, b, c, d, self.byte]
    }

    fn decode(bytes: [u8; EDIT_BYTES]) -> Self {
        let [code, a, b, c, d, byte] = bytes;
        Self { code, offset: u32::from_le_bytes([a, b, c, d]), byte }
    }

    /// Changes `file`; offsets wrap around at its end.
    pub fn apply(self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        let at = self.offset as usize % file.len();
        let word = at / 8 * 8;
        match self.code % 8 {
            0 => file[at] = self.byte,
            1 => file[at] ^= 1 << (self.byte % 8),
            2 => file[at] = file[at].wrapping_add(self.byte),
            3 => fill(file, word, 8, self.byte),
            4 => fill(file, at / 512 * 512, 512, self.byte),
            5 => copy_page(file, at / PAGE_BYTES, usize::from(self.byte)),
            6 => file.truncate(at),
            _ => {
                let longer = file.len() + usize::from(self.byte) * 97;
                file.resize(longer, self.byte);
            }
        }
    }
}

/// Reads the edits of an input.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Edit> {
    let (edits, _) = bytes.as_chunks::<EDIT_BYTES>();
    edits.iter().take(EDITS_MAX).map(|edit| Edit::decode(*edit)).collect()
}

fn fill(file: &mut [u8], at: usize, count: usize, byte: u8) {
    let end = file.len().min(at + count);
    file[at.min(end)..end].fill(byte);
}

fn copy_page(file: &mut [u8], from: usize, to: usize) {
    let pages = file.len() / PAGE_BYTES;
    if pages > 0 {
        let from = from % pages * PAGE_BYTES;
        file.copy_within(from..from + PAGE_BYTES, to % pages * PAGE_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_survive_encoding_and_never_panic() {
        let mut random = crate::random::Random::new(2);
        for length in [0, 1, 7, 511, 4096, 12_345] {
            for _ in 0..2000 {
                let word = random.word();
                let edit =
                    Edit { code: word as u8, offset: (word >> 8) as u32, byte: (word >> 40) as u8 };
                assert_eq!(decode(&edit.encode()), [edit]);
                let mut file = vec![7; length];
                edit.apply(&mut file);
                edit.apply(&mut file);
            }
        }
    }
}
