//! [`Figure`]: a measured number with its spread.

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// More is better.
    PairsPerSecond,
    /// More is better.
    BytesPerSecond,
    /// Less is better.
    NanosecondsPerRead,
    /// Less is better.
    NanosecondsPerInsert,
    /// Less is better.
    NanosecondsPerValue,
    /// Less is better.
    Milliseconds,
    /// Less is better.
    BytesPerPair,
    /// Neither more nor less is better by itself.
    Count,
}

impl Unit {
    const ALL: [Self; 8] = [
        Self::PairsPerSecond,
        Self::BytesPerSecond,
        Self::NanosecondsPerRead,
        Self::NanosecondsPerInsert,
        Self::NanosecondsPerValue,
        Self::Milliseconds,
        Self::BytesPerPair,
        Self::Count,
    ];

    /// Its name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PairsPerSecond => "pairs/s",
            Self::BytesPerSecond => "bytes/s",
            Self::NanosecondsPerRead => "ns",
            Self::NanosecondsPerInsert => "ns/insert",
            Self::NanosecondsPerValue => "ns/value",
            Self::Milliseconds => "ms",
            Self::BytesPerPair => "bytes/pair",
            Self::Count => "count",
        }
    }

    /// The unit called `name` in records.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// True if a larger number is a better one.
    #[must_use]
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::PairsPerSecond | Self::BytesPerSecond)
    }
}

/// The result of one workload on one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured: the name of a workload, with a suffix where it has several figures.
    pub workload: String,
    /// Name of the peer, or `machine`.
    pub peer: String,
    /// Pairs in the store.
    pub pairs: u64,
    /// What the numbers count.
    pub unit: Unit,
    /// The middle of the rounds.
    pub median: f64,
    /// The smallest number of a round.
    pub least: f64,
    /// The largest number of a round.
    pub most: f64,
    /// How many rounds there were.
    pub rounds: usize,
}

impl Figure {
    /// The figure of `rounds`, one number each.
    #[must_use]
    pub fn of(
        workload: impl Into<String>,
        peer: impl Into<String>,
        pairs: u64,
        unit: Unit,
        mut rounds: Vec<f64>,
    ) -> Self {
        rounds.sort_unstable_by(f64::total_cmp);
        Self {
            workload: workload.into(),
            peer: peer.into(),
            pairs,
            unit,
            median: quantile(&rounds, 0.5),
            least: quantile(&rounds, 0.0),
            most: quantile(&rounds, 1.0),
            rounds: rounds.len(),
        }
    }
}

/// The number at or below which a share of `q` of `sorted` lies (nearest rank); of nothing, NaN.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numbers_that_were_measured() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.5), 50.0);
        assert_eq!(quantile(&sorted, 0.99), 99.0);
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 1.0), 100.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn names_of_units_lead_back() {
        for unit in Unit::ALL {
            assert_eq!(Unit::named(unit.name()), Some(unit));
        }
    }

    #[test]
    fn a_figure_keeps_the_middle_and_both_ends() {
        let figure = Figure::of("w", "p", 9, Unit::Milliseconds, vec![5.0, 1.0, 9.0, 3.0, 7.0]);
        assert_eq!((figure.least, figure.median, figure.most, figure.rounds), (1.0, 5.0, 9.0, 5));
    }
}
