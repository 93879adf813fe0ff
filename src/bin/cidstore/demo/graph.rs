//! The package dependencies of Debian 12, built into the program, and what the store must say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cidstore::E;
use flate2::bufread::MultiGzDecoder;

use crate::failure::{Failure, Outcome};
use crate::input::{Dialect, Format, PairReader, ReadFailure};
use crate::names::{Names, NewNames};

/// `examples/data/README.md` says what it is and how it was made.
static EDGES: &[u8] = include_bytes!("../../../../examples/data/debian-12-depends.tsv.gz");
/// Keys of the reverse direction live under names of their own: this, then the name of the package.
pub(super) const NEEDED_BY: &str = "needed-by:";

/// The graph in memory: the pairs in the order of the file, and the dumbest possible multimap of them.
pub(super) struct Graph {
    /// Every pair that is loaded: package to dependency, and the reverse.
    pub(super) pairs: Vec<(E, E)>,
    /// What the store must answer. Kept up to date with every change that the demo makes.
    pub(super) model: BTreeMap<E, BTreeSet<E>>,
    /// Packages that depend on something.
    pub(super) packages: u64,
    /// Dependencies.
    pub(super) edges: u64,
    /// What to call the ids.
    pub(super) names: Names,
    /// The same, for the dictionary beside the store.
    pub(super) new_names: NewNames,
}

impl Graph {
    /// Unpacks the graph.
    pub(super) fn read() -> Outcome<Self> {
        let dialect = Dialect { format: Format::Tsv, comments: true, header: false };
        let text = std::io::BufReader::new(MultiGzDecoder::new(EDGES));
        let mut reader = PairReader::new(text, dialect);
        let mut graph = Self {
            pairs: Vec::new(),
            model: BTreeMap::new(),
            packages: 0,
            edges: 0,
            names: Names::default(),
            new_names: NewNames::default(),
        };
        while let Some(edge) = reader.next_pair().map_err(unreadable)? {
            graph.add(edge.key, edge.value);
        }
        Ok(graph)
    }

    fn add(&mut self, package: &str, dependency: &str) {
        let package_id = self.id(package);
        let dependency_id = self.id(dependency);
        let reverse_id = self.id(&format!("{NEEDED_BY}{dependency}"));
        self.edges += 1;
        self.packages += u64::from(!self.model.contains_key(&package_id));
        for (key, value) in [(package_id, dependency_id), (reverse_id, package_id)] {
            self.pairs.push((key, value));
            self.model.entry(key).or_default().insert(value);
        }
    }

    fn id(&mut self, name: &str) -> E {
        let id = E::from_name(name);
        self.names.learn(id, name);
        self.new_names.note(id, name);
        id
    }

    /// How many pairs the store must have.
    pub(super) fn pair_count(&self) -> u64 {
        self.model.values().map(|values| values.len() as u64).sum()
    }
}

fn unreadable(failure: ReadFailure) -> Failure {
    let reason = match failure {
        ReadFailure::Malformed { line, reason, .. } => format!("line {line}: {reason}"),
        ReadFailure::Io(source) => {
            let path = Path::new("the built-in dependency graph").to_owned();
            return Failure::Io { path, action: "read", source };
        }
    };
    Failure::Negative(format!("the built-in dependency graph: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts that `examples/data/README.md` gives.
    #[test]
    fn the_graph_is_the_one_described() {
        let graph = Graph::read().unwrap();
        assert_eq!((graph.packages, graph.edges), (55_848, 282_432));
        assert_eq!(graph.pair_count(), 2 * 282_432);
        assert_eq!(graph.model.len(), 55_848 + 35_437);
        let count = |name: &str| graph.model[&E::from_name(name)].len();
        assert_eq!(
            (count("hello"), count("bash"), count("coreutils"), count("needed-by:libc6")),
            (1, 4, 5, 21_809)
        );
    }
}
