//! How a command ends: exit codes, closed pipes, stores that are not there, not ours, or in use.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use cidstore::{E, Store};

use crate::harness::{Folder, bytes, command, run, run_with, tsv};

/// Every command that works on a store that must exist.
fn on_existing<'a>(store: &'a str, copy: &'a str) -> Vec<Vec<&'a str>> {
    vec![
        vec!["get", store, "0x1"],
        vec!["delete", store, "0x1"],
        vec!["scan", store],
        vec!["stat", store],
        vec!["check", store],
        vec!["compact", store],
        vec!["dump", store],
        vec!["backup", store, copy],
    ]
}

#[test]
fn usage_is_refused_with_2() {
    for line in [
        &["nonsense"] as &[&str],
        &["get"],
        &["get", "s.h5"],
        &["scan", "s.h5", "--limit", "many"],
        &["scan", "s.h5", "--limit", "0"],
        &["load", "s.h5"],
        &["load", "s.h5", "x.tsv", "--ids", "decimal"],
        &["bench", "--pairs", "0"],
        &["top", "--once", "--url", "nonsense"],
        &["top", "--once", "--url", "ftp://127.0.0.1/metrics"],
    ] {
        let refused = run(line);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{line:?}: {refused:?}");
        assert!(refused.err.starts_with("cidstore: "), "{line:?}: {refused:?}");
    }
    run(&["get", "s.h5", "libc6"]).fails(2, &["key: `libc6`", "--ids name"]);
    run(&["insert", "s.h5", "0x1", "0x"]).fails(2, &["value: `0x`"]);
    run(&["insert", "--ids", "name", "s.h5", "a", ""]).fails(2, &["value", "empty"]);
}

/// Who says nothing is told what can be said: help, and not an error's line.
#[test]
fn no_command_at_all_is_usage_and_shows_the_help() {
    let refused = run(&[] as &[&str]);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
    assert!(refused.err.contains("Exit codes:"), "{refused:?}");
    assert!(!refused.err.contains("cidstore: "), "{refused:?}");
}

#[test]
fn help_is_an_answer() {
    assert!(run(&["--help"]).ok().contains("Exit codes:"));
    assert!(run(&["help", "load"]).ok().contains("RFC 4180"));
    assert!(run(&["--version"]).ok().starts_with("cidstore "));
}

/// What `demo` and `bench` start for themselves is nobody else's command.
#[test]
fn the_child_that_is_killed_is_not_shown() {
    for line in [
        &["--help"] as &[&str],
        &["man"],
        &["completions", "bash"],
        &["completions", "elvish"],
        &["completions", "fish"],
        &["completions", "zsh"],
    ] {
        assert!(!run(line).ok().contains("crash-writer"), "{line:?}");
    }
    run(&["man", "crash-writer"]).fails(2, &["no such command: crash-writer"]);
    run(&["help", "crash-writer"]).fails(2, &["crash-writer"]);
    let listed = run(&["--json"]);
    listed.fails(2, &["demo, load, "]);
    assert!(!listed.err.contains("crash-writer"), "{listed:?}");
}

#[test]
fn only_some_commands_create_a_store() {
    let folder = Folder::new();
    let (store, copy) = (folder.text("s.h5"), folder.text("copy.h5"));
    for line in on_existing(&store, &copy) {
        run(&line).fails(5, &["s.h5", "no such store"]);
        assert!(folder.names().is_empty(), "{line:?}");
    }
}

#[test]
fn what_is_not_a_store_is_refused_with_3_and_not_touched() {
    let text = b"hello, I am no store\n".repeat(2000);
    for content in [&text[..], &[]] {
        let folder = Folder::new();
        let store = folder.file("s.h5", content);
        let copy = folder.text("copy.h5");
        let mut lines = on_existing(&store, &copy);
        lines.push(vec!["insert", &store, "0x1", "0x2"]);
        lines.push(vec!["load", &store, "/dev/null", "--format", "tsv"]);
        for line in lines {
            run(&line).fails(3, &["s.h5", "not a CIDStore file"]);
            assert_eq!(
                (folder.names(), bytes(&store)),
                (vec!["s.h5".to_owned()], content.to_vec())
            );
        }
    }
}

#[test]
fn a_directory_is_called_one_by_whoever_opens_it() {
    let folder = Folder::new();
    let (store, copy) = (folder.text("s.h5"), folder.text("copy.h5"));
    std::fs::create_dir(&store).unwrap();
    let mut lines = on_existing(&store, &copy);
    lines.push(vec!["insert", &store, "0x1", "0x2"]);
    for line in lines {
        run(&line).fails(3, &["s.h5: not a CIDStore file: a directory"]);
    }
}

