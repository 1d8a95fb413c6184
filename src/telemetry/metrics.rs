//! The metric table: a metric stands in this one list or does not exist. Base units, closed label sets, nothing per
//! pod: the number of series depends on the program and the accelerator classes, never on how many pods there are.

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// What is known of a metric without running anything: for docs, dashboards and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The full name.
    pub name: &'static str,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it counts, in which unit.
    pub help: &'static str,
}

trait Family: Sized {
    fn build(row: &Row) -> Result<Self, prometheus::Error>;
}

macro_rules! table {
    ($(#[doc = $help:literal] $field:ident: $type:ty = $name:literal [$($label:literal),*];)+) => {
        /// Every metric there is.
        pub const TABLE: &[Row] = &[$(Row { name: $name, labels: &[$($label),*], help: $help.trim_ascii() },)+];

        /// The metrics of one process (or of one test), each a field.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $type,)+
        }

        impl Metrics {
            fn build() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                let mut rows = TABLE.iter();
                $(
                    let $field = <$type as Family>::build(rows.next().ok_or(prometheus::Error::AlreadyReg)?)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field,)+ })
            }
        }
    };
}

table! {
    /// Calls of the scheduler's verbs by HTTP status; `error` stands for an answer with the protocol's Error filled.
    requests: IntCounterVec = "gangplank_extender_requests_total" ["verb", "code"];
    /// Seconds from a verb's parsed headers to its answer.
    duration: HistogramVec = "gangplank_extender_duration_seconds" ["verb"];
    /// Seconds that the engine's lock was held, per input.
    step: Histogram = "gangplank_engine_step_seconds" [];
    /// 1 while questions are answered.
    ready: IntGauge = "gangplank_ready" [];
    /// Pods in the book by what they do there.
    holders: IntGaugeVec = "gangplank_book_holders" ["state"];
    /// Gangs of more than one pod by phase (docs/states.md).
    gangs: IntGaugeVec = "gangplank_gangs" ["phase"];
    /// Devices by accelerator class and state.
    devices: IntGaugeVec = "gangplank_devices" ["class", "state"];
    /// Devices of queues by class: `in-use`, `borrowed`, `guaranteed`, `maximum` (`guaranteed-boxes`, `maximum-boxes` in whole nodes).
    queue_devices: GaugeVec = "gangplank_queue_devices" ["queue", "class", "kind"];
    /// Gangs and single pods that wait for a place, by queue.
    queue_waiting: IntGaugeVec = "gangplank_queue_waiting" ["queue"];
    /// What a queue had of late and holds, as a fraction of what it and its siblings have.
    queue_share: GaugeVec = "gangplank_queue_share" ["queue"];
    /// Nodes that the book knows.
    nodes: IntGauge = "gangplank_book_nodes" [];
    /// Nodes in quarantine.
    nodes_quarantined: IntGauge = "gangplank_nodes_quarantined" [];
    /// Differences between book and API objects, found and healed by a relist.
    drift: IntCounterVec = "gangplank_book_drift_total" ["kind"];
    /// Relists compared with the book.
    relists: IntCounterVec = "gangplank_relists_total" ["outcome"];
    /// Questions refused by reason.
    refused: IntCounterVec = "gangplank_refusals_total" ["reason"];
    /// Victims that were told to go, by what they are.
    preemptions: IntCounterVec = "gangplank_preemptions_total" ["victim"];
    /// Holds that no bind followed in time.
    holds_expired: IntCounter = "gangplank_holds_expired_total" [];
    /// Broken invariants by kind, found by the running check.
    violations: IntCounterVec = "gangplank_invariant_violations_total" ["kind"];
    /// Panics caught at the engine's door; each one rebuilds the book.
    panics: IntCounter = "gangplank_engine_panics_total" [];
    /// Watch events by resource and kind.
    watch_events: IntCounterVec = "gangplank_watch_events_total" ["resource", "kind"];
    /// Objects that could not be read, by resource.
    unreadable: IntCounterVec = "gangplank_unreadable_objects_total" ["resource"];
    /// Effects by kind and outcome.
    effects: IntCounterVec = "gangplank_effects_total" ["kind", "outcome"];
    /// Bindings by outcome.
    bindings: IntCounterVec = "gangplank_bindings_total" ["outcome"];
    /// Seconds of one binding, from the read to the reported outcome.
    binding_duration: Histogram = "gangplank_binding_duration_seconds" [];
    /// Bindings under way.
    bindings_in_flight: IntGauge = "gangplank_bindings_in_flight" [];
    /// Journal entries by where they went.
    journal: IntCounterVec = "gangplank_journal_entries_total" ["sink"];
    /// Open HTTP connections.
    connections: IntGauge = "gangplank_http_connections" [];
    /// Connections closed by us, by why.
    connections_closed: IntCounterVec = "gangplank_http_connections_closed_total" ["why"];
    /// Profiles that were not taken when their files changed.
    profile_reload_failures: IntCounter = "gangplank_profile_reload_failures_total" [];
    /// 1 while the files on disk are not the profiles in force.
    profile_stale: IntGauge = "gangplank_profile_stale" [];
    /// When the profiles in force were taken, in seconds since the Unix epoch.
    profile_taken: IntGauge = "gangplank_profile_taken_timestamp_seconds" [];
    /// 1 for each profile in force, with its name and a digest of its text.
    profile_info: IntGaugeVec = "gangplank_profile_info" ["profile", "digest"];
    /// Writes of `gangplank-provision run` by name and outcome.
    provision_writes: IntCounterVec = "gangplank_provision_writes_total" ["write", "outcome"];
    /// Live specs by kind and phase.
    provision_specs: IntGaugeVec = "gangplank_provision_specs" ["kind", "phase"];
    /// Live specs that wait to be looked at.
    provision_waiting: IntGauge = "gangplank_provision_waiting" [];
    /// 1 while this replica of `gangplank-provision run` leads.
    provision_leads: IntGauge = "gangplank_provision_leads" [];
    /// 1, with the version as label.
    build_info: IntGaugeVec = "gangplank_build_info" ["version"];
}

