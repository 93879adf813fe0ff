//! Between an uncompressed export and a compressed one: the same datasets, in one piece or in chunks.
//!
//! A compressed export is made from a whole uncompressed one, and turned back into one before it is read: so there is one
//! code that lays pages out and one that reads them, and both directions need the room of the uncompressed file meanwhile.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cidstore_core::hash::HashSeed;
use cidstore_core::layout::table::{TableRoot, TableSlot};
use cidstore_core::layout::{PAGE_BYTES, superblock};
use hdf5::{Dataset, File, H5Type};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::container::{Container, ENCODING_VERSION};
use super::dtype;
use super::error::{ExchangeError, Result};
use super::image::{Identity, Image, Part, PartPages};
use super::{Compression, Progress, Stage};

/// Pages that are copied at once: as many as a chunk has.
const BLOCK_PAGES: u64 = 256;

/// What an export says about itself.
pub(super) struct Description {
    pub(super) identity: Identity,
    pub(super) roots: [TableRoot; 3],
    pub(super) directory: Vec<TableSlot>,
}

/// Writes the parts of `image` as a compressed export over the file at `path`.
pub(super) fn compress(
    image: &Image,
    description: &Description,
    path: &Path,
    compression: Compression,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let container = Container::create(path, image.pages, Some(compression))?;
    let mut counter = Counter::new(&image.pages, Stage::Compress, progress);
    for part in Part::ALL {
        let dataset = container.dataset(part);
        match part {
            Part::Buckets => pack::<dtype::BucketPage>(image, part, dataset, path, &mut counter)?,
            Part::Values => pack::<dtype::ValuePage>(image, part, dataset, path, &mut counter)?,
            Part::Nodes | Part::Directory | Part::ValueTable | Part::Overflow => {
                pack::<dtype::Slot>(image, part, dataset, path, &mut counter)?;
            }
        }
    }
    container.describe(&description.identity, &description.roots, &description.directory)
}

/// Tells how many pages of all are done.
struct Counter<'a> {
    progress: &'a mut dyn FnMut(Progress),
    told: Progress,
}

impl<'a> Counter<'a> {
    fn new(pages: &PartPages, stage: Stage, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { progress, told: Progress { stage, done: 0, total: pages.iter().sum() } }
    }

    fn add(&mut self, pages: u64) {
        self.told.done += pages;
        (self.progress)(self.told);
    }
}

/// Elements of this type in a page.
const fn per_page<T>() -> usize {
    PAGE_BYTES / size_of::<T>()
}

/// Stretches of pages that are copied at once.
fn blocks(pages: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..pages)
        .step_by(BLOCK_PAGES as usize)
        .map(move |first| (first, (pages - first).min(BLOCK_PAGES)))
}

fn pack<T: H5Type + FromBytes + Immutable + Copy>(
    image: &Image,
    part: Part,
    dataset: &Dataset,
    path: &Path,
    counter: &mut Counter<'_>,
) -> Result<()> {
    let mut bytes = Vec::new();
    for (first, count) in blocks(image.pages[part as usize]) {
        bytes.resize(count as usize * PAGE_BYTES, 0);
        let offset = image.offsets[part as usize] + first * PAGE_BYTES as u64;
        let read = image.file.read_exact_at(&mut bytes, offset);
        read.map_err(ExchangeError::io(&image.path, "read"))?;
        let elements: Vec<T> = bytes
            .chunks_exact(size_of::<T>())
            .filter_map(|element| T::read_from_bytes(element).ok())
            .collect();
        let from = first as usize * per_page::<T>();
        let written = dataset.write_slice(&elements, from..from + elements.len());
        written.map_err(ExchangeError::hdf5(path, "write"))?;
        counter.add(count);
    }
    Ok(())
}

/// Writes what the export in `source` holds as an uncompressed store over the file at `to`. Checks shapes and types; what
/// the pages hold is checked by the store that opens it.
pub(super) fn expand(
    source: &File,
    path: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let (identity, roots) = read_description(source, path)?;
    let datasets = [
        open::<dtype::Slot>(source, path, Part::Nodes)?,
        open::<dtype::Slot>(source, path, Part::Directory)?,
        open::<dtype::Slot>(source, path, Part::ValueTable)?,
        open::<dtype::Slot>(source, path, Part::Overflow)?,
        open::<dtype::BucketPage>(source, path, Part::Buckets)?,
        open::<dtype::ValuePage>(source, path, Part::Values)?,
    ];
    let pages = datasets.each_ref().map(|(_, pages)| *pages);
    let mut end = superblock::SEGMENTS_START;
    let offsets = pages.map(|count| {
        let offset = end;
        end += count * PAGE_BYTES as u64;
        offset
    });
    let file = OpenOptions::new().read(true).write(true).open(to);
    let file = file.map_err(ExchangeError::io(to, "open"))?;
    file.set_len(end).map_err(ExchangeError::io(to, "truncate"))?;
    let image = Image::new(to, file, offsets, pages)?;
    let mut counter = Counter::new(&pages, Stage::Expand, progress);
    for (part, (dataset, _)) in Part::ALL.into_iter().zip(&datasets) {
        match part {
            Part::Buckets => {
                unpack::<dtype::BucketPage>(&image, part, dataset, path, &mut counter)?
            }
            Part::Values => unpack::<dtype::ValuePage>(&image, part, dataset, path, &mut counter)?,
            Part::Nodes | Part::Directory | Part::ValueTable | Part::Overflow => {
                unpack::<dtype::Slot>(&image, part, dataset, path, &mut counter)?;
            }
        }
    }
    image.write_superblocks(&identity, roots)
}

