//! The workloads, by name. Each checks its answers: a wrong one ends the comparison instead of becoming a figure.

pub mod beside;
pub mod reads;
pub mod sets;
pub mod writes;

/// What is asked for on the command line. Most have several figures; [`Workload::about`] names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// All pairs into an empty store.
    BulkLoad,
    /// Reads, each of which needs the answer of the last.
    GetChained,
    /// A loop of reads of present keys.
    GetLoop,
    /// The same in two threads.
    GetLoop2,
    /// Reads of many keys a call.
    GetMany,
    /// Reads of absent keys.
    GetMiss,
    /// Reads that are timed one by one.
    GetEach,
    /// Open after a clean close.
    OpenClean,
    /// Batches into the loaded store.
    BatchInsert,
    /// Batches into an empty store.
    BatchBuild,
    /// Open after a kill.
    OpenKilled,
    /// Single synced inserts.
    DurableInsert,
    /// Single buffered inserts, timed one by one.
    InsertEach,
    /// Reads beside a writer.
    Beside,
    /// Keys with 4 values.
    Values4,
    /// Keys with 100 values.
    Values100,
    /// One key with a million values.
    Values1M,
    /// This store alone at growing sizes.
    Growth,
}

impl Workload {
    /// All of them, in the order they run.
    pub const ALL: [Self; 18] = [
        Self::BulkLoad,
        Self::GetChained,
        Self::GetLoop,
        Self::GetLoop2,
        Self::GetMany,
        Self::GetMiss,
        Self::GetEach,
        Self::OpenClean,
        Self::BatchInsert,
        Self::BatchBuild,
        Self::OpenKilled,
        Self::DurableInsert,
        Self::InsertEach,
        Self::Beside,
        Self::Values4,
        Self::Values100,
        Self::Values1M,
        Self::Growth,
    ];

    /// Those that need the store with all pairs, open side by side.
    pub const READS: [Self; 6] = [
        Self::GetChained,
        Self::GetLoop,
        Self::GetLoop2,
        Self::GetMany,
        Self::GetMiss,
        Self::GetEach,
    ];

    /// Its name on the command line and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BulkLoad => "bulk_load",
            Self::GetChained => "get_chained",
            Self::GetLoop => "get_loop",
            Self::GetLoop2 => "get_loop_2_threads",
            Self::GetMany => "get_many_64",
            Self::GetMiss => "get_miss",
            Self::GetEach => "get_each",
            Self::OpenClean => "open_clean",
            Self::BatchInsert => "batch_insert",
            Self::BatchBuild => "batch_build",
            Self::OpenKilled => "open_killed",
            Self::DurableInsert => "durable_insert",
            Self::InsertEach => "insert_each",
            Self::Beside => "beside",
            Self::Values4 => "values_4",
            Self::Values100 => "values_100",
            Self::Values1M => "values_1m",
            Self::Growth => "growth",
        }
    }

    /// What it does, and which figures it gives.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::BulkLoad => {
                "all pairs into an empty store, on disk at the end; bytes a pair; the disk's own rate"
            }
            Self::GetChained => "get, each key out of the last answer",
            Self::GetLoop => "a loop of gets of present keys",
            Self::GetLoop2 => "the same in two threads: wall time by all reads",
            Self::GetMany => "gets of 64 keys a call",
            Self::GetMiss => "a loop of gets of absent keys",
            Self::GetEach => "gets timed one by one: percentiles",
            Self::OpenClean => "from the call to open to the first answer, after a clean close",
            Self::BatchInsert => {
                "--inserts random pairs into the loaded store, 1,000 a batch, buffered"
            }
            Self::BatchBuild => {
                "random pairs into an empty store, 1,000 a batch, until all or 3 x --seconds"
            }
            Self::OpenKilled => "the same after kill -9 amid batches; acknowledged pairs lost",
            Self::DurableInsert => {
                "single synced inserts into the loaded store, 1, 2, 4, 8 threads; the raw fdatasync"
            }
            Self::InsertEach => "single buffered inserts timed one by one: percentiles, rate",
            Self::Beside => {
                "gets timed one by one beside a saturating writer: percentiles; pinned and not"
            }
            Self::Values4 => "4 values a key: insert, get all, contains",
            Self::Values100 => "100 values a key: insert, get all, contains",
            Self::Values1M => "one key with up to 1,000,000 values: insert, contains, iterate",
            Self::Growth => "bulk load, gets and bytes a pair at each of --sizes",
        }
    }

    /// The workload called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn names_lead_back() {
        for workload in Workload::ALL {
            assert_eq!(Workload::named(workload.name()), Some(workload));
        }
        assert_eq!(Workload::named("get"), None);
    }
}
