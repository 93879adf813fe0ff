//! Searching what ascends: eight parts a step instead of two.
//!
//! The seven probes of a step do not wait for each other, so a step costs one cache miss where a binary
//! search pays one for each halving; and no branch depends on what was probed.

/// Parts that a step makes.
const PARTS: usize = 8;

/// How many of `0..len` come before the border, given that `is_before` holds up to a border and not from
/// there on. If it is true here and there instead, some number up to `len`.
#[inline]
pub(super) fn border(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let mut from = 0;
    let mut len = len;
    // Invariant: all before `from` are before the border, none at or after `from + len` is.
    while len > PARTS {
        let part = len / PARTS;
        let probes = 1..PARTS;
        let passed =
            probes.map(|probe| usize::from(is_before(from + probe * part - 1))).sum::<usize>();
        from += passed * part;
        // The last part has what the division left over.
        len = if passed == PARTS - 1 { len - passed * part } else { part };
    }
    from + (from..from + len).map(|index| usize::from(is_before(index))).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::border;

    #[test]
    fn every_border_of_every_length_is_found() {
        for len in 0..300 {
            for expected in 0..=len {
                let found = border(len, |index| {
                    assert!(index < len, "probes stay inside");
                    index < expected
                });
                assert_eq!(found, expected, "of {len}");
            }
        }
    }

    #[test]
    fn without_a_border_the_answer_still_lies_inside() {
        for seed in 0..2000_u64 {
            let noise = |index: usize| (seed + 1).wrapping_mul(index as u64 * 2 + 1) >> 3 & 1 == 0;
            assert!(border(250, noise) <= 250);
        }
    }
}
