//! Links between the documents lead somewhere: each relative `](target)` names a file or folder of the tree.

use std::path::Path;

use super::Finding;
use crate::tree::Tree;

/// Findings of this rule in the document `path` with `text`.
pub(super) fn check(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in targets(text) {
        let file = target.split('#').next().unwrap_or_default();
        if !file.is_empty() && !tree.path(folder.join(file)).exists() {
            findings
                .push(Finding::new(format!("{path}:{line}"), format!("no such file: {target}")));
        }
    }
    findings
}

/// Relative link targets with their line numbers; code blocks and addresses with a scheme are left out.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split_once(')').map_or("", |(target, _)| target).trim();
            if !target.is_empty() && !target.contains(':') {
                found.push((index + 1, target));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_targets_outside_code_count() {
        let text = "[a](b.md) and [c](d/e.rs#L3)\n```\nx[0](y)\n```\n[w](https://example.org) [m](mailto:x) [h](#here)";
        assert_eq!(targets(text), [(1, "b.md"), (1, "d/e.rs#L3"), (5, "#here")]);
    }

    #[test]
    fn a_dead_link_is_named() {
        let tree = Tree::find().unwrap();
        let findings = check(
            &tree,
            "docs/x.md",
            "ok [d](design.md) [r](../Cargo.toml) [t](#top)\n[bad](no.md)",
        );
        assert_eq!(findings, [Finding::new("docs/x.md:2", "no such file: no.md")]);
    }
}
