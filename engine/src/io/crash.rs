//! What a power cut leaves: the files as they may lie on the medium after a prefix of a record.
//!
//! The model is harsher than any real system:
//! - Synced content, lengths and names are there.
//! - Each 512-byte sector changed since the file's last sync is, independently of all others, as it was
//!   then or as after any of the changes since. Sectors themselves are whole.
//! - The length of a file is the synced one or any it had since.
//! - Each change of a name since the directory's last sync happened or did not, independently, but those
//!   that happened did so in order.
//! - A store through a map may also have been caught half done.
//!
//! Which of these is the case is asked of a `choose` function, by [`Choice`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::os::parent;
use super::record::{FileId, Operation};

const SECTOR_BYTES: usize = 512;
type Sector = [u8; SECTOR_BYTES];

/// A question to whoever decides what reached the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// Which version of a sector.
    Sector {
        /// The file.
        file: FileId,
        /// The sector: its offset divided by 512.
        sector: u64,
    },
    /// Which length of a file.
    Length {
        /// The file.
        file: FileId,
    },
    /// Whether the change of a name that is operation number `operation` happened.
    Name {
        /// Its position in the record.
        operation: usize,
    },
}

/// The files of one outcome, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashImage {
    /// Content by path.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl CrashImage {
    /// Writes the files that lie under `recorded` to the same places under `directory`.
    ///
    /// # Errors
    /// If a file or directory cannot be written.
    pub fn write_to(&self, recorded: &Path, directory: &Path) -> io::Result<()> {
        for (path, content) in &self.files {
            let Ok(relative) = path.strip_prefix(recorded) else { continue };
            let path = directory.join(relative);
            fs::create_dir_all(parent(&path))?;
            fs::write(path, content)?;
        }
        Ok(())
    }
}

/// The versions of one thing since it was last synced, each with the operation that made it.
#[derive(Clone, Debug)]
struct Versions<T> {
    durable: T,
    later: Vec<(usize, T)>,
}

impl<T: Clone> Versions<T> {
    fn new(durable: T) -> Self {
        Self { durable, later: Vec::new() }
    }

    fn latest(&self) -> &T {
        self.later.last().map_or(&self.durable, |(_, version)| version)
    }

    fn push(&mut self, operation: usize, version: T) {
        self.later.push((operation, version));
    }

    fn sync(&mut self, covers: usize) {
        let synced = self.later.partition_point(|(operation, _)| *operation < covers);
        if let Some((_, version)) = self.later.drain(..synced).next_back() {
            self.durable = version;
        }
    }

    /// The version of this number: 0 is the durable one, more than there are is the latest.
    fn version(&self, number: usize) -> &T {
        match number {
            0 => &self.durable,
            _ => self.later.get(number - 1).map_or(self.latest(), |(_, version)| version),
        }
    }
}

#[derive(Clone, Debug)]
struct FileModel {
    length: Versions<u64>,
    sectors: BTreeMap<u64, Versions<Box<Sector>>>,
}

impl FileModel {
    fn new(content: &[u8]) -> Self {
        let sectors = content.chunks(SECTOR_BYTES).enumerate().map(|(number, bytes)| {
            let mut sector = [0; SECTOR_BYTES];
            overlay(&mut sector, 0, bytes);
            (number as u64, Versions::new(Box::new(sector)))
        });
        Self { length: Versions::new(content.len() as u64), sectors: sectors.collect() }
    }

    fn sector(&mut self, number: u64) -> &mut Versions<Box<Sector>> {
        self.sectors.entry(number).or_insert_with(|| Versions::new(Box::new([0; SECTOR_BYTES])))
    }

    fn write(&mut self, operation: usize, offset: u64, bytes: &[u8], torn: bool) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % SECTOR_BYTES as u64) as usize;
            let (piece, after) = rest.split_at(rest.len().min(SECTOR_BYTES - within));
            let versions = self.sector(at / SECTOR_BYTES as u64);
            let mut sector = versions.latest().clone();
            if torn {
                overlay(&mut sector[..], within, piece.split_at(piece.len() / 2).0);
                versions.push(operation, sector.clone());
            }
            overlay(&mut sector[..], within, piece);
            versions.push(operation, sector);
            at += piece.len() as u64;
            rest = after;
        }
        self.extend(operation, at);
    }

    fn extend(&mut self, operation: usize, end: u64) {
        if end > *self.length.latest() {
            self.length.push(operation, end);
        }
    }

    fn set_length(&mut self, operation: usize, length: u64) {
        let first_cut = length / SECTOR_BYTES as u64;
        for (number, versions) in self.sectors.range_mut(first_cut..) {
            let kept = length.saturating_sub(number * SECTOR_BYTES as u64) as usize;
            let mut sector = versions.latest().clone();
            sector.iter_mut().skip(kept).for_each(|byte| *byte = 0);
            versions.push(operation, sector);
        }
        self.length.push(operation, length);
    }

    fn sync(&mut self, covers: usize) {
        self.length.sync(covers);
        self.sectors.values_mut().for_each(|versions| versions.sync(covers));
    }

    fn content(&self, file: FileId, choose: &mut dyn FnMut(Choice, usize) -> usize) -> Vec<u8> {
        let mut pick = |choice, later: usize| match later {
            0 => 0,
            _ => choose(choice, later).min(later),
        };
        let length = pick(Choice::Length { file }, self.length.later.len());
        let mut content = vec![0; *self.length.version(length) as usize];
        for (number, versions) in &self.sectors {
            let version = pick(Choice::Sector { file, sector: *number }, versions.later.len());
            let offset = *number as usize * SECTOR_BYTES;
            overlay(&mut content, offset, versions.version(version).as_slice());
        }
        content
    }
}

