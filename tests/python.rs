//! `python/cidstore_h5.py`, the reader for Python, against the store: closed, live, and when pages are reused under it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cidstore::{Durability, E, Store};
use cidstore_testkit::{Model, Scratch};

/// What the other side does: an empty line once the file is open; then one line in, lines out, an empty one last.
const PROGRAM: &str = r#"
import sys
import cidstore_h5
view = cidstore_h5.open(sys.argv[1])
print(flush=True)
for line in sys.stdin:
    words = line.split()
    try:
        if words[0] == "items":
            for key, values in view.items():
                for value in values:
                    print(f"{key:032x} {value:032x}")
        elif words[0] == "arrays":
            keys, offsets, values = view.to_arrays()
            for key, begin, end in zip(keys.tolist(), offsets[:-1], offsets[1:]):
                for value in values[begin:end].tolist():
                    print("%016x%016x %016x%016x" % (*key, *value))
        elif words[0] == "get":
            for value in view.get(int(words[1], 16)):
                print(f"{int(words[1], 16):032x} {value:032x}")
        elif words[0] == "refresh":
            view.refresh()
        elif words[0] == "age":
            age = view.age()
            print(age["outdated"], age["records"])
        else:
            print("what?")
    except (cidstore_h5.Stale, cidstore_h5.Damaged, ValueError) as error:
        print(type(error).__name__)
    print(flush=True)
"#;

/// A view in a process of its own.
struct View {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl View {
    fn open(path: &Path) -> Self {
        // The system's own Python: `cargo xtask test` installs h5py for it.
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", PROGRAM])
            .arg(path)
            .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with h5py: `cargo xtask test --only system` installs it");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut view = Self { child, input, output: BufReader::new(output) };
        // The view is of the checkpoint it opened at, so no caller may make another before it has.
        assert_eq!(view.answer(), [""; 0], "the view opens");
        view
    }

    fn ask(&mut self, question: &str) -> Vec<String> {
        writeln!(self.input, "{question}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<String> {
        let lines = (&mut self.output).lines().map(Result::unwrap);
        let answer: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        assert!(self.child.try_wait().unwrap().is_none(), "the view ended");
        answer
    }

    fn pairs(&mut self, question: &str) -> Model {
        let number = |text: &str| u128::from_str_radix(text, 16).unwrap();
        let mut model = Model::new();
        for line in self.ask(question) {
            let (key, value) = line.split_once(' ').unwrap_or_else(|| panic!("{question}: {line}"));
            assert!(model.insert(number(key), number(value)), "{line} twice");
        }
        model
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // It may have ended by itself, which its last answer told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(seed: u128) -> u128 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ seed >> 3
}

/// Keys with every kind of value set, and some that were thinned out.
fn fill(store: &Store, keys: u128) -> Model {
    let mut model = Model::new();
    let mut pairs = Vec::new();
    for key in 0..keys {
        let count = match key % 50 {
            7 => 5,
            17 => 40,
            27 => 120,
            37 if key < 200 => 900,
            other => other % 5,
        };
        for value in 0..count {
            pairs.push((E::from_u128(number(key)), E::from_u128(number(value))));
            model.insert(number(key), number(value));
        }
    }
    store.batch_insert(&pairs).unwrap();
    for key in (0..keys).step_by(3) {
        for value in [0, 3, 30] {
            let gone =
                store.delete_value(E::from_u128(number(key)), E::from_u128(number(value))).unwrap();
            assert_eq!(gone, model.delete_value(number(key), number(value)));
        }
    }
    model
}

fn buffered() -> cidstore::OpenOptions {
    Store::options().durability(Durability::Buffered)
}

#[test]
fn a_closed_store_reads_as_it_was() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let model = fill(&store, 20_000);
    store.close().unwrap();
    let mut view = View::open(&scratch.data());
    assert!(view.pairs("items") == model, "items");
    assert!(view.pairs("arrays") == model, "arrays");
    for (key, set) in model.sets().take(300) {
        let mut expected = Model::new();
        set.iter().for_each(|&value| {
            expected.insert(key, value);
        });
        assert_eq!(view.pairs(&format!("get {key:x}")), expected);
    }
    assert_eq!(view.ask(&format!("get {:x}", number(1 << 90))), [""; 0]);
    assert_eq!(view.ask("get 100000000000000000000000000000000"), ["ValueError"]);
    assert_eq!(view.ask("age"), ["False 0"]);
}

#[test]
fn an_empty_store_and_all_numbers_are_read() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    store.checkpoint().unwrap();
    let mut view = View::open(&scratch.data());
    assert_eq!(view.ask("items"), [""; 0]);
    assert_eq!(view.ask("arrays"), [""; 0]);
    let mut model = Model::new();
    for key in [0, u128::MAX] {
        for value in [0, 1, u128::MAX] {
            store.insert(E::from_u128(key), E::from_u128(value)).unwrap();
            model.insert(key, value);
        }
    }
    store.checkpoint().unwrap();
    view.ask("refresh");
    assert_eq!(view.pairs("items"), model);
    assert_eq!(view.pairs("get 0").pairs().count(), 3);
}

#[test]
fn a_live_store_shows_its_last_checkpoint_and_says_how_old_that_is() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let model = fill(&store, 3_000);
    store.checkpoint().unwrap();
    let mut view = View::open(&scratch.data());
    assert!(view.pairs("items") == model);
    store.insert(E::from(5_u64), E::from(6_u64)).unwrap();
    assert_eq!(view.ask("get 5"), [""; 0], "in the log only");
    store.checkpoint().unwrap();
    let age = view.ask("age");
    // The insert, and what the log says of itself.
    let records = age[0].strip_prefix("True ").map(str::parse::<u64>);
    assert!(matches!(records, Some(Ok(1..=3))), "{age:?}");
    view.ask("refresh");
    assert_eq!(view.ask("get 5").len(), 1);
}

