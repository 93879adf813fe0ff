//! The commands that work on a store, one file each: read the ids, open, do, print, close.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod compact;
pub(crate) mod delete;
pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod insert;
pub(crate) mod load;
pub(crate) mod scan;
pub(crate) mod serve_metrics;
pub(crate) mod shell;
pub(crate) mod stat;

use cidstore::E;

use crate::failure::{Failure, Outcome};
use crate::ids::IdForm;

/// Reads an id of the command line; `what` says which for the error.
fn parse_id(form: IdForm, what: &str, text: &str) -> Outcome<E> {
    form.parse(text).map_err(|reason| {
        let hint = if form == IdForm::Hex { " (--ids name takes any text)" } else { "" };
        Failure::Usage(format!("{what}: {reason}{hint}"))
    })
}
