//! `get`: the values of keys.
//!
//! One key: a value a line. Several: a pair a line, as `scan` prints them. Values are ordered by name,
//! then by number, so that the answer is the same each time. Keys that are not there are told on
//! standard error and by the exit code, after the values of those that are.

use std::collections::HashSet;

use cidstore::{E, Store};

use super::parse_id;
use crate::access::open_to_read;
use crate::args::GetArgs;
use crate::failure::{Failure, Outcome};
use crate::ids::{id, shown, text};
use crate::names::{Dictionary, Names};
use crate::output::{Output, Record};
use crate::units::counted;

pub(crate) fn run(args: &GetArgs, output: &mut Output) -> Outcome {
    let form = args.ids.form();
    let keys: Vec<E> =
        args.keys.iter().map(|key| parse_id(form, "key", key)).collect::<Outcome<_>>()?;
    let store = open_to_read(&args.store)?;
    let missing = if args.count {
        print_counts(args, &store, &keys, output)?
    } else {
        print_values(args, &store, &keys, output)?
    };
    store.close()?;
    match missing.as_slice() {
        [] => Ok(()),
        [key] => Err(Failure::Negative(format!("no such key: {}", shown(key)))),
        several => {
            let count = counted(several.len() as u64, "key");
            let list = several.iter().map(|key| shown(key)).collect::<Vec<_>>().join(", ");
            Err(Failure::Negative(format!("no such keys ({count}): {list}")))
        }
    }
}

fn print_values(
    args: &GetArgs,
    store: &Store,
    keys: &[E],
    output: &mut Output,
) -> Outcome<Vec<String>> {
    let answers = store.get_many(keys)?;
    let names = if args.ids.show_names() {
        let wanted: HashSet<E> =
            answers.iter().flat_map(|values| values.iter()).chain(keys.iter().copied()).collect();
        Dictionary::beside(&args.store.store).of(&wanted)?
    } else {
        Names::default()
    };
    let mut missing = Vec::new();
    for ((key, written), values) in keys.iter().zip(&args.keys).zip(&answers) {
        if values.is_empty() {
            missing.push(written.clone());
            continue;
        }
        let mut values = values.to_vec();
        values.sort_by(|a, b| {
            // Values with a name first, ordered by it.
            let order = |value: E| (names.get(value).is_none(), names.get(value));
            order(*a).cmp(&order(*b)).then(a.cmp(b))
        });
        if output.is_json() {
            let key = id(*key, &names);
            let count = values.len() as u64;
            let values = values.into_iter().map(|value| id(value, &names)).collect();
            output.record(&Record::Values { key, count, values: Some(values) })?;
            continue;
        }
        for value in values {
            let value = text(value, &names);
            if keys.len() == 1 {
                output.line(value)?;
            } else {
                output.line(format_args!("{}\t{value}", shown(written)))?;
            }
        }
    }
    Ok(missing)
}

fn print_counts(
    args: &GetArgs,
    store: &Store,
    keys: &[E],
    output: &mut Output,
) -> Outcome<Vec<String>> {
    let names = if args.ids.show_names() && output.is_json() {
        Dictionary::beside(&args.store.store).of(&keys.iter().copied().collect())?
    } else {
        Names::default()
    };
    let mut missing = Vec::new();
    for (key, written) in keys.iter().zip(&args.keys) {
        let count = store.value_count(*key)?;
        if count == 0 {
            missing.push(written.clone());
        } else if output.is_json() {
            output.record(&Record::Values { key: id(*key, &names), count, values: None })?;
        } else if keys.len() == 1 {
            output.line(count)?;
        } else {
            output.line(format_args!("{}\t{count}", shown(written)))?;
        }
    }
    Ok(missing)
}
