//! `demo`: the store at work on something real, in half a minute, with every answer checked.
//!
//! The package dependencies of Debian 12 are loaded in both directions and looked up; some go again; a
//! child process is killed while it writes; and what is there afterwards is compared with a plain map.

mod graph;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cidstore::layout::entry::INLINE_VALUES_MAX;
use cidstore::{E, Store};

use self::graph::{Graph, NEEDED_BY};
use crate::args::DemoArgs;
use crate::crash::{Plan, kill_in_the_middle};
use crate::failure::{Failure, Outcome};
use crate::measure::Times;
use crate::names::Dictionary;
use crate::output::Output;
use crate::report::Report;
use crate::units::{Align, Table, bytes, count, counted, duration, rate, significant};

/// Name of the data file within the demo's directory.
const FILE: &str = "debian-12.h5";
/// How the child writes, and when it dies. More than one thread, so that writes share a sync and a kill
/// falls into several of them.
const CRASH: Plan =
    Plan { threads: 4, batch: 1, pairs_min: 200, time_min: Duration::from_millis(400) };

pub(crate) fn run(args: &DemoArgs, output: &mut Output) -> Outcome {
    let (folder, temporary) = match &args.dir {
        Some(folder) => (folder.clone(), None),
        None => {
            let parent = std::env::temp_dir();
            let temporary = tempfile::tempdir().map_err(Failure::io(&parent, "create"))?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    fs::create_dir_all(&folder).map_err(Failure::io(&folder, "create"))?;
    let path = folder.join(FILE);
    if fs::symlink_metadata(&path).is_ok() {
        let message = format!("{}: exists already; the demo makes its own store", path.display());
        return Err(Failure::Usage(message));
    }
    let mut report = Report::new(output);
    show(&path, &mut report)?;
    if temporary.is_none() {
        report.section("Go on")?;
        let path = path.display();
        report.text(format_args!("  cidstore get --ids name {path} bash"))?;
        report.text(format_args!("  cidstore get --ids name {path} {NEEDED_BY}bash"))?;
        report.text(format_args!("  cidstore stat {path}"))?;
    }
    report.finish()
}

fn show(path: &Path, report: &mut Report<'_>) -> Outcome {
    report.text("CIDStore: the package dependencies of Debian 12")?;
    let mut graph = Graph::read()?;
    let store = load(path, &graph, report)?;
    look_up(&store, &graph, report)?;
    time_lookups(&store, &graph, report)?;
    delete(&store, &mut graph, report)?;
    store.close()?;
    drop(store);
    let store = crash(path, &graph, report)?;
    sizes(path, store, report)
}

fn load(path: &Path, graph: &Graph, report: &mut Report<'_>) -> Outcome<Store> {
    report.section("Load")?;
    Dictionary::beside(path).append(&graph.new_names)?;
    let store = Store::open(path)?;
    let start = Instant::now();
    let mut loader = store.bulk_loader();
    for (key, value) in &graph.pairs {
        loader.push(*key, *value)?;
    }
    let loaded = loader.finish(|_| {})?;
    let time = start.elapsed();
    report.text(format_args!(
        "  {} of {}, in both directions",
        format_args!("{} dependencies", count(graph.edges)),
        counted(graph.packages, "package"),
    ))?;
    report.text(format_args!(
        "  {} in {}, on disk: {}",
        counted(loaded.pairs, "pair"),
        duration(time),
        rate(loaded.pairs, time)
    ))?;
    report.figure("load_pairs", loaded.pairs as f64, "pairs")?;
    report.figure("load_time", time.as_secs_f64(), "seconds")?;
    let (keys, pairs) = (graph.model.len() as u64, graph.pair_count());
    let counts = store.len() == keys && store.value_len() == pairs && loaded.new_pairs == pairs;
    let name = format!("the store counts {} and {}", counted(keys, "key"), counted(pairs, "value"));
    report.check(&name, counts)?;
    Ok(store)
}

fn look_up(store: &Store, graph: &Graph, report: &mut Report<'_>) -> Outcome {
    report.section("Look up")?;
    let needed_by_libc = format!("{NEEDED_BY}libc6");
    let keys = ["hello", "bash", "coreutils", &needed_by_libc];
    let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
    for name in keys {
        let values = store.get(E::from_name(name))?;
        let mut names: Vec<&str> =
            values.iter().map(|value| graph.names.get(value).unwrap_or("?")).collect();
        names.sort_unstable();
        // As wide as the plural, so that the numbers stand under each other.
        let noun = if names.len() == 1 { "value " } else { "values" };
        let number = format!("{} {noun}", count(names.len() as u64));
        table.row([name, &number, &some_of(&names)]);
    }
    for line in table.lines() {
        report.text(format_args!("  {line}"))?;
    }
    let nothing = store.get(E::from_name("no such package"))?;
    let answers = nothing.is_empty() && wrong_answers(store, graph)? == 0;
    let name = format!("all {} answer with exactly their values", counted(store.len(), "key"));
    report.check(&name, answers)
}

/// The names if they fit a line, else the first and the last.
fn some_of(names: &[&str]) -> String {
    match names {
        [first, second, third, .., last] if names.len() > 6 => {
            format!("{first}, {second}, {third}, ... {last}")
        }
        few => few.join(", "),
    }
}

/// How many keys of the model the store answers otherwise.
fn wrong_answers(store: &Store, graph: &Graph) -> Outcome<u64> {
    let mut wrong = 0;
    for (key, wanted) in &graph.model {
        let values = store.get(*key)?;
        let found: BTreeSet<E> = values.iter().collect();
        wrong += u64::from(values.len() != wanted.len() || found != *wanted);
    }
    Ok(wrong)
}

fn time_lookups(store: &Store, graph: &Graph, report: &mut Report<'_>) -> Outcome {
    // In whatever order keys come, they lie all over the store: their places come from a hash. Keys with
    // many values would time the copying of values, so only those whose values lie in the bucket.
    let inline = graph.model.iter().filter(|(_, values)| values.len() <= INLINE_VALUES_MAX);
    let mut times = Times::with_capacity(graph.model.len());
    for (key, _) in inline {
        times.time(|| store.get(*key))?;
    }
    let [half, most, all] = [0.5, 0.99, 1.0].map(|share| times.within(share));
    report.text(format_args!(
        "  one get (keys with up to 4 values): median {}, 99 % within {}, slowest {}",
        duration(half),
        duration(most),
        duration(all)
    ))?;
    report.figure("get_median", half.as_nanos() as f64, "ns")?;
    report.figure("get_99_percent_within", most.as_nanos() as f64, "ns")?;
    report.figure("get_slowest", all.as_nanos() as f64, "ns")
}

fn delete(store: &Store, graph: &mut Graph, report: &mut Report<'_>) -> Outcome {
    report.section("Delete")?;
    let (bash, debianutils) = (E::from_name("bash"), E::from_name("debianutils"));
    let went = store.delete_value(bash, debianutils)?;
    if let Some(values) = graph.model.get_mut(&bash) {
        values.remove(&debianutils);
    }
    report.check("debianutils is no longer a value of bash", {
        went && !store.contains(bash, debianutils)? && store.value_count(bash)? == 3
    })?;

    let coreutils = E::from_name("coreutils");
    let went = store.delete(coreutils)?;
    graph.model.remove(&coreutils);
    report.check("coreutils went with its 5 values", {
        went == 5 && store.get(coreutils)?.is_empty() && !store.contains_key(coreutils)?
    })?;

    let libc = E::from_name(&format!("{NEEDED_BY}libc6"));
    let half: Vec<E> = store.get(libc)?.iter().step_by(2).collect();
    let start = Instant::now();
    let went = store.write(|transaction| {
        let mut went = 0;
        for value in &half {
            went += u64::from(transaction.delete_value(libc, *value)?);
        }
        Ok(went)
    })?;
    let time = start.elapsed();
    let left = graph.model.entry(libc).or_default();
    for value in &half {
        left.remove(value);
    }
    let name = format!(
        "half of what needs libc6, {}, went in one transaction ({})",
        counted(went, "value"),
        duration(time)
    );
    let counted_right = store.value_count(libc)? == left.len() as u64;
    report.check(&name, went == half.len() as u64 && counted_right)?;
    report.check("everything else is as it was", {
        wrong_answers(store, graph)? == 0 && store.value_len() == graph.pair_count()
    })
}

fn crash(path: &Path, graph: &Graph, report: &mut Report<'_>) -> Outcome<Store> {
    report.section("Kill -9")?;
    let killed = kill_in_the_middle(path, CRASH)?;
    let acknowledged = killed.pairs();
    report.text(format_args!(
        "  process {} wrote with {} threads, each write on disk before it was acknowledged",
        killed.pid, CRASH.threads
    ))?;
    report.text(format_args!(
        "  {} acknowledged in {} ({}), then SIGKILL in the middle",
        counted(acknowledged, "write"),
        duration(killed.time),
        rate(acknowledged, killed.time)
    ))?;
    let start = Instant::now();
    let store = Store::options().create(false).open(path)?;
    let time = start.elapsed();
    report.text(format_args!("  opened again in {}", duration(time)))?;
    report.figure("acknowledged_writes", acknowledged as f64, "writes")?;
    report.figure(
        "acknowledged_rate",
        acknowledged as f64 / killed.time.as_secs_f64(),
        "writes/s",
    )?;
    report.figure("open_after_kill", time.as_secs_f64(), "seconds")?;

    let missing = killed.missing(&store)?;
    report.figure("acknowledged_missing", missing as f64, "writes")?;
    let name =
        format!("{} of {} acknowledged writes are missing", count(missing), count(acknowledged));
    report.check(&name, missing == 0)?;
    // Each thread can have had one write under way, or acknowledged and not yet told; and the pipe is
    // written by a thread that can lag behind, so there is no useful upper bound on the latter.
    let extra = store.value_len().saturating_sub(graph.pair_count() + acknowledged);
    report.text(format_args!(
        "  {} more, under way or not yet told at the kill, made it too",
        count(extra)
    ))?;
    report.check("everything loaded before is as it was", wrong_answers(&store, graph)? == 0)?;
    let verified = store.verify()?;
    let name = format!("all {} verified", counted(verified.pages_checked, "page"));
    report.check(&name, verified.problems.is_empty())?;
    Ok(store)
}

fn sizes(path: &Path, store: Store, report: &mut Report<'_>) -> Outcome {
    report.section("Sizes")?;
    let pairs = store.value_len();
    let stats = store.stats();
    store.close()?;
    drop(store);
    let size = |path: &Path| {
        fs::metadata(path).map(|metadata| metadata.len()).map_err(Failure::io(path, "read"))
    };
    let file = size(path)?;
    let wal = size(&path.with_file_name(format!("{FILE}-wal")))?;
    let names = size(Dictionary::beside(path).path())?;
    let per_pair = |size: u64| format!("{} bytes a pair", significant(size as f64 / pairs as f64));
    let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
    table.row(["data file", &bytes(file), &per_pair(file)]);
    table.row(["  live pages", &bytes(stats.live_bytes), &per_pair(stats.live_bytes)]);
    table.row(["log file", &bytes(wal), "used again and again"]);
    table.row(["names", &bytes(names), "for display only"]);
    for line in table.lines() {
        report.text(format_args!("  {line}"))?;
    }
    report.figure("file_bytes", file as f64, "bytes")?;
    report.figure("live_bytes", stats.live_bytes as f64, "bytes")?;
    report.figure("wal_bytes", wal as f64, "bytes")?;
    report.figure("file_bytes_per_pair", file as f64 / pairs as f64, "bytes")
}
