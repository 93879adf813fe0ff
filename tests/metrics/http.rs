//! The server of an open store's metrics, spoken to by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use cidstore::{Error, Store, serve_metrics};
use cidstore_testkit::openmetrics::parse;

/// Sends a request; answers the status line with the headers, and the body.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_lowercase(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path().join("s.h5")).unwrap()
}

#[test]
fn paths_and_methods() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let server = serve_metrics(&store, "127.0.0.1:0").unwrap();
    let address = server.address();
    assert!(address.ip().is_loopback() && address.port() != 0);
    store.insert(1, 1).unwrap();
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert_eq!(parse(&body).unwrap().value("cidstore_keys", &[]), 1.0);
    let (head, body) = get(address, "/health");
    assert!(head.starts_with("http/1.1 200 ") && head.contains("text/plain"), "{head}");
    assert_eq!(body, "ok\n");
    assert_eq!(get(address, "/ready?verbose=1").1, "ready\n");
    for path in ["/", "/metric", "/metrics/", "/metrics/x", "/..%2fmetrics"] {
        assert!(get(address, path).0.starts_with("http/1.1 404 "), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (head, _) = ask(address, &request);
        assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head"), "{head}");
    }
    let (head, body) =
        ask(address, "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-length: 3"), "{head}");
    assert_eq!(body, "");
    let (head, _) = ask(address, "nonsense\r\n\r\n");
    assert!(head.starts_with("http/1.1 400 "), "{head}");
}

#[test]
fn a_closed_store_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let server = serve_metrics(&store, "127.0.0.1:0").unwrap();
    store.close().unwrap();
    let (head, body) = get(server.address(), "/ready");
    assert!(head.starts_with("http/1.1 503 ") && body.contains("closed"), "{head} {body}");
    assert!(get(server.address(), "/metrics").0.starts_with("http/1.1 503 "));
    assert!(get(server.address(), "/health").0.starts_with("http/1.1 200 "));
}

/// An open connection that says nothing keeps nobody from stopping, and the port is free afterwards.
#[test]
fn stopping_gives_the_port_and_the_store_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let server = serve_metrics(&store, "127.0.0.1:0").unwrap();
    let address = server.address();
    let silent = TcpStream::connect(address).unwrap();
    assert_eq!(get(address, "/health").1, "ok\n");
    let taken = serve_metrics(&store, address).unwrap_err();
    let named = taken.to_string();
    assert!(matches!(taken, Error::Io { .. }) && named.contains(&address.to_string()), "{named}");
    let start = std::time::Instant::now();
    server.stop();
    assert!(start.elapsed().as_secs() < 10);
    assert!(TcpStream::connect(address).is_err());
    drop(silent);
    drop(store);
    // The server held a handle; now the last one has gone, so the store can be opened anew.
    self::store(&folder).close().unwrap();
}
