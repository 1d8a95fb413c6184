//! Nodes in quarantine: a node that fails pods again and again is given no more pods that ask for devices, for a while. What
//! runs or is promised there stays.
//!
//! Only what a tenant cannot bring about counts: kubelet refused devices that we granted (`status.reason` and our record of
//! devices are beyond tenants), or the node was not Ready while pods with devices were on it. How a pod's own program ended
//! says nothing about the node. Nothing is written anywhere: after a restart the pods that failed say it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::output::NodeEvent;
use super::{Effect, Engine};
use crate::model::{NodeFailure, NodeName, Time};
use crate::policy::QuarantineRule;

/// An operator's word on a node, as a label: it is in quarantine no more, and what failed so far does not count.
const LABEL: &str = "gangplank.dev/quarantine";
const OFF: &str = "off";
/// What fails one node in so many at once is no node's fault: no more than that are in quarantine together, one at least.
const ONE_IN: usize = 4;
/// Failures of one node that are remembered, beyond which the oldest goes.
const FAILURES_MAX: usize = 64;

/// Nodes of which something is remembered.
#[derive(Debug, Default)]
pub(super) struct Quarantines(BTreeMap<NodeName, Conduct>);

/// What a node did of late.
#[derive(Debug, Default)]
struct Conduct {
    /// When and why, by what failed: a pod counts once, however often it is told of.
    failures: BTreeMap<Arc<str>, (Time, Arc<str>)>,
    /// Failures up to here have been paid for.
    settled: Option<Time>,
    quarantine: Option<Quarantine>,
}

/// That a node is given nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// It ends then.
    pub until: Time,
    /// What failed, for people.
    pub why: String,
}

impl Conduct {
    /// Failures that count.
    fn open(&self, now: Time, rule: QuarantineRule) -> impl Iterator<Item = &(Time, Arc<str>)> {
        let settled = self.settled;
        self.failures.values().filter(move |(at, _)| now - *at < rule.within && settled.is_none_or(|settled| *at > settled))
    }

    fn note(&mut self, what: Arc<str>, at: Time, why: Arc<str>) {
        self.failures.entry(what).or_insert((at, why));
        if self.failures.len() > FAILURES_MAX
            && let Some(oldest) = self.failures.iter().min_by_key(|(_, (at, _))| *at).map(|(what, _)| what.clone())
        {
            self.failures.remove(&oldest);
        }
    }
}

impl Engine {
    /// Why a node is given nobody, if it is in quarantine.
    pub fn quarantine(&self, node: &NodeName) -> Option<&Quarantine> {
        self.quarantines.0.get(node)?.quarantine.as_ref()
    }

    pub(super) fn quarantined(&self) -> usize {
        self.quarantines.0.values().filter(|conduct| conduct.quarantine.is_some()).count()
    }

    /// A node did not run a pod of ours.
    pub(super) fn node_failed(&mut self, now: Time, failure: NodeFailure) {
        self.note_failure(now, &failure.node, failure.uid.as_str().into(), (failure.at.min(now), failure.why));
    }

    /// A node was away for long enough while pods with devices were on it.
    pub(super) fn node_was_away(&mut self, now: Time, node: &NodeName, since: Time) {
        self.note_failure(now, node, format!("away {}", since.unix_ms()).into(), (now, "was not Ready".into()));
    }

    fn note_failure(&mut self, now: Time, node: &NodeName, what: Arc<str>, (at, why): (Time, Arc<str>)) {
        let rule = self.quarantine_rule();
        if rule.failures > 0 && now - at < rule.within {
            self.quarantines.0.entry(node.clone()).or_default().note(what, at, why);
            self.judge_node(now, node);
        }
    }

    fn quarantine_rule(&self) -> QuarantineRule {
        self.profiles.default_rules().profile.quarantine
    }

    fn judge_node(&mut self, now: Time, node: &NodeName) {
        let (rule, others, spared) = (self.quarantine_rule(), self.quarantined(), self.is_spared(node));
        let room = others < (self.book.node_count() / ONE_IN).max(1);
        let Some(conduct) = self.quarantines.0.get_mut(node).filter(|conduct| conduct.quarantine.is_none()) else { return };
        let count = conduct.open(now, rule).count();
        let Some((last, _)) = conduct.open(now, rule).max_by_key(|(at, _)| *at).cloned() else { return };
        if spared {
            conduct.settled = Some(last);
        }
        if spared || count < rule.failures as usize || !room {
            return;
        }
        let mut whys: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (_, why) in conduct.open(now, rule) {
            *whys.entry(why.clone()).or_default() += 1;
        }
        conduct.settled = Some(last);
        let until = last + rule.lasts;
        if until <= now {
            return;
        }
        let whys: Vec<String> = whys.iter().map(|(why, count)| format!("{count} x {why}")).collect();
        let why = format!("{count} failures within {} s: {}", rule.within.as_secs(), whys.join(", "));
        let left_s = (until - now).as_secs();
        let text = format!("{why}; no pod that asks for devices is placed here for {left_s} s, or until the label {LABEL}={OFF}");
        conduct.quarantine = Some(Quarantine { until, why });
        self.book.set_quarantined(node, true);
        self.leave_seats_on(now, node);
        self.tell_of_node(node, "NodeQuarantined", text, true);
    }

    /// Time passed.
    pub(super) fn look_at_quarantines(&mut self, now: Time) {
        if self.quarantines.0.is_empty() {
            return;
        }
        let rule = self.quarantine_rule();
        let is_over = |quarantine: &Quarantine| quarantine.until <= now || rule.failures == 0;
        let over = |conduct: &Conduct| conduct.quarantine.as_ref().is_some_and(is_over);
        let ended: Vec<NodeName> = self.quarantines.0.iter().filter(|(_, conduct)| over(conduct)).map(|(node, _)| node.clone()).collect();
        for node in ended {
            self.end_quarantine(now, &node, "its time is over");
        }
        self.quarantines.0.retain(|_, conduct| {
            conduct.failures.retain(|_, (at, _)| now - *at < rule.within);
            conduct.quarantine.is_some() || !conduct.failures.is_empty()
        });
    }

    /// A node came or changed.
    pub(super) fn hear_operator(&mut self, now: Time, node: &NodeName) {
        if self.quarantines.0.contains_key(node) && self.is_spared(node) {
            if let Some(conduct) = self.quarantines.0.get_mut(node) {
                conduct.settled = Some(now);
            }
            self.end_quarantine(now, node, "an operator's label ended it");
        }
    }

    fn is_spared(&self, node: &NodeName) -> bool {
        self.book.node(node.as_str()).and_then(|entry| entry.node.labels.get(LABEL)).is_some_and(|word| &**word == OFF)
    }

    fn end_quarantine(&mut self, now: Time, node: &NodeName, why: &str) {
        let ended = self.quarantines.0.get_mut(node).and_then(|conduct| conduct.quarantine.take());
        if ended.is_some() {
            self.book.set_quarantined(node, false);
            self.gained(now);
            self.tell_of_node(node, "NodeQuarantineEnded", format!("{why}: pods that ask for devices are placed here again"), false);
        }
    }

    fn tell_of_node(&mut self, name: &NodeName, reason: &'static str, note: String, warning: bool) {
        if self.synced {
            self.effects.push(Effect::NodeEvent(NodeEvent { node: name.clone(), reason, note, warning }));
        }
    }
}