#[test]
fn a_page_that_was_reused_is_noticed() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let mut model = fill(&store, 5_000);
    store.checkpoint().unwrap();
    let mut view = View::open(&scratch.data());
    for round in 0..20 {
        let value = number(1_000 + round);
        let pairs: Vec<_> = (0..5_000).map(|key| (number(key), value)).collect();
        let elements = pairs.iter().map(|&(key, value)| (E::from_u128(key), E::from_u128(value)));
        store.batch_insert(&elements.collect::<Vec<_>>()).unwrap();
        model.insert_all(pairs);
        store.checkpoint().unwrap();
    }
    assert_eq!(view.ask("items").last().map(String::as_str), Some("Stale"));
    let stale = (0..200).filter(|&key| view.ask(&format!("get {:x}", number(key))) == ["Stale"]);
    assert!(stale.count() > 100, "pages that twenty checkpoints left alone");
    view.ask("refresh");
    assert!(view.pairs("items") == model);
}

/// What is no data file, a closed view, a key that is none: each is told by an error that says so.
const MISUSE: &str = r#"
import sys
import numpy as np
import cidstore_h5
def told(call):
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
for path in sys.argv[2:]:
    print(told(lambda: cidstore_h5.open(path)))
view = cidstore_h5.open(sys.argv[1])
for key in (5, np.uint64(5), np.int8(5), "five", 5.0, -1):
    print(told(lambda: view.get(key)))
view.close()
view.close()
for call in (lambda: view.get(5), lambda: list(view.items()), view.to_arrays, view.age, view.refresh):
    print(told(call))
"#;

#[test]
fn misuse_is_told() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    store.insert(5, 6).unwrap();
    store.close().unwrap();
    let mut damaged = scratch.data_bytes();
    // The objects of the HDF5 file, which its superblock at 8192 leads to, lie before the directory's pages.
    let root = u64::from_le_bytes(damaged[8192 + 36..8192 + 44].try_into().unwrap()) as usize;
    damaged[8192 + root + 20] ^= 1;
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let files = [
        file("damaged.h5", &damaged),
        file("text.h5", b"no HDF5 file"),
        file("empty.h5", b""),
        scratch.path().join("missing.h5"),
        scratch.path().into(),
    ];
    let output = Command::new("/usr/bin/python3")
        .args(["-c", MISUSE])
        .arg(scratch.data())
        .args(&files)
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let told: Vec<&str> = told.lines().collect();
    let expected = [
        "Damaged: ",
        "OSError: ",
        "OSError: ",
        "FileNotFoundError: ",
        "IsADirectoryError: ",
        "[6]",
        "[6]",
        "[6]",
        "TypeError: 'str' object cannot be interpreted as an integer",
        "TypeError: 'float' object cannot be interpreted as an integer",
        "ValueError: -1 is no key",
    ];
    assert_eq!(told.len(), expected.len() + 5, "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}, not {expected}");
    }
    for closed in &told[expected.len()..] {
        assert!(closed.ends_with("the view is closed"), "{closed}");
    }
}
