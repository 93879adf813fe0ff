//! `dump`: the structure of the store, or the canonical entries of keys. For debugging: the text is not
//! for programs, and `--json` gives entries only.

use cidstore::{E, Entry, Error, Store};

use super::parse_id;
use crate::access::open_to_read;
use crate::args::DumpArgs;
use crate::failure::{Failure, Outcome};
use crate::ids::{id, shown, text};
use crate::names::{Dictionary, Names};
use crate::output::{Output, Record};

pub(crate) fn run(args: &DumpArgs, output: &mut Output) -> Outcome {
    let form = args.ids.form();
    let keys: Vec<E> =
        args.keys.iter().map(|key| parse_id(form, "key", key)).collect::<Outcome<_>>()?;
    let store = open_to_read(&args.store)?;
    if keys.is_empty() && !output.is_json() {
        dump_structure(&store, output)?;
    } else {
        let names = if args.ids.show_names() {
            Dictionary::beside(&args.store.store).all()?
        } else {
            Names::default()
        };
        if keys.is_empty() {
            for key in store.keys() {
                dump_entry(&store, key?, &names, output)?;
            }
        }
        for (key, written) in keys.iter().zip(&args.keys) {
            if !dump_entry(&store, *key, &names, output)? {
                return Err(Failure::Negative(format!("no such key: {}", shown(written))));
            }
        }
    }
    store.close()?;
    Ok(())
}

fn dump_structure(store: &Store, output: &mut Output) -> Outcome {
    store.debug_dump(output.writer()).map_err(|error| match error {
        // The store can only say that it was the dump; that it went to standard output is known here.
        Error::Io { action: "dump", source, .. } => Failure::Output(source),
        other => Failure::Store(other),
    })
}

/// Prints the entry of a key. False if there is none.
fn dump_entry(store: &Store, key: E, names: &Names, output: &mut Output) -> Outcome<bool> {
    let Some(entry) = store.get_entry(key)? else {
        return Ok(false);
    };
    let count = store.value_count(key)?;
    if output.is_json() {
        output.record(&record(&entry, count, names))?;
    } else {
        print(&entry, count, names, output)?;
    }
    Ok(true)
}

fn record<'a>(entry: &Entry, count: u64, names: &'a Names) -> Record<'a> {
    Record::Entry {
        key: id(entry.key, names),
        count,
        version: entry.version,
        valid: entry.valid,
        spilled: entry.spill.is_some(),
        values: entry.values.iter().map(|value| id(*value, names)).collect(),
    }
}

fn print(entry: &Entry, count: u64, names: &Names, output: &mut Output) -> Outcome {
    output.line(format_args!("key      {} {}", entry.key, text(entry.key, names)))?;
    output.line(format_args!("values   {count}"))?;
    output.line(format_args!("version  {}", entry.version))?;
    match &entry.spill {
        Some(spill) => {
            output.line(format_args!("spilled  reference {:#x}", spill.reference))?;
            output.line(format_args!(
                "sorted   {} of {}, set hash {:032x}",
                spill.sorted_count,
                spill.value_count,
                spill.checksum()
            ))
        }
        None => {
            output.line(format_args!("valid    {:04b}", entry.valid))?;
            for value in &entry.values {
                output.line(format_args!("value    {value} {}", text(*value, names)))?;
            }
            Ok(())
        }
    }
}