/// Copies `bytes` to `offset`, as far as there is room.
fn overlay(target: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(target) = target.get_mut(offset..) {
        target.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Add { path: PathBuf, file: FileId },
    Move { from: PathBuf, to: PathBuf, file: FileId },
    Drop { path: PathBuf },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            Self::Add { path, file } => {
                names.insert(path.clone(), *file);
            }
            Self::Move { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Drop { path } => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        match self {
            Self::Add { path, .. } | Self::Drop { path } => parent(path) == directory,
            Self::Move { from, to, .. } => parent(from) == directory || parent(to) == directory,
        }
    }
}

/// The state of the medium after some operations of a record. Feed it one by one to look at each point.
#[derive(Clone, Debug, Default)]
pub struct CrashModel {
    applied: usize,
    files: BTreeMap<FileId, FileModel>,
    /// Names as the running system sees them.
    names: BTreeMap<PathBuf, FileId>,
    names_durable: BTreeMap<PathBuf, FileId>,
    names_later: Vec<(usize, NameChange)>,
}

impl CrashModel {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk after these operations, from the first of the record on.
    #[must_use]
    pub fn after(operations: &[Operation]) -> Self {
        let mut model = Self::new();
        operations.iter().for_each(|operation| model.apply(operation));
        model
    }

    /// The disk after one more operation of the record.
    pub fn apply(&mut self, operation: &Operation) {
        let number = self.applied;
        self.applied += 1;
        match operation {
            Operation::Found { file, path, content } => {
                self.files.insert(*file, FileModel::new(content));
                self.names.insert(path.clone(), *file);
                self.names_durable.insert(path.clone(), *file);
            }
            Operation::Create { file, path } => {
                self.files.insert(*file, FileModel::new(&[]));
                self.change_name(number, NameChange::Add { path: path.clone(), file: *file });
            }
            Operation::Write { file, offset, bytes, mapped } => {
                self.change_file(*file, |model| model.write(number, *offset, bytes, *mapped));
            }
            Operation::Allocate { file, end } => {
                self.change_file(*file, |model| model.extend(number, *end));
            }
            Operation::SetLen { file, bytes } => {
                self.change_file(*file, |model| model.set_length(number, *bytes));
            }
            Operation::Sync { file, covers } => {
                self.change_file(*file, |model| model.sync(*covers));
            }
            Operation::Rename { from, to } => {
                if let Some(file) = self.names.get(from).copied() {
                    let (from, to) = (from.clone(), to.clone());
                    self.change_name(number, NameChange::Move { from, to, file });
                }
            }
            Operation::Remove { path } => {
                self.change_name(number, NameChange::Drop { path: path.clone() });
            }
            Operation::SyncDirectory { directory, covers } => {
                self.sync_directory(directory, *covers);
            }
        }
    }

    fn change_file(&mut self, file: FileId, change: impl FnOnce(&mut FileModel)) {
        if let Some(model) = self.files.get_mut(&file) {
            change(model);
        }
    }

    fn change_name(&mut self, number: usize, change: NameChange) {
        change.apply(&mut self.names);
        self.names_later.push((number, change));
    }

    fn sync_directory(&mut self, directory: &Path, covers: usize) {
        let durable = &mut self.names_durable;
        self.names_later.retain(|(number, change)| {
            let synced = *number < covers && change.is_in(directory);
            if synced {
                change.apply(durable);
            }
            !synced
        });
    }

    /// One outcome of a power cut now. `choose` gets a question and the number `n` of later versions, and
    /// answers 0 for what was durable, up to `n` for the latest.
    pub fn image(&self, choose: &mut dyn FnMut(Choice, usize) -> usize) -> CrashImage {
        let mut names = self.names_durable.clone();
        for (operation, change) in &self.names_later {
            if choose(Choice::Name { operation: *operation }, 1) != 0 {
                change.apply(&mut names);
            }
        }
        let mut files = BTreeMap::new();
        for (path, file) in names {
            if let Some(model) = self.files.get(&file) {
                files.insert(path, model.content(file, choose));
            }
        }
        CrashImage { files }
    }

    /// What the end of the process, without a power cut, leaves: everything.
    #[must_use]
    pub fn image_of_latest(&self) -> CrashImage {
        self.image(&mut |_, later| later)
    }

    /// The outcome in which nothing reached the medium that did not have to.
    #[must_use]
    pub fn image_of_durable(&self) -> CrashImage {
        self.image(&mut |_, _| 0)
    }
}
