//! Stand-ins until the format modules land.

pub(super) const fn encode(nibble: u8) -> u8 {
    let d1 = nibble & 1;
    let d2 = nibble >> 1 & 1;
    let d3 = nibble >> 2 & 1;
    let d4 = nibble >> 3 & 1;
    let p1 = d1 ^ d2 ^ d4;
    let p2 = d1 ^ d3 ^ d4;
    let p3 = d2 ^ d3 ^ d4;
    let word = p1 | p2 << 1 | d1 << 2 | p3 << 3 | d2 << 4 | d3 << 5 | d4 << 6;
    word | ((word.count_ones() & 1) as u8) << 7
}

pub(super) const DOUBLE: u16 = 0x20;

pub(super) static DECODE: [u16; 256] = {
    let mut table = [DOUBLE; 256];
    let mut nibble = 0;
    while nibble < 16 {
        let code = encode(nibble);
        table[code as usize] = nibble as u16;
        let mut bit = 0;
        while bit < 8 {
            table[(code ^ 1 << bit) as usize] = nibble as u16 | 0x10;
            bit += 1;
        }
        nibble += 1;
    }
    table
};

pub(super) enum Decoded {
    Clean(u8),
    Other,
}

pub(super) fn decode(byte: u8) -> Decoded {
    let entry = DECODE[byte as usize];
    if entry & 0x30 == 0 { Decoded::Clean(entry as u8) } else { Decoded::Other }
}
