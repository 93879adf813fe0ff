//! [`compare`]: takes each peer through all workloads, one peer after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Result;
use crate::crash::Crash;
use crate::machine::{self, Machine};
use crate::pairs::Pairs;
use crate::peer::{Durable, Peer, Reader};
use crate::peers::{CidStore, Hashbrown, Lmdb};
use crate::report::{self, Entrant, Record};
use crate::settings::Settings;
use crate::statistics::{Figure, Unit, quantile};
use crate::workload::{self, Built};

/// Compares the peers that `settings` name. `program` is this program, to be started as the child that is killed; `say` is
/// told what goes on.
///
/// # Errors
/// A store's own, or a wrong answer; then there are no figures at all.
pub fn compare(settings: &Settings, program: &Path, say: &mut dyn FnMut(&str)) -> Result<Record> {
    let folder = settings.folder.join("cidstore-peers");
    let mut run = Run {
        settings,
        program,
        say,
        pairs: Pairs::new(settings.pairs, settings.seed),
        figures: Vec::new(),
        entrants: Vec::new(),
        machine: None,
        folder: folder.clone(),
    };
    for peer in &settings.peers {
        match peer.as_str() {
            CidStore::NAME => run.take_cidstore()?,
            Lmdb::NAME => run.take_durable::<Lmdb>(|_, _| Ok(()))?,
            _ => run.take_in_memory::<Hashbrown>()?,
        }
    }
    let Run { machine, figures, entrants, .. } = run;
    let machine = machine.unwrap_or_else(|| Machine::look(&settings.folder));
    fs::remove_dir_all(&folder)?;
    Ok(Record {
        unix_seconds: report::now(),
        machine,
        settings: settings.clone(),
        entrants,
        figures,
    })
}

struct Run<'a> {
    settings: &'a Settings,
    program: &'a Path,
    say: &'a mut dyn FnMut(&str),
    pairs: Pairs,
    figures: Vec<Figure>,
    entrants: Vec<Entrant>,
    machine: Option<Machine>,
    folder: PathBuf,
}

