//! Keys and values as the bytes that the other stores take.

use cidstore_core::E;

use crate::Result;

/// Big-endian, so that the order of bytes is the order of numbers.
pub(super) fn bytes(number: E) -> [u8; 16] {
    ((u128::from(number.high) << 64) | u128::from(number.low)).to_be_bytes()
}

/// What [`bytes`] were made of.
pub(super) fn number(bytes: &[u8]) -> Result<E> {
    let number = u128::from_be_bytes(bytes.try_into()?);
    Ok(E { high: (number >> 64) as u64, low: number as u64 })
}

/// Key and value as one key, for a store that has one value a key: all values of a key lie side by side.
pub(super) fn joined(key: E, value: E) -> [u8; 32] {
    let mut both = [0; 32];
    let (first, second) = both.split_at_mut(16);
    first.copy_from_slice(&bytes(key));
    second.copy_from_slice(&bytes(value));
    both
}

/// The value in what [`joined`] made.
pub(super) fn joined_value(both: &[u8]) -> Result<E> {
    number(both.get(16..).unwrap_or_default())
}

/// Pairs in the order of their bytes.
pub(super) fn sorted(pairs: impl Iterator<Item = (E, E)>) -> Vec<(E, E)> {
    let mut sorted: Vec<(E, E)> = pairs.collect();
    sorted.sort_unstable_by_key(|(key, value)| (key.high, key.low, value.high, value.low));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_the_order_and_lead_back() {
        let numbers = [
            E { high: 0, low: 1 },
            E { high: 0, low: 256 },
            E { high: 1, low: 0 },
            E { high: 256, low: 7 },
            E { high: u64::MAX, low: 0 },
        ];
        assert!(numbers.is_sorted_by_key(|number| bytes(*number)));
        for number_in in numbers {
            assert_eq!(number(&bytes(number_in)).unwrap(), number_in);
            assert_eq!(joined_value(&joined(numbers[1], number_in)).unwrap(), number_in);
        }
        assert!(number(&[0; 15]).is_err());
        assert!(joined_value(&[0; 16]).is_err());
        let pairs = numbers.iter().rev().flat_map(|key| numbers.map(|value| (*key, value)));
        assert!(sorted(pairs).is_sorted_by_key(|(key, value)| joined(*key, *value)));
    }
}
