//! `stat`: counts and sizes.

use cidstore::Stats;

use crate::access::open_to_read;
use crate::args::StoreArgs;
use crate::failure::Outcome;
use crate::output::{Output, Record};
use crate::units::{Align, Table, bytes, count, significant};

pub(crate) fn run(args: &StoreArgs, output: &mut Output) -> Outcome {
    let store = open_to_read(args)?;
    let stats = store.stats();
    store.close()?;
    if output.is_json() { output.record(&record(&stats)) } else { print(&stats, output) }
}

fn record(stats: &Stats) -> Record<'static> {
    Record::Stat {
        keys: stats.keys,
        values: stats.values,
        global_depth: stats.global_depth,
        bucket_pages: stats.bucket_pages,
        value_pages: stats.value_pages,
        live_bytes: stats.live_bytes,
        file_bytes: stats.file_bytes,
        wal_bytes: stats.wal_bytes,
        wal_used_bytes: stats.wal_used_bytes,
        pool_bytes: stats.pool_bytes,
        checkpoints: stats.checkpoints,
    }
}

fn print(stats: &Stats, output: &mut Output) -> Outcome {
    let per_key = if stats.keys == 0 {
        String::new()
    } else {
        format!("{} a key", significant(stats.values as f64 / stats.keys as f64))
    };
    let per_pair = |size: u64| {
        if stats.values == 0 {
            String::new()
        } else {
            format!("{} bytes a pair", significant(size as f64 / stats.values as f64))
        }
    };
    let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
    table.row(["keys", &count(stats.keys), ""]);
    table.row(["values", &count(stats.values), &per_key]);
    table.row(["directory depth", &stats.global_depth.to_string(), ""]);
    table.row(["bucket pages", &count(stats.bucket_pages), ""]);
    table.row(["value pages", &count(stats.value_pages), ""]);
    table.row(["live pages", &bytes(stats.live_bytes), &per_pair(stats.live_bytes)]);
    table.row(["data file", &bytes(stats.file_bytes), &per_pair(stats.file_bytes)]);
    let used = format!("{} in use", bytes(stats.wal_used_bytes));
    table.row(["log file", &bytes(stats.wal_bytes), &used]);
    for line in table.lines() {
        output.line(line)?;
    }
    Ok(())
}
