//! [`E`]: the 128-bit number that keys and values are, and its text.

use core::fmt;
use core::str::FromStr;

use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 128-bit key or value. Every one of the 2^128 numbers is legal, zero included.
///
/// Its order is that of the number. Its text is 32 hexadecimal digits.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct E {
    // The order of the fields is the order of the number: the derived `Ord` relies on it.
    /// Upper 64 bits.
    pub high: u64,
    /// Lower 64 bits.
    pub low: u64,
}

impl E {
    /// The number zero: a key and a value like any other.
    pub const ZERO: Self = Self { high: 0, low: 0 };

    /// The number `high * 2^64 + low`.
    #[must_use]
    pub const fn new(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// The number `number`.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self { high: (number >> 64) as u64, low: number as u64 }
    }

    /// The number that stands for a name: its UUID version 5 in the DNS namespace.
    ///
    /// ```
    /// use cidstore_core::E;
    /// assert_eq!(E::from_name("foo").to_string(), "b84ed8eda7b1502f83f690132e68adef");
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::from_u128(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).as_u128())
    }

    /// The number as one integer.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The 16 bytes of the number, the most significant first.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 16] {
        self.to_u128().to_be_bytes()
    }
}

// The only integer with a `From`, so that `E::from(123)` needs no type; `from_u128` takes larger ones.
impl From<u64> for E {
    fn from(low: u64) -> Self {
        Self { high: 0, low }
    }
}

/// Reads the most significant byte first.
impl From<[u8; 16]> for E {
    fn from(bytes: [u8; 16]) -> Self {
        Self::from_u128(u128::from_be_bytes(bytes))
    }
}

impl From<E> for u128 {
    fn from(number: E) -> Self {
        number.to_u128()
    }
}

#[cfg(feature = "uuid")]
impl From<Uuid> for E {
    fn from(uuid: Uuid) -> Self {
        Self::from_u128(uuid.as_u128())
    }
}

#[cfg(feature = "uuid")]
impl From<E> for Uuid {
    fn from(number: E) -> Self {
        Self::from_u128(number.to_u128())
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for E {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

/// `E(0x..)`, without leading zeros.
impl fmt::Debug for E {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E({:#x})", self.to_u128())
    }
}

/// As an integer: `{:x}`, `{:#x}` and `{:032x}` do what they do for `u128`.
impl fmt::LowerHex for E {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.to_u128(), f)
    }
}

/// Why a text is not an [`E`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// The text is empty, or nothing follows `0x`.
    Empty,
    /// More than 32 digits, or fewer without `0x`.
    Length {
        /// How many bytes the text has where digits belong.
        found: usize,
    },
    /// Something that is no hexadecimal digit.
    Digit {
        /// Its offset in the text, in bytes.
        offset: usize,
    },
    /// 36 characters as in a UUID, but without a dash where one belongs.
    Dash {
        /// The offset in the text, in bytes.
        offset: usize,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "no digits"),
            Self::Length { found } => write!(
                f,
                "{found} {} long; a number is 32 hexadecimal digits, 0x and up to 32, or a UUID",
                if *found == 1 { "byte" } else { "bytes" }
            ),
            Self::Digit { offset } => write!(f, "no hexadecimal digit at offset {offset}"),
            Self::Dash { offset } => write!(f, "a UUID has a dash at offset {offset}"),
        }
    }
}

impl core::error::Error for ParseError {}

/// Length of a number in digits.
const DIGITS: usize = 32;
/// Length of a UUID's text.
const UUID_BYTES: usize = 36;
/// Where a UUID's text has its dashes.
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];

/// Reads 32 hexadecimal digits, `0x` with 1 to 32 digits, or the text of a UUID, in either case.
impl FromStr for E {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bytes = text.as_bytes();
        let (digits, skipped) = match bytes {
            [b'0', b'x' | b'X', digits @ ..] => (digits, 2),
            _ => (bytes, 0),
        };
        let is_uuid = skipped == 0 && digits.len() == UUID_BYTES;
        match digits.len() {
            0 => return Err(ParseError::Empty),
            DIGITS => {}
            1..DIGITS if skipped > 0 => {}
            _ if is_uuid => {}
            found => return Err(ParseError::Length { found }),
        }
        let mut number = 0_u128;
        for (index, &byte) in digits.iter().enumerate() {
            if is_uuid && UUID_DASHES.contains(&index) {
                if byte != b'-' {
                    return Err(ParseError::Dash { offset: index });
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16);
            let digit = digit.ok_or(ParseError::Digit { offset: skipped + index })?;
            number = number << 4 | u128::from(digit);
        }
        Ok(Self::from_u128(number))
    }
}

/// Text for people, a `u128` for machines.
#[cfg(feature = "serde")]
mod serde_impls {
    use core::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::E;

