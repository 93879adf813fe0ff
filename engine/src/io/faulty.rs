//! A disk that fails chosen operations, or makes them slow, for tests of what the store does then.
//!
//! [`FaultyDisk`] passes everything on to the disk below, counts operations by kind, and answers with an error
//! where a [`Fault`] says so. Clones share counters and faults, so a test arms them while the store runs.
//! Nothing of a failed operation reaches the disk below, except the first half of a write that
//! [`Fault::torn`] asks for.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Disk, DiskFile, FileIdentity, FileMap, LockMode, OpenMode, PathKind, io_error, is_no_space,
};
use crate::error::{Error, Result};

/// Kinds of operations that can be counted and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named after the methods of the two traits")]
pub enum OperationKind {
    Open,
    Read,
    Write,
    Store,
    Allocate,
    SetLen,
    SyncData,
    SyncAll,
    SyncDirectory,
    Rename,
    Remove,
    Lock,
    Map,
    Random,
}

impl OperationKind {
    /// True for those that change the disk by a system call, so that the system can refuse them. A store
    /// through a map is none: it fails only if a fault names it.
    #[must_use]
    pub fn is_change(self) -> bool {
        use OperationKind::{
            Allocate, Remove, Rename, SetLen, SyncAll, SyncData, SyncDirectory, Write,
        };
        matches!(
            self,
            Write | Allocate | SetLen | SyncData | SyncAll | SyncDirectory | Rename | Remove
        )
    }

    fn action(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read | Self::Random => "read",
            Self::Write | Self::Store => "write",
            Self::Allocate => "allocate",
            Self::SetLen => "truncate",
            Self::SyncData | Self::SyncAll | Self::SyncDirectory => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::Map => "map",
        }
    }
}

/// Which operations fail, and how. Start from [`Fault::new`].
#[derive(Clone, Debug)]
pub struct Fault {
    /// Only this kind; `None`: any that [changes](OperationKind::is_change) the disk.
    pub kind: Option<OperationKind>,
    /// Only on this path.
    pub path: Option<PathBuf>,
    /// How many operations that match are let through first.
    pub after: u64,
    /// How many operations that match fail then.
    pub times: u64,
    /// The system's answer, as in `errno`.
    pub errno: i32,
    /// A write that fails leaves its first half.
    pub torn: bool,
}

impl Fault {
    /// The next operation that changes the disk fails with `errno`, and all after it.
    #[must_use]
    pub fn new(errno: i32) -> Self {
        Self { kind: None, path: None, after: 0, times: u64::MAX, errno, torn: false }
    }

