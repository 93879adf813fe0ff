//! `delete`: a key with all its values, or one value of it.

use super::parse_id;
use crate::access::open_to_change;
use crate::args::DeleteArgs;
use crate::failure::{Failure, Outcome};
use crate::ids::shown;
use crate::output::{Output, Record};
use crate::units::counted;

pub(crate) fn run(args: &DeleteArgs, output: &mut Output) -> Outcome {
    let form = args.ids.form();
    let key = parse_id(form, "key", &args.key)?;
    let value = match &args.value {
        Some(value) => Some(parse_id(form, "value", value)?),
        None => None,
    };
    let store = open_to_change(&args.store)?;
    let values = match value {
        Some(value) => u64::from(store.delete_value(key, value)?),
        None => store.delete(key)?,
    };
    store.close()?;
    if values > 0 {
        let line = format!("deleted {}", counted(values, "value"));
        return output.answer(&Record::Deleted { values }, line);
    }
    if output.is_json() {
        output.record(&Record::Deleted { values })?;
    }
    let key = shown(&args.key);
    Err(Failure::Negative(match &args.value {
        Some(value) => format!("no such pair: {key}, {}", shown(value)),
        None => format!("no such key: {key}"),
    }))
}
