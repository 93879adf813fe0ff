//! Random histories of the log against a list, then a power cut or damage, then recovery.
//!
//! What must hold, whatever was done:
//! - without a crash, recovery delivers exactly what was logged since the last release;
//! - after a power cut it delivers a prefix of that, no batch in part, nothing durable missing;
//! - after damage besides, it delivers such a prefix of what was logged or refuses, and it refuses if the
//!   damaged record was called durable by a Sync record that is sound.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::layout::record::{HybridTime, Opcode, RECORD_BYTES, RING_START};
use proptest::prelude::*;

use super::growth::Growth;
use super::{Appender, LogOwner, Room, ScanEnd, ScanStart, Wal, WalOptions};
use crate::error::{Error, Result};
use crate::io::{Choice, CrashModel, OpenMode, OsDisk, RecordingDisk};
use crate::scratch;

const SALT: u64 = 0x0bad_cafe_0000_0002;
const FILE_ID: [u8; 16] = [3; 16];
/// Pages of the ring at its largest; one page at first. That the largest is no doubling of the first matters.
const RING_PAGES: std::ops::Range<u64> = 2..8;

/// The data file that recovers from `start`.
fn owner(start: ScanStart) -> LogOwner<'static> {
    LogOwner { path: Path::new("data"), file_id: FILE_ID, salt: Some(start.salt) }
}

#[derive(Clone, Debug)]
enum Step {
    Singles(u64),
    Batch(u64),
    /// As many as fit before the ring's end, or at all, less so many.
    Fill(Fill, u64),
    Sync,
    Idle,
    /// Begins a growth that is due, or ends the one that was begun.
    Grow,
    /// A checkpoint cut here becomes the older superblock's after the next one.
    Cut,
}

#[derive(Clone, Copy, Debug)]
enum Fill {
    ToTheEnd,
    All,
    OneGroup,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..12).prop_map(Step::Singles),
        3 => (0_u64..40).prop_map(Step::Batch),
        2 => (prop::sample::select(vec![Fill::ToTheEnd, Fill::All, Fill::OneGroup]), 0_u64..5)
            .prop_map(|(fill, less)| Step::Fill(fill, less)),
        3 => Just(Step::Sync),
        1 => Just(Step::Idle),
        2 => Just(Step::Cut),
        2 => Just(Step::Grow),
    ];
    prop::collection::vec(step, 1..60)
}

/// One operation that was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Logged {
    lsn: u64,
    opcode: Opcode,
    key: E,
    value: E,
}

/// What one power cut must give back.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Operations of the disk so far.
    disk: usize,
    start: ScanStart,
    durable_lsn: u64,
}

struct History {
    directory: tempfile::TempDir,
    path: PathBuf,
    disk: RecordingDisk,
    wal: Arc<Wal>,
    appender: Appender,
    options: WalOptions,
    growth: Option<Growth>,
    logged: Vec<Logged>,
    /// LSNs of the last record of each single operation or batch.
    boundaries: Vec<u64>,
    cuts: [ScanStart; 2],
    moments: Vec<Moment>,
}

impl History {
    fn new(ring_pages: u64) -> Self {
        let options = WalOptions { ring_bytes_initial: 4096, ring_bytes_max: ring_pages * 4096 };
        let directory = scratch::in_memory();
        let path = directory.path().join("wal");
        let disk = RecordingDisk::new(Arc::new(OsDisk));
        let wal = Arc::new(Wal::create(&disk, &path, FILE_ID, options).unwrap());
        let time = HybridTime::default();
        let shared = Arc::new(disk.clone());
        let appender = Appender::start(Arc::clone(&wal), shared, SALT, 1, time).unwrap();
        let cuts = [ScanStart { offset: RING_START, lsn: 1, salt: SALT }; 2];
        let (logged, boundaries, moments) = (Vec::new(), Vec::new(), Vec::new());
        let growth = None;
        let mut history = Self {
            directory,
            path,
            disk,
            wal,
            appender,
            options,
            growth,
            logged,
            boundaries,
            cuts,
            moments,
        };
        history.note();
        history
    }

