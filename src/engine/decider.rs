//! The engine itself: what it remembers, and which part answers which input.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::domains::Domains;
use super::fabric::FabricSources;
use super::lane::Lane;
use super::quarantine::Quarantines;
use super::valuation::Valuation;
use super::verdicts::Verdicts;
use super::wake::Gain;
use super::{Answer, Effect, Input, Output, PodRef, Trace};
use crate::book::{Book, Holder, HolderState, Load, Shape, Violation, takes};
use crate::model::{Budget, Grant, Health, NodeName, Pod, PodUid, PriorityClass, Quota, Reason, Time};
use crate::policy::{Profiles, Rules};
use crate::queue::Ledger;
use crate::topology::fabric::Fabric;

/// The whole decider: books, rules and the memory of what it decided.
#[derive(Debug)]
pub struct Engine {
    pub(super) profiles: Profiles,
    pub(super) verdicts: Verdicts,
    pub(super) valuation: Valuation,
    pub(super) book: Book,
    pub(super) fabric: Fabric,
    pub(super) sources: FabricSources,
    pub(super) domains: Domains,
    pub(super) lane: Lane,
    pub(super) queues: Ledger,
    pub(super) quarantines: Quarantines,
    /// What this step wants done.
    pub(super) effects: Vec<Effect>,
    /// Pods that ask for something managed, by UID.
    pub(super) pods: BTreeMap<PodUid, Record>,
    pub(super) volumes: super::volumes::Volumes,
    /// By namespace and name.
    pub(super) quotas: BTreeMap<(Arc<str>, Arc<str>), Quota>,
    pub(super) budgets: BTreeMap<(Arc<str>, Arc<str>), Budget>,
    pub(super) priority_classes: BTreeMap<Arc<str>, PriorityClass>,
    pub(super) synced: bool,
    /// When capacity last grew in a way that kube-scheduler may not have seen.
    pub(super) gain: Option<Gain>,
    pub(super) counts: Counts,
}

/// A pod that asks for something managed.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) pod: Pod,
    pub(super) first_seen_at: Time,
    pub(super) seen_at: Time,
    /// When kube-scheduler last asked about it.
    pub(super) asked_at: Time,
    /// Its last refusal, until it is placed.
    pub(super) refused: Option<(Time, Reason)>,
    /// What the condition of a gated pod says by our word.
    pub(super) said: Option<Reason>,
    /// The last text that people were told, and when.
    pub(super) told: Option<(Time, String)>,
    pub(super) trace: Option<Arc<Trace>>,
    /// The watch, or a list, has shown it: a question may be about a pod that is gone.
    pub(super) shown: bool,
}

/// What happened since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) drift: BTreeMap<&'static str, u64>,
    pub(super) refused: BTreeMap<&'static str, u64>,
    pub(super) holds_expired: u64,
}

