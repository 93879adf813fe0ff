//! Files of the original project, with the seed's types: one dataset of entries a bucket, one dataset of values a key
//! that has more than four.
//!
//! ```text
//! /buckets/bucket_<id>                 entries: key_high, key_low, slots u64[4], state_mask u8, version u32
//! /values/sp/sp_<id>_<high>_<low>      values of a spilled key: u64, or a compound of high and low
//! ```
//!
//! What its own reader takes for a value is one here: a slot or an element that is not zero. It knew values of 64
//! bits only, and its writer set the mask's first bit and none of the others, so the mask tells an inline entry from a
//! spilled one (zero) and is checked as a code word, no more.

use std::collections::BTreeMap;
use std::path::Path;

use cidstore_core::E;
use cidstore_core::ecc;
use hdf5::types::{CompoundType, IntSize, TypeDescriptor};
use hdf5::{Dataset, Datatype, File, Group};

use super::compress;
use super::dtype::{OriginalEntry, OriginalValue};
use super::error::{ExchangeError, Result};

/// Elements that are read at once.
const BLOCK: usize = 1 << 14;

/// Takes the pairs of a file; stops the reading with an error of its own.
pub(super) type TakePair<'a> = dyn FnMut(E, E) -> Result<()> + 'a;

/// A file that is read.
pub(super) struct Original<'a> {
    path: &'a Path,
    buckets: Group,
    values: Option<Group>,
    /// Value datasets that no entry has named yet, by the key in their name.
    unnamed: BTreeMap<(u64, u64), Vec<String>>,
    /// The type of the last bucket's entries, which was found right.
    entry_type: Option<Datatype>,
}

impl<'a> Original<'a> {
    /// Looks at the groups of a file that has no `encoding-type`.
    pub(super) fn open(file: &File, path: &'a Path) -> Result<Self> {
        let wrong = |object: &str, error: &hdf5::Error| {
            let detail = format!("is not there, or no group: {error}");
            ExchangeError::content(path, object, detail)
        };
        let buckets = file.group("buckets").map_err(|error| wrong("/buckets", &error))?;
        let has_values = file.link_exists("values")
            && file.group("values").map_err(|error| wrong("/values", &error))?.link_exists("sp");
        let values = if has_values {
            Some(file.group("values/sp").map_err(|error| wrong("/values/sp", &error))?)
        } else {
            None
        };
        let mut unnamed: BTreeMap<_, Vec<String>> = BTreeMap::new();
        if let Some(group) = &values {
            let names = group.member_names().map_err(ExchangeError::hdf5(path, "list"))?;
            for name in names {
                let Some(key) = key_in_name(&name) else {
                    let object = format!("/values/sp/{name}");
                    let detail = "is not named sp_<bucket>_<key high>_<key low>";
                    return Err(ExchangeError::content(path, &object, detail));
                };
                unnamed.entry(key).or_default().push(name);
            }
        }
        Ok(Self { path, buckets, values, unnamed, entry_type: None })
    }

    /// Reads all pairs. `progress` gets buckets done and in all.
    pub(super) fn read(
        mut self,
        take: &mut TakePair<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let names = self.buckets.member_names().map_err(ExchangeError::hdf5(self.path, "list"))?;
        for (done, name) in names.iter().enumerate() {
            progress(done as u64, names.len() as u64);
            self.read_bucket(name, take)?;
        }
        if let Some(name) = self.unnamed.values().flatten().next() {
            let object = format!("/values/sp/{name}");
            return Err(self.wrong(&object, "belongs to no entry of any bucket"));
        }
        Ok(())
    }

    fn wrong(&self, object: &str, detail: impl Into<String>) -> ExchangeError {
        ExchangeError::content(self.path, object, detail)
    }

    fn read_bucket(&mut self, name: &str, take: &mut TakePair<'_>) -> Result<()> {
        let object = format!("/buckets/{name}");
        let dataset = self
            .buckets
            .dataset(name)
            .map_err(|error| self.wrong(&object, format!("is no dataset: {error}")))?;
        let kind = dataset.dtype().map_err(|error| self.wrong(&object, error.to_string()))?;
        // All buckets of a file have one type, and to take it apart is a tenth of the work on a small bucket.
        if self.entry_type.as_ref() != Some(&kind) {
            check_entry_type(&kind).map_err(|detail| self.wrong(&object, detail))?;
            self.entry_type = Some(kind);
        }
        let rows = self.rows(&dataset, &object)?;
        if let Ok(attribute) = dataset.attr("sorted_count") {
            let sorted = attribute.read_scalar::<u64>();
            let sorted = sorted.map_err(|error| self.wrong(&object, error.to_string()))?;
            if sorted > rows as u64 {
                let detail = format!("says that {sorted} of its {rows} entries are sorted");
                return Err(self.wrong(&object, detail));
            }
        }
        for first in (0..rows).step_by(BLOCK) {
            let entries = dataset
                .read_slice_1d::<OriginalEntry, _>(first..rows.min(first + BLOCK))
                .map_err(|error| self.wrong(&object, error.to_string()))?;
            for (row, entry) in entries.iter().enumerate() {
                self.read_entry((&object, first + row), entry, take)?;
            }
        }
        Ok(())
    }

