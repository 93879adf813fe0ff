//! Opening: create, or check, load, replay, and only then serve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::record::{HybridTime, Opcode};
use cidstore_core::layout::superblock::{
    FLAG_CLEAN, FORMAT_VERSION, MAGIC, SUPERBLOCK_OFFSETS, Superblock, SuperblockError,
};
use cidstore_core::layout::table::{Space, TableKind};

use super::background::Background;
use super::create::temporary_name;
use super::engine::{Engine, WriterState};
use super::feeds::Feeds;
use super::filling::{self, Filled};
use super::gathering::Gathering;
use super::interlude::Interlude;
use super::mending::Mender;
use super::tuned::Tuned;
use super::turns::Turns;
use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::io::{Disk, DiskFile, LockMode, OpenMode, PathKind};
use crate::metrics::ReadCounts;
use crate::options::Settings;
use crate::shared::{Checksums, Shared};
use crate::space::layout::{FileLayout, Regions};
use crate::space::limbo::{Retired, Waiting};
use crate::space::region::Region;
use crate::sync::whole::Mutex;
use crate::table::LiveTables;
use crate::table::shadow::{LoadFault, ShadowTable};
use crate::valueset::ExtentAllocator;
use crate::view::ViewKeeper;
use crate::wal::{Appender, LogOwner, ScanEnd, ScanStart, Wal, WalOptions};
use crate::writer::ahead::Ahead;
use crate::writer::apply::{Operation, Writer};
use crate::writer::numbers::Numbers;
use crate::writer::pages::{Pages, SuperblockGenerations};

/// Records of the log that are applied after having been read together.
const REPLAYED_TOGETHER: usize = 1024;

/// Opens the store at `path`, creating it if that is wanted.
pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, settings: Settings) -> Result<Arc<Engine>> {
    let span = tracing::info_span!("open", path = %path.display());
    let _entered = span.enter();
    let watched = crate::io::watch_forks();
    watched.map_err(|source| Error::Io { path: path.into(), action: "open", source })?;
    if disk.kind(path)? == PathKind::Missing {
        if !settings.create {
            return Err(Error::NotFound { path: path.into() });
        }
        super::create::create(&**disk, path, &settings)?;
    }
    let mode = if settings.read_only { OpenMode::ReadOnly } else { OpenMode::ReadWrite };
    let file: Arc<dyn DiskFile> = Arc::from(disk.open(path, mode)?);
    file.lock(if settings.read_only { LockMode::Shared } else { LockMode::Exclusive })?;
    let superblocks = read_superblocks(&*file)?;
    if settings.read_only && !superblocks.newest.is_clean() {
        return Err(Error::NeedsRecovery { path: path.into() });
    }
    if settings.read_only && disk.kind(&settings.wal_path)? != PathKind::Missing {
        // Not needed, but a log of another store means that somebody mixed files up.
        open_log(&**disk, path, &superblocks.newest, &settings)?;
    }
    let parts = load(path, file, superblocks, &settings)?;
    let engine = if settings.read_only {
        Arc::new(parts.into_engine(settings, None))
    } else {
        recover(disk, parts, settings)?
    };
    Ok(engine)
}

/// Both superblocks as far as they can be used.
pub(crate) struct Superblocks {
    newest: Superblock,
    /// Absent if the other slot is damaged or was never written.
    older: Option<Superblock>,
}

/// Reads both slots and decides which one tells the truth.
pub(crate) fn read_superblocks(file: &dyn DiskFile) -> Result<Superblocks> {
    let path = file.path();
    let bytes = file.len()?;
    if bytes < 2 * PAGE_BYTES as u64 {
        let detail = format!("{bytes} bytes, too short for its superblocks");
        return Err(Error::NotAStore { path: path.into(), detail });
    }
    let mut found: Vec<Superblock> = Vec::new();
    let mut faults: Vec<SuperblockError> = Vec::new();
    let mut other_version = None;
    for (slot, offset) in SUPERBLOCK_OFFSETS.into_iter().enumerate() {
        let mut page = [0; PAGE_BYTES];
        file.read_at(offset, &mut page)?;
        match Superblock::read(&page, slot as u8) {
            Ok(checked) => found.push(*checked),
            Err(fault) => {
                let raw: Superblock = zerocopy::transmute!(page);
                if raw.magic == MAGIC && raw.format_version != FORMAT_VERSION {
                    other_version = Some(raw.format_version);
                }
                faults.push(fault);
            }
        }
    }
    for fault in &faults {
        if let SuperblockError::Version { found } = *fault {
            let supported = FORMAT_VERSION;
            return Err(Error::UnsupportedVersion { path: path.into(), found, supported });
        }
    }
    found.sort_by_key(|superblock| superblock.checkpoint_number);
    let Some(newest) = found.pop() else {
        if let Some(found) = other_version {
            // A damaged version field is one slot's misfortune; where neither slot is sound it is the likelier truth.
            let supported = FORMAT_VERSION;
            return Err(Error::UnsupportedVersion { path: path.into(), found, supported });
        }
        // A foreign file is foreign in both places, and what is wrong with both alike is said once.
        faults.dedup_by(|later, first| {
            let are_foreign = matches!(
                (&*later, &*first),
                (SuperblockError::Magic { .. }, SuperblockError::Magic { .. })
            );
            are_foreign || later == first
        });
        let detail = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let foreign = faults
            .iter()
            .all(|fault| matches!(fault, SuperblockError::Magic { .. } | SuperblockError::Empty));
        return Err(if foreign {
            Error::NotAStore { path: path.into(), detail }
        } else {
            Error::Corrupt { path: path.into(), offset: 0, detail }
        });
    };
    if bytes < newest.file_bytes {
        let detail = format!("{bytes} bytes long, its superblock says {}", newest.file_bytes);
        return Err(Error::Corrupt { path: path.into(), offset: bytes, detail });
    }
    Ok(Superblocks { newest, older: found.pop() })
}