    fn note(&mut self) {
        self.moments.push(Moment {
            disk: self.disk.operation_count(),
            start: self.cuts[0],
            durable_lsn: self.wal.durable_lsn(),
        });
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Singles(count) => self.group(count, false),
                Step::Batch(count) => self.group(count, true),
                Step::Fill(fill, less) => {
                    let ring = &self.appender.ring;
                    let slots = match fill {
                        Fill::ToTheEnd => ring.records_ahead(),
                        Fill::All => ring.free_bytes() / RECORD_BYTES as u64,
                        Fill::OneGroup => ring.records_max(),
                    };
                    // The batch has a frame of two.
                    let records = slots.min(ring.records_max()).saturating_sub(less + 2);
                    self.group(records, true);
                }
                Step::Sync => {
                    self.wal.sync(self.appender.last_lsn()).unwrap();
                }
                Step::Idle => {
                    self.appender.witness_when_idle().unwrap();
                }
                Step::Cut => self.cut(),
                Step::Grow => match self.growth.take() {
                    Some(growth) => self.appender.end_growth(growth.carry_out()).unwrap(),
                    None => self.growth = self.appender.begin_growth(),
                },
            }
            self.note();
        }
    }

    fn cut(&mut self) {
        // A cut is durable before a superblock names it.
        self.wal.sync(self.appender.last_lsn()).unwrap();
        let (offset, lsn) = (self.appender.position(), self.appender.last_lsn() + 1);
        self.cuts = [self.cuts[1], ScanStart { offset, lsn, salt: SALT }];
        assert!(self.appender.release(self.cuts[0].offset));
    }

    fn group(&mut self, count: u64, batch: bool) {
        let records = if batch { count + 2 } else { count };
        while self.appender.reserve(records).unwrap() == Room::Full {
            self.cut();
        }
        if batch {
            self.appender.begin(count).unwrap();
        }
        for number in 0..count {
            let opcode = [Opcode::Insert, Opcode::DeleteValue, Opcode::DeleteKey];
            let opcode = opcode[(number % 3) as usize];
            let (key, value) = (E::new(number, u64::MAX), E::from(self.logged.len() as u64));
            let lsn = self.appender.append(opcode, key, value).unwrap();
            self.logged.push(Logged { lsn, opcode, key, value });
            if !batch {
                self.appender.flush().unwrap();
                self.boundaries.push(lsn);
                self.note();
            }
        }
        if batch {
            self.boundaries.push(self.appender.commit(count).unwrap());
            self.appender.flush().unwrap();
        }
    }

    fn since(&self, start: ScanStart) -> Vec<Logged> {
        self.logged.iter().filter(|logged| logged.lsn >= start.lsn).copied().collect()
    }

    /// The log with this content, recovered from `start`.
    fn recover(&self, content: &[u8], start: ScanStart) -> Result<(Vec<Logged>, ScanEnd)> {
        let path = self.directory.path().join("crashed");
        fs::write(&path, content).unwrap();
        let wal = Wal::open(&OsDisk, &path, OpenMode::ReadWrite, owner(start), self.options)?;
        let mut delivered = Vec::new();
        let end = wal.scan(start, &mut |opcode, record| {
            let (lsn, key, value) = (record.lsn, record.key, record.value);
            delivered.push(Logged { lsn, opcode, key, value });
            Ok(())
        })?;
        assert_eq!(end.operations, delivered.len() as u64);
        Ok((delivered, end))
    }

    /// The log that was recovered last goes on: it delivers the same again, then what is new, and nothing else.
    fn check_resumed(&self, start: ScanStart, mut expected: Vec<Logged>, end: &ScanEnd) {
        let path = self.directory.path().join("resumed");
        fs::copy(self.directory.path().join("crashed"), &path).unwrap();
        let owner = owner(start);
        let wal =
            Arc::new(Wal::open(&OsDisk, &path, OpenMode::ReadWrite, owner, self.options).unwrap());
        let mut appender =
            Appender::resume(Arc::clone(&wal), Arc::new(OsDisk), start, end).unwrap();
        for _ in 0..20 {
            if appender.reserve(1).unwrap() == Room::Full {
                break;
            }
            let (opcode, key, value) = (Opcode::Insert, E::from(3), E::from(4));
            let lsn = appender.append(opcode, key, value).unwrap();
            appender.flush().unwrap();
            expected.push(Logged { lsn, opcode, key, value });
            let content = fs::read(&path).unwrap();
            let (delivered, _) = self.recover(&content, start).unwrap();
            assert_eq!(delivered, expected);
        }
    }

    fn check_prefix(&self, start: ScanStart, delivered: &[Logged]) {
        let expected = self.since(start);
        assert_eq!(delivered, &expected[..delivered.len()], "no prefix of what was logged");
        let whole = |lsn| {
            let end = self.boundaries.iter().find(|boundary| **boundary >= lsn);
            expected.get(delivered.len()).is_none_or(|next| end.is_some_and(|end| next.lsn > *end))
        };
        assert!(delivered.last().is_none_or(|last| whole(last.lsn)), "a batch in part");
    }

    /// Everything whose last record was durable at that moment must be there.
    fn check_durable(&self, delivered: &[Logged], moment: &Moment) {
        let is_complete =
            |lsn: u64| self.boundaries.iter().any(|end| *end >= lsn && *end <= moment.durable_lsn);
        let expected = self.since(moment.start);
        let durable = expected.iter().filter(|logged| is_complete(logged.lsn)).count();
        assert!(delivered.len() >= durable, "{} of {durable} durable", delivered.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn delivers_what_was_logged(pages in RING_PAGES, steps in steps()) {
        let mut history = History::new(pages);
        history.run(&steps);
        for start in history.cuts {
            let content = fs::read(&history.path).unwrap();
            let (delivered, end) = history.recover(&content, start).unwrap();
            prop_assert_eq!(delivered, history.since(start));
            let resume = (history.appender.position(), history.appender.last_lsn() + 1);
            prop_assert_eq!((end.resume, end.beyond), (resume, vec![]));
            if end.lsn > start.lsn {
                prop_assert_eq!(end.time, history.appender.time());
            }
            prop_assert!(!end.batch_dropped);
        }
    }

    #[test]
    fn survives_a_power_cut(
        pages in RING_PAGES,
        steps in steps(),
        moments in prop::collection::vec(any::<prop::sample::Index>(), 8),
        choices in prop::collection::vec(any::<u8>(), 64..128),
    ) {
        let mut history = History::new(pages);
        history.run(&steps);
        let operations = history.disk.operations();
        for index in moments {
            let moment = *index.get(&history.moments);
            let model = CrashModel::after(&operations[..moment.disk]);
            let mut choices = choices.iter().cycle();
            let image = model.image(&mut |_, later| {
                let choice = usize::from(*choices.next().unwrap());
                // Often all or nothing, else any version.
                if choice % 4 == 0 { 0 } else if choice % 4 == 1 { later } else { choice % (later + 1) }
            });
            let (delivered, end) = history.recover(&image.files[&history.path], moment.start).unwrap();
            history.check_prefix(moment.start, &delivered);
            history.check_durable(&delivered, &moment);
            history.check_resumed(moment.start, delivered, &end);
        }
    }

    #[test]
    fn survives_a_power_cut_that_takes_what_the_file_grew_by(pages in RING_PAGES, steps in steps()) {
        let mut history = History::new(pages);
        history.run(&steps);
        let operations = history.disk.operations();
        for moment in &history.moments {
            let model = CrashModel::after(&operations[..moment.disk]);
            let (mut length, mut lengths) = (0, 0);
            while length <= lengths {
                // All that was written is there, as far as the file is long enough.
                let image = model.image(&mut |choice, later| match choice {
                    Choice::Length { .. } => {
                        lengths = later;
                        length
                    }
                    _ => later,
                });
                let content = &image.files[&history.path];
                let (delivered, end) = history.recover(content, moment.start).unwrap();
                history.check_prefix(moment.start, &delivered);
                history.check_durable(&delivered, moment);
                if lengths > 0 {
                    history.check_resumed(moment.start, delivered, &end);
                }
                length += 1;
            }
        }
    }

    #[test]
    fn refuses_or_cuts_after_damage(
        pages in RING_PAGES,
        steps in steps(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        kept in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut history = History::new(pages);
        history.run(&steps);
        let mut content = fs::read(&history.path).unwrap();
        let ring = RING_START as usize..content.len();
        for (index, bit) in flips {
            content[ring.start + index.index(ring.len())] ^= 1 << bit;
        }
        if let Some(kept) = kept {
            content.truncate(ring.start + 4096 + kept.index(ring.len() - 4095));
        }
        for start in history.cuts {
            match history.recover(&content, start) {
                Ok((delivered, _)) => history.check_prefix(start, &delivered),
                Err(Error::Corrupt { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn refuses_damage_before_a_sound_witness(
        pages in RING_PAGES,
        steps in steps(),
        damaged in any::<prop::sample::Index>(),
        bit in 0_usize..512,
    ) {
        let mut history = History::new(pages);
        history.run(&steps);
        history.group(1, false);
        history.wal.sync(history.appender.last_lsn()).unwrap();
        let durable = history.since(history.cuts[0]);
        prop_assume!(history.appender.witness_when_idle().unwrap()); // no: the ring is full
        // Any record of an operation since the older cut.
        let lsn = damaged.get(&durable).lsn;
        let mut content = fs::read(&history.path).unwrap();
        let slot = content[RING_START as usize..]
            .chunks(64)
            .position(|slot| slot[8..16] == lsn.to_le_bytes())
            .unwrap();
        content[RING_START as usize + slot * 64 + bit / 8] ^= 1 << (bit % 8);
        let outcome = history.recover(&content, history.cuts[0]);
        let at = RING_START + slot as u64 * 64;
        prop_assert!(
            matches!(outcome, Err(Error::Corrupt { offset, .. }) if offset == at),
            "record {} at {}: {:?}", lsn, at, outcome
        );
    }

    #[test]
    fn any_bytes_end_in_bounded_work(
        bytes in prop::collection::vec(any::<u8>(), 0..4096),
        offset in 0_u64..10_000,
        lsn in any::<u64>(),
    ) {
        let history = History::new(4);
        let mut content = fs::read(&history.path).unwrap();
        let ring = RING_START as usize;
        content[ring..ring + bytes.len()].copy_from_slice(&bytes);
        let start = ScanStart { offset, lsn, salt: SALT };
        match history.recover(&content, start) {
            Ok((delivered, _)) => prop_assert!(delivered.is_empty()),
            Err(error) => prop_assert!(error.is_corruption()),
        }
    }
}
