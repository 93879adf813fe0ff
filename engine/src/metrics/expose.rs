//! The metrics as OpenMetrics text, by `prometheus-client`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::catalog::{Family, Read, families};
use super::{Histogram, Metrics, Scale};
use crate::error::Result;
use crate::handle::Store;
use crate::transaction;

impl Store {
    /// The metrics of the store as OpenMetrics text, which Prometheus reads: `docs/metrics.md` says what each means.
    ///
    /// ```
    /// # use cidstore_engine::{Error, Store};
    /// # fn main() -> Result<(), Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let store = Store::open(folder.path().join("exposed.h5"))?;
    /// store.insert(1, 10)?;
    /// let text = store.expose_metrics()?;
    /// assert!(text.contains("cidstore_operations_total{op=\"insert\"} 1\n"));
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed); [`Error::Nested`](crate::Error::Nested) from within [`write`](Self::write). A failed store tells its metrics, this
    /// among them.
    pub fn expose_metrics(&self) -> Result<String> {
        transaction::check_not_nested(self.engine())?;
        self.engine().shared.check_open()?;
        Ok(self.metrics().to_openmetrics())
    }
}

impl Metrics {
    /// The figures as OpenMetrics text. Counters of a window, see [`since`](Self::since), are not what Prometheus expects: it
    /// makes its own.
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot(self.clone())));
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            unreachable!("a string takes all that is written to it");
        }
        text
    }
}

#[derive(Debug)]
struct Snapshot(Metrics);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("cidstore", "Version of the library", None, MetricType::Info)?
            .encode_info(&version)?;
        families().try_for_each(|family| encode_family(&mut encoder, family, &self.0))
    }
}

fn encode_family(
    encoder: &mut DescriptorEncoder,
    family: &Family,
    metrics: &Metrics,
) -> fmt::Result {
    let unit = family.unit.map(|unit| Unit::Other(unit.into()));
    let kind = family.samples.first().map_or(MetricType::Unknown, |(_, read)| metric_type(*read));
    let mut encoder = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
    for (value, read) in family.samples {
        match family.label {
            Some(label) => {
                let labels = [(label, *value)];
                encode_sample(&mut encoder.encode_family(&labels)?, *read, metrics)?;
            }
            None => encode_sample(&mut encoder, *read, metrics)?,
        }
    }
    Ok(())
}

fn metric_type(read: Read) -> MetricType {
    match read {
        Read::Counter(_) | Read::Amount(_) => MetricType::Counter,
        Read::Gauge(_) | Read::Fraction(_) => MetricType::Gauge,
        Read::Histogram(_) => MetricType::Histogram,
    }
}

fn encode_sample(encoder: &mut MetricEncoder, read: Read, metrics: &Metrics) -> fmt::Result {
    match read {
        Read::Counter(read) => encoder.encode_counter::<NoLabelSet, _, u64>(&read(metrics), None),
        Read::Amount(read) => encoder.encode_counter::<NoLabelSet, _, f64>(&read(metrics), None),
        Read::Gauge(read) => encoder.encode_gauge(&read(metrics)),
        Read::Fraction(read) => encoder.encode_gauge(&read(metrics)),
        Read::Histogram(read) => encode_histogram(encoder, read(metrics)),
    }
}

fn encode_histogram(encoder: &mut MetricEncoder, histogram: &Histogram) -> fmt::Result {
    // Seconds, or things.
    let in_unit = |value: u64| match histogram.scale() {
        Scale::Nanoseconds => value as f64 / 1e9,
        Scale::Count => value as f64,
    };
    let buckets: Vec<(f64, u64)> = histogram
        .buckets()
        .map(|(bound, count)| (bound.map_or(f64::INFINITY, in_unit), count))
        .collect();
    let (sum, count) = (in_unit(histogram.sum()), histogram.count());
    encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
