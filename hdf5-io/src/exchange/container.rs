//! The HDF5 objects of an export: created by the library, empty, before the first page is written.
//!
//! Nothing here tracks times, so the bytes depend on the content and on `created` alone.

use std::fmt::Write;
use std::path::Path;

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::table::{SLOTS_PER_TABLE_PAGE, TableRoot, TableSlot};
use hdf5::plist::dataset_create::{AllocTime, FillTime};
use hdf5::types::{FixedAscii, TypeDescriptor};
use hdf5::{Dataset, File, Group, H5Type, Location};

use super::Compression;
use super::dtype;
use super::error::{ExchangeError, Result};
use super::image::{Identity, PARTS, Part, PartPages};
use super::library_file::{self, LibraryFile};

/// What the root's `encoding-type` says, as in a live file. The original project's files have no such attribute.
pub(super) const ENCODING_TYPE: &str = "cidstore";
/// What `encoding-version` says: slots are two values of 128 bits. Where it is absent they are the original's four of 64.
pub(super) const ENCODING_VERSION: &str = "1.0.0";
/// What the root's `layout` says, which a live file has not.
pub(super) const LAYOUT: &str = "canonical";
/// Bytes before the HDF5 superblock: the store's own two.
pub(super) const USER_BLOCK: u64 = 8192;
/// Pages in a chunk of a compressed dataset: 1 MiB, the size of the library's default chunk cache.
const CHUNK_PAGES: usize = 256;
/// Longest text of an attribute.
const TEXT_BYTES_MAX: usize = 96;
/// Deepest directory that `/config` also has as an attribute.
const DIRECTORY_ATTRIBUTE_DEPTH: u32 = 9;

/// A call to the library, told by what was tried.
fn call<T>(path: &Path, action: &'static str, result: hdf5::Result<T>) -> Result<T> {
    result.map_err(ExchangeError::hdf5(path, action))
}

/// A new file with all its objects.
pub(super) struct Container<'a> {
    path: &'a Path,
    file: LibraryFile,
    datasets: [Dataset; PARTS],
}

impl<'a> Container<'a> {
    /// Creates the file anew at `path`, with parts of so many pages.
    pub(super) fn create(
        path: &'a Path,
        pages: PartPages,
        compression: Option<Compression>,
    ) -> Result<Self> {
        let file = call(
            path,
            "create",
            library_file::create(
                File::with_options()
                    // Objects of a page and more begin at pages behind the superblock. The library wants the user
                    // block no smaller than the alignment.
                    .with_fapl(|access| {
                        access
                            .libver_v18()
                            .alignment(PAGE_BYTES as u64, USER_BLOCK)
                            .sieve_buf_size(0)
                    })
                    .with_fcpl(|create| create.userblock(USER_BLOCK).obj_track_times(false)),
                path,
            ),
        )?;
        let made = (|| {
            let groups = ["config", "buckets", "values", "tables"]
                .map(|name| file.create_group_builder().obj_track_times(false).create(name));
            let [config, buckets, values, tables] = groups;
            let (_, buckets, values, tables) = (config?, buckets?, values?, tables?);
            let shape = |part: Part| pages[part as usize] as usize;
            let slots = |part: Part| shape(part) * SLOTS_PER_TABLE_PAGE;
            let chunk_slots = CHUNK_PAGES * SLOTS_PER_TABLE_PAGE;
            let table = |parent: &Group, name: &str, part: Part| {
                dataset::<dtype::Slot>(parent, name, slots(part), chunk_slots, compression)
            };
            // In the order in which they are to lie in the file.
            Ok([
                table(&tables, "nodes", Part::Nodes)?,
                table(&file, "dir", Part::Directory)?,
                table(&values, "table", Part::ValueTable)?,
                table(&buckets, "overflow", Part::Overflow)?,
                dataset::<dtype::BucketPage>(
                    &buckets,
                    "pages",
                    shape(Part::Buckets),
                    CHUNK_PAGES,
                    compression,
                )?,
                dataset::<dtype::ValuePage>(
                    &values,
                    "pages",
                    shape(Part::Values),
                    CHUNK_PAGES,
                    compression,
                )?,
            ])
        })();
        let datasets = call(path, "create objects", made)?;
        Ok(Self { path, file, datasets })
    }

    /// Where the parts lie in the file.
    pub(super) fn offsets(&self) -> Result<[u64; PARTS]> {
        call(self.path, "flush", self.file.flush())?;
        let mut offsets = [0; PARTS];
        for (part, offset) in Part::ALL.into_iter().zip(&mut offsets) {
            *offset = self.dataset(part).offset().ok_or_else(|| {
                ExchangeError::content(self.path, part.object(), "the library gave it no place")
            })?;
        }
        Ok(offsets)
    }

    pub(super) fn dataset(&self, part: Part) -> &Dataset {
        &self.datasets[part as usize]
    }

    /// Writes what people and programs are told about the whole, and closes the file.
    pub(super) fn describe(
        self,
        id: &Identity,
        roots: &[TableRoot; 3],
        directory: &[TableSlot],
    ) -> Result<()> {
        let path = self.path;
        call(path, "write attributes", self.write_attributes(id, roots, directory))?;
        let Self { file, datasets, .. } = self;
        drop(datasets);
        call(path, "close", file.close())
    }

