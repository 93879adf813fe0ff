//! `docs/unsafe.md` lists every file with `unsafe` in it, and how often: neither may change without the other.
//!
//! The count is of the word in code, so a new block in a listed file needs a new look at the file's row.

use super::{Finding, Source};

/// The inventory, relative to the root.
pub(super) const PATH: &str = "docs/unsafe.md";

/// Findings of this rule.
pub(super) fn check(sources: &[Source], inventory: &str) -> Vec<Finding> {
    let rows = rows(inventory);
    let mut findings = Vec::new();
    for source in sources {
        let uses = uses(&source.code);
        match rows.iter().find(|row| row.path == source.path) {
            None if uses > 0 => findings.push(Finding::new(
                &source.path,
                format!("{uses} uses of unsafe, and {PATH} does not list the file"),
            )),
            Some(row) if row.uses != Some(uses) => findings.push(Finding::new(
                format!("{PATH}:{}", row.line),
                format!("{} has {uses} uses of unsafe: check its row again", row.path),
            )),
            _ => {}
        }
    }
    for row in rows.iter().filter(|row| sources.iter().all(|source| source.path != row.path)) {
        let what = format!("there is no file {}", row.path);
        findings.push(Finding::new(format!("{PATH}:{}", row.line), what));
    }
    findings
}

struct Row<'a> {
    line: usize,
    path: &'a str,
    /// `None` if the second column is no number.
    uses: Option<usize>,
}

/// The table's rows: ``| `path.rs` | count | ...``.
fn rows(inventory: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (index, text) in inventory.lines().enumerate() {
        let mut cells = text.trim().trim_start_matches('|').split('|').map(str::trim);
        let path = cells.next().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        if text.starts_with('|')
            && let Some(path) = path.filter(|path| path.ends_with(".rs"))
        {
            let uses = cells.next().and_then(|cell| cell.parse().ok());
            rows.push(Row { line: index + 1, path, uses });
        }
    }
    rows
}

fn uses(code: &str) -> usize {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| *word == "unsafe")
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Unsafe\n\n| file | uses | why |\n|---|---|---|\n| `a.rs` | 2 | x |\n";

    fn found(path: &str, code: &str, inventory: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), code: code.to_owned() };
        check(&[source], inventory)
            .into_iter()
            .map(|f| format!("{}: {}", f.place, f.what))
            .collect()
    }

    #[test]
    fn a_listed_file_with_its_count_is_fine() {
        assert_eq!(found("a.rs", "unsafe fn f() { unsafe { g() } }", TABLE), [""; 0]);
    }

    #[test]
    fn a_new_block_an_unlisted_file_and_a_stale_row_are_found() {
        let more = found("a.rs", "unsafe {} unsafe {} unsafe {}", TABLE);
        assert_eq!(more, ["docs/unsafe.md:5: a.rs has 3 uses of unsafe: check its row again"]);
        let other = found("b.rs", "unsafe impl Send for X {}", TABLE);
        assert_eq!(other.len(), 2, "{other:?}");
        assert!(other[0].starts_with("b.rs: 1 uses"), "{other:?}");
        assert!(other[1].contains("there is no file a.rs"), "{other:?}");
    }

    #[test]
    fn the_lint_is_not_the_word() {
        assert_eq!(uses("#![allow(unsafe_code)] fn not_unsafe() {}"), 0);
        assert_eq!(uses("#[unsafe(no_mangle)] fn f() {}"), 1);
    }
}
