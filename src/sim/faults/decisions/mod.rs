//! What must hold of preemption and of queues: each decision of an engine to evict somebody is written down here, judged by a naive
//! count over what that engine was told (`judge`), and followed until the preemptor has its room (`follow`). Numbers are those of
//! docs/simulation.md.

mod follow;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::jobs::Job;
use super::rivalry::Rivalry;
use super::run::Run;
use super::store::Kind;
use super::timeline::Ms;
use crate::book::{Book, Holder};
use crate::engine::{Effect, Eviction};
use crate::model::{DeviceId, NodeName, Pod, PodKey, PodUid, Time};

/// Victims are waited for at most so long: what a nomination may take, two minutes, and a tick or two.
const AWAITED_MAX_MS: Ms = 126_000;
/// Whose wait was not shorter waited in vain.
const WAITED_MIN_MS: Ms = AWAITED_MAX_MS - 16_000;
/// What was sent for a decision arrives at most so long after it is over.
const ARRIVES_MS: Ms = 3000;
/// What the engine says to those whose node is lost.
pub(super) const NODE_LOST: &str = "its node is lost";

/// Everything that was decided in a run.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    made: Vec<Decision>,
    /// By replica: entries of its ledger that were seen.
    seen: BTreeMap<usize, usize>,
    /// How often one Job evicted another one, by UID.
    pairs: BTreeMap<(Arc<str>, Arc<str>), u32>,
    /// When victims have to go, as they were told, by the replica's clock.
    noticed: BTreeMap<(usize, PodUid), Time>,
    /// Since when pods are on their way out.
    deleted_at: BTreeMap<PodUid, Ms>,
}

impl Decisions {
    /// A process starts with an empty ledger.
    pub(super) fn begin(&mut self, replica: usize) {
        self.seen.insert(replica, 0);
    }

    /// A pod has its grace to end from now on.
    pub(super) fn deleted(&mut self, uid: &PodUid, now: Ms) {
        self.deleted_at.entry(uid.clone()).or_insert(now);
    }

    /// Whether a pod is on its way out for as long as anybody waits for victims: whoever waited for it did so in vain.
    fn is_stuck(&self, uid: &PodUid, now: Ms) -> bool {
        self.deleted_at.get(uid).is_some_and(|at| now > at + WAITED_MIN_MS)
    }

    /// Whether a pod goes by a decision, made by anybody, that is not over for long.
    pub(super) fn is_victim(&self, uid: &PodUid, now: Ms) -> bool {
        self.made.iter().any(|made| made.victims.contains_key(uid) && made.over_at.is_none_or(|over| now <= over + ARRIVES_MS))
    }
}

/// One decision.
#[derive(Debug)]
struct Decision {
    replica: usize,
    life: u64,
    preemptor: PodKey,
    job_uid: Arc<str>,
    /// The preemptor's pods that wait, one of them, and how many it needs at least.
    pods: BTreeSet<PodUid>,
    lead: Arc<Pod>,
    needed: u32,
    victims: BTreeMap<PodUid, Victim>,
    at: Ms,
    /// The same by the replica's clock.
    told_at: Time,
    /// How many changes of nodes there had been.
    nodes: usize,
    over_at: Option<Ms>,
}

#[derive(Clone, Debug)]
struct Victim {
    job: PodKey,
    job_uid: Arc<str>,
    key: PodKey,
    priority: i32,
    node: NodeName,
    devices: Vec<DeviceId>,
    milli: u64,
}

