//! `serve-metrics`: what it says, how it ends, and that it takes no store from its owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use cidstore::Store;
use cidstore_testkit::openmetrics::parse;
use serde_json::Value;

use crate::harness::{Folder, bytes, command, run};

/// Starts the command; gives it and its first line.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = command().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn signal(child: &mut Child, name: &str) -> i32 {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    child.wait().unwrap().code().unwrap_or_else(|| panic!("{name} killed it"))
}

#[test]
fn a_store_at_rest_is_served_and_not_touched() {
    let folder = Folder::new();
    let path = folder.text("s.h5");
    let store = Store::open(&path).unwrap();
    (0..50_u64).for_each(|key| assert!(store.insert(key, key).unwrap()));
    store.close().unwrap();
    let before = bytes(&path);
    for name in ["-INT", "-TERM"] {
        let (mut child, line) =
            start(&["--json", "serve-metrics", &path, "--listen", "127.0.0.1:0"]);
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["type"], "serving");
        let address = record["address"].as_str().unwrap();
        assert_eq!(record["url"], format!("http://{address}/metrics"));
        let text = parse(&get(address, "/metrics")).unwrap();
        assert_eq!(text.value("cidstore_keys", &[]), 50.0);
        assert_eq!(get(address, "/ready"), "ready\n");
        // Others read meanwhile.
        assert!(run(&["stat", &path]).ok().contains("50"));
        assert_eq!(signal(&mut child, name), 0);
    }
    assert_eq!(bytes(&path), before);
}

#[test]
fn what_cannot_be_served_says_why() {
    let folder = Folder::new();
    let path = folder.text("s.h5");
    let serve = |listen: &str| run(&["serve-metrics", &path, "--listen", listen]);
    serve("127.0.0.1:0").fails(5, &["s.h5", "no such store"]);
    assert!(folder.names().is_empty());
    let store = Store::open(&path).unwrap();
    serve("127.0.0.1:0").fails(4, &["s.h5", &format!("process {}", std::process::id())]);
    store.close().unwrap();
    serve("localhost").fails(2, &["--listen"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    serve(&address).fails(5, &[&address]);
}

/// `top` on a store of its own, on a served one, and on neither.
#[test]
fn top_tells_once_what_it_sees() {
    let folder = Folder::new();
    let path = folder.text("s.h5");
    let store = Store::open(&path).unwrap();
    (0..30_u64).for_each(|key| assert!(store.insert(key, key).unwrap()));
    let server = cidstore::serve_metrics(&store, "127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", server.address());
    let record = run(&["--json", "top", "--once", "--url", &url]).record();
    assert_eq!((&record["type"], &record["keys"]), (&"top".into(), &30.0.into()));
    assert!(record["commit_immediate"]["p99"].as_f64().unwrap() > 0.0);
    assert_eq!(record["source"], url);
    let picture = run(&["top", "--once", "--url", &url]).ok();
    assert!(
        picture.contains("operations") && picture.contains("fdatasync of the log"),
        "{picture}"
    );
    // Not a terminal, and not told what to print.
    run(&["top", "--url", &url]).fails(2, &["--once"]);
    run(&["top", "--once", &path]).fails(4, &["process"]);
    run(&["top", "--once", "--url", &url.replace("/metrics", "/health")])
        .fails(5, &["/health", "read metrics"]);
    server.stop();
    run(&["top", "--once", "--url", &url]).fails(5, &[&url]);
    store.close().unwrap();
    let record = run(&["--json", "top", "--once", &path]).record();
    assert_eq!((&record["keys"], &record["read_only"]), (&30.0.into(), &true.into()));
}

/// With `--json` and without an end: a line for each reading, until a signal.
#[test]
fn top_goes_on_until_told_to_stop() {
    let folder = Folder::new();
    let path = folder.text("s.h5");
    Store::open(&path).unwrap().close().unwrap();
    let mut child = command()
        .args(["--json", "top", &path, "--interval", "0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.as_mut().unwrap())
        .lines()
        .take(3)
        .map(Result::unwrap)
        .collect();
    for (at, line) in lines.iter().enumerate() {
        let record: Value = serde_json::from_str(line).unwrap();
        let seconds = record["seconds"].as_f64().unwrap();
        assert!(at == 0 || seconds >= 0.1, "{line}");
    }
    assert_eq!(signal(&mut child, "-TERM"), 0);
}
