//! Import: pairs from an export, a store's own file, or a file of the original project.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cidstore_core::E;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::{MAGIC, SUPERBLOCK_OFFSETS, Superblock};
use cidstore_core::layout::table::Space;
use cidstore_engine::{BulkLoader, BulkProgress, Store};
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use tempfile::{NamedTempFile, TempPath};

use super::container::{ENCODING_TYPE, ENCODING_VERSION, LAYOUT};
use super::error::{ExchangeError, Result};
use super::image::Part;
use super::library_file::{self, LibraryFile};
use super::original::Original;
use super::read::Content;
use super::{ImportOptions, Imported, Progress, Stage, compress, export};

/// So much of a text attribute is read: more than what it is compared with.
const TEXT_BYTES_MAX: usize = 64;

/// Imports a file as a new store at `destination`, where nothing is yet.
///
/// The store is made under a temporary name beside it and renamed when it is whole. Takes the memory of
/// [`ImportOptions::part_pairs`] pairs, however large the file is.
///
/// # Errors
/// [`ExchangeError::Exists`] if something is at `destination`, or a log is beside it; [`ExchangeError::Content`] for a file that is not what it
/// must be; else what the store, the library or the system said. Nothing is left behind.
pub fn import(
    source: &Path,
    destination: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    if destination.symlink_metadata().is_ok() {
        return Err(ExchangeError::Exists { path: destination.to_owned() });
    }
    export::check_no_log(destination)?;
    let opened = Source::open(source, destination, progress)?;
    let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty());
    let work = tempfile::Builder::new()
        .prefix(".cidstore-")
        .tempdir_in(folder.unwrap_or(Path::new(".")))
        .map_err(ExchangeError::io(destination, "create"))?;
    let temporary = work.path().join("store");
    let mut creation = Store::options();
    if options.keep_hash_seed
        && let Some(seed) = opened.hash_seed()
    {
        creation = creation.hash_seed(seed);
    }
    let imported = (|| {
        let store = creation.open(&temporary)?;
        let imported = load_parts(&opened, &store, options.part_pairs, progress);
        let closed = store.close();
        let imported = imported?;
        closed?;
        Ok(imported)
    })()
    .map_err(|error: ExchangeError| error.renamed(&temporary, destination))?;
    let moved = TempPath::try_from_path(&temporary)
        .map_err(ExchangeError::io(destination, "rename"))?
        .persist_noclobber(destination);
    if let Err(error) = moved {
        let path = destination.to_owned();
        return Err(match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => ExchangeError::Exists { path },
            _ => ExchangeError::Io { path, action: "rename", source: error.error },
        });
    }
    let io = |action| ExchangeError::io(destination, action);
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(io("open folder"))?;
    folder.sync_all().map_err(io("sync folder"))?;
    Ok(imported)
}

/// Imports a file into a store that is open: all of it or nothing, at one moment. Takes 40 bytes of memory a pair. A
/// compressed file is expanded to a temporary one in the folder of `beside`.
///
/// # Errors
/// As [`import`]; the store is as it was then, unless it says itself that it has failed.
pub fn import_into(
    source: &Path,
    store: &Store,
    beside: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let opened = Source::open(source, beside, progress)?;
    load_parts(&opened, store, u64::MAX, progress)
}

/// Loads all pairs, so many at a time.
fn load_parts(
    source: &Source<'_>,
    store: &Store,
    part_pairs: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let mut loader = store.bulk_loader();
    let (mut pairs, mut new_pairs) = (0, 0);
    let mut finish = |loader: BulkLoader<'_>, told: &mut dyn FnMut(BulkProgress)| -> Result<()> {
        pairs += loader.len();
        new_pairs += loader.finish(told)?.new_pairs;
        Ok(())
    };
    let mut in_part = 0;
    let whole = source.read(
        store,
        part_pairs,
        &mut |key, value| {
            loader.push(key, value)?;
            in_part += 1;
            if in_part >= part_pairs.max(1) {
                finish(std::mem::replace(&mut loader, store.bulk_loader()), &mut |_| ())?;
                in_part = 0;
            }
            Ok(())
        },
        &mut |done, total| progress(Progress { stage: Stage::Read, done, total }),
    )?;
    finish(whole.unwrap_or(loader), &mut |BulkProgress { done, total, .. }| {
        progress(Progress { stage: Stage::Load, done, total });
    })?;
    Ok(Imported { pairs, new_pairs })
}

/// What is imported.
enum Source<'a> {
    /// A store that can be opened: a live one, an uncompressed export, or a compressed one that was expanded.
    Store {
        path: &'a Path,
        store: Store,
        /// Goes away with the import.
        _expanded: Option<NamedTempFile>,
    },
    /// A file of the original project.
    Original { path: &'a Path, file: LibraryFile },
}

