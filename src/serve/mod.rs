//! The metrics of an open store over HTTP, for Prometheus and for whoever watches over the process.
//!
//! One thread of its own with one small runtime: a program that embeds the store needs neither to be async nor to
//! bring a web framework. [`answer`] decides what is answered; this file carries it.

mod answer;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::{Semaphore, oneshot};

use crate::{Error, Result, Store};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long requests that have begun may go on when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait before the next try when a connection could not be accepted: mostly, no file is to be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server of metrics. Stops when it is dropped, or by [`stop`](Self::stop).
#[derive(Debug)]
#[must_use = "the server stops when this is dropped"]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Serves the metrics of a store over HTTP, until the answer is dropped.
///
/// | path | answer |
/// | --- | --- |
/// | `/metrics` | the text of [`Store::expose_metrics`]; 503 once the store is closed |
/// | `/health` | 200 unless the store has failed and needs to be opened anew: then 503 with the cause |
/// | `/ready` | 200 while the store takes calls: 503 once it is closed or has failed |
///
/// Nothing is encrypted and nobody is asked who they are: bind to a loopback address, or to a network that only the
/// monitoring reaches. Port 0 takes a free one: see [`MetricsServer::address`]. The server holds a handle of the store,
/// so the store closes by itself only after the server stops; [`Store::close`] closes it at any time.
///
/// ```
/// # fn main() -> Result<(), cidstore::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// let store = cidstore::Store::open(folder.path().join("served.h5"))?;
/// let server = cidstore::serve_metrics(&store, "127.0.0.1:0")?;
/// println!("http://{}/metrics", server.address());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Io`], with the address in place of a path, if it cannot be listened at.
pub fn serve_metrics(
    store: &Store,
    address: impl ToSocketAddrs + std::fmt::Display,
) -> Result<MetricsServer> {
    let name = PathBuf::from(address.to_string());
    let failed = |source| Error::Io { path: name.clone(), action: "listen at", source };
    let listener = TcpListener::bind(&address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Metrics wait for the writer's lock; who only asks for health does not wait behind them.
        .max_blocking_threads(2)
        .thread_name("cidstore-scrape")
        .build()
        .map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let store = store.clone();
    let thread = std::thread::Builder::new()
        .name("cidstore-metrics".into())
        .spawn(move || {
            if let Err(error) = runtime.block_on(serve(store, listener, stopped)) {
                tracing::error!(%error, "the server of metrics");
            }
            // A scrape that still waits for the writer is not waited for.
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok(MetricsServer { address: bound, stop: Some(stop), thread: Some(thread) })
}

impl MetricsServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets requests that have begun end (for two seconds at most), and gives the port back.
    pub fn stop(self) {
        // By the drop.
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error says that the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the server of metrics has panicked");
        }
    }
}

/// Accepts connections until told to stop.
async fn serve(
    store: Store,
    listener: TcpListener,
    mut stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = &mut stopped => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "accepting a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let store = store.clone();
        let service = service_fn(move |request| {
            let store = store.clone();
            async move { Ok::<_, Infallible>(answer::to(&store, &request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection for metrics");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, connections.shutdown()).await.is_err() {
        tracing::debug!("requests for metrics were cut off");
    }
    Ok(())
}
