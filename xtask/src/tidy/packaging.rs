//! The package that links the command statically names what the command needs: it builds the same sources from a manifest
//! of its own, for too long to be built with every change.

use super::Finding;

pub(super) const COMMAND: &str = "Cargo.toml";
pub(super) const STATIC: &str = "packaging/static/Cargo.toml";

/// Findings of this rule in the manifests of the command and of that package.
pub(super) fn check(command: &str, static_package: &str) -> Vec<Finding> {
    let needed = dependencies_of_command(command);
    if needed.is_empty() {
        return vec![Finding::new(COMMAND, "has no feature `command` with dependencies")];
    }
    let is_named = |name: &str| {
        static_package.lines().any(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
        })
    };
    needed
        .into_iter()
        .filter(|name| !is_named(name))
        .map(|name| Finding::new(STATIC, format!("lacks {name}, which the command needs")))
        .collect()
}

/// Optional dependencies that the feature `command` switches on.
fn dependencies_of_command(manifest: &str) -> Vec<&str> {
    let list = manifest.split_once("\ncommand = [").and_then(|(_, rest)| rest.split_once(']'));
    let items = list.map_or("", |(items, _)| items).split('"');
    items.filter_map(|item| item.strip_prefix("dep:")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let command =
            "[features]\ncommand = [\n    \"dep:clap\",\n    \"dep:serde\",\n    \"serve\",\n]\n";
        assert_eq!(check(command, "clap = \"4\"\nserde = { version = \"1\" }\n"), []);
        let findings = check(command, "clap = \"4\"\nserde_json = \"1\"\n");
        assert_eq!(findings, [Finding::new(STATIC, "lacks serde, which the command needs")]);
        assert_eq!(check("[features]\n", "").len(), 1);
    }
}