fn unpack<T: H5Type + IntoBytes + Immutable>(
    image: &Image,
    part: Part,
    dataset: &Dataset,
    path: &Path,
    counter: &mut Counter<'_>,
) -> Result<()> {
    for (first, count) in blocks(image.pages[part as usize]) {
        let from = first as usize * per_page::<T>();
        let elements = dataset
            .read_slice_1d::<T, _>(from..from + count as usize * per_page::<T>())
            .map_err(|error| ExchangeError::content(path, part.object(), error.to_string()))?;
        let (elements, _) = elements.into_raw_vec_and_offset();
        image.write(part, first, elements.as_bytes())?;
        counter.add(count);
    }
    Ok(())
}

/// Opens the dataset of a part; answers how many pages it has.
fn open<T: H5Type>(file: &File, path: &Path, part: Part) -> Result<(Dataset, u64)> {
    let wrong = |detail: String| ExchangeError::content(path, part.object(), detail);
    let dataset = file.dataset(part.object()).map_err(|error| wrong(error.to_string()))?;
    let found = dataset.dtype().and_then(|found| found.to_descriptor());
    let found = found.map_err(|error| wrong(error.to_string()))?;
    let expected = T::type_descriptor();
    if found != expected {
        return Err(wrong(format!("has elements of type {found}, not {expected}")));
    }
    let shape = dataset.shape();
    let rows = match shape[..] {
        [rows] if rows > 0 && rows.is_multiple_of(per_page::<T>()) => rows as u64,
        _ => return Err(wrong(format!("has shape {shape:?}, which is no number of pages"))),
    };
    check_stored(&dataset, rows, size_of::<T>()).map_err(wrong)?;
    Ok((dataset, rows / per_page::<T>() as u64))
}

/// No dataset is compressed better: gzip makes zeros a thousand times smaller.
const COMPRESSION_MAX: u64 = 2000;

/// Refuses a dataset of so many elements of so many bytes if hardly anything of them is there. What was never written reads
/// as zeros without end: a shape that is damaged or made up must not cost a full disk, or days.
pub(super) fn check_stored(
    dataset: &Dataset,
    elements: u64,
    bytes: usize,
) -> std::result::Result<(), String> {
    let (stored, whole) = (dataset.storage_size(), elements.saturating_mul(bytes as u64));
    if whole > stored.saturating_mul(COMPRESSION_MAX) {
        return Err(format!("says to have {whole} bytes, of which {stored} are there"));
    }
    Ok(())
}

/// Reads what `/config` says.
fn read_description(file: &File, path: &Path) -> Result<(Identity, [TableRoot; 3])> {
    let wrong = |name: &str| {
        let object = format!("/config:{name}");
        move |error: hdf5::Error| ExchangeError::content(path, &object, error.to_string())
    };
    let config = file.group("config").map_err(wrong("config"))?;
    let number = |name: &str| -> Result<u64> {
        let read = config.attr(name).and_then(|attribute| attribute.read_scalar::<u64>());
        read.map_err(wrong(name))
    };
    let list = |name: &str, length: usize| -> Result<Vec<u64>> {
        let read = config.attr(name).and_then(|attribute| attribute.read_raw::<u64>());
        let values = read.map_err(wrong(name))?;
        if values.len() != length {
            let detail = format!("has {} elements, not {length}", values.len());
            return Err(ExchangeError::content(path, &format!("/config:{name}"), detail));
        }
        Ok(values)
    };
    let seed = list("hash_seed", 2)?;
    let mut file_id = [0; 16];
    for (byte, value) in file_id.iter_mut().zip(list("file_id", 16)?) {
        *byte = value as u8;
    }
    let identity = Identity {
        file_id,
        hash_seed: HashSeed::new(seed[0], seed[1]),
        created_nanos: number("created")?,
        global_depth: number("global_depth")?.try_into().unwrap_or(u32::MAX),
        keys: number("key_count")?,
        values: number("value_count")?,
    };
    let attribute = config.attr("roots").map_err(wrong("roots"))?;
    let kind = attribute.dtype().and_then(|kind| kind.to_descriptor()).map_err(wrong("roots"))?;
    let roots = if kind == dtype::Root::type_descriptor() {
        attribute.read_raw::<dtype::Root>().map_err(wrong("roots"))?
    } else {
        Vec::new()
    };
    let Ok(roots) = <[dtype::Root; 3]>::try_from(roots) else {
        let detail =
            format!("are not the three table roots of encoding version {ENCODING_VERSION}");
        return Err(ExchangeError::content(path, "/config:roots", detail));
    };
    Ok((identity, zerocopy::transmute!(roots)))
}
