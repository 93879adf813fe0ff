//! `load`: pairs from text files, all or nothing.
//!
//! Every file is opened before the store is, so that a missing one creates no store. Every line is read
//! before the load is published, so that a malformed one loads nothing; a store that this very load
//! created goes away again. Names are in the dictionary before the pairs that use them are published:
//! a crash in between leaves names too many, which is harmless.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cidstore::{BulkLoaded, BulkLoader, E, Store};
use indicatif::ProgressBar;

use crate::access::{open_or_create, wal_path};
use crate::args::{LoadArgs, StoreArgs};
use crate::failure::{Failure, Outcome};
use crate::ids::IdForm;
use crate::input::{
    Dialect, Format, PairReader, PairText, ReadFailure, Source, is_damaged_gzip, is_standard_input,
};
use crate::names::{Dictionary, NewNames};
use crate::output::{Output, Record};
use crate::progress;
use crate::units::{count, counted, duration, rate};

/// Pairs between two moves of a progress bar.
const PAIRS_PER_TICK: u64 = 1 << 14;

pub(crate) fn run(args: &LoadArgs, output: &mut Output) -> Outcome {
    let sources = open_sources(args)?;
    let creates = fs::symlink_metadata(&args.store.store)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let had_names = Dictionary::beside(&args.store.store).path().symlink_metadata().is_ok();
    let start = Instant::now();
    let store = open_or_create(&args.store)?;
    let loaded = match load(args, &store, sources) {
        Ok(loaded) => loaded,
        Err(failure) => {
            // Another process may have made it, and put something in, between the look and the opening.
            if creates && store.is_empty() {
                discard(&args.store, &store, had_names);
            }
            return Err(failure);
        }
    };
    store.close()?;
    print(&loaded, args.files.len(), start.elapsed(), output)
}

/// Opens all inputs, and refuses what makes no sense before anything is changed.
fn open_sources(args: &LoadArgs) -> Outcome<Vec<Source>> {
    if args.reverse.is_some() && args.ids == IdForm::Hex {
        let message = "--reverse needs --ids name: a prefix makes no other key of a number";
        return Err(Failure::Usage(message.to_owned()));
    }
    if args.files.iter().filter(|file| is_standard_input(file)).count() > 1 {
        let message = "standard input can't be read twice: `-` was given more than once";
        return Err(Failure::Usage(message.to_owned()));
    }
    let mut sources = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let source = Source::open(file, args.format)?;
        if args.comments && source.format == Format::Csv {
            let message = format!("{}: --comments is for TSV: CSV has no comments", source.name);
            return Err(Failure::Usage(message));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn load(args: &LoadArgs, store: &Store, sources: Vec<Source>) -> Outcome<BulkLoaded> {
    let dictionary = Dictionary::beside(&args.store.store);
    let keeps_names = args.ids == IdForm::Name && !args.no_names;
    let mut names = if keeps_names { Some(dictionary.collect()?) } else { None };
    let mut loader = store.bulk_loader();
    for source in sources {
        read_source(args, source, &mut loader, names.as_mut())?;
    }
    if let Some(names) = &names {
        dictionary.append(names)?;
    }
    let mut bar: Option<ProgressBar> = None;
    let loaded = loader.finish(|progress| {
        bar.get_or_insert_with(|| progress::of_count("storing", progress.total))
            .set_position(progress.done);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(loaded?)
}

fn read_source(
    args: &LoadArgs,
    source: Source,
    loader: &mut BulkLoader<'_>,
    mut names: Option<&mut NewNames>,
) -> Outcome {
    let Source { name, format, bytes_total, bytes_read, reader } = source;
    let dialect = Dialect { format, comments: args.comments, header: args.header };
    let mut reader = PairReader::new(reader, dialect);
    let bar = progress::of_bytes(&name, bytes_total);
    let mut pairs = 0_u64;
    while let Some(pair) = reader.next_pair().map_err(|failure| refused(&name, failure))? {
        push(args, &name, &pair, loader, names.as_deref_mut())?;
        pairs += 1;
        if pairs.is_multiple_of(PAIRS_PER_TICK) {
            bar.set_position(bytes_read.get());
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Gives one pair, and its reverse if asked for, to the loader.
fn push(
    args: &LoadArgs,
    file: &str,
    pair: &PairText<'_>,
    loader: &mut BulkLoader<'_>,
    mut names: Option<&mut NewNames>,
) -> Outcome {
    let id = |column: usize, text: &str| {
        args.ids.parse(text).map_err(|reason| {
            Failure::Usage(format!("{file}: line {}, column {column}: {reason}", pair.line))
        })
    };
    let mut note = |id: E, name: &str| {
        if let Some(names) = names.as_deref_mut() {
            names.note(id, name);
        }
    };
    let key = id(1, pair.key)?;
    let value = id(2, pair.value)?;
    loader.push(key, value)?;
    note(key, pair.key);
    note(value, pair.value);
    if let Some(prefix) = &args.reverse {
        let reverse_name = format!("{prefix}{}", pair.value);
        let reverse_key = E::from_name(&reverse_name);
        loader.push(reverse_key, key)?;
        note(reverse_key, &reverse_name);
    }
    Ok(())
}

fn refused(file: &str, failure: ReadFailure) -> Failure {
    match failure {
        ReadFailure::Malformed { line, column: Some(column), reason } => {
            Failure::Usage(format!("{file}: line {line}, column {column}: {reason}"))
        }
        ReadFailure::Malformed { line, column: None, reason } => {
            Failure::Usage(format!("{file}: line {line}: {reason}"))
        }
        ReadFailure::Io(error) if is_damaged_gzip(&error) => {
            Failure::Usage(format!("{file}: damaged gzip: {error}"))
        }
        ReadFailure::Io(source) => {
            Failure::Io { path: PathBuf::from(file), action: "read", source }
        }
    }
}

/// Takes back a store that this load created and put nothing into.
///
/// The files go while the store is open and locked: nobody else can have it, or get it. What can't be
/// removed is an empty store, which does no harm, so the failure that led here stays the one to tell.
fn discard(args: &StoreArgs, store: &Store, had_names: bool) {
    if !had_names {
        let _ = fs::remove_file(Dictionary::beside(&args.store).path());
    }
    let _ = fs::remove_file(&args.store);
    let _ = fs::remove_file(wal_path(args));
    let _ = store.close();
}

fn print(loaded: &BulkLoaded, files: usize, time: Duration, output: &mut Output) -> Outcome {
    let record = Record::Loaded {
        pairs: loaded.pairs,
        new_pairs: loaded.new_pairs,
        seconds: time.as_secs_f64(),
    };
    output.answer(
        &record,
        format_args!(
            "{} from {}, {} new, in {} ({})",
            counted(loaded.pairs, "pair"),
            counted(files as u64, "file"),
            count(loaded.new_pairs),
            duration(time),
            rate(loaded.pairs, time),
        ),
    )
}
