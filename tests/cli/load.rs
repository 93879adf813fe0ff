//! `load`: what it takes, and what it refuses without a trace.

use std::io::Write;

use cidstore::E;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::harness::{Folder, Run, bytes, run, run_with, tsv, tsv_lines};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn load(folder: &Folder, more: &[&str]) -> Run {
    let store = folder.text("s.h5");
    run(&[&["load", "--ids", "name", store.as_str()], more].concat())
}

fn scan(folder: &Folder) -> Vec<String> {
    run(&["scan", &folder.text("s.h5")]).lines()
}

#[test]
fn every_form_of_input_gives_the_same_pairs() {
    let text = tsv(100);
    let crlf = text.replace('\n', "\r\n");
    let csv = text.replace('\t', ",");
    let quoted = text.replace('\t', "\",\"").replace('\n', "\"\r\n\"");
    let quoted = format!("\"{}", quoted.trim_end_matches('"'));
    let forms: [(&str, Vec<u8>); 8] = [
        ("a.tsv", text.clone().into_bytes()),
        ("b.TSV", crlf.clone().into_bytes()),
        ("c.csv", csv.clone().into_bytes()),
        ("d.csv", quoted.into_bytes()),
        ("e.tsv.gz", gzip(&text)),
        ("f.csv.gz", gzip(&csv)),
        // Two members, as `cat a.gz b.gz` gives.
        ("g.tsv.gz", [gzip(&text[..100]), gzip(&text[100..])].concat()),
        ("h.tsv", text.trim_end().as_bytes().to_vec()),
    ];
    for (name, content) in forms {
        let folder = Folder::new();
        let file = folder.file(name, content);
        load(&folder, &[&file]).ok();
        assert_eq!(scan(&folder), tsv_lines(100), "{name}");
    }
}

#[test]
fn standard_input_is_tsv_unless_told() {
    let store = |folder: &Folder| folder.text("s.h5");
    for (more, input) in [
        (&[] as &[&str], tsv(20).into_bytes()),
        (&[], gzip(&tsv(20))),
        (&["--format", "csv"], tsv(20).replace('\t', ",").into_bytes()),
    ] {
        let folder = Folder::new();
        let store = store(&folder);
        let line = [&["load", "--ids", "name", store.as_str(), "-"], more].concat();
        run_with(&line, &input).ok();
        assert_eq!(scan(&folder), tsv_lines(20), "{more:?}");
    }
}

#[test]
fn quotes_commas_and_line_ends_are_part_of_a_name() {
    let folder = Folder::new();
    let file = folder.file("q.csv", "\"a,\"\"b\"\"\r\nc\",\"x\ty\"\r\n");
    load(&folder, &[&file]).ok();
    let (key, value) = ("a,\"b\"\r\nc", "x\ty");
    let pair = run(&["scan", "--json", &folder.text("s.h5")]).record();
    assert_eq!(pair["key"], json!({"id": E::from_name(key).to_string(), "name": key}));
    assert_eq!(pair["value"], json!({"id": E::from_name(value).to_string(), "name": value}));
    assert_eq!(scan(&folder), ["a,\"b\"\\r\\nc\tx\\ty"], "shown without control characters");
}

#[test]
fn nothing_to_load_is_fine() {
    for (name, content) in [
        ("a.tsv", Vec::new()),
        ("b.csv", b"\r\n\n".to_vec()),
        ("c.tsv.gz", gzip("")),
        ("d.csv", b"\xef\xbb\xbf".to_vec()),
    ] {
        let folder = Folder::new();
        let file = folder.file(name, content);
        let told = load(&folder, &["--json", &file]).record();
        assert_eq!((&told["type"], &told["pairs"]), (&json!("loaded"), &json!(0)), "{name}");
        assert_eq!(run(&["stat", "--json", &folder.text("s.h5")]).record()["keys"], json!(0));
    }
}