impl Run {
    /// After every step.
    pub(super) fn check_decisions(&mut self, at: usize, kind: &'static str, effects: &[Effect]) {
        if self.scenario.rivalry.is_none() {
            return;
        }
        let entries: Vec<Eviction> = {
            let ledger = &self.replicas[at].engine;
            let (seen, count) = (self.decisions.seen.get(&at).copied().unwrap_or(0), ledger.evictions().count());
            self.decisions.seen.insert(at, count);
            ledger.evictions().skip(seen).cloned().collect()
        };
        self.check_notices(at, effects);
        let mut by_preemptor: BTreeMap<String, Vec<Eviction>> = BTreeMap::new();
        entries.into_iter().for_each(|entry| by_preemptor.entry(entry.preemptor.clone()).or_default().push(entry));
        // Several may be made in one step: each is judged beside the others.
        let made: Vec<(usize, String, Vec<Vec<PodUid>>)> = by_preemptor
            .into_iter()
            .filter_map(|(preemptor, entries)| {
                self.enter_decision(at, &preemptor, &entries).map(|(place, units)| (place, preemptor, units))
            })
            .collect();
        // Who gave his room up in the same step, perhaps after the decision; of several decisions each was made in another book.
        let freed = |effect: &Effect| matches!(effect, Effect::Nominate { node: None, .. } | Effect::Notice { at: None, .. });
        let steady = made.len() == 1 && !effects.iter().any(freed);
        for (place, preemptor, units) in made {
            self.judge(at, place, &preemptor, &units, steady);
        }
        self.check_maxima(at, kind);
        self.check_goers(at, effects);
        if self.decisions.made.iter().any(|made| made.over_at.is_none() && made.replica == at) {
            self.follow_decisions(at);
        }
    }

    /// Writes a decision down, as the engine sees those it is about; where, and who goes together.
    fn enter_decision(&mut self, at: usize, preemptor: &str, entries: &[Eviction]) -> Option<(usize, Vec<Vec<PodUid>>)> {
        self.say(|| format!("gangplank {at}: for {preemptor} go {entries:?}"));
        let (kind, name) = preemptor.split_once(' ')?;
        let alone = kind == "pod";
        let waiting = self.replicas[at].pods.values().filter(|pod| pod.node.is_none() && !pod.deleting && !pod.request.is_empty());
        let named = |pod: &&Arc<Pod>| {
            let owner = pod.controller.as_ref().map(|owner| owner.key.to_string());
            if alone { pod.key.to_string() == name } else { owner.is_some_and(|owner| owner == name) }
        };
        let pods: Vec<Arc<Pod>> = waiting.filter(named).cloned().collect();
        // Of two Jobs of a name the one that is there.
        let there = |pod: &&Arc<Pod>| {
            let owner = pod.controller.as_ref();
            owner.is_some_and(|owner| self.jobs.get(&owner.key).is_some_and(|job| job.uid == owner.uid))
        };
        let there: Vec<Arc<Pod>> = pods.iter().filter(there).cloned().collect();
        let pods = if there.is_empty() { pods } else { there };
        let Some(lead) = pods.first().cloned() else {
            self.fail("I5", format!("{preemptor} evicts somebody, and none of its pods waits"));
            return None;
        };
        let (mut units, mut victims) = (Vec::new(), BTreeMap::new());
        for entry in entries {
            let unit: Vec<(PodUid, Victim)> = entry.pods.iter().filter_map(|key| self.victim(at, key, &victims)).collect();
            units.push(unit.iter().map(|(uid, _)| uid.clone()).collect());
            victims.extend(unit);
        }
        self.counts.decisions += 1;
        self.counts.victims += victims.len() as u64;
        let owner = lead.controller.clone()?;
        self.decisions.made.push(Decision {
            replica: at,
            life: self.replicas[at].life,
            preemptor: if alone { lead.key.clone() } else { owner.key.clone() },
            job_uid: owner.uid.clone(),
            // Of a Job that is deleted by now nothing more is known.
            needed: self
                .jobs
                .get(&owner.key)
                .filter(|job| job.uid == owner.uid)
                .map_or(0, |job| if alone { 1 } else { self.missing(at, job) }),
            pods: pods.iter().map(|pod| pod.uid.clone()).collect(),
            lead,
            victims,
            at: self.now,
            told_at: self.time() + Duration::from_millis(self.replicas[at].ahead_ms),
            nodes: self.store.log(Kind::Nodes).len(),
            over_at: None,
        });
        Some((self.decisions.made.len() - 1, units))
    }

