//! [`compare`]: takes all peers through the workloads.
//!
//! Reads of the loaded stores take turns: round one of every peer, then round two, with all stores open. Writes, opens and
//! kills are one peer at a time with every other durable store closed, so that no rival's background work runs beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::Result;
use crate::crash::Crash;
use crate::floor::Floor;
use crate::machine::{self, Machine};
use crate::pairs::Pairs;
use crate::peer::Mode;
use crate::report::{self, Entrant, Record};
use crate::seat::{Contender, contender};
use crate::settings::Settings;
use crate::statistics::{Figure, Unit, quantile};
use crate::workload::Workload;
use crate::workload::writes::{self, Limit};

/// Who has the figures of the disk itself.
pub const MACHINE: &str = "machine";
/// The shares of timed operations that have a figure, with its suffix.
pub const SHARES: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];
/// Threads of synced inserts.
pub const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Kills of each store: each is checked pair by pair.
const KILLS: u64 = 3;
/// Checkpoints that single inserts go through, in a store that counts them.
const CHECKPOINTS_MIN: u64 = 3;
/// How much longer than other timed writes a store may be built: in a shorter time no store fills its log.
const BUILD_TIMES: u32 = 3;

/// Compares the peers that `settings` name. `program` is this program, to be started as the child that is killed; `say` is
/// told what goes on.
///
/// # Errors
/// A store's own, or a wrong answer; then there are no figures at all.
pub fn compare(settings: &Settings, program: &Path, say: &mut dyn FnMut(&str)) -> Result<Record> {
    let folder = settings.folder.join("cidstore-peers");
    fs::create_dir_all(&folder)?;
    let machine = Machine::look(&folder);
    let seats = settings
        .peers
        .iter()
        .map(|name| contender(name, &folder))
        .collect::<Result<Vec<Box<dyn Contender>>>>()?;
    let entrants = seats.iter().map(|seat| Entrant {
        name: seat.name(),
        version: seat.version(),
        settings: seat.settings(),
    });
    let entrants = entrants.collect();
    let mut run = Run {
        settings,
        program,
        say,
        pairs: Pairs::new(settings.pairs, settings.seed),
        seats,
        figures: Vec::new(),
        floors: Vec::new(),
        folder: folder.clone(),
    };
    run.loaded()?;
    run.builds()?;
    run.many_values()?;
    run.growth()?;
    let figures = run.figures;
    drop(run.seats);
    fs::remove_dir_all(&folder)?;
    Ok(Record {
        unix_seconds: report::now(),
        machine,
        settings: settings.clone(),
        entrants,
        figures,
    })
}

pub(crate) struct Run<'a> {
    pub(crate) settings: &'a Settings,
    program: &'a Path,
    say: &'a mut dyn FnMut(&str),
    pub(crate) pairs: Pairs,
    pub(crate) seats: Vec<Box<dyn Contender>>,
    figures: Vec<Figure>,
    /// Rates of the disk's own synced writes, measured before each peer's.
    floors: Vec<f64>,
    folder: PathBuf,
}