    fn read_entry(
        &mut self,
        (bucket, row): (&str, usize),
        entry: &OriginalEntry,
        take: &mut TakePair<'_>,
    ) -> Result<()> {
        // Only errors have a use for it, and there is an entry every 0.1 us.
        let object = || format!("{bucket}[{row}]");
        let key = E::new(entry.key_high, entry.key_low);
        let Some(mask) = ecc::decode(entry.state_mask).nibble() else {
            let detail = format!("state mask {:#04x} has two flipped bits", entry.state_mask);
            return Err(self.wrong(&object(), detail));
        };
        if mask != 0 {
            return { entry.slots }
                .into_iter()
                .filter(|&slot| slot != 0)
                .try_for_each(|slot| take(key, E::from(slot)));
        }
        match self.unnamed.remove(&(key.high, key.low)) {
            Some(datasets) => {
                datasets.iter().try_for_each(|name| self.read_values(name, key, take))
            }
            None if self.values.is_none() => {
                let detail =
                    format!("is not there, and {} says that key {key} is spilled", object());
                Err(self.wrong("/values/sp", detail))
            }
            // Deleted: the original clears the slots and the mask, and lets the entry stand.
            None if { entry.slots } == [0; 4] => Ok(()),
            None => Err(self.wrong(
                &object(),
                format!("key {key} is spilled, and /values/sp has no dataset of it"),
            )),
        }
    }

    fn read_values(&self, name: &str, key: E, take: &mut TakePair<'_>) -> Result<()> {
        let object = format!("/values/sp/{name}");
        let failed = |error: hdf5::Error| self.wrong(&object, error.to_string());
        let Some(group) = &self.values else { return Ok(()) };
        let dataset = group.dataset(name).map_err(failed)?;
        let kind = dataset.dtype().and_then(|kind| kind.to_descriptor()).map_err(failed)?;
        let wide = match &kind {
            TypeDescriptor::Unsigned(IntSize::U8) => false,
            TypeDescriptor::Compound(fields) if has(fields, "high") && has(fields, "low") => true,
            _ => {
                let detail = format!("has values of type {kind}, neither u64 nor high and low");
                return Err(self.wrong(&object, detail));
            }
        };
        let rows = self.rows(&dataset, &object)?;
        for first in (0..rows).step_by(BLOCK) {
            let block = first..rows.min(first + BLOCK);
            let values: Vec<E> = if wide {
                let read = dataset.read_slice_1d::<OriginalValue, _>(block).map_err(failed)?;
                read.iter().map(|value| E::new(value.high, value.low)).collect()
            } else {
                let read = dataset.read_slice_1d::<u64, _>(block).map_err(failed)?;
                read.iter().map(|&value| E::from(value)).collect()
            };
            let there = values.into_iter().filter(|value| *value != E::ZERO);
            there.into_iter().try_for_each(|value| take(key, value))?;
        }
        Ok(())
    }

    /// Rows of a dataset that has one dimension and was written.
    fn rows(&self, dataset: &Dataset, object: &str) -> Result<usize> {
        let shape = dataset.shape();
        let [rows] = shape[..] else {
            return Err(self.wrong(object, format!("has shape {shape:?}, not one dimension")));
        };
        let kind = dataset.dtype().map_err(|error| self.wrong(object, error.to_string()))?;
        compress::check_stored(dataset, rows as u64, kind.size())
            .map_err(|detail| self.wrong(object, detail))?;
        Ok(rows)
    }
}

/// The key in `sp_<bucket>_<high>_<low>`.
fn key_in_name(name: &str) -> Option<(u64, u64)> {
    let mut parts = name.strip_prefix("sp_")?.split('_');
    let [bucket, high, low] = [parts.next()?, parts.next()?, parts.next()?];
    bucket.parse::<u64>().ok()?;
    if parts.next().is_some() {
        return None;
    }
    Some((high.parse().ok()?, low.parse().ok()?))
}

/// True if there is such a field of 64 bits.
fn has(fields: &CompoundType, name: &str) -> bool {
    field(fields, name) == Some(&TypeDescriptor::Unsigned(IntSize::U8))
}

fn field<'a>(fields: &'a CompoundType, name: &str) -> Option<&'a TypeDescriptor> {
    fields.fields.iter().find(|field| field.name == name).map(|field| &field.ty)
}

/// Holds the type of a bucket's entries against the seed's. Fields that it does not name are ignored.
fn check_entry_type(kind: &Datatype) -> std::result::Result<(), String> {
    let kind = kind.to_descriptor().map_err(|error| error.to_string())?;
    let TypeDescriptor::Compound(fields) = &kind else {
        return Err(format!("has elements of type {kind}, not entries"));
    };
    let word = TypeDescriptor::Unsigned(IntSize::U8);
    let expected = [
        ("key_high", word.clone()),
        ("key_low", word.clone()),
        ("slots", TypeDescriptor::FixedArray(Box::new(word), 4)),
        ("state_mask", TypeDescriptor::Unsigned(IntSize::U1)),
        ("version", TypeDescriptor::Unsigned(IntSize::U4)),
    ];
    for (name, expected) in expected {
        match field(fields, name) {
            Some(found) if *found == expected => {}
            Some(found) => return Err(format!("field {name} is of type {found}, not {expected}")),
            None => return Err(format!("has no field {name}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::key_in_name;

    #[test]
    fn names_tell_keys() {
        assert_eq!(key_in_name("sp_3_18446744073709551615_7"), Some((u64::MAX, 7)));
        for wrong in ["sp_3_1", "sp_a_1_2", "sp_3_1_2_4", "xx_1_2_3", "sp_1_-1_2", "sp_1_1_"] {
            assert_eq!(key_in_name(wrong), None, "{wrong}");
        }
    }
}