impl<'a> Source<'a> {
    /// Finds out what a file is, and opens it. What has to be expanded goes to a temporary file beside `beside`.
    fn open(path: &'a Path, beside: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Self> {
        // Before it is opened: a pipe would be waited for.
        let kind = path.metadata().map_err(ExchangeError::io(path, "open"))?;
        if !kind.is_file() {
            return Err(ExchangeError::content(path, "/", "not a regular file"));
        }
        let bytes = File::open(path).map_err(ExchangeError::io(path, "open"))?;
        if let Some(superblock) = superblock_of(&bytes)
            && !was_moved(path, superblock.as_ref())
        {
            return Ok(Self::Store { path, store: open_store(path)?, _expanded: None });
        }
        let file = library_file::open(path).map_err(|error| {
            let detail = format!("neither a CIDStore file nor one that HDF5 can read: {error}");
            ExchangeError::content(path, "/", detail)
        })?;
        let Some(encoding) = text(&file, path, "encoding-type")? else {
            return Ok(Self::Original { path, file });
        };
        let version = text(&file, path, "encoding-version")?.unwrap_or_default();
        let layout = text(&file, path, "layout")?.unwrap_or_default();
        let known = major(&version) == major(ENCODING_VERSION);
        if encoding != ENCODING_TYPE || layout != LAYOUT || !known {
            let detail = format!(
                "is {encoding:?} of version {version:?}, layout {layout:?}; this program reads \
                 {ENCODING_TYPE:?} of version {ENCODING_VERSION:?}, layout {LAYOUT:?}, stores that open, and \
                 files of the original project, which say nothing"
            );
            return Err(ExchangeError::content(path, "/", detail));
        }
        let expanded = export::temporary_beside(beside)?;
        compress::expand(&file, path, expanded.path(), progress)
            .map_err(|error| error.renamed(expanded.path(), beside))?;
        // From here on it is the expanded file that is read, but the given one that is wrong.
        let store = open_store(expanded.path()).map_err(|error| blame(path, error))?;
        Ok(Self::Store { path, store, _expanded: Some(expanded) })
    }

    /// The seed that keys were hashed with, if it is known.
    fn hash_seed(&self) -> Option<HashSeed> {
        match self {
            Self::Store { store, .. } => Some(store.hash_seed()),
            Self::Original { .. } => None,
        }
    }

    /// Reads all pairs into a loader for `store`, if they are at most `pairs_max`; else gives them to `take` one by one.
    fn read<'s>(
        &self,
        store: &'s Store,
        pairs_max: u64,
        take: &mut dyn FnMut(E, E) -> Result<()>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<BulkLoader<'s>>> {
        match self {
            Self::Store { path, store: source, _expanded } => {
                let content = Content::of(path, source)?;
                let read = if content.values_said() <= pairs_max {
                    content.read_into(store, progress).map(Some)
                } else {
                    content.read(take, progress).map(|()| None)
                };
                match _expanded {
                    Some(_) => read.map_err(|error| blame(path, error)),
                    None => read,
                }
            }
            Self::Original { path, file } => {
                Original::open(file, path)?.read(take, progress).map(|()| None)
            }
        }
    }
}

/// Opens a store without writing to it, so that every page that is read is checked.
fn open_store(path: &Path) -> Result<Store> {
    Ok(Store::options().create(false).read_only(true).verify_reads(true).open(path)?)
}

/// Damage that was found in an expanded copy is damage of the file that it came from.
fn blame(path: &Path, error: ExchangeError) -> ExchangeError {
    match error {
        ExchangeError::Store(cidstore_engine::Error::Corrupt { detail, .. }) => {
            ExchangeError::content(path, "/", detail)
        }
        other => other,
    }
}

fn major(version: &str) -> Option<&str> {
    version.split('.').next()
}

/// A text among the attributes of the root; `None` if there is no such attribute. One that is no text is not the same as none.
fn text(file: &hdf5::File, path: &Path, name: &str) -> Result<Option<String>> {
    read_text(file, name)
        .map_err(|error| ExchangeError::content(path, &format!("/:{name}"), error.to_string()))
}

fn read_text(file: &hdf5::File, name: &str) -> hdf5::Result<Option<String>> {
    if !file.attr_names()?.iter().any(|there| there == name) {
        return Ok(None);
    }
    let attribute = file.attr(name)?;
    if !attribute.is_scalar() {
        return Err(format!("has shape {:?}, and is to be one text", attribute.shape()).into());
    }
    // The library brings every length into ours, but no encoding into another. It does not look whether the bytes are text.
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = match attribute.dtype()?.to_descriptor()? {
        TypeDescriptor::FixedAscii(_) => {
            lossy(attribute.read_scalar::<FixedAscii<TEXT_BYTES_MAX>>()?.as_bytes())
        }
        TypeDescriptor::FixedUnicode(_) => {
            lossy(attribute.read_scalar::<FixedUnicode<TEXT_BYTES_MAX>>()?.as_bytes())
        }
        TypeDescriptor::VarLenAscii => lossy(attribute.read_scalar::<VarLenAscii>()?.as_bytes()),
        TypeDescriptor::VarLenUnicode => {
            lossy(attribute.read_scalar::<VarLenUnicode>()?.as_bytes())
        }
        kind => return Err(format!("is of type {kind}, and is to be text").into()),
    };
    Ok(Some(text))
}

/// `None` if the file has no superblock of ours; `Some(None)` if it has, and none is sound.
fn superblock_of(file: &File) -> Option<Option<Superblock>> {
    let mut sound = None;
    let mut found = false;
    for (slot, offset) in SUPERBLOCK_OFFSETS.into_iter().enumerate() {
        let mut page = [0; PAGE_BYTES];
        if file.read_exact_at(&mut page, offset).is_err() {
            continue;
        }
        found |= page.starts_with(&MAGIC);
        sound = Superblock::read(&page, slot as u8).ok().map(|checked| *checked).or(sound);
    }
    found.then_some(sound)
}

/// True if a tool like h5repack wrote the file anew: it copies our superblocks as they are, and puts the pages elsewhere.
fn was_moved(path: &Path, superblock: Option<&Superblock>) -> bool {
    let Some(segment) = superblock.and_then(|it| it.segments(Space::Buckets).first()) else {
        return false;
    };
    let Ok(file) = library_file::open(path) else { return false };
    if !text(&file, path, "layout").is_ok_and(|layout| layout.as_deref() == Some(LAYOUT)) {
        return false;
    }
    let pages = file.dataset(Part::Buckets.object());
    pages.is_ok_and(|pages| pages.offset() != Some(segment.offset()))
}