    impl Serialize for E {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(self)
            } else {
                serializer.serialize_u128(self.to_u128())
            }
        }
    }

    struct EVisitor;

    impl Visitor<'_> for EVisitor {
        type Value = E;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a 128-bit number: hexadecimal digits, a UUID, or an integer")
        }

        fn visit_str<R: Error>(self, text: &str) -> Result<E, R> {
            text.parse().map_err(R::custom)
        }

        fn visit_u64<R: Error>(self, number: u64) -> Result<E, R> {
            Ok(E::from(number))
        }

        fn visit_u128<R: Error>(self, number: u128) -> Result<E, R> {
            Ok(E::from_u128(number))
        }
    }

    impl<'de> Deserialize<'de> for E {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<E, D::Error> {
            if deserializer.is_human_readable() {
                // Any: formats for people say what they have, and an integer is as good.
                deserializer.deserialize_any(EVisitor)
            } else {
                deserializer.deserialize_u128(EVisitor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_uuids_of_the_dns_namespace() {
        // python3 -c 'import uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, "foo").hex)'
        for (name, text) in [
            ("foo", "b84ed8eda7b1502f83f690132e68adef"),
            ("", "4ebd020883285d698c44ec50939c0967"),
            ("libc6", "f2f0b15d717d598b933d2817e29f3093"),
            ("füß", "9a75515c2b6652a38e1d36d4f40dc081"),
        ] {
            assert_eq!(E::from_name(name).to_string(), text, "{name:?}");
        }
    }

    #[test]
    fn order_and_bytes_are_those_of_the_number() {
        let numbers =
            [0, 1, u128::from(u64::MAX), 1 << 64, (1 << 64) + 1, u128::MAX - 1, u128::MAX];
        for a in numbers {
            assert_eq!(u128::from(E::from_u128(a)), a);
            assert_eq!(E::from_u128(a).to_be_bytes(), a.to_be_bytes());
            assert_eq!(E::from(a.to_be_bytes()), E::from_u128(a));
            for b in numbers {
                assert_eq!(E::from_u128(a).cmp(&E::from_u128(b)), a.cmp(&b));
            }
        }
        assert_eq!(E::from(123), E::new(0, 123));
        assert_eq!(E::from_u128(1 << 64), E::new(1, 0));
    }

    #[test]
    fn text_comes_back() {
        for number in [E::ZERO, E::new(0, 1), E::new(1, 0), E::new(u64::MAX, u64::MAX)] {
            assert_eq!(number.to_string().parse(), Ok(number));
            assert_eq!(format!("{number:#x}").parse(), Ok(number));
            let uuid = Uuid::from_u128(number.to_u128());
            assert_eq!(uuid.to_string().parse(), Ok(number));
            assert_eq!(uuid.to_string().to_uppercase().parse(), Ok(number));
        }
        assert_eq!(format!("{:?}", E::new(1, 0x2f)), "E(0x1000000000000002f)");
        assert_eq!(format!("{:x} {:05x}", E::new(0, 0x2f), E::new(0, 0x2f)), "2f 0002f");
        assert_eq!("0XaB".parse(), Ok(E::new(0, 0xab)));
    }

    #[test]
    fn what_is_no_number_is_named() {
        let parse = |text: &str| text.parse::<E>().unwrap_err();
        assert_eq!(parse(""), ParseError::Empty);
        assert_eq!(parse("0x"), ParseError::Empty);
        assert_eq!(parse("12"), ParseError::Length { found: 2 });
        assert_eq!(parse(&"1".repeat(33)), ParseError::Length { found: 33 });
        assert_eq!(parse(&format!("0x{}", "1".repeat(33))), ParseError::Length { found: 33 });
        assert_eq!(parse("0xg"), ParseError::Digit { offset: 2 });
        assert_eq!(parse("b84ed8ed784053acb9e613bcf5f2b4-e"), ParseError::Digit { offset: 30 });
        assert_eq!(parse("0x-1"), ParseError::Digit { offset: 2 });
        assert_eq!(parse("0x+1"), ParseError::Digit { offset: 2 });
        assert_eq!(parse("b84ed8ed07840-53ac-b9e6-13bcf5f2b45e"), ParseError::Dash { offset: 8 });
        assert_eq!(parse("b84ed8ed-7840-53ac-b9e6-13bcf5f2b4-e"), ParseError::Digit { offset: 34 });
        assert_eq!(parse(&"ü".repeat(16)), ParseError::Digit { offset: 0 });
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_reads_text_and_integers_and_writes_text() {
        use serde::de::IntoDeserializer;
        use serde::de::value::{Error, StrDeserializer, U64Deserializer, U128Deserializer};
        use serde::{Deserialize, Serialize};

        struct Text(E);
        impl fmt::Display for Text {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.serialize(f)
            }
        }
        let number = E::new(1, 0x2f);
        assert_eq!(Text(number).to_string(), number.to_string());
        let text: StrDeserializer<'_, Error> = "0x1000000000000002f".into_deserializer();
        assert_eq!(E::deserialize(text), Ok(number));
        let integer: U128Deserializer<Error> = number.to_u128().into_deserializer();
        assert_eq!(E::deserialize(integer), Ok(number));
        let small: U64Deserializer<Error> = 5_u64.into_deserializer();
        assert_eq!(E::deserialize(small), Ok(E::from(5)));
        let wrong: StrDeserializer<'_, Error> = "nothing".into_deserializer();
        assert!(E::deserialize(wrong).is_err());
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn uuids_are_the_same_number() {
        let uuid = Uuid::from_u128(0x0123 << 100 | 0x4567);
        assert_eq!(E::from(uuid).to_u128(), uuid.as_u128());
        assert_eq!(Uuid::from(E::from(uuid)), uuid);
    }
}