#[test]
fn what_is_malformed_is_named_and_leaves_nothing() {
    let good = tsv(1000);
    let after_good = |line: &[u8]| [good.as_bytes(), line].concat();
    let last = good.lines().count() + 1;
    let line = format!("line {last}");
    let half = gzip(&good);
    let table: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("a.tsv", after_good(b"alone\n"), vec![&line, "1 column "]),
        ("b.tsv", after_good(b"a\tb\tc\n"), vec![&line, "3 columns"]),
        ("c.tsv", after_good(b"a\t\n"), vec![&line, "column 2", "empty"]),
        ("d.tsv", after_good(b"a\tb\xff\n"), vec![&line, "column 2", "UTF-8", "0xff"]),
        ("e.tsv", after_good(b"# comment\n"), vec![&line, "--comments"]),
        ("f.csv", b"a,b\n\"c\nd\",e\n\"f,g\n".to_vec(), vec!["line 4", "column 1", "never closed"]),
        ("g.csv", b"a,b\r\nc,d\"e\"\r\n".to_vec(), vec!["line 2", "column 2", "quote"]),
        ("h.csv", b"a\tb\n".to_vec(), vec!["line 1", "1 column"]),
        ("i.tsv.gz", half[..half.len() / 2].to_vec(), vec!["damaged gzip"]),
        ("j.tsv.gz", good.clone().into_bytes(), vec!["damaged gzip"]),
        ("k.tsv", vec![b'x'; 3 << 20], vec!["line 1", "more than"]),
    ];
    for (name, content, mut words) in table {
        words.push(name);
        let folder = Folder::new();
        let file = folder.file(name, &content);
        load(&folder, &[&file]).fails(2, &words);
        assert_eq!(folder.names(), [name], "a store is left behind");

        // The same beside a store that has something: it keeps exactly that, also if the bad file
        // comes after a good one.
        let first = folder.file("first.tsv", "old\tpair\n");
        load(&folder, &[&first]).ok();
        let names = bytes(folder.path("s.h5.names"));
        let more = folder.file("more.tsv", "new\tpair\n");
        load(&folder, &[&more, &file]).fails(2, &words);
        assert_eq!(scan(&folder), ["old\tpair"], "{name}");
        assert_eq!(bytes(folder.path("s.h5.names")), names, "{name}");
        run(&["check", &folder.text("s.h5")]).ok();
    }
}

#[test]
fn malformed_ids_are_named() {
    let folder = Folder::new();
    let store = folder.text("s.h5");
    let good = E::from(7).to_string();
    let file = folder.file("x.tsv", format!("{good}\t{good}\n{good}\tlibc6\n"));
    run(&["load", &store, &file]).fails(2, &["x.tsv", "line 2, column 2", "`libc6`"]);
    assert_eq!(folder.names(), ["x.tsv"]);
    let file = folder.file("x.tsv", format!("{good}\t0x8\n"));
    run(&["load", &store, &file]).ok();
    assert_eq!(run(&["get", &store, "0x7"]).ok(), format!("{}\n", E::from(8)));
    assert!(!folder.path("s.h5.names").exists(), "digits are no names");
}

#[test]
fn what_can_not_be_read_creates_no_store() {
    let folder = Folder::new();
    let here = folder.file("here.tsv", "a\tb\n");
    let gone = folder.text("gone.tsv");
    load(&folder, &[&here, &gone]).fails(5, &["gone.tsv", "open"]);
    let odd = folder.file("odd.txt", "a\tb\n");
    load(&folder, &[&odd]).fails(2, &["odd.txt", "--format"]);
    let csv = folder.file("c.csv", "a,b\n");
    load(&folder, &["--comments", &csv]).fails(2, &["c.csv", "--comments"]);
    let store = folder.text("s.h5");
    run(&["load", "--reverse", &store, &here]).fails(2, &["--reverse needs --ids name"]);
    // Standard input ends once: a second turn would find nothing, and look as if it had loaded something.
    let twice = run_with(&["load", "--ids", "name", &store, "-", "-"], b"a\tb\n");
    twice.fails(2, &["standard input", "twice"]);
    assert_eq!(folder.names(), ["c.csv", "here.tsv", "odd.txt"]);
    load(&folder, &["--format", "tsv", &odd]).ok();
    assert_eq!(scan(&folder), ["a\tb"]);
}

#[test]
fn a_second_load_adds_what_is_new() {
    let folder = Folder::new();
    let file = folder.file("a.tsv", tsv(10));
    load(&folder, &[&file]).ok();
    let more = folder.file("b.tsv", "k0\tv0\nk0\tnew\nk0\tnew\n");
    let told = load(&folder, &["--json", &more]).record();
    assert_eq!((&told["pairs"], &told["new_pairs"]), (&json!(3), &json!(1)));
    let mut wanted = tsv_lines(10);
    wanted.push("k0\tnew".to_owned());
    wanted.sort();
    assert_eq!(scan(&folder), wanted);
}

#[test]
fn comments_headers_and_reverse() {
    let folder = Folder::new();
    let file = folder.file("a.tsv", "#x\npackage\tneeds\n# y\nbash\tlibc6\nperl\tlibc6\n");
    load(&folder, &["--comments", "--header", "--reverse=needed-by:", &file]).ok();
    assert_eq!(
        scan(&folder),
        ["bash\tlibc6", "needed-by:libc6\tbash", "needed-by:libc6\tperl", "perl\tlibc6"]
    );
}

#[test]
fn names_can_be_left_out() {
    let folder = Folder::new();
    let file = folder.file("a.tsv", "bash\tlibc6\n");
    load(&folder, &["--no-names", &file]).ok();
    assert!(!folder.path("s.h5.names").exists());
    let [key, value] = ["bash", "libc6"].map(|name| E::from_name(name).to_string());
    assert_eq!(scan(&folder), [format!("{key}\t{value}")]);
}