/// Outcomes of effects: the closed label set of `gangplank_effects_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Carried out.
    Done,
    /// The API server said no.
    Failed,
    /// Not queued, because the queue was full.
    Dropped,
    /// Not carried out, because the same effect was carried out a moment ago.
    Merged,
}

impl Effects {
    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::Merged => "merged",
        }
    }
}

/// Outcomes of bindings: the closed label set of `gangplank_bindings_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Written by us, now.
    Bound,
    /// Found written already.
    AlreadyBound,
    /// Refused by the engine, or by the API server for good.
    Refused,
    /// Nobody knows yet; the hold stays.
    Unknown,
}

impl Writes {
    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::AlreadyBound => "already-bound",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl Metrics {
    /// Fresh metrics, all at zero.
    ///
    /// # Panics
    /// Never: the table is constant, and a test builds it.
    #[expect(clippy::expect_used, reason = "the table is constant, and a test builds it")]
    pub fn new() -> Self {
        let metrics = Self::build().expect("names in the metric table are valid and unique");
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }

    /// The exposition text.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// 20 us to 5 s: a filter call is tens of microseconds, a throttled binding seconds.
const SECONDS: &[f64] =
    &[0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

impl Row {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(), buckets: SECONDS.to_vec() }
    }
}

impl Family for IntCounter {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::with_opts(row.opts())
    }
}

impl Family for IntGauge {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::with_opts(row.opts())
    }
}

impl Family for Histogram {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::with_opts(row.histogram_opts())
    }
}

impl Family for IntCounterVec {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::new(row.opts(), row.labels)
    }
}

impl Family for GaugeVec {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::new(row.opts(), row.labels)
    }
}

impl Family for IntGaugeVec {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::new(row.opts(), row.labels)
    }
}

impl Family for HistogramVec {
    fn build(row: &Row) -> Result<Self, prometheus::Error> {
        Self::new(row.histogram_opts(), row.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_ours_carries_its_unit_and_no_pod() {
        for row in TABLE {
            assert!(row.name.starts_with("gangplank_"), "{}", row.name);
            assert!(!row.labels.iter().any(|label| ["pod", "namespace", "node", "uid", "user"].contains(label)), "{}", row.name);
        }
        let text = String::from_utf8(Metrics::new().render()).unwrap();
        assert!(text.contains("# HELP gangplank_ready 1 while questions are answered."), "{text}");
        assert!(text.contains(&format!("gangplank_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))), "{text}");
    }
}