    fn write_attributes(
        &self,
        id: &Identity,
        roots: &[TableRoot; 3],
        directory: &[TableSlot],
    ) -> hdf5::Result<()> {
        self.write_about(id)?;
        self.write_config(id, roots, directory)?;
        self.write_encodings()?;
        let buckets = self.dataset(Part::Buckets);
        text(buckets, "slots", "two values (high, low, high, low), or a spill pointer")?;
        text(buckets, "order", "pages by directory slot, entries by key, page 0 unused")
    }

    /// What the file is and where it comes from: attributes of its root.
    fn write_about(&self, id: &Identity) -> hdf5::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let file = &*self.file;
        text(file, "Conventions", "CIDStore-1.0")?;
        text(file, "title", "CIDStore: keys of 128 bits to sets of values of 128 bits")?;
        text(file, "source", &format!("cidstore {version}"))?;
        text(file, "history", &format!("exported by cidstore {version}"))?;
        text(file, "date_created", &utc(id.created_nanos))?;
        encoding(file, ENCODING_TYPE)?;
        text(file, "layout", LAYOUT)
    }

    /// What the superblocks say, for those who do not read them.
    fn write_config(
        &self,
        id: &Identity,
        roots: &[TableRoot; 3],
        directory: &[TableSlot],
    ) -> hdf5::Result<()> {
        let config = self.file.group("config")?;
        encoding(&config, "cidstore-config")?;
        number(&config, "format_version", cidstore_core::layout::superblock::FORMAT_VERSION)?;
        text(&config, "version_string", env!("CARGO_PKG_VERSION"))?;
        number(&config, "created", id.created_nanos)?;
        number(&config, "checkpoint", 2_u64)?;
        number(&config, "generation", super::canonical::GENERATION)?;
        number(&config, "lsn", 0_u64)?;
        list(&config, "hash_seed", &[id.hash_seed.high, id.hash_seed.low])?;
        list(&config, "file_id", &id.file_id)?;
        number(&config, "global_depth", id.global_depth)?;
        let mut buckets: Vec<u32> = directory.iter().map(|slot| slot.page).collect();
        buckets.sort_unstable();
        buckets.dedup();
        number(&config, "num_buckets", buckets.len() as u64)?;
        number(&config, "key_count", id.keys)?;
        number(&config, "value_count", id.values)?;
        let roots: [dtype::Root; 3] = zerocopy::transmute!(*roots);
        list(&config, "roots", &roots)?;
        if id.global_depth <= DIRECTORY_ATTRIBUTE_DEPTH {
            let slots: Vec<dtype::Slot> =
                directory.iter().map(|slot| zerocopy::transmute!(*slot)).collect();
            list(&config, "dir", &slots)?;
        }
        Ok(())
    }

    /// What each group and dataset holds.
    fn write_encodings(&self) -> hdf5::Result<()> {
        for (group, kind) in [
            ("buckets", "cidstore-buckets"),
            ("values", "cidstore-values"),
            ("tables", "cidstore-tables"),
        ] {
            let group = self.file.group(group)?;
            encoding(&group, kind)?;
        }
        for part in Part::ALL {
            let kind = match part {
                Part::Buckets => "cidstore-bucket-pages",
                Part::Values => "cidstore-value-pages",
                Part::Nodes | Part::Directory | Part::ValueTable | Part::Overflow => {
                    "cidstore-table"
                }
            };
            encoding(self.dataset(part), kind)?;
        }
        Ok(())
    }
}

/// A dataset of `rows` elements, in one piece or in compressed chunks.
fn dataset<T: H5Type>(
    parent: &Group,
    name: &str,
    rows: usize,
    chunk: usize,
    compression: Option<Compression>,
) -> hdf5::Result<Dataset> {
    let builder = parent.new_dataset_builder().obj_track_times(false);
    let builder = match compression {
        None => builder.no_chunk().alloc_time(Some(AllocTime::Early)).fill_time(FillTime::Never),
        Some(compression) => {
            let builder = builder.chunk(chunk.min(rows));
            match compression {
                Compression::Gzip(level) => builder.shuffle().deflate(level),
                Compression::Lzf => builder.shuffle().lzf(),
            }
        }
    };
    builder.empty::<T>().shape(rows).create(name)
}

fn encoding(object: &Location, kind: &str) -> hdf5::Result<()> {
    text(object, "encoding-type", kind)?;
    text(object, "encoding-version", ENCODING_VERSION)
}

/// A fixed-length ASCII attribute: variable-length ones break readers that watch a file while it is written.
fn text(object: &Location, name: &str, value: &str) -> hdf5::Result<()> {
    let kind = TypeDescriptor::FixedAscii(value.len().max(1));
    // The library cuts the padding off.
    let value = FixedAscii::<TEXT_BYTES_MAX>::from_ascii(value.as_bytes());
    let value = value.map_err(|error| error.to_string())?;
    let attribute = object.new_attr_builder().empty_as(&kind).create(name)?;
    attribute.as_writer().write_scalar(&value)
}

fn number<T: H5Type>(object: &Location, name: &str, value: T) -> hdf5::Result<()> {
    object.new_attr::<T>().create(name)?.write_scalar(&value)
}

fn list<T: H5Type>(object: &Location, name: &str, values: &[T]) -> hdf5::Result<()> {
    object.new_attr::<T>().shape(values.len()).create(name)?.write_raw(values)
}

/// `2026-11-23T05:18:00Z`.
fn utc(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of year 0, in eras of 400 years: leap days come last in a year that begins in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    out
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_told_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
    }
}
