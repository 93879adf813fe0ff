//! What is answered to a request.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::Store;

/// Of [`Store::expose_metrics`].
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// How long the metrics may wait for a writer that is at the disk.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(8);

type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(super) async fn to<B>(store: &Store, request: &Request<B>) -> Answer {
    let known = matches!(request.uri().path(), "/metrics" | "/health" | "/ready");
    if !known {
        return text(StatusCode::NOT_FOUND, "not here: /metrics, /health, /ready");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/metrics" => metrics(store).await,
        "/health" => health(store),
        _ => ready(store),
    }
}

fn text(status: StatusCode, line: impl std::fmt::Display) -> Answer {
    with_type(status, TEXT, format!("{line}\n"))
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

async fn metrics(store: &Store) -> Answer {
    let store = store.clone();
    let mut task = tokio::task::spawn_blocking(move || store.expose_metrics());
    match tokio::time::timeout(SCRAPE_TIMEOUT, &mut task).await {
        Ok(Ok(Ok(body))) => with_type(StatusCode::OK, OPENMETRICS, body),
        Ok(Ok(Err(error))) => text(StatusCode::SERVICE_UNAVAILABLE, error),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(_) => {
            // If it has not begun it need not.
            task.abort();
            text(StatusCode::SERVICE_UNAVAILABLE, "a writer holds the store's lock")
        }
    }
}

fn health(store: &Store) -> Answer {
    match store.failure() {
        None => text(StatusCode::OK, "ok"),
        Some(cause) => failed(&cause),
    }
}

fn ready(store: &Store) -> Answer {
    match (store.failure(), store.check_open()) {
        (Some(cause), _) => failed(&cause),
        (None, Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, error),
        (None, Ok(())) => text(StatusCode::OK, "ready"),
    }
}

fn failed(cause: &str) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, format_args!("the store has failed: {cause}"))
}