impl Run<'_> {
    /// All workloads on stores that were bulk-loaded once.
    fn loaded(&mut self) -> Result<()> {
        const ON_LOADED: [Workload; 7] = [
            Workload::BulkLoad,
            Workload::OpenClean,
            Workload::BatchInsert,
            Workload::OpenKilled,
            Workload::DurableInsert,
            Workload::InsertEach,
            Workload::Beside,
        ];
        let wanted = |workload: &Workload| self.settings.wants(*workload);
        if !Workload::READS.iter().chain(&ON_LOADED).any(wanted) {
            return Ok(());
        }
        for index in 0..self.seats.len() {
            self.load(index)?;
        }
        self.reads()?;
        if self.settings.wants(Workload::GetChained) {
            self.floor()?;
        }
        for seat in self.seats.iter_mut().filter(|seat| seat.abilities().persistent) {
            seat.close()?;
        }
        let mut seats = std::mem::take(&mut self.seats);
        // Pairs from the count on were read as absent.
        let mut unwritten = vec![2 * self.pairs.count(); seats.len()];
        for (seat, next) in seats.iter_mut().zip(&mut unwritten) {
            self.writes(seat.as_mut(), next)?;
            if !(seat.abilities().concurrent && self.settings.wants(Workload::Beside)) {
                seat.clear()?;
            }
        }
        if self.settings.wants(Workload::Beside) {
            self.besides(&mut seats, &mut unwritten)?;
        }
        for seat in &mut seats {
            seat.clear()?;
        }
        self.seats = seats;
        if !self.floors.is_empty() {
            let floors = std::mem::take(&mut self.floors);
            self.note("raw_fdatasync", MACHINE, Unit::PairsPerSecond, floors);
        }
        Ok(())
    }

    fn load(&mut self, index: usize) -> Result<()> {
        let pairs = self.pairs;
        let Some(seat) = self.seats.get_mut(index) else { return Ok(()) };
        let name = seat.name();
        seat.open(Mode::BUFFERED)?;
        let started = Instant::now();
        seat.bulk_load(&mut pairs.iter())?;
        seat.sync()?;
        let rate = pairs.count() as f64 / started.elapsed().as_secs_f64();
        let live = seat.live_bytes()?;
        let mut file = None;
        if seat.abilities().persistent {
            seat.close()?;
            file = Some(seat.data_bytes()?);
            seat.open(Mode::BUFFERED)?;
        }
        self.note(Workload::BulkLoad.name(), name, Unit::PairsPerSecond, vec![rate]);
        if let Some(live) = live {
            self.per_pair("bulk_live_bytes", name, live);
        }
        if let Some(file) = file {
            self.per_pair("bulk_file_bytes", name, file);
            if index == 0 {
                let rates = (0..KILLS)
                    .map(|_| machine::durable_fresh_file(&self.folder, file))
                    .collect::<Result<Vec<f64>>>()?;
                self.note("durable_fresh_file", MACHINE, Unit::BytesPerSecond, rates);
            }
        }
        Ok(())
    }

    /// Reads in turns: a round of every peer to warm up, then those that count.
    fn reads(&mut self) -> Result<()> {
        let Settings { rounds, reads, .. } = *self.settings;
        for workload in Workload::READS.into_iter().filter(|one| self.settings.wants(*one)) {
            if workload == Workload::GetEach {
                self.reads_each()?;
                continue;
            }
            let numbers = self
                .in_turns(rounds, |seat, pairs, round| seat.read(workload, pairs, round, reads))?;
            self.note_all(workload.name(), Unit::NanosecondsPerRead, numbers);
        }
        Ok(())
    }

    /// What memory alone takes for a chain of lookups, in as much of it as the first store's pairs fill. Once for each size.
    fn floor(&mut self) -> Result<()> {
        const TWO_LOADS: &str = "two_loads_chained";
        let Settings { rounds, reads, .. } = *self.settings;
        let pairs = self.pairs.count();
        if self.figures.iter().any(|known| known.workload == TWO_LOADS && known.pairs == pairs) {
            return Ok(());
        }
        let live = self.seats.first().map_or(Ok(None), |seat| seat.live_bytes())?;
        if let Some(live) = live {
            let floor = Floor::like(live)?;
            let numbers = (0..rounds).map(|_| floor.chained(reads)).collect();
            self.note(TWO_LOADS, MACHINE, Unit::NanosecondsPerRead, numbers);
        }
        Ok(())
    }

    fn reads_each(&mut self) -> Result<()> {
        let Settings { rounds, reads, .. } = *self.settings;
        let sorted =
            self.in_turns(rounds, |seat, pairs, round| seat.get_each(pairs, round, reads))?;
        for (name, share) in SHARES {
            let of_share = sorted.iter().map(|(peer, rounds)| {
                (*peer, rounds.iter().map(|sorted| quantile(sorted, share)).collect())
            });
            let name = format!("{}_{name}", Workload::GetEach.name());
            self.note_all(&name, Unit::NanosecondsPerRead, of_share.collect());
        }
        Ok(())
    }

    /// What `one` gives for each peer in each of `rounds`, after one round that does not count.
    pub(crate) fn in_turns<T>(
        &mut self,
        rounds: u64,
        mut one: impl FnMut(&dyn Contender, &Pairs, u64) -> Result<T>,
    ) -> Result<Vec<(&'static str, Vec<T>)>> {
        let mut all: Vec<_> = self.seats.iter().map(|seat| (seat.name(), Vec::new())).collect();
        for round in 0..=rounds {
            for (seat, (_, numbers)) in self.seats.iter().zip(&mut all) {
                let number = one(seat.as_ref(), &self.pairs, round)?;
                if round > 0 {
                    numbers.push(number);
                }
            }
        }
        Ok(all)
    }

    /// What changes a loaded store. `next` is the first index that no pair was written of.
    fn writes(&mut self, seat: &mut dyn Contender, next: &mut u64) -> Result<()> {
        let settings = self.settings;
        let (name, abilities) = (seat.name(), seat.abilities());
        if settings.wants(Workload::OpenClean) && abilities.persistent {
            let times = (0..settings.rounds)
                .map(|_| Ok(seat.open_clean(&self.pairs)?.as_secs_f64() * 1e3))
                .collect::<Result<Vec<f64>>>()?;
            self.note(Workload::OpenClean.name(), name, Unit::Milliseconds, times);
        }
        if settings.wants(Workload::BatchInsert) {
            self.batch_insert(seat, next)?;
        }
        if settings.wants(Workload::OpenKilled) && abilities.persistent {
            self.kills(seat, next)?;
        }
        if settings.wants(Workload::DurableInsert) && abilities.synced {
            // Beside each peer, so that it meets the disk in the same state as they do.
            self.floors.push(writes::raw_sync(&self.folder, settings.time)?.rate());
            seat.open(Mode::SYNCED)?;
            for threads in THREADS {
                let written = seat.insert_threads(&self.pairs, *next, threads, settings.time)?;
                *next += written.pairs + threads as u64;
                let workload = format!("{}_{threads}", Workload::DurableInsert.name());
                self.note(&workload, name, Unit::PairsPerSecond, vec![written.rate()]);
            }
            seat.close()?;
        }
        if settings.wants(Workload::InsertEach) {
            let limit = Limit {
                time: settings.time,
                pairs: self.pairs.count(),
                checkpoints: CHECKPOINTS_MIN,
            };
            self.reopen(seat)?;
            let (written, times) = seat.insert_each(&self.pairs, *next, limit)?;
            *next += written.pairs;
            let workload = Workload::InsertEach.name();
            self.note(workload, name, Unit::PairsPerSecond, vec![written.rate()]);
            self.shares(workload, name, Unit::NanosecondsPerInsert, &[times]);
            if abilities.persistent {
                seat.close()?;
            }
        }
        Ok(())
    }

    /// Opens a durable store afresh; a map in memory stays as it is.
    pub(crate) fn reopen(&self, seat: &mut dyn Contender) -> Result<()> {
        if seat.abilities().persistent { seat.open(Mode::BUFFERED) } else { Ok(()) }
    }

    fn batch_insert(&mut self, seat: &mut dyn Contender, next: &mut u64) -> Result<()> {
        self.reopen(seat)?;
        let (first, many) = (*next, self.settings.inserts);
        let pairs = self.pairs;
        let mut new = (first..first + many).map(|index| pairs.pair(index));
        let started = Instant::now();
        let written = seat.batches(&mut new, std::time::Duration::MAX)?;
        seat.sync()?;
        let synced = written.pairs as f64 / started.elapsed().as_secs_f64();
        *next += many;
        let workload = Workload::BatchInsert.name();
        self.note(workload, seat.name(), Unit::PairsPerSecond, vec![written.rate()]);
        if seat.abilities().persistent {
            let workload = format!("{workload}_synced");
            self.note(&workload, seat.name(), Unit::PairsPerSecond, vec![synced]);
            seat.close()?;
        }
        Ok(())
    }

    fn kills(&mut self, seat: &mut dyn Contender, next: &mut u64) -> Result<()> {
        let crash = Crash {
            program: self.program,
            pairs: self.pairs,
            seed: self.settings.seed,
            pairs_min: self.settings.inserts,
            time: self.settings.time,
        };
        seat.close()?;
        let mut figures = (Vec::new(), Vec::new());
        for _ in 0..KILLS {
            let killed = seat.kill(&crash, *next)?;
            figures.0.push(killed.open.as_secs_f64() * 1e3);
            figures.1.push(killed.lost as f64);
            *next = killed.next;
        }
        self.note(Workload::OpenKilled.name(), seat.name(), Unit::Milliseconds, figures.0);
        self.note("lost_by_kill", seat.name(), Unit::Count, figures.1);
        Ok(())
    }

    /// Stores built by batches from nothing.
    fn builds(&mut self) -> Result<()> {
        if !self.settings.wants(Workload::BatchBuild) {
            return Ok(());
        }
        let mut seats = std::mem::take(&mut self.seats);
        for seat in &mut seats {
            seat.clear()?;
            seat.open(Mode::BUFFERED)?;
            let time = self.settings.time * BUILD_TIMES;
            let written = seat.batches(&mut self.pairs.iter(), time)?;
            let (workload, name) = (Workload::BatchBuild.name(), seat.name());
            self.note(workload, name, Unit::PairsPerSecond, vec![written.rate()]);
            let built = vec![written.pairs as f64];
            self.note(&format!("{workload}_pairs"), name, Unit::Count, built);
            if seat.abilities().persistent {
                seat.close()?;
                let bytes = seat.data_bytes()? as f64 / written.pairs as f64;
                let workload = format!("{workload}_file_bytes");
                self.note(&workload, name, Unit::BytesPerPair, vec![bytes]);
            }
            seat.clear()?;
        }
        self.seats = seats;
        Ok(())
    }

    /// Each peer alone at growing sizes.
    fn growth(&mut self) -> Result<()> {
        if !self.settings.wants(Workload::Growth) {
            return Ok(());
        }
        let Settings { rounds, reads, seed, .. } = *self.settings;
        let sizes = self.settings.sizes.clone();
        let whole = self.pairs;
        let seats = std::mem::take(&mut self.seats);
        for seat in seats {
            self.seats = vec![seat];
            for size in &sizes {
                self.pairs = Pairs::new(*size, seed);
                self.load(0)?;
                for workload in [Workload::GetChained, Workload::GetLoop, Workload::GetMany] {
                    let numbers = self.in_turns(rounds, |seat, pairs, round| {
                        seat.read(workload, pairs, round, reads)
                    })?;
                    self.note_all(workload.name(), Unit::NanosecondsPerRead, numbers);
                }
                self.floor()?;
                for seat in &mut self.seats {
                    seat.clear()?;
                }
            }
        }
        self.pairs = whole;
        Ok(())
    }

    /// The [`SHARES`] and the longest of `rounds` of timed operations.
    pub(crate) fn shares(
        &mut self,
        workload: &str,
        peer: &'static str,
        unit: Unit,
        rounds: &[Histogram<u64>],
    ) {
        for (share_name, share) in SHARES {
            let of_share = rounds.iter().map(|times| times.value_at_quantile(share) as f64);
            self.note(&format!("{workload}_{share_name}"), peer, unit, of_share.collect());
        }
        let longest = rounds.iter().map(|times| times.max() as f64).collect();
        self.note(&format!("{workload}_max"), peer, unit, longest);
    }

    fn per_pair(&mut self, workload: &str, peer: &'static str, bytes: u64) {
        let number = bytes as f64 / self.pairs.count() as f64;
        self.note(workload, peer, Unit::BytesPerPair, vec![number]);
    }

    pub(crate) fn note_all(
        &mut self,
        workload: &str,
        unit: Unit,
        numbers: Vec<(&'static str, Vec<f64>)>,
    ) {
        for (peer, numbers) in numbers {
            self.note(workload, peer, unit, numbers);
        }
    }

    pub(crate) fn note(
        &mut self,
        workload: &str,
        peer: &'static str,
        unit: Unit,
        numbers: Vec<f64>,
    ) {
        let figure = Figure::of(workload, peer, self.pairs.count(), unit, numbers);
        let Figure { median, least, most, .. } = &figure;
        let unit = unit.name();
        (self.say)(&format!("{peer}: {workload}: {median:.1} {unit} ({least:.1} to {most:.1})"));
        self.figures.push(figure);
    }
}