/// What a checkpoint left, in memory.
struct Parts {
    shared: Arc<Shared>,
    writer: Writer,
    checkpointer: Checkpointer,
}

/// Loads the tables of the newest superblock, each node checked against its parent.
fn load(
    path: &Path,
    file: Arc<dyn DiskFile>,
    superblocks: Superblocks,
    settings: &Settings,
) -> Result<Parts> {
    let map_error = |source| Error::Io { path: path.into(), action: "map", source };
    let regions = Regions {
        buckets: Region::reserve().map_err(map_error)?,
        values: Region::reserve().map_err(map_error)?,
    };
    let tables = LiveTables::reserve().map_err(map_error)?;
    let Superblocks { newest, older } = superblocks;
    let segments = |space| newest.segments(space);
    let mut files = FileLayout::from_segments(segments, settings.max_bytes, &*file, &regions)?;
    let checks = (Checksums::reserve().map_err(map_error)?, settings.verify_reads);
    let seed = newest.hash_seed;
    let mut shared = Shared::new(path.into(), Arc::clone(&file), regions, tables, seed, checks);
    shared.reads = settings.count_reads.then(ReadCounts::default);
    let shared = Arc::new(shared);
    let shadows = load_shadows(&shared, &newest, &files)?;
    let Filled { depth_counts, free_numbers } =
        filling::fill_tables(&shared, newest.global_depth, &shadows, &mut files)?;
    let view = ViewKeeper::find(settings.view.clone(), &*shared.file, &mut files, &newest)?;
    let kept = keep_older(&shared, older.as_ref(), &newest, &mut files);

    shared.counters.keys.store(newest.key_count, Ordering::Relaxed);
    shared.counters.values.store(newest.value_count, Ordering::Relaxed);
    shared.counters.applied_lsn.store(newest.lsn, Ordering::Relaxed);
    let files = Arc::new(Mutex::new(files));
    // Without an older one nothing is known to be free of it: generation 0 keeps all pages.
    let older = match older {
        Some(older) => older,
        None => Superblock { generation: 0, ..newest },
    };
    let [overflow_free, value_free] = free_numbers;
    let mut pages = Pages::new(
        Arc::clone(&shared),
        Arc::clone(&files),
        Numbers::new(shadows[TableKind::Overflow as usize].len(), overflow_free),
        Numbers::new(shadows[TableKind::Values as usize].len(), value_free),
        newest.generation + 1,
        SuperblockGenerations([older.generation, newest.generation]),
    );
    pages.depth_counts = depth_counts;
    for what in kept.pages {
        pages.limbo.hold(Waiting { what, built: 0, retired: newest.generation });
    }
    let checkpointer = Checkpointer {
        shared: Arc::clone(&shared),
        files: Arc::clone(&files),
        shadows,
        newest,
        older,
        retired_tables: kept.table_pages.iter().map(|&page| (page, newest.generation)).collect(),
        view,
        bucket_count: depth_counts.iter().sum(),
        spare_in_vain: 0,
    };
    let writer = Writer { pages, extents: ExtentAllocator::default(), extents_known: false };
    Ok(Parts { shared, writer, checkpointer })
}