    /// Only this kind.
    #[must_use]
    pub fn kind(self, kind: OperationKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Only on this path.
    #[must_use]
    pub fn path(self, path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// Lets `count` operations that match through first.
    #[must_use]
    pub fn after(self, count: u64) -> Self {
        Self { after: count, ..self }
    }

    /// Fails one operation only.
    #[must_use]
    pub fn once(self) -> Self {
        Self { times: 1, ..self }
    }

    /// Leaves the first half of a write that fails.
    #[must_use]
    pub fn torn(self) -> Self {
        Self { torn: true, ..self }
    }

    fn matches(&self, kind: OperationKind, path: &Path) -> bool {
        let kind_matches = self.kind.map_or(kind.is_change(), |wanted| wanted == kind);
        kind_matches && self.path.as_deref().is_none_or(|wanted| wanted == path)
    }

    /// Counts an operation that matches; true if it is one that fails.
    fn strikes(&mut self) -> bool {
        if self.after > 0 {
            self.after -= 1;
            false
        } else if self.times > 0 {
            // "For ever" is a count that no test reaches.
            self.times -= 1;
            true
        } else {
            false
        }
    }

    fn error(&self, kind: OperationKind, path: &Path) -> Error {
        let source = io::Error::from_raw_os_error(self.errno);
        if kind == OperationKind::Allocate && is_no_space(&source) {
            Error::NoSpace { path: path.to_path_buf(), detail: source.to_string() }
        } else {
            io_error(path, kind.action(), source)
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    delays: Vec<(OperationKind, PathBuf, Duration)>,
    done: BTreeMap<OperationKind, u64>,
}

#[derive(Clone, Debug, Default)]
struct SharedPlan(Arc<Mutex<Plan>>);

impl SharedPlan {
    fn lock(&self) -> MutexGuard<'_, Plan> {
        // A test that panicked elsewhere leaves a plan that is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation; the fault that strikes it, if one does.
    fn strike(&self, kind: OperationKind, path: &Path) -> Option<Fault> {
        let mut plan = self.lock();
        *plan.done.entry(kind).or_default() += 1;
        let matching = plan.faults.iter_mut().filter(|fault| fault.matches(kind, path));
        // All that match count this operation, even if an earlier one strikes.
        let mut struck = None;
        for fault in matching {
            if fault.strikes() && struck.is_none() {
                struck = Some(fault.clone());
            }
        }
        struck
    }

    /// How long an operation takes more than below.
    fn delay(&self, kind: OperationKind, path: &Path) -> Duration {
        let plan = self.lock();
        let due = plan.delays.iter().filter(|(slow, at, _)| *slow == kind && at == path);
        due.map(|(_, _, delay)| *delay).sum()
    }

    fn pass(&self, kind: OperationKind, path: &Path) -> Result<()> {
        let delay = self.delay(kind, path);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        self.strike(kind, path).map_or(Ok(()), |fault| Err(fault.error(kind, path)))
    }
}

/// A disk that fails chosen operations. Clones share faults and counters.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    below: Arc<dyn Disk>,
    plan: SharedPlan,
}

impl FaultyDisk {
    /// A disk over `below` that fails nothing yet.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, plan: SharedPlan::default() }
    }

    /// Arms a fault; it counts operations from now on.
    pub fn inject(&self, fault: Fault) {
        self.plan.lock().faults.push(fault);
    }

    /// Makes each operation of this kind on this path take so much longer.
    pub fn slow_down(&self, kind: OperationKind, path: impl Into<PathBuf>, delay: Duration) {
        self.plan.lock().delays.push((kind, path.into(), delay));
    }

    /// Disarms all faults.
    pub fn heal(&self) {
        self.plan.lock().faults.clear();
    }

    /// Operations of this kind so far, failed ones included.
    #[must_use]
    pub fn count(&self, kind: OperationKind) -> u64 {
        self.plan.lock().done.get(&kind).copied().unwrap_or_default()
    }

    /// Operations so far that [change](OperationKind::is_change) the disk, failed ones included.
    #[must_use]
    pub fn change_count(&self) -> u64 {
        self.plan
            .lock()
            .done
            .iter()
            .filter(|(kind, _)| kind.is_change())
            .map(|(_, count)| count)
            .sum()
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>> {
        self.plan.pass(OperationKind::Open, path)?;
        let below = self.below.open(path, mode)?;
        Ok(Box::new(FaultyFile { below, plan: self.plan.clone() }))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        self.plan.pass(OperationKind::Rename, from)?;
        self.below.rename_noreplace(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.plan.pass(OperationKind::Remove, path)?;
        self.below.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.plan.pass(OperationKind::SyncDirectory, path)?;
        self.below.sync_directory(path)
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        self.below.kind(path)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<()> {
        self.plan.pass(OperationKind::Random, Path::new(""))?;
        self.below.random(bytes)
    }

    fn now_nanos(&self) -> u64 {
        self.below.now_nanos()
    }
}

#[derive(Debug)]
struct FaultyFile {
    below: Box<dyn DiskFile>,
    plan: SharedPlan,
}

impl FaultyFile {
    fn pass(&self, kind: OperationKind) -> Result<()> {
        self.plan.pass(kind, self.below.path())
    }
}

impl DiskFile for FaultyFile {
    fn path(&self) -> &Path {
        self.below.path()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.pass(OperationKind::Read)?;
        self.below.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(fault) = self.plan.strike(OperationKind::Write, self.below.path()) else {
            return self.below.write_at(offset, bytes);
        };
        if fault.torn {
            self.below.write_at(offset, bytes.split_at(bytes.len() / 2).0)?;
        }
        Err(fault.error(OperationKind::Write, self.below.path()))
    }

    fn store(&self, map: &FileMap, offset: u64, bytes: &[u8]) -> Result<()> {
        self.pass(OperationKind::Store)?;
        self.below.store(map, offset, bytes)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> Result<()> {
        self.pass(OperationKind::Allocate)?;
        self.below.allocate(offset, bytes)
    }

    fn extend(&self, end: u64) -> Result<()> {
        self.pass(OperationKind::Allocate)?;
        self.below.extend(end)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.below.free_bytes()
    }

    fn len(&self) -> Result<u64> {
        self.below.len()
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.pass(OperationKind::SetLen)?;
        self.below.set_len(bytes)
    }

    fn sync_data(&self) -> Result<()> {
        self.pass(OperationKind::SyncData)?;
        self.below.sync_data()
    }

    fn sync_all(&self) -> Result<()> {
        self.pass(OperationKind::SyncAll)?;
        self.below.sync_all()
    }

    fn lock(&self, mode: LockMode) -> Result<()> {
        self.pass(OperationKind::Lock)?;
        self.below.lock(mode)
    }

    fn unlock(&self) {
        self.below.unlock();
    }

    fn identity(&self) -> Result<FileIdentity> {
        self.below.identity()
    }

    fn map(&self, bytes: u64) -> Result<FileMap> {
        self.pass(OperationKind::Map)?;
        self.below.map(bytes)
    }

    fn raw_fd(&self) -> RawFd {
        self.below.raw_fd()
    }
}