    /// How many of a gang have no place yet: a Binding of which nobody knew may have turned out well.
    fn missing(&self, at: usize, job: &Job) -> u32 {
        let (replica, going) = (&self.replicas[at], self.going(at));
        let of = |pod: &Arc<Pod>| pod.controller.as_ref().is_some_and(|owner| owner.uid == job.uid);
        let there = replica.engine.book().holders().filter(|holder| {
            let upheld = !going.contains(&holder.uid) && !self.silent.contains(&holder.node) && self.store.node(&holder.node).is_some();
            holder.state.is_committed() && upheld && replica.pods.get(&holder.uid).is_some_and(of)
        });
        job.plan.min.saturating_sub(u32::try_from(there.count()).unwrap_or(0))
    }

    /// A pod that is to go, as the engine's book has it.
    fn victim(&self, at: usize, key: &PodKey, others: &BTreeMap<PodUid, Victim>) -> Option<(PodUid, Victim)> {
        let replica = &self.replicas[at];
        // Of two of a name the one that is not known to go, and the later one: of the other nobody heard that it is gone. Both may go.
        let named = replica.engine.book().holders().filter(|holder| holder.key == *key && !others.contains_key(&holder.uid));
        let holder = named.max_by_key(|holder| replica.pods.get(&holder.uid).map(|pod| (!pod.deleting, pod.created_at)))?;
        let pod = replica.pods.get(&holder.uid)?;
        let owner = pod.controller.as_ref()?;
        let victim = Victim {
            job: owner.key.clone(),
            job_uid: owner.uid.clone(),
            key: key.clone(),
            priority: pod.priority,
            node: holder.node.clone(),
            devices: holder.takes.iter().filter_map(|take| take.device.clone()).collect(),
            milli: holder.takes.iter().map(|take| u64::from(take.milli())).sum(),
        };
        Some((holder.uid.clone(), victim))
    }

    /// Pods on their way out, as the engine was told.
    fn going(&self, at: usize) -> BTreeSet<PodUid> {
        let pods = self.replicas[at].pods.values().filter(|pod| pod.node.is_some());
        let suspended = |pod: &Pod| pod.controller.as_ref().is_some_and(|owner| self.replicas[at].suspended.contains(&owner.uid));
        pods.filter(|pod| pod.deleting || suspended(pod)).map(|pod| pod.uid.clone()).collect()
    }

    /// Who waits for victims.
    fn preempting(&self, at: usize) -> BTreeSet<String> {
        let queue = self.replicas[at].engine.queue().into_iter();
        queue.filter(|status| status.phase.name() == "preempting").map(|status| status.id.key.to_string()).collect()
    }

    /// Whether a Job goes as a whole by decisions that stand, as far as it runs.
    pub(super) fn goes_by_decision(&self, job: &Job) -> bool {
        let bound = |uid: &&PodUid| self.store.pod(uid).is_some_and(|pod| pod.occupies() && !pod.deleting);
        let mut bound = job.members.values().filter(bound).peekable();
        bound.peek().is_some() && bound.all(|uid| self.decisions.is_victim(uid, self.now))
    }
}

/// Whether it keeps something for a gang or pod of this name.
fn is_kept_for(holder: &Holder, preemptor: &PodKey) -> bool {
    holder.key.namespace.is_empty() && *holder.key.name == format!("held for {preemptor}")
}

/// The same without some.
fn held_but(book: &Book, rivalry: &Rivalry, queue: usize, but: impl Fn(&Holder) -> bool) -> u64 {
    let of = |holder: &&Holder| rivalry.queue_of(&holder.key.namespace).is_some_and(|own| rivalry.path(own).any(|at| at == queue));
    book.holders().filter(of).filter(|holder| !but(holder)).flat_map(|holder| &holder.takes).map(|take| u64::from(take.milli())).sum()
}
