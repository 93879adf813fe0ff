//! [`only`]: Rust source with everything blanked out that is not code.
//!
//! Comments, strings and character literals become spaces; lines keep their numbers and columns. A rule that looks for
//! words or braces then needs no parser, and a sentence about `unsafe` is not taken for a use of it.

/// `source` with comments and literals blanked out.
pub(super) fn only(source: &str) -> String {
    let mut scanner =
        Scanner { rest: source, before: None, code: String::with_capacity(source.len()) };
    while let Some(first) = scanner.rest.chars().next() {
        match scanner.literal_or_comment_bytes() {
            Some(bytes) => scanner.blank(bytes),
            None => scanner.keep(first),
        }
    }
    scanner.code
}

struct Scanner<'a> {
    rest: &'a str,
    /// The code character just passed, which tells the `r` of `r"..."` from the end of a name.
    before: Option<char>,
    code: String,
}

impl Scanner<'_> {
    fn keep(&mut self, character: char) {
        self.code.push(character);
        self.before = Some(character);
        self.rest = self.rest.get(character.len_utf8()..).unwrap_or_default();
    }

    fn blank(&mut self, bytes: usize) {
        let (hidden, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.code.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.before = Some(' ');
        self.rest = rest;
    }

    /// Length of the comment or literal that begins here, if one does. One that never ends reaches to the end.
    fn literal_or_comment_bytes(&self) -> Option<usize> {
        let rest = self.rest;
        if rest.starts_with("//") {
            return Some(rest.find('\n').unwrap_or(rest.len()));
        }
        if rest.starts_with("/*") {
            return Some(block_comment_bytes(rest));
        }
        let in_name = self.before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let prefix = if in_name { 0 } else { literal_prefix_bytes(rest) };
        let body = rest.get(prefix..)?;
        let raw = rest.get(..prefix).is_some_and(|letters| letters.ends_with('r'));
        match body.chars().next()? {
            '"' | '#' if raw => raw_string_bytes(body).map(|bytes| prefix + bytes),
            '"' => Some(prefix + quoted_bytes(body, '"')),
            '\'' if prefix == 0 || rest.starts_with("b'") => {
                character_bytes(body).map(|bytes| prefix + bytes)
            }
            _ => None,
        }
    }
}

/// Length of a literal's prefix letters, if a quote or a raw string's hash follows them.
fn literal_prefix_bytes(rest: &str) -> usize {
    ["br", "cr", "b", "c", "r"]
        .into_iter()
        .find(|prefix| {
            rest.strip_prefix(prefix).is_some_and(|body| body.starts_with(['"', '#', '\'']))
        })
        .map_or(0, str::len)
}

/// Block comments nest.
fn block_comment_bytes(rest: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `#"..."#` with any number of hashes; `None` for a raw identifier such as `r#type`.
fn raw_string_bytes(body: &str) -> Option<usize> {
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(match inside.find(&end) {
        Some(bytes) => hashes + 1 + bytes + end.len(),
        None => body.len(),
    })
}

/// A literal between two `quote`s in which a backslash hides the next character.
fn quoted_bytes(body: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, character) in body.char_indices().skip(1) {
        match character {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            _ if character == quote => return at + character.len_utf8(),
            _ => {}
        }
    }
    body.len()
}

/// A character literal; `None` for a lifetime, whose quote nothing closes.
fn character_bytes(body: &str) -> Option<usize> {
    let mut characters = body.chars().skip(1);
    let first = characters.next()?;
    (first == '\\' || characters.next() == Some('\'')).then(|| quoted_bytes(body, '\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outside_code_vanish_and_code_stays() {
        for hidden in [
            "// unsafe\n",
            "/// unsafe { }\n",
            "/* unsafe /* unsafe */ unsafe */",
            r#""unsafe \" unsafe""#,
            "r#\"unsafe \" unsafe\"#",
            "b\"unsafe\"",
            "br\"unsafe\"",
            "c\"unsafe\"",
        ] {
            let source = format!("fn a() {{ {hidden} }} unsafe");
            let code = only(&source);
            assert_eq!(code.matches("unsafe").count(), 1, "{hidden}: {code}");
            assert_eq!(code.len(), source.len());
            assert_eq!(code.lines().count(), source.lines().count());
        }
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        for source in [
            "fn f<'a>(x: &'a str) -> &'a str { x }",
            "let r#type = 1;",
            "let bar = r; 'outer: loop {}",
        ] {
            assert_eq!(only(source), source);
        }
    }

    #[test]
    fn characters_that_would_open_something_do_not() {
        for literal in ["'\"'", "'{'", "'\\''", "b'{'", "'\\u{7b}'"] {
            assert_eq!(only(&format!("({literal})")), format!("({})", " ".repeat(literal.len())));
        }
    }

    #[test]
    fn what_never_ends_ends_with_the_file() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'\\"] {
            assert_eq!(only(source).trim(), "", "{source}");
        }
    }
}