/// Numbers for metrics, all from closed sets.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Whether questions are answered.
    pub synced: bool,
    /// Known nodes.
    pub nodes: usize,
    /// Pods that ask for something managed and hold nothing.
    pub pods_waiting: usize,
    /// Holders by state.
    pub holders: Vec<(&'static str, usize)>,
    /// Devices by class and state (`free`, `whole`, `shared`, `unnamed`, `unhealthy`).
    pub devices: BTreeMap<(Arc<str>, &'static str), u64>,
    /// Differences that relists found and healed, by kind, since the start.
    pub drift: BTreeMap<&'static str, u64>,
    /// Refusals by reason code, since the start.
    pub refused: BTreeMap<&'static str, u64>,
    /// Holds that nobody confirmed in time, since the start.
    pub holds_expired: u64,
    /// Victims that were told to go since the start: `gang`, `surplus` or `pod`.
    pub preemptions: BTreeMap<&'static str, u64>,
    /// Nodes in quarantine.
    pub quarantined: usize,
    /// Gangs of more than one pod by phase.
    pub gangs: BTreeMap<&'static str, usize>,
}

impl Engine {
    /// An engine with empty books, that answers nothing before [`Input::Synced`].
    pub fn new(profiles: impl Into<Profiles>) -> Self {
        let profiles = profiles.into();
        let fabric = Fabric::new(profiles.fabric().clone());
        let mut queues = Ledger::default();
        queues.set_rules(profiles.queues());
        Self {
            profiles,
            verdicts: Verdicts::default(),
            valuation: Valuation::default(),
            book: Book::default(),
            fabric,
            sources: FabricSources::default(),
            domains: Domains::default(),
            lane: Lane::default(),
            queues,
            quarantines: Quarantines::default(),
            effects: Vec::new(),
            pods: BTreeMap::new(),
            volumes: super::volumes::Volumes::default(),
            quotas: BTreeMap::new(),
            budgets: BTreeMap::new(),
            priority_classes: BTreeMap::new(),
            synced: false,
            gain: None,
            counts: Counts::default(),
        }
    }

    /// Takes one input at a time that the caller read off its clock.
    pub fn step(&mut self, now: Time, input: Input<'_>) -> Output {
        if matches!(input, Input::Filter(_) | Input::Prioritize(_) | Input::Bind(_) | Input::Plan | Input::Tick | Input::Synced) {
            self.follow_objects(now);
        }
        self.queues.charge(now, &self.book, self.profiles.classes());
        let mut output = self.take(now, input);
        self.queues.count(&self.book, self.profiles.classes());
        output.effects.append(&mut self.effects);
        output
    }

    fn take(&mut self, now: Time, input: Input<'_>) -> Output {
        match input {
            Input::PodApplied(pod) => self.pod_applied(now, pod),
            Input::PodDeleted(uid) => self.pod_deleted(now, &uid),
            Input::NodeApplied(node) => self.node_applied(now, node),
            Input::NodeDeleted(name) => self.node_deleted(now, &name),
            Input::VolumeApplied(volume) => self.volume_applied(volume),
            Input::VolumeDeleted(name) => self.volume_deleted(&name),
            Input::QuotaApplied(quota) => self.quota_applied(now, quota),
            Input::QuotaDeleted { namespace, name } => self.quota_deleted(now, namespace, name),
            Input::BudgetApplied(budget) => self.budget_applied(budget),
            Input::BudgetDeleted { namespace, name } => self.budget_deleted(namespace, name),
            Input::PriorityClassApplied(class) => drop(self.priority_classes.insert(class.name.clone(), class)),
            Input::PriorityClassDeleted(name) => drop(self.priority_classes.remove(&name)),
            Input::TopologyApplied { name, label_keys } => self.topology_applied(name, label_keys),
            Input::TopologyDeleted(name) => self.topology_deleted(&name),
            Input::HyperNodeApplied(hyper_node) => self.hyper_node_applied(hyper_node),
            Input::HyperNodeDeleted(name) => self.hyper_node_deleted(&name),
            Input::ProfilesReplaced(profiles) => self.profiles_replaced(now, profiles),
            Input::Synced => self.synced(now),
            Input::Desynced => self.desynced(now),
            Input::Relisted { pods, nodes } => return self.relisted(now, pods, nodes),
            Input::Tick => return self.tick(now),
            Input::Prepare => self.prepare(),
            Input::GangApplied(spec) => self.gang_applied(now, spec),
            Input::GangDeleted(id) => self.gang_deleted(now, &id),
            Input::EndedListed { namespace, pods } => self.ended_listed(now, &namespace, &pods),
            Input::NodeFailed(failure) => self.node_failed(now, failure),
            Input::CreationFailed(failure) => self.creation_failed(now, failure),
            Input::ProvisioningServed(version) => self.provisioning_served(version),
            Input::ProvisioningApplied(request) => self.provisioning_applied(now, request),
            Input::ProvisioningDeleted(key) => self.provisioning_deleted(now, &key),
            Input::Plan => return self.plan_next(now),
            Input::BindOutcome { uid, node, outcome } => self.bind_outcome(now, &uid, &node, outcome),
            Input::Filter(_) | Input::Prioritize(_) | Input::Preempt(_) | Input::Bind(_) if !self.synced => {
                return Output { answer: Answer::NotReady, ..Output::default() };
            }
            Input::Filter(query) => return self.filter(now, query),
            Input::Prioritize(query) => return self.prioritize(query),
            Input::Preempt(query) => return self.preempt(query),
            Input::Bind(query) => return self.bind(now, query),
        }
        Output::default()
    }

    fn synced(&mut self, now: Time) {
        if !std::mem::replace(&mut self.synced, true) {
            self.take_over(now);
        }
    }

    fn desynced(&mut self, now: Time) {
        if std::mem::replace(&mut self.synced, false) {
            self.step_down(now);
        }
    }

    /// The profiles in force.
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The rules for a pod.
    pub(super) fn rules(&self, pod: &Pod) -> Arc<Rules> {
        self.profiles.of(pod).0.clone()
    }

    /// What was decided stays; what was refused may be taken now.
    fn profiles_replaced(&mut self, now: Time, profiles: Profiles) {
        self.profiles = profiles;
        self.line_up(now);
        self.lay_out(now);
        self.verdicts = Verdicts::default();
        self.gained(now);
    }

    /// The ledger, to read.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// A digest of durable facts: equal after a restart over the same API objects.
    pub fn digest(&self) -> String {
        self.book.digest()
    }

    /// Why the last decision on a pod came out as it did.
    pub fn explain(&self, uid: &PodUid) -> Option<Arc<Trace>> {
        let trace = self.pods.get(uid)?.trace.clone()?;
        // Of many that are alike and wait, one is looked at.
        match self.lane.told(uid).filter(|told| trace.refusal.as_ref().is_some_and(|known| known != *told)) {
            Some(told) => Some(Arc::new(Trace { refusal: Some(told.clone()), ..Trace::clone(&trace) })),
            None => Some(trace),
        }
    }

    /// A pod that asks for something managed, by namespace and name; of several that bore the name, the one seen last.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        let named = self.pods.values().filter(|record| &*record.pod.key.namespace == namespace && &*record.pod.key.name == name);
        named.max_by_key(|record| record.seen_at).map(|record| &record.pod)
    }

    /// Every unfinished pod with devices that it was told of, by a watch or by a question.
    pub fn told_of(&self) -> impl Iterator<Item = &PodUid> {
        self.pods.keys()
    }

    /// Pods that wait, with the reason of their last refusal.
    pub fn waiting(&self) -> impl Iterator<Item = (&Pod, Option<&Reason>)> {
        let waits = |record: &&Record| !record.pod.occupies() && self.book.holder(&record.pod.uid).is_none();
        self.pods.values().filter(waits).map(|record| (&record.pod, record.refused.as_ref().map(|(_, reason)| reason)))
    }

    /// Everything that does not hold and should.
    pub fn violations(&mut self) -> Vec<Violation> {
        self.book.violations()
    }

    /// Numbers for metrics.
    pub fn census(&self) -> Census {
        let mut devices = BTreeMap::new();
        for (node, pool) in self.book.nodes().flat_map(|entry| entry.pools.iter().map(|pool| (&entry.node, pool))) {
            let class = self.profiles.classes().of(pool.resource.as_str()).map_or_else(|| Arc::from("other"), |class| class.name.clone());
            let unhealthy =
                pool.pool(node).map_or(0, |facts| facts.devices.iter().filter(|device| device.health == Health::Unhealthy).count());
            let states = [
                ("free", u64::from(pool.free)),
                ("whole", u64::from(pool.whole.count_ones())),
                ("shared", u64::from(pool.shared.count_ones())),
                ("unnamed", u64::from(pool.unnamed)),
                ("unhealthy", unhealthy as u64),
            ];
            for (state, count) in states {
                *devices.entry((class.clone(), state)).or_default() += count;
            }
        }
        Census {
            synced: self.synced,
            nodes: self.book.node_count(),
            quarantined: self.quarantined(),
            pods_waiting: self.waiting().count(),
            holders: self.book.census().to_vec(),
            devices,
            drift: self.counts.drift.clone(),
            refused: self.counts.refused.clone(),
            holds_expired: self.counts.holds_expired,
            preemptions: self.lane.ledger.counts(),
            gangs: self.lane.census(),
        }
    }

    /// The record of a pod, with the newest view of it.
    pub(super) fn record(&mut self, now: Time, pod: &Pod) -> &mut Record {
        let fresh = || Record {
            pod: pod.clone(),
            first_seen_at: now,
            seen_at: now,
            asked_at: Time::default(),
            refused: None,
            said: None,
            told: None,
            trace: None,
            shown: false,
        };
        let record = self.pods.entry(pod.uid.clone()).or_insert_with(fresh);
        record.seen_at = now;
        record
    }

    /// Enters what a grant comes to. The grant is one of ours, or a record that was taken at its word.
    pub(super) fn hold(&mut self, now: Time, pod: &Pod, node: NodeName, grant: Option<Grant>, state: HolderState) {
        let (takes, honoured) = takes(&pod.request, grant.as_ref());
        if takes.is_empty() {
            return;
        }
        self.book.set_holder(Holder {
            uid: pod.uid.clone(),
            key: pod.key.clone(),
            priority: pod.priority,
            node,
            state,
            grant: grant.filter(|_| honoured),
            takes,
            load: Load::of(pod),
            changed_at: now,
        });
    }
}

/// The reference that effects carry.
pub(super) fn reference(pod: &Pod) -> PodRef {
    PodRef { key: pod.key.clone(), uid: pod.uid.clone() }
}

/// The shape of a pod's request; none for an impossible one.
pub(super) fn shape(pod: &Pod) -> Option<Shape<'_>> {
    Shape::of(&pod.request)
}
