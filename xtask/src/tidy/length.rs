//! A file holds one idea in at most [`FILE_LINES_MAX`] lines, a function fits a screen of [`FUNCTION_LINES_MAX`].
//!
//! Functions of tests are not measured: a long straight table of cases is easier to read than its parts.

use super::exceptions::{self, Exception};
use super::{Finding, Source};

/// Most lines of a source file.
const FILE_LINES_MAX: usize = 600;
/// Most lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;

/// Findings of this rule: what is too long without an exception, and exceptions nothing needs.
pub(super) fn check(sources: &[Source], allowed: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; allowed.len()];
    let mut judge = |place: String, named: String, lines: usize, lines_max: usize| {
        if lines <= lines_max {
            return;
        }
        match allowed.iter().position(|exception| exception.place == named) {
            Some(index) => used.iter_mut().skip(index).take(1).for_each(|seen| *seen = true),
            None => findings.push(Finding::new(
                place,
                format!("{named} has {lines} lines, more than {lines_max}"),
            )),
        }
    };
    for source in sources {
        let lines = source.code.lines().count();
        judge(source.path.clone(), source.path.clone(), lines, FILE_LINES_MAX);
        if is_test(&source.path) {
            continue;
        }
        for function in functions(&source.code) {
            let named = format!("{}::{}", source.path, function.name);
            let place = format!("{}:{}", source.path, function.line);
            judge(place, named, function.lines, FUNCTION_LINES_MAX);
        }
    }
    for (exception, _) in allowed.iter().zip(used).filter(|(_, seen)| !seen) {
        let what = format!("the exception for {} is not needed", exception.place);
        findings.push(Finding::new(exceptions::PATH, what));
    }
    findings
}

fn is_test(path: &str) -> bool {
    ["tests/", "testkit/"].iter().any(|folder| path.starts_with(folder))
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// The functions with a body in `code`, those of `#[cfg(test)]` modules left out.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, word)) = next_word(code, at) {
        at = start + word.len();
        if word == "mod" && is_for_tests(code, start) {
            at = body_end(code, at).unwrap_or(code.len());
        } else if word == "fn"
            && let Some((name_at, name)) = next_word(code, at)
            // Else the type of a function pointer, `fn(...)`.
            && code.get(at..name_at).is_some_and(|between| between.trim().is_empty())
            && let Some(end) = body_end(code, at)
        {
            let line_at =
                |offset: usize| code.get(..offset).unwrap_or_default().matches('\n').count();
            let first = line_at(start);
            let lines = line_at(end) - first + 1;
            found.push(Function { name: name.to_owned(), line: first + 1, lines });
        }
    }
    found
}

/// The next word (letters, digits, `_`) at or after `from`, with its place.
fn next_word(code: &str, from: usize) -> Option<(usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start = from + code.get(from..)?.find(is_word)?;
    let tail = code.get(start..)?;
    let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
    Some((start, tail.get(..end)?))
}

/// True if the item whose keyword stands at `start` has a `cfg` attribute that speaks of `test`.
fn is_for_tests(code: &str, start: usize) -> bool {
    let item = code.get(..start).unwrap_or_default();
    let attributes = item.rfind(['}', ';', '{']).and_then(|end| item.get(end..)).unwrap_or(item);
    attributes.contains("#[cfg(") && attributes.contains("test")
}

/// End of the `{ ... }` that follows `from`; `None` if a `;` outside all brackets comes first (no body).
fn body_end(code: &str, from: usize) -> Option<usize> {
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (offset, character) in code.get(from..)?.char_indices() {
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            // A brace inside brackets belongs to a constant in the signature.
            '{' if brackets == 0 || braces > 0 => braces += 1,
            '}' if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(from + offset);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, code: String) -> Source {
        Source { path: path.to_owned(), code }
    }

    fn function(lines: usize) -> String {
        format!("pub fn long<'a>(x: [u8; {{ 4 }}]) -> u8 {{\n{}}}\n", "    x;\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_is_measured_from_its_name_to_its_brace() {
        let fits = source("a.rs", function(FUNCTION_LINES_MAX));
        assert_eq!(check(&[fits], &[]), []);
        let long = source("a.rs", format!("\n{}", function(FUNCTION_LINES_MAX + 1)));
        let findings = check(&[long], &[]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "a.rs:2");
        assert!(findings[0].what.contains("a.rs::long has 71 lines"), "{findings:?}");
    }

    #[test]
    fn functions_of_tests_and_without_body_are_not_measured() {
        let long = function(200);
        let module = format!("fn a();\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(check(&[source("a.rs", module)], &[]), []);
        assert_eq!(check(&[source("core/tests/a.rs", long.clone())], &[]), []);
        let other = format!("#[cfg(unix)]\nmod sys {{\n{long}}}\n");
        assert_eq!(check(&[source("a.rs", other)], &[]).len(), 1);
    }

    #[test]
    fn a_function_pointer_is_no_function() {
        let source_with_pointer = format!("fn run(build: fn(&Path) -> u8) {{}}\n{}", function(30));
        let names: Vec<String> =
            functions(&source_with_pointer).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["run", "long"]);
    }

    #[test]
    fn a_function_inside_another_is_found_too() {
        let nested = format!("fn outer() {{ fn inner() {{}}\n{} }}", function(71));
        let names: Vec<String> = functions(&nested).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["outer", "inner", "long"]);
    }

    #[test]
    fn an_exception_silences_and_a_stale_one_speaks() {
        let exception = |place: &str| Exception { place: place.to_owned() };
        let long = || source("a.rs", "\n".repeat(FILE_LINES_MAX + 1));
        assert_eq!(check(&[long()], &[]).len(), 1);
        assert_eq!(check(&[long()], &[exception("a.rs")]), []);
        let findings = check(&[long()], &[exception("a.rs"), exception("b.rs")]);
        assert_eq!(
            findings,
            [Finding::new(exceptions::PATH, "the exception for b.rs is not needed")]
        );
    }
}