impl Run<'_> {
    fn take_cidstore(&mut self) -> Result<()> {
        self.take_durable::<CidStore>(|run, peer| {
            let pinned = peer.pinned()?;
            run.reads::<CidStore, _>(workload::GET_HIT_PINNED, &pinned, workload::get_hit)
        })
    }

    fn take_in_memory<P: Peer>(&mut self) -> Result<()> {
        drop(self.build::<P>(workload::bulk_load, workload::BULK_LOAD, None)?);
        let (peer, _) = self.build::<P>(workload::batch_insert, workload::BATCH_INSERT, None)?;
        self.enter(&peer);
        self.all_reads(&peer)?;
        self.per_pair::<P>(workload::LIVE_BYTES, peer.live_bytes()?);
        peer.close()
    }

    /// `more` are reads that only this peer has.
    fn take_durable<P: Durable>(
        &mut self,
        more: impl FnOnce(&mut Self, &P) -> Result<()>,
    ) -> Result<()> {
        let (peer, folder) = self.build::<P>(workload::bulk_load, workload::BULK_LOAD, None)?;
        self.per_pair::<P>(workload::BULK_LIVE_BYTES, peer.live_bytes()?);
        peer.close()?;
        let bytes = data_bytes::<P>(&folder)?;
        self.per_pair::<P>(workload::BULK_FILE_BYTES, bytes);
        fs::remove_dir_all(&folder)?;
        self.fresh_file::<P>(bytes)?;

        let (peer, folder) = self.build::<P>(
            workload::batch_insert,
            workload::BATCH_INSERT,
            Some(workload::BATCH_INSERT_SYNCED),
        )?;
        self.enter(&peer);
        self.all_reads(&peer)?;
        more(self, &peer)?;
        self.per_pair::<P>(workload::LIVE_BYTES, peer.live_bytes()?);
        peer.close()?;
        self.per_pair::<P>(workload::FILE_BYTES, data_bytes::<P>(&folder)?);
        self.opens::<P>(&folder)?;
        self.kills::<P>(&folder)?;
        Ok(fs::remove_dir_all(&folder)?)
    }

    /// Builds the store as often as the settings say; answers the last one and its folder.
    fn build<P: Peer>(
        &mut self,
        build: fn(&Path, &Pairs) -> Result<(P, Built)>,
        acknowledged: &'static str,
        durable: Option<&'static str>,
    ) -> Result<(P, PathBuf)> {
        let count = self.pairs.count() as f64;
        let mut rates = (Vec::new(), Vec::new());
        let mut last = None;
        for _ in 0..self.settings.builds {
            // The one before must be gone before the next begins: two would share memory and disk.
            drop(last.take());
            let folder = self.fresh_folder(P::NAME)?;
            let (peer, built) = build(&folder, &self.pairs)?;
            rates.0.push(count / built.acknowledged.as_secs_f64());
            rates.1.push(count / built.durable.as_secs_f64());
            last = Some((peer, folder));
        }
        self.note(Figure::of(acknowledged, P::NAME, Unit::PairsPerSecond, rates.0));
        if let Some(durable) = durable {
            self.note(Figure::of(durable, P::NAME, Unit::PairsPerSecond, rates.1));
        }
        last.ok_or_else(|| "nothing was built".into())
    }

    /// As many bytes as the loaded file has, as fast as the disk takes them.
    fn fresh_file<P: Peer>(&mut self, bytes: u64) -> Result<()> {
        let rates = (0..self.settings.builds)
            .map(|_| machine::durable_fresh_file(&self.folder, bytes))
            .collect::<Result<Vec<f64>>>()?;
        let bytes_per_pair = bytes as f64 / self.pairs.count() as f64;
        let pairs = rates.iter().map(|rate| rate / bytes_per_pair).collect();
        self.note(Figure::of(workload::FRESH_FILE, P::NAME, Unit::BytesPerSecond, rates));
        self.note(Figure::of(workload::FRESH_FILE_PAIRS, P::NAME, Unit::PairsPerSecond, pairs));
        Ok(())
    }

    fn all_reads<P: Peer>(&mut self, peer: &P) -> Result<()> {
        let reader = peer.reader()?;
        self.reads::<P, _>(workload::GET_HIT, &reader, workload::get_hit)?;
        self.reads::<P, _>(workload::GET_MISS, &reader, workload::get_miss)?;
        self.reads::<P, _>(workload::GET_CHAINED, &reader, workload::get_chained)?;
        self.reads::<P, _>(workload::GET_MANY, &reader, workload::get_many)?;
        let names = [
            (workload::GET_HIT_P50, 0.5),
            (workload::GET_HIT_P99, 0.99),
            (workload::GET_HIT_P999, 0.999),
        ];
        let mut rounds = Vec::new();
        for round in 0..self.settings.rounds {
            let reads = self.settings.reads;
            rounds.push(workload::get_hit_each(&reader, &self.pairs, round, reads)?);
        }
        for (name, share) in names {
            let numbers = rounds.iter().map(|sorted| quantile(sorted, share)).collect();
            self.note(Figure::of(name, P::NAME, Unit::NanosecondsPerRead, numbers));
        }
        Ok(())
    }

    /// One read workload: a round to warm up, then those that count.
    fn reads<P: Peer, R: Reader>(
        &mut self,
        name: &'static str,
        reader: &R,
        read: fn(&R, &Pairs, u64, u64) -> Result<f64>,
    ) -> Result<()> {
        let Settings { rounds, reads, .. } = *self.settings;
        read(reader, &self.pairs, rounds, reads)?;
        let numbers = (0..rounds)
            .map(|round| read(reader, &self.pairs, round, reads))
            .collect::<Result<Vec<f64>>>()?;
        self.note(Figure::of(name, P::NAME, Unit::NanosecondsPerRead, numbers));
        Ok(())
    }

    fn opens<P: Durable>(&mut self, folder: &Path) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..self.settings.rounds {
            let started = Instant::now();
            let peer = P::open(folder)?;
            let answer = peer.reader()?.get(self.pairs.key(0))?;
            times.push(milliseconds(started.elapsed()));
            if answer != Some(self.pairs.value(0)) {
                return Err(format!("{}: {answer:?}", workload::OPEN_CLEAN).into());
            }
            peer.close()?;
        }
        self.note(Figure::of(workload::OPEN_CLEAN, P::NAME, Unit::Milliseconds, times));
        Ok(())
    }

    fn kills<P: Durable>(&mut self, folder: &Path) -> Result<()> {
        let crash = Crash {
            program: self.program,
            folder,
            pairs: self.pairs,
            seed: self.settings.seed,
            pairs_min: self.settings.kill_pairs,
        };
        // Those below were read as absent.
        let mut first = 2 * self.pairs.count();
        let mut times = Vec::new();
        for _ in 0..self.settings.rounds {
            let (elapsed, next) = crash.kill_and_open::<P>(first)?;
            times.push(milliseconds(elapsed));
            first = next;
        }
        self.note(Figure::of(workload::OPEN_KILLED, P::NAME, Unit::Milliseconds, times));
        Ok(())
    }

    fn per_pair<P: Peer>(&mut self, name: &'static str, bytes: u64) {
        let number = bytes as f64 / self.pairs.count() as f64;
        self.note(Figure::of(name, P::NAME, Unit::BytesPerPair, vec![number]));
    }

    fn enter<P: Peer>(&mut self, peer: &P) {
        let settings = peer.settings();
        self.entrants.push(Entrant { name: P::NAME, version: P::version(), settings });
    }

    fn note(&mut self, figure: Figure) {
        let Figure { peer, workload, median, least, most, unit, .. } = &figure;
        let unit = unit.name();
        (self.say)(&format!("{peer}: {workload}: {median:.1} {unit} ({least:.1} to {most:.1})"));
        self.figures.push(figure);
    }

    /// An empty folder for one store.
    fn fresh_folder(&mut self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        if self.machine.is_none() {
            self.machine = Some(Machine::look(&folder));
        }
        Ok(folder)
    }
}

fn data_bytes<P: Durable>(folder: &Path) -> Result<u64> {
    machine::disk_bytes(folder, |name| !P::is_beside_the_data(name))
}

fn milliseconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e3
}
