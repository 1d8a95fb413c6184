//! The ledger of preemption: who was told to go for whom, by which rule, and what it cost. It answers people, counts for
//! metrics, and remembers who took whose room, so that no two take it in turn under any rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{PodKey, Time};
use crate::preempt::Cost;

/// Entries kept; older ones are forgotten.
const KEPT: usize = 512;

/// One victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// When it was told to go.
    pub at: Time,
    /// Who: `gang ns/train`, `pod ns/web-0`.
    pub victim: String,
    /// Its pods.
    pub pods: Vec<PodKey>,
    /// By what its job is known through all its starts.
    pub job: Arc<str>,
    /// For whom.
    pub preemptor: String,
    /// By what that one's job is known.
    pub preemptor_job: Arc<str>,
    /// Why these: the rule, the priorities, and whether no other choice would have cost less.
    pub why: String,
    /// What was lost.
    pub cost: Cost,
    /// `gang`, `surplus` (above a gang's minimum) or `pod`.
    pub kind: &'static str,
}

/// Victims, the newest last.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ledger {
    entries: VecDeque<Eviction>,
    counts: BTreeMap<&'static str, u64>,
    /// Victim and preemptor, as jobs: their pods are others after each start.
    pairs: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Ledger {
    pub(super) fn add(&mut self, entry: Eviction) {
        *self.counts.entry(entry.kind).or_default() += 1;
        if self.pairs.len() >= KEPT {
            self.pairs.pop_first();
        }
        self.pairs.insert((entry.job.clone(), entry.preemptor_job.clone()));
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Whether one went for the other once.
    pub(super) fn went_for(&self, victim: &Arc<str>, preemptor: &Arc<str>) -> bool {
        self.pairs.contains(&(victim.clone(), preemptor.clone()))
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Eviction> {
        self.entries.iter()
    }

    pub(in crate::engine) fn counts(&self) -> BTreeMap<&'static str, u64> {
        ["gang", "surplus", "pod"].into_iter().map(|kind| (kind, self.counts.get(kind).copied().unwrap_or(0))).collect()
    }
}