/// Reads the three table trees of a superblock.
fn load_shadows(
    shared: &Shared,
    superblock: &Superblock,
    files: &FileLayout,
) -> Result<[ShadowTable; 3]> {
    let mut mender = Mender::new(shared, superblock, files);
    let mut load = |kind: TableKind| {
        mender.load(kind).map_err(|fault| match fault {
            LoadFault::Read(error) => error,
            LoadFault::Damaged { page, detail } => Error::Corrupt {
                path: shared.path.clone(),
                offset: files.place_of(Space::Tables, page).map_or(0, |(offset, _)| offset),
                detail: format!("{kind:?} table, node in page {page}: {detail}"),
            },
        })
    };
    // The overflow table first: the pages that it names are none of the directory's.
    let overflow = load(TableKind::Overflow)?;
    Ok([load(TableKind::Directory)?, overflow, load(TableKind::Values)?])
}

/// Pages that only the older superblock reaches.
#[derive(Default)]
struct Kept {
    pages: Vec<Retired>,
    table_pages: Vec<u32>,
}

/// Takes the pages that the older superblock reaches, so that nothing overwrites them before it is replaced.
///
/// An older superblock whose tables cannot be read protects nothing and is no fallback either way.
fn keep_older(
    shared: &Shared,
    older: Option<&Superblock>,
    newest: &Superblock,
    files: &mut FileLayout,
) -> Kept {
    let mut kept = Kept::default();
    let Some(older) = older.filter(|older| older.roots != newest.roots) else { return kept };
    for kind in TableKind::ALL {
        let Ok(shadow) = Mender::new(shared, older, files).load(kind) else { continue };
        let space = kind.space();
        for page in shadow.slots().iter().map(|slot| slot.page).filter(|&page| page != 0) {
            if files.pages_mut(space).take(page) {
                kept.pages.push(match space {
                    Space::Values => Retired::ValuePage(page),
                    _ => Retired::BucketPage(page),
                });
            }
        }
        for page in shadow.node_pages() {
            if files.pages_mut(Space::Tables).take(page) {
                kept.table_pages.push(page);
            }
        }
    }
    kept
}

impl Parts {
    fn into_engine(self, settings: Settings, log: Option<(Appender, Arc<Wal>)>) -> Engine {
        let tuning = settings.tuning.unwrap_or_default();
        let (mut log, wal) = log.unzip();
        if let Some(log) = &mut log {
            log.keep_at_most(settings.feed_bytes);
        }
        let file_length = Arc::clone(self.checkpointer.files().length());
        Engine {
            records_max: log.as_ref().map_or(0, Appender::records_max),
            shared: self.shared,
            settings,
            turns: Turns::new(WriterState {
                writer: self.writer,
                cut_lsn: self.checkpointer.newest.lsn,
                log,
                gathering: Gathering::default(),
            }),
            interlude: Interlude::default(),
            checkpointer: Mutex::new(self.checkpointer),
            next_checkpointer: Mutex::default(),
            wal,
            background: Background::default(),
            tuned: Tuned::new(tuning),
            file_length,
            feeds: Feeds::default(),
        }
    }

    /// Makes both superblocks say the same, as the checkpoint that a crash interrupted would have done; so the log
    /// before the newest one's cut, and pages that only the older one names, are needed no more.
    fn finish_checkpoint(&mut self) -> Result<()> {
        let Checkpointer { older, newest, .. } = &self.checkpointer;
        let differ = older.generation != newest.generation
            || older.wal_salt != newest.wal_salt
            || older.flags != newest.flags;
        if differ {
            self.checkpointer.rewrite(|_| ())?;
            self.writer.pages.superblocks.0 = [self.checkpointer.newest.generation; 2];
            self.writer.collect(true);
        }
        Ok(())
    }
}

/// Opens the log, replays what the superblock does not have, and gets it ready for more.
fn recover(disk: &Arc<dyn Disk>, parts: Parts, settings: Settings) -> Result<Arc<Engine>> {
    let newest = &parts.checkpointer.newest;
    let log = Arc::new(open_log(&**disk, &parts.shared.path, newest, &settings)?);
    let engine = if newest.is_clean() {
        begin_log(disk, parts, settings, log)?
    } else {
        resume_log(disk, parts, settings, log)?
    };
    // Those that were started wait for a bell that nobody would ring.
    Background::start(&engine).inspect_err(|_| _ = engine.background.stop())?;
    // What was replayed may be a good part of what the log holds.
    engine.note_due(&engine.writer());
    Ok(engine)
}

