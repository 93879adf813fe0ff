//! `insert`: one pair, on disk when the command ends.

use super::parse_id;
use crate::access::open_or_create;
use crate::args::InsertArgs;
use crate::failure::Outcome;
use crate::ids::IdForm;
use crate::names::Dictionary;
use crate::output::{Output, Record};

use cidstore::Durability;

pub(crate) fn run(args: &InsertArgs, output: &mut Output) -> Outcome {
    let form = args.ids.form();
    let key = parse_id(form, "key", &args.key)?;
    let value = parse_id(form, "value", &args.value)?;
    let store = open_or_create(&args.store)?;
    if form == IdForm::Name {
        let dictionary = Dictionary::beside(&args.store.store);
        let mut names = dictionary.collect()?;
        names.note(key, &args.key);
        names.note(value, &args.value);
        dictionary.append(&names)?;
    }
    let written = store.insert_with(key, value, Durability::Immediate)?;
    store.close()?;
    let line = if written.new { "inserted" } else { "already there" };
    output.answer(&Record::Inserted { new: written.new, lsn: written.lsn }, line)
}
