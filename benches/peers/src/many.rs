//! The workloads on keys with many values.

use std::time::Duration;

use cidstore_core::E;

use crate::Result;
use crate::peer::Mode;
use crate::run::Run;
use crate::seat::Contender;
use crate::sets::Sets;
use crate::settings::Settings;
use crate::statistics::Unit;
use crate::workload::Workload;

/// Values of the one key of [`Workload::Values1M`], at most.
const ONE_KEY_VALUES: u64 = 1_000_000;

impl Run<'_> {
    /// All of them, by the peers that can hold many values a key.
    pub(crate) fn many_values(&mut self) -> Result<()> {
        let (able, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.seats)
            .into_iter()
            .partition(|seat| seat.abilities().many_values);
        self.seats = able;
        for (workload, values) in [(Workload::Values4, 4), (Workload::Values100, 100)] {
            if self.settings.wants(workload) && !self.seats.is_empty() {
                self.sets(workload, values)?;
            }
        }
        if self.settings.wants(Workload::Values1M) && !self.seats.is_empty() {
            self.one_key()?;
        }
        self.seats.extend(others);
        Ok(())
    }

    /// Stores with all pairs, bulk-loaded; then some more keys come in by batches, their pairs in random order.
    fn sets(&mut self, workload: Workload, values: u64) -> Result<()> {
        let Settings { pairs, inserts, seed, rounds, reads, .. } = *self.settings;
        let keys = (pairs / values).max(1);
        let more = (inserts / values).max(1);
        let sets = Sets::new(keys, values, seed);
        for seat in &mut self.seats {
            seat.clear()?;
            seat.open(Mode::MANY)?;
            seat.bulk_load(&mut sets.pairs(0, keys))?;
            seat.sync()?;
        }
        let rates = self.inserts(&sets.pairs(keys, keys + more).collect::<Vec<_>>())?;
        self.note_all(&format!("{}_insert", workload.name()), Unit::PairsPerSecond, rates);
        let reads = (reads / values.min(10)).max(1);
        let numbers =
            self.in_turns(rounds, |seat, _, round| seat.get_all(workload, &sets, round, reads))?;
        self.note_all(&format!("{}_get_all", workload.name()), Unit::NanosecondsPerRead, numbers);
        let numbers =
            self.in_turns(rounds, |seat, _, round| seat.contains(workload, &sets, round, reads))?;
        self.note_all(&format!("{}_contains", workload.name()), Unit::NanosecondsPerRead, numbers);
        self.clear()
    }

    fn one_key(&mut self) -> Result<()> {
        let Settings { pairs, seed, rounds, reads, .. } = *self.settings;
        let workload = Workload::Values1M;
        let values = pairs.min(ONE_KEY_VALUES);
        let sets = Sets::new(1, values, seed);
        for seat in &mut self.seats {
            seat.clear()?;
            seat.open(Mode::MANY)?;
        }
        let rates = self.inserts(&sets.pairs(0, 1).collect::<Vec<_>>())?;
        self.note_all(&format!("{}_insert", workload.name()), Unit::PairsPerSecond, rates);
        let numbers =
            self.in_turns(rounds, |seat, _, round| seat.contains(workload, &sets, round, reads))?;
        self.note_all(&format!("{}_contains", workload.name()), Unit::NanosecondsPerRead, numbers);
        let numbers = self.in_turns(rounds, |seat, _, round| {
            Ok(seat.get_all(workload, &sets, round, 1)? / values as f64)
        })?;
        self.note_all(&format!("{}_iterate", workload.name()), Unit::NanosecondsPerValue, numbers);
        self.clear()
    }

    /// The same pairs into each store in batches: pairs a second until the last was acknowledged.
    fn inserts(&mut self, pairs: &[(E, E)]) -> Result<Vec<(&'static str, Vec<f64>)>> {
        let mut rates = Vec::new();
        for seat in &mut self.seats {
            let written = seat.batches(&mut pairs.iter().copied(), Duration::MAX)?;
            rates.push((seat.name(), vec![written.rate()]));
            seat.sync()?;
        }
        Ok(rates)
    }

    fn clear(&mut self) -> Result<()> {
        self.seats.iter_mut().try_for_each(|seat: &mut Box<dyn Contender>| seat.clear())
    }
}