/// After a clean close: the log begins anew, under a salt that no record in it has.
fn begin_log(
    disk: &Arc<dyn Disk>,
    mut parts: Parts,
    settings: Settings,
    log: Arc<Wal>,
) -> Result<Arc<Engine>> {
    // A superblock that still needs the log of the life before must go before that log does.
    parts.finish_checkpoint()?;
    parts.checkpointer.refresh_view()?;
    let mut salt = [0; 8];
    disk.random(&mut salt)?;
    let salt = u64::from_le_bytes(salt);
    let (next_lsn, time) = (parts.checkpointer.newest.lsn + 1, HybridTime::default());
    let appender = Appender::start(Arc::clone(&log), Arc::clone(disk), salt, next_lsn, time)?;
    let engine = Arc::new(parts.into_engine(settings, Some((appender, log))));
    {
        // Both superblocks name the salt before the first record, and that the store is in use.
        let mut checkpointer = engine.checkpointer();
        checkpointer.newest.wal_salt = salt;
        checkpointer.newest.flags &= !FLAG_CLEAN;
        engine.checkpoint_with(&mut checkpointer, false)?;
    }
    Ok(engine)
}

/// After a crash: what the log has is applied, and the log goes on behind it.
fn resume_log(
    disk: &Arc<dyn Disk>,
    mut parts: Parts,
    settings: Settings,
    log: Arc<Wal>,
) -> Result<Arc<Engine>> {
    let newest = parts.checkpointer.newest;
    let start = ScanStart { offset: newest.wal_offset, lsn: newest.lsn + 1, salt: newest.wal_salt };
    let found = replay(&mut parts.writer, &log, start)?;
    parts.shared.events.recovered_operations.add(found.operations);
    parts.finish_checkpoint()?;
    parts.checkpointer.refresh_view()?;
    let appender = Appender::resume(Arc::clone(&log), Arc::clone(disk), start, &found)?;
    parts.shared.counters.applied_lsn.store(appender.last_lsn(), Ordering::Relaxed);
    Ok(Arc::new(parts.into_engine(settings, Some((appender, log)))))
}

/// Opens the log of a store; creates it for one that was closed cleanly and does not need the old one.
fn open_log(disk: &dyn Disk, path: &Path, newest: &Superblock, settings: &Settings) -> Result<Wal> {
    let wal_path = &settings.wal_path;
    let options = WalOptions::new(settings.wal_bytes)?;
    if disk.kind(wal_path)? == PathKind::Missing {
        if !newest.is_clean() {
            let (path, wal) = (path.into(), wal_path.clone());
            return Err(Error::WalMissing { path, wal });
        }
        // Whole under another name first: a crash must not leave half a log under this one.
        let temporary = temporary_name(disk, wal_path)?;
        Wal::create(disk, &temporary, newest.file_id, options)
            .map_err(|error| error.of_new_file(&temporary, wal_path))?;
        disk.rename_noreplace(&temporary, wal_path)?;
        disk.sync_directory(wal_path)?;
    }
    let mode = if settings.read_only { OpenMode::ReadOnly } else { OpenMode::ReadWrite };
    let salt = (!newest.is_clean()).then_some(newest.wal_salt);
    let owner = LogOwner { path, file_id: newest.file_id, salt };
    Wal::open(disk, wal_path, mode, owner, options)
}

/// Applies operations that the log has, in its order.
fn apply_all(writer: &mut Writer, operations: &[Operation]) -> Result<()> {
    let mut ahead = Ahead::of(operations.iter(), writer);
    for &operation in operations {
        ahead.step(writer);
        writer.apply_checked(operation)?;
    }
    // Nobody reads yet: what was replaced is free at once.
    if writer.pages.limbo.is_due() {
        let part = writer.pages.limbo.part();
        writer.collect_some(part);
    }
    Ok(())
}

/// Applies what the log has beyond the superblock.
fn replay(writer: &mut Writer, log: &Wal, start: ScanStart) -> Result<ScanEnd> {
    let span = tracing::info_span!("recover", from_lsn = start.lsn);
    let _entered = span.enter();
    let mut operations = Vec::with_capacity(REPLAYED_TOGETHER);
    let end = log.scan(start, &mut |opcode, record| {
        operations.push(match opcode {
            Opcode::Insert => Operation::Insert(record.key, record.value),
            Opcode::DeleteValue => Operation::DeleteValue(record.key, record.value),
            Opcode::DeleteKey => Operation::DeleteKey(record.key),
            _ => {
                return Err(Error::Corrupt {
                    path: log.path().into(),
                    offset: 0,
                    detail: format!("the bulk load at LSN {} is not in the data file", record.lsn),
                });
            }
        });
        if operations.len() < REPLAYED_TOGETHER {
            return Ok(());
        }
        let replayed = apply_all(writer, &operations);
        operations.clear();
        replayed
    })?;
    apply_all(writer, &operations)?;
    tracing::info!(end.operations, end.lsn, end.batch_dropped, "replayed the log");
    Ok(end)
}
