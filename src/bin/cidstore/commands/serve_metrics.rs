//! `serve-metrics`: the metrics of a store over HTTP, until a signal comes.

use std::path::Path;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::open_to_read;
use crate::args::ServeArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Record};

pub(crate) fn run(args: &ServeArgs, output: &mut Output) -> Outcome {
    // Before the first line is out: who reads it may send a signal at once.
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(Failure::io(Path::new("signals"), "wait for"))?;
    let store = open_to_read(&args.store)?;
    let server = cidstore::serve_metrics(&store, args.listen)?;
    let address = server.address();
    let url = format!("http://{address}/metrics");
    let line = format!("serving {url}");
    output.answer(&Record::Serving { address: address.to_string(), url }, line)?;
    output.flush()?;
    // Blocks until one comes.
    let _signal = signals.forever().next();
    server.stop();
    Ok(store.close()?)
}
