//! What a key or a value is called on the command line, in a file, and in an answer.
//!
//! An id is 128 bits. In the *hex* form it is written as such: 32 hex digits, `0x` and digits, or the
//! text of a UUID. In the *name* form any text stands for its UUIDv5. Names can't be read back out of
//! an id; the [dictionary](crate::names) beside the store remembers them for display.

use std::fmt::Write as _;

use cidstore::E;
use clap::ValueEnum;

use crate::names::Names;
use crate::output::Id;

/// The two ways to write an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdForm {
    /// Any text; stands for its UUIDv5 in the DNS namespace.
    Name,
    /// 32 hex digits, 0x and hex digits, or a UUID.
    Hex,
}

impl IdForm {
    /// Reads an id; the error says what is wrong with the text.
    pub(crate) fn parse(self, text: &str) -> Result<E, String> {
        match self {
            Self::Name if text.is_empty() => Err("an empty name".to_owned()),
            Self::Name => Ok(E::from_name(text)),
            Self::Hex => text.parse::<E>().map_err(|error| format!("`{}`: {error}", shown(text))),
        }
    }
}

/// An id for `--json`.
pub(crate) fn id(number: E, names: &Names) -> Id<'_> {
    Id { id: number.to_string(), name: names.get(number).map(Into::into) }
}

/// An id for people: its name if one is known, else its digits.
pub(crate) fn text(number: E, names: &Names) -> String {
    names.get(number).map_or_else(|| number.to_string(), shown)
}

/// Text as it may be shown on a terminal: control characters, which could move the cursor or end the
/// line, are written as escapes.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            // Writing to a string can't fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digits_are_told_apart_by_the_form_alone() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert_eq!(IdForm::Name.parse(digits), Ok(E::from_name(digits)));
        assert_eq!(
            IdForm::Hex.parse(digits),
            Ok(E::new(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef))
        );
        assert_eq!(
            IdForm::Hex.parse("01234567-89ab-cdef-0123-456789abcdef"),
            IdForm::Hex.parse(digits)
        );
        assert_eq!(IdForm::Hex.parse("0x7b"), Ok(E::from(123)));
    }

    #[test]
    fn what_is_no_id_is_named() {
        assert!(IdForm::Name.parse("").is_err());
        assert!(IdForm::Hex.parse("").is_err());
        assert!(IdForm::Hex.parse("libc6").is_err_and(|message| message.starts_with("`libc6`")));
    }

    #[test]
    fn control_characters_are_not_shown_raw() {
        assert_eq!(shown("a\tb\u{1b}[1m"), "a\\tb\\u{1b}[1m");
        assert_eq!(shown("plain é"), "plain é");
    }
}
