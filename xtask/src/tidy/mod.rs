//! Rules on the tree itself that no compiler checks: file and function length, the unsafe inventory, links in the
//! documents, the manifest of the static package.
//!
//! A rule has no switch. What must break one stands in `xtask/exceptions.txt` with its reason, and an exception that is no
//! longer needed is a finding too.

mod code;
mod exceptions;
mod inventory;
mod length;
mod links;
mod packaging;

use crate::failure::Failure;
use crate::tree::Tree;

/// One place where the tree breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `file` or `file:line`.
    place: String,
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Checks the whole tree, and says in one line what was looked at.
///
/// # Errors
/// With all findings, a line each; or if a file cannot be read.
pub(crate) fn check(tree: &Tree) -> Result<String, Failure> {
    let mut sources = Vec::new();
    for path in tree.files("rs")? {
        let text = tree.read(&path)?;
        sources.push(Source { code: code::only(&text), path });
    }
    let mut findings = length::check(&sources, &exceptions::read(tree)?);
    findings.extend(inventory::check(&sources, &tree.read(inventory::PATH)?));
    let documents = tree.files("md")?;
    for path in &documents {
        findings.extend(links::check(tree, path, &tree.read(path)?));
    }
    let [command, static_package] = [packaging::COMMAND, packaging::STATIC];
    findings.extend(packaging::check(&tree.read(command)?, &tree.read(static_package)?));
    if findings.is_empty() {
        return Ok(format!("{} source files, {} documents", sources.len(), documents.len()));
    }
    let lines: Vec<String> =
        findings.iter().map(|finding| format!("\n  {}: {}", finding.place, finding.what)).collect();
    Err(Failure::new(format!("{} findings:{}", findings.len(), lines.concat())))
}

/// One source file.
struct Source {
    path: String,
    /// Its text with comments and literals blanked out, line by line as in the file.
    code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_keeps_its_rules() {
        let tree = Tree::find().unwrap();
        if let Err(findings) = check(&tree) {
            panic!("{findings}");
        }
    }
}
