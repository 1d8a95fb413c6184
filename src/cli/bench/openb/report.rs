//! What `bench openb` prints: means and deviations over seeds, ours first, beside what was published.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::percentiles::median;
use crate::sim::openb::{ALL, Fill, Published, Spread};

/// Arrived percent at which the allocation is told.
const POINTS: [u64; 10] = [50, 80, 90, 95, 98, 100, 105, 110, 120, 130];
/// Of these, in the table.
const SHOWN: [u64; 5] = [90, 95, 100, 110, 130];

/// `{list, seeds, policies: {NAME: {...}}}`.
#[derive(serde::Serialize)]
pub(super) struct Report {
    pub(super) list: String,
    pub(super) seeds: Vec<u64>,
    pub(super) policies: Policies<Figures>,
}

/// In the order of the run.
pub(super) struct Policies<F>(pub(super) Vec<(&'static str, F)>);

impl<F: Serialize> Serialize for Policies<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, figures) in &self.0 {
            map.serialize_entry(name, figures)?;
        }
        map.end()
    }
}

/// Of one policy, over all seeds.
#[derive(serde::Serialize)]
pub(super) struct Figures {
    /// Percent of all GPUs allocated, by percent arrived; the mean over seeds.
    alloc_pct_at: BTreeMap<u64, f64>,
    /// At 130 % arrived, over seeds.
    std_at_130: Option<f64>,
    /// Percent allocated when the first pod that asks for GPUs was refused; the mean over seeds.
    first_refusal_pct: Option<f64>,
    /// Pods refused of a seed, the mean.
    refused_mean: f64,
    /// The median over seeds of each seed's rank; of our engine the filter step alone.
    us_per_decision_median: f64,
    us_per_decision_p99: f64,
    /// What a decision costs beside that while nobody waits, the mean; only of our engine in process.
    us_ahead_per_decision: Option<f64>,
}

impl Figures {
    pub(super) fn of(fills: &[Fill]) -> Self {
        let at = |percent: u64| Spread::of(fills.iter().filter_map(|fill| fill.curve.at(percent)));
        let us = |percent: usize| median(fills.iter().map(|fill| percentile_us(&fill.decisions_ns, percent)).collect());
        let mean = |spread: Option<Spread>| spread.map(|spread| rounded(spread.mean));
        Self {
            alloc_pct_at: POINTS.iter().filter_map(|point| Some((*point, mean(at(*point))?))).collect(),
            std_at_130: at(130).map(|spread| rounded(spread.std)),
            first_refusal_pct: mean(Spread::of(fills.iter().filter_map(|fill| fill.first_refusal_pct))),
            refused_mean: mean(Spread::of(fills.iter().map(|fill| fill.refused as f64))).unwrap_or(0.0),
            us_per_decision_median: rounded(us(50)),
            us_per_decision_p99: rounded(us(99)),
            us_ahead_per_decision: mean(Spread::of(fills.iter().filter_map(|fill| Some(fill.ahead_ns_mean? as f64 / 1000.0)))),
        }
    }
}

/// Figures are told to a thousandth.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn percentile_us(times_ns: &[u64], percent: usize) -> f64 {
    let mut times_ns = times_ns.to_vec();
    times_ns.sort_unstable();
    let rank = (times_ns.len() * percent).div_ceil(100).saturating_sub(1);
    times_ns.get(rank).map_or(0.0, |time_ns| *time_ns as f64 / 1000.0)
}

impl Report {
    pub(super) fn table(&self, published: &Published) -> String {
        let mut text = format!("{}, {} seeds; percent of all GPUs allocated when so much had arrived\n", self.list, self.seeds.len());
        let heads: String = SHOWN.iter().fold(String::new(), |heads, point| heads + &format!(" | {:>6}", format!("@{point}")));
        let _ = writeln!(
            text,
            "{:>16}{heads} | std@130 | 1st refusal | refused | us p50 | us p99 | us ahead | published @130, difference",
            "policy"
        );
        for (name, figures) in &self.policies.0 {
            let _ = write!(text, "{name:>16}");
            for point in SHOWN {
                let _ = write!(text, " | {:>6}", percent(figures.alloc_pct_at.get(&point).copied()));
            }
            let _ = write!(
                text,
                " | {:>7} | {:>11} | {:>7.0} | {:>6.1} | {:>6.1} | {:>8} |",
                percent(figures.std_at_130),
                percent(figures.first_refusal_pct),
                figures.refused_mean,
                figures.us_per_decision_median,
                figures.us_per_decision_p99,
                figures.us_ahead_per_decision.map_or_else(|| "-".into(), |us| format!("{us:.1}")),
            );
            let theirs = ALL.iter().find(|baseline| baseline.name == *name).and_then(|baseline| baseline.published);
            let theirs = theirs.and_then(|policy| published.at(&self.list, policy, 130));
            if let (Some(theirs), Some(here)) = (theirs, figures.alloc_pct_at.get(&130)) {
                let _ = write!(text, " {:.2}, {:+.2}", theirs.mean, here - theirs.mean);
            }
            text.push('\n');
        }
        text.push_str(
            "1st refusal: percent allocated when a pod that asks for GPUs was first refused. Nobody was refused while a node fitted.\n",
        );
        text.push_str("us: one decision while other runs keep the other cores busy; of gangplank the engine's filter step alone,\n    through the protocol kube-scheduler's whole loop for a pod;\n    us ahead: what the engine works out besides, when it has answered, by decision\n");
        text
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}
