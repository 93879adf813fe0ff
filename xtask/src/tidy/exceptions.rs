//! `xtask/exceptions.txt`: places that may break a length rule, each with its reason.

use crate::failure::Failure;
use crate::tree::Tree;

/// The list, relative to the root.
pub(super) const PATH: &str = "xtask/exceptions.txt";

/// One line of the list: `place: reason`, where a place is `path/to/file.rs` or `path/to/file.rs::function`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) place: String,
}

/// Reads the list.
///
/// # Errors
/// If it cannot be read, or a line gives no reason.
pub(super) fn read(tree: &Tree) -> Result<Vec<Exception>, Failure> {
    parse(&tree.read(PATH)?)
}

fn parse(text: &str) -> Result<Vec<Exception>, Failure> {
    let mut list = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(": ") {
            Some((place, reason)) if !reason.trim().is_empty() => {
                list.push(Exception { place: place.to_owned() });
            }
            _ => {
                let number = index + 1;
                return Err(Failure::new(format!("{PATH}:{number}: expected `place: reason`")));
            }
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_not_optional() {
        let place = |place: &str| Exception { place: place.to_owned() };
        assert_eq!(
            parse("# why\n\na.rs: generated\nb.rs::run: a table\n"),
            Ok(vec![place("a.rs"), place("b.rs::run")])
        );
        assert!(parse("a.rs").is_err());
        assert!(parse("a.rs:  ").is_err());
    }
}
