//! `scan`: all pairs, or all keys, in no particular order.
//!
//! With `--limit` the scan stops at a bucket boundary, so that going on from the cursor it tells
//! repeats nothing and leaves nothing out, however many values a key has.

use cidstore::{Cursor, Store};

use crate::access::open_to_read;
use crate::args::ScanArgs;
use crate::failure::Outcome;
use crate::ids::{id, text};
use crate::names::{Dictionary, Names};
use crate::output::{Output, Record};

pub(crate) fn run(args: &ScanArgs, output: &mut Output) -> Outcome {
    let store = open_to_read(&args.store)?;
    let names = if args.ids.show_names() {
        Dictionary::beside(&args.store.store).all()?
    } else {
        Names::default()
    };
    if args.keys {
        print_keys(&store, &names, output)?;
    } else {
        print_pairs(args, &store, &names, output)?;
    }
    store.close()?;
    Ok(())
}

fn print_keys(store: &Store, names: &Names, output: &mut Output) -> Outcome {
    for key in store.keys() {
        let key = key?;
        if output.is_json() {
            output.record(&Record::Key { key: id(key, names) })?;
        } else {
            output.line(text(key, names))?;
        }
    }
    Ok(())
}

fn print_pairs(args: &ScanArgs, store: &Store, names: &Names, output: &mut Output) -> Outcome {
    let mut scan = store.scan(Cursor(args.from.unwrap_or(0)));
    let mut printed = 0;
    let mut next = None;
    while let Some(pair) = scan.next() {
        let (key, value) = pair?;
        if output.is_json() {
            output.record(&Record::Pair { key: id(key, names), value: id(value, names) })?;
        } else {
            output.line(format_args!("{}\t{}", text(key, names), text(value, names)))?;
        }
        printed += 1;
        let enough = args.limit.is_some_and(|limit| printed >= limit);
        if enough && scan.is_between_buckets() {
            let cursor = scan.cursor();
            // None if nothing is left, in whatever buckets. A bucket that can't be read is for who goes on.
            next = scan.next().map(|_| cursor);
            break;
        }
    }
    if args.limit.is_some() {
        print_cursor(next, output)?;
    }
    Ok(())
}

fn print_cursor(next: Option<Cursor>, output: &mut Output) -> Outcome {
    if output.is_json() {
        // As text: readers of JSON often keep no more than 53 bits of a number.
        let next = next.map(|cursor| cursor.0.to_string());
        return output.record(&Record::Cursor { next });
    }
    match next {
        Some(cursor) => output.line(format_args!("# go on with --from {}", cursor.0)),
        None => Ok(()),
    }
}