#[test]
fn a_store_in_use_is_refused_with_4() {
    let folder = Folder::new();
    let (store, copy) = (folder.text("s.h5"), folder.text("copy.h5"));
    let open = Store::open(&store).unwrap();
    open.insert(E::from(1), E::from(2)).unwrap();
    let mut lines = on_existing(&store, &copy);
    lines.push(vec!["insert", &store, "0x1", "0x2"]);
    lines.push(vec!["load", &store, "/dev/null", "--format", "tsv"]);
    for line in lines {
        run(&line).fails(4, &["s.h5", "locked by", &std::process::id().to_string()]);
    }
    open.close().unwrap();
    drop(open);
    assert_eq!(run(&["get", &store, "0x1"]).ok(), format!("{}\n", E::from(2)));
}

#[test]
fn a_log_elsewhere_must_be_named() {
    let folder = Folder::new();
    let (store, wal) = (folder.text("s.h5"), folder.text("elsewhere.log"));
    run(&["insert", "--wal", &wal, &store, "0x1", "0x2"]).ok();
    assert_eq!(folder.names(), ["elsewhere.log", "s.h5"]);
    run(&["get", "--wal", &wal, &store, "0x1"]).ok();
    let file = folder.file("bad.tsv", "alone\n");
    let (other, other_wal) = (folder.text("t.h5"), folder.text("t.log"));
    run(&["load", "--wal", &other_wal, &other, &file]).fails(2, &["bad.tsv"]);
    assert_eq!(folder.names(), ["bad.tsv", "elsewhere.log", "s.h5"]);
}

#[test]
fn a_killed_writer_leaves_a_store_that_every_command_opens() {
    let folder = Folder::new();
    let store = folder.text("s.h5");
    run(&["insert", &store, "0x1", "0x2"]).ok();
    for line in on_existing(&store, &folder.text("copy.h5")) {
        let _ = std::fs::remove_file(folder.path("copy.h5"));
        run(&["insert", &store, "0x1", "0x2"]).ok();
        let mut child =
            command().args(["crash-writer", &store]).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..3 {
            told.read_line(&mut String::new()).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        run(&line).ok();
    }
}

/// Starts the command, reads one line of its output, and hangs up.
#[track_caller]
fn hang_up_after_one_line(line: &[&str]) {
    let mut child =
        command().args(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert!(first.ends_with('\n'), "{line:?}");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{line:?}");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let folder = Folder::new();
    let store = folder.text("s.h5");
    // More than a pipe holds, so that the writer must notice.
    run_with(&["load", "--ids", "name", &store, "-"], tsv(10_000).as_bytes()).ok();
    hang_up_after_one_line(&["scan", &store]);
    hang_up_after_one_line(&["scan", "--json", &store]);
    hang_up_after_one_line(&["scan", "--keys", &store]);
    hang_up_after_one_line(&["dump", &store]);
    hang_up_after_one_line(&["dump", "--json", &store]);
    hang_up_after_one_line(&["completions", "zsh"]);
    hang_up_after_one_line(&["--help"]);
    run(&["check", &store]).ok();
}

#[test]
fn output_that_can_not_be_written_is_told() {
    let folder = Folder::new();
    let store = folder.text("s.h5");
    run_with(&["load", "--ids", "name", &store, "-"], tsv(100).as_bytes()).ok();
    // More than the buffer before standard output takes: the dump itself meets the end of the room.
    let large = folder.text("large.h5");
    run_with(&["load", "--ids", "name", &large, "-"], tsv(2000).as_bytes()).ok();
    for line in [
        &["scan", store.as_str()] as &[&str],
        &["stat", &store],
        &["dump", &store],
        &["dump", &large],
        &["completions", "zsh"],
        &["--help"],
        &["help"],
        &["help", "load"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = command().args(line).stdout(full).output().unwrap();
        let message = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(5), "{line:?}: {message}");
        assert!(message.starts_with("cidstore: standard output: "), "{line:?}: {message}");
    }
}

/// Names of files go to a terminal too: none may move its cursor, or break the line.
#[test]
fn an_error_is_one_line_without_control_characters() {
    let folder = Folder::new();
    let refused = run(&["get", &folder.text("a\u{1b}[31m\nb.h5"), "0x1"]);
    refused.fails(5, &["a\\u{1b}[31m\\nb.h5: no such store"]);
    assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
}

#[test]
fn a_directory_that_is_not_there_is_told_by_the_name_that_was_given() {
    let folder = Folder::new();
    let (store, nowhere) = (folder.text("s.h5"), folder.text("nowhere/x.h5"));
    run(&["insert", &store, "0x1", "0x2"]).ok();
    let told = ["nowhere/x.h5: create: no such directory"];
    run(&["insert", &nowhere, "0x1", "0x2"]).fails(5, &told);
    run(&["backup", &store, &nowhere]).fails(5, &told);
    let input = folder.file("a.tsv", "a\tb\n");
    run(&["load", "--ids", "name", &nowhere, &input]).fails(5, &told);
    // No name is told beside it that nobody has given.
    let refused = run(&["bench", "--dir", &folder.text("away")]);
    refused.fails(5, &["away: create: "]);
    assert_eq!(refused.err.matches("away").count(), 1, "{refused:?}");
}
