//! What must hold: after every step of an engine, after every Binding, and at the end. Numbers are those of the
//! invariants in docs/simulation.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::run::Run;
use super::scenario::{Agent, Disturbance};
use super::store::{BindWrite, Kind};
use super::timeline::{Event, Ms, Watcher};
use crate::book::{HolderState, takes};
use crate::engine::{Answer, Refused, Score};
use crate::model::{Amount, DeviceId, NodeName, OwnerRef, Pod, PodKey, PodUid};

/// How long a gang may be there in part.
const PARTIAL_MAX_MS: Ms = 900_000;
/// So long after the last fault a relist has healed everything.
const HEALED_MS: Ms = 130_000;
/// A watch that has worked for so long has delivered what a list can know.
const WORKED_MS: Ms = 10_000;
/// After so long everybody has heard.
const HEARD_MS: Ms = 30_000;
/// After so long a member on a node that does not answer must have been told to go.
const UNREPAIRED_MS: Ms = 60_000;
/// How often one pod may be asked about in ten seconds.
const ASKED_MAX: u64 = 400;

impl Run {
    /// I1, I2, I13, I15, I19: after every step.
    pub(super) fn check_step(&mut self, at: usize, kind: &'static str) {
        let violations = self.replicas[at].engine.violations();
        if let Some(violation) = violations.into_iter().find(|violation| matches!(violation.kind, "index" | "fold" | "checkpoint")) {
            return self.fail("I19", format!("after {kind}: {}: {}", violation.kind, violation.text));
        }
        let decides = self.replicas[at].ready && matches!(kind, "filter" | "bind" | "plan");
        if let Some(text) = decides.then(|| self.double_in_book(at)).flatten() {
            return self.fail("I1", format!("after {kind}: in the book of gangplank {at} {text}"));
        }
        if let Some(text) = self.forgotten_write(at) {
            self.fail("I15", format!("after {kind}: {text}"));
        }
        if kind == "tick" {
            self.check_moment(at);
        }
    }

    /// A device that was just now given to one pod and is another's in the same book. What watches tell may be at odds with itself
    /// for a moment, and kubelets that choose for themselves are another matter.
    fn double_in_book(&self, at: usize) -> Option<String> {
        let replica = &self.replicas[at];
        let now = self.time() + Duration::from_millis(replica.ahead_ms);
        let mut used: BTreeMap<(&NodeName, &DeviceId), (u32, bool, Vec<String>)> = BTreeMap::new();
        for holder in replica.engine.book().holders().filter(|holder| self.agent(&holder.node) != Some(Agent::Watches)) {
            for take in &holder.takes {
                let Some(device) = &take.device else { continue };
                let entry = used.entry((&holder.node, device)).or_default();
                entry.0 += take.milli();
                entry.1 |= holder.changed_at == now && holder.state != HolderState::Bound;
                entry.2.push(format!("{} ({})", holder.key, holder.state.name()));
            }
        }
        let over = used.into_iter().find(|(_, (milli, fresh, _))| *milli > 1000 && *fresh);
        over.map(|((node, device), (_, _, holders))| format!("device {device} of {node} is given to {}", holders.join(" and to ")))
    }

    /// A write that may land, and whose devices the process that sent it no longer holds.
    fn forgotten_write(&self, at: usize) -> Option<String> {
        let replica = &self.replicas[at];
        for (_, _, write) in self.flying().filter(|(by, life, _)| *by == at && *life == replica.life && replica.alive) {
            let lands = self.store.read(&write.key).is_some_and(|(pod, version)| {
                pod.uid == write.uid && pod.node.is_none() && !pod.deleting && write.version.is_none_or(|wanted| wanted == version)
            });
            let held = replica
                .engine
                .book()
                .holder(&write.uid)
                .is_some_and(|holder| holder.node == write.grant.node && !matches!(holder.state, HolderState::Held { .. }));
            if lands && !held {
                return Some(format!("a Binding of {} to {} may land, and nothing is held for it", write.uid, write.grant.node));
            }
        }
        None
    }

    /// A member on a node that has not answered for long is told to go, whatever else goes wrong.
    fn unrepaired(&self, at: usize) -> Option<String> {
        let watched = |kind: &Kind| self.streams.get(&(Watcher::Replica(at), *kind)).map_or(0, |stream| stream.worked_for(self.now));
        let replica = &self.replicas[at];
        let sound = replica.ready && self.now > replica.ready_since + UNREPAIRED_MS && replica.paused_until + UNREPAIRED_MS < self.now;
        if !sound || self.scenario.rates.effects > 50 || self.kinds().iter().any(|kind| watched(kind) < UNREPAIRED_MS) {
            return None;
        }
        let long = |node: &&NodeName| self.silent_since.get(*node).is_some_and(|since| self.now > since + UNREPAIRED_MS);
        let nodes: BTreeSet<&NodeName> = self.silent.iter().filter(long).collect();
        self.jobs.values().filter(|job| job.plan.gang && !job.suspended && !job.plan.impossible).find_map(|job| {
            let left = job.members.values().filter_map(|uid| self.store.pod(uid)).find(|pod| {
                let there = pod.node.as_ref().is_some_and(|node| nodes.contains(node));
                there && !pod.deleting && pod.occupies() && pod.started_at + Duration::from_millis(UNREPAIRED_MS) < self.time()
            })?;
            Some(format!("{} is on {:?}, which has not answered for {UNREPAIRED_MS} ms, and nobody tells it to go", left.key, left.node))
        })
    }

    /// Once a second.
    fn check_moment(&mut self, at: usize) {
        if let Some(text) = (!self.silent.is_empty()).then(|| self.unrepaired(at)).flatten() {
            return self.fail("I26", text);
        }
        let (now, mut late) = (self.now, None);
        for (key, job) in &self.jobs {
            if job.partial_since.is_some_and(|since| now > since + PARTIAL_MAX_MS) {
                late = Some(format!("{key} has {} of {} members bound since {PARTIAL_MAX_MS} ms", self.present(key), job.plan.size));
            }
        }
        if let Some(text) = late {
            return self.fail("I3", text);
        }
        if self.now / 10_000 != self.asked_at / 10_000 {
            self.asked_at = self.now;
            if let Some((uid, times)) = self.counts.asked.iter().find(|(_, times)| **times > ASKED_MAX) {
                return self.fail("I23", format!("{uid} was asked about {times} times in ten seconds"));
            }
            self.counts.asked.clear();
            if self.dice.chance(250) {
                self.audit(at);
            }
        }
    }

    /// After every Binding that was written by Gangplank: I1, I2, I14, I21.
    pub(super) fn landed(&mut self, write: &BindWrite) {
        self.counts.bindings += 1;
        let Some((pod, _)) = self.store.read(&write.key) else { return };
        if pod.uid != write.uid {
            return self.fail("I2", format!("the Binding of {} landed on {}, which bears its name", write.uid, pod.uid));
        }
        let name = write.grant.node.clone();
        let kept = takes(&pod.request, pod.recorded.as_ref()).1;
        if !kept || pod.recorded.as_ref().is_none_or(|grant| grant.node != name) {
            return self.fail("I14", format!("{} is bound to {name} without a record of what it got there", pod.key));
        }
        if let Some(text) = self.double_in_objects(&name) {
            return self.fail("I1", text);
        }
        if let Some(key) = pod
            .controller
            .as_ref()
            .map(|owner| &owner.key)
            .filter(|key| self.jobs.get(key).is_some_and(|job| job.plan.impossible && job.plan.gang))
        {
            return self.fail("I3", format!("a member of {key} is bound, which can never run as a whole"));
        }
        let after = self.dice.between(30, 2000);
        self.enter(after, Event::Start { uid: pod.uid.clone() });
        self.settle_gang(&pod);
    }

    /// The naive model: every bound pod of a node, and the set of devices that its record or its kubelet names.
    fn double_in_objects(&self, name: &NodeName) -> Option<String> {
        let node = self.store.node(name)?;
        let bound: Vec<&Pod> = self.store.pods().filter(|pod| pod.occupies() && pod.node.as_ref() == Some(name)).collect();
        let gpu = super::scenario::gpu();
        let whole: u32 = bound.iter().map(|pod| pod.request.whole_of(&gpu)).sum();
        let devices = u32::try_from(node.pools[0].devices.len()).unwrap_or(0);
        if whole > devices {
            return Some(format!("{whole} devices of {name} are granted, and it has {devices}"));
        }
        if self.agent(name) == Some(Agent::Watches) {
            return None;
        }
        let mut used: BTreeMap<&DeviceId, (u32, Vec<&PodUid>)> = BTreeMap::new();
        for pod in bound {
            for share in pod.recorded.iter().flat_map(|grant| &grant.containers).flat_map(|container| &container.devices) {
                let Some(device) = &share.device else { continue };
                let entry = used.entry(device).or_default();
                entry.0 += match share.amount {
                    Amount::Whole => 1000,
                    Amount::Share { milli, .. } => milli,
                };
                entry.1.push(&pod.uid);
            }
        }
        let over = used.into_iter().find(|(_, (milli, _))| *milli > 1000);
        over.map(|(device, (_, pods))| format!("device {device} of {name} is granted to {pods:?}"))
    }

    /// I15, I14: whoever says "bound" has seen it.
    pub(super) fn check_said_bound(&mut self, uid: &PodUid, node: &NodeName) {
        if self.store.pod(uid).is_some_and(|pod| pod.node.as_ref() != Some(node)) {
            self.fail("I14", format!("gangplank says that {uid} is bound to {node}, and it is not"));
        }
    }

    pub(super) fn check_scores(&mut self, names: usize, scores: &[Score]) {
        if scores.len() != names {
            self.fail("I23", format!("{} scores for {names} names", scores.len()));
        }
    }

    pub(super) fn check_filter(&mut self, at: usize, names: usize, answer: &Answer) {
        match answer {
            Answer::Filter(answer) if answer.nodes.iter().all(|place| (*place as usize) < names) => {}
            Answer::NotReady if !self.replicas[at].ready => {}
            other => self.fail("I23", format!("filter over {names} names was answered with {other:?}")),
        }
    }

    /// A kubelet that refuses a pod for want of devices, though nothing happened to its devices: somebody counted wrong.
    pub(super) fn check_refused_by_kubelet(&mut self, name: &NodeName, pod: &Pod) {
        let at = self.scenario.nodes.iter().position(|(node, _)| node.name == *name);
        let touched = self.scenario.disturbances.iter().any(|(_, disturbance)| match disturbance {
            Disturbance::LoseNode(node, _) | Disturbance::SickDevice(node, _, _) | Disturbance::Blip(node, _) => Some(*node) == at,
            _ => false,
        });
        if !touched {
            self.fail("I1", format!("kubelet {name} has too few devices for {}", pod.key));
        }
    }

    /// I5, I25: an eviction takes a gang back that is there in part, a member whose node is lost, or somebody who must go for somebody
    /// else, and nothing else. By force only where the node is gone.
    pub(super) fn check_eviction(&mut self, uid: &PodUid, why: &str, force: bool) {
        let Some(pod) = self.store.pod(uid) else { return };
        let known = pod.node.as_ref().is_some_and(|node| self.store.node(node).is_some() && !self.was_away(node));
        if force && known {
            return self.fail("I25", format!("{uid} is ended by force ({why}), and its node is there"));
        }
        let Some(owner) = pod.controller.clone() else { return };
        // It went before, or is lost with its node: an elastic gang is whole without it.
        let goes = pod.deleting || pod.node.as_ref().is_some_and(|node| self.silent.contains(node) || self.was_away(node));
        let alone = self.scenario.rivalry.is_some() && self.jobs.get(&owner.key).is_some_and(|job| !job.plan.gang);
        if !goes && (alone || self.is_whole(&owner.key)) && !self.decisions.is_victim(uid, self.now) {
            self.fail("I5", format!("{uid} is evicted ({why}), and its gang was whole"));
        }
    }

    /// The same for an owner that is suspended.
    pub(super) fn check_suspension(&mut self, owner: &OwnerRef) {
        let decided = self.jobs.get(&owner.key).is_some_and(|job| self.goes_by_decision(job));
        if self.is_whole(&owner.key) && !decided {
            self.fail("I5", format!("{} is suspended, and its gang was whole", owner.key));
        }
    }

    /// Gone, or back for so short a time that not everybody has heard.
    fn was_away(&self, node: &NodeName) -> bool {
        self.store.node(node).is_none() || self.back_at.get(node).is_some_and(|back| self.now < back + HEARD_MS)
    }

    /// Whole for so long that everybody must have heard.
    fn is_whole(&self, key: &PodKey) -> bool {
        if self.scenario.rates.lost_deletes > 0 {
            return false; // Who never heard that a member is gone takes the gang for one that is there in part.
        }
        let lost = |uid: &PodUid| {
            let node = self.store.pod(uid).and_then(|pod| pod.node.as_ref());
            node.is_some_and(|node| self.silent.contains(node) || self.was_away(node))
        };
        // A Job that is done has nobody left to harm.
        let done = self.jobs.get(key).is_some_and(|job| job.done.len() >= job.plan.size as usize);
        if done || self.members(key).iter().any(lost) {
            return false;
        }
        let heard = self.now.saturating_sub(HEARD_MS);
        self.jobs.get(key).is_some_and(|job| job.complete_since.is_some_and(|since| since < heard))
    }

    /// I11, I12, I13: where everything has been told, the book is what a new one would be, told in another order.
    pub(super) fn audit(&mut self, at: usize) {
        let caught_up =
            self.caught_up(at) && self.replicas[at].ready && self.replicas[at].flows.is_empty() && self.flying().next().is_none();
        // What a watch never delivered is found by the next relist.
        if !caught_up || (self.scenario.rates.lost_deletes > 0 && self.now < self.scenario.calm_at + HEALED_MS) {
            return;
        }
        self.counts.audits += 1;
        let fresh = self.fresh_digest();
        let kept = self.replicas[at].engine.digest();
        if kept != fresh {
            return self.fail("I11", format!("the book of gangplank {at} differs from one that is built anew{}", self.difference(at)));
        }
        if let Some(text) = self.unlike_kubelet(at) {
            self.fail("I18", text);
        }
    }

    /// I13: a relist finds nothing, where the watches have worked and lost nothing.
    pub(super) fn check_drift(&mut self, at: usize, before: &BTreeMap<&'static str, u64>) {
        let now = self.now;
        let worked = [Kind::Pods, Kind::Nodes, Kind::Reports]
            .iter()
            .all(|kind| self.streams.get(&(Watcher::Replica(at), *kind)).is_some_and(|stream| stream.worked_for(now) >= WORKED_MS));
        let lost = self.scenario.rates.lost_deletes > 0 && now < self.scenario.calm_at + HEALED_MS;
        let slow = self.scenario.rates.news_ms > 1000 && now < self.scenario.calm_at + WORKED_MS;
        let stopped = now < self.replicas[at].paused_until + WORKED_MS;
        if !worked || lost || slow || stopped || !self.replicas[at].ready {
            return;
        }
        let drift = self.replicas[at].engine.census().drift;
        if let Some((kind, _)) = drift.iter().find(|(kind, count)| before.get(*kind).is_none_or(|before| before < *count)) {
            self.fail("I13", format!("a relist of gangplank {at} found a difference that no watch had lost: {kind}"));
        }
    }

    /// What the book says of nodes whose agents tell what kubelet gave, against kubelet's own word.
    fn unlike_kubelet(&self, at: usize) -> Option<String> {
        for pod in self.store.pods().filter(|pod| pod.occupies()) {
            let name = pod.node.as_ref()?;
            let told = self.store.report(name).and_then(|report| report.actual.get(&pod.uid));
            let (Some(given), Some(_)) = (self.given(name, &pod.uid), told) else { continue };
            let Some(entry) = self.replicas[at].engine.book().node(name.as_str()) else { continue };
            let Some(pool) = entry.pools.first() else { continue };
            let has: BTreeSet<&DeviceId> = (entry.node.pools[0].devices.iter().zip(&pool.usage))
                .filter(|(_, using)| using.whole.as_ref() == Some(&pod.uid))
                .map(|(device, _)| &device.id)
                .collect();
            if has != given.iter().collect() && entry.conflicts.is_empty() {
                return Some(format!("kubelet gave {given:?} of {name} to {}, the book says {has:?}", pod.uid));
            }
        }
        None
    }

    /// The end of a run in which all work was done: no hold is left, and a relist finds nothing.
    pub(super) fn check_end(&mut self) {
        for at in 0..self.replicas.len() {
            if !self.replicas[at].ready {
                continue;
            }
            let bound: BTreeSet<&PodUid> = self.store.pods().filter(|pod| pod.occupies()).map(|pod| &pod.uid).collect();
            let left = self.replicas[at].engine.book().holders().find(|holder| !bound.contains(&holder.uid));
            let left = left.map(|holder| format!("{} still holds devices of {} ({:?})", holder.key, holder.node, holder.state));
            if let Some(text) = left.filter(|_| self.caught_up(at)) {
                return self.fail("I26", text);
            }
            self.audit(at);
        }
    }

    /// All work that can be done is done, and nothing waits to be told.
    pub(super) fn is_all_done(&self) -> bool {
        let done = |job: &super::jobs::Job| job.plan.impossible || job.done.len() == job.plan.size as usize;
        let gone = self
            .store
            .pods()
            .all(|pod| pod.controller.as_ref().and_then(|owner| self.jobs.get(&owner.key)).is_some_and(|job| job.plan.impossible));
        let quiet = (0..self.replicas.len()).all(|at| self.replicas[at].alive && self.caught_up(at));
        let settled = self.replicas.iter().any(|replica| replica.has_settled(self.now));
        let holds =
            self.replicas.iter().filter(|replica| replica.ready).map(|replica| replica.engine.book().holders().count()).sum::<usize>();
        settled && quiet && gone && self.jobs.values().all(done) && (holds == 0 || self.now > self.scenario.calm_at + 1_500_000)
    }

    /// I3, I26: time is up.
    pub(super) fn check_stuck(&mut self) {
        let unfinished = |job: &&super::jobs::Job| !job.plan.impossible && job.done.len() < job.plan.size as usize;
        let stuck: Vec<String> = (self.jobs.values().filter(unfinished))
            .map(|job| format!("{} ({} of {} there, {} done)", job.plan.key, self.present(&job.plan.key), job.plan.size, job.done.len()))
            .collect();
        let pods: Vec<String> = self.store.pods().map(|pod| format!("{} on {:?}", pod.key, pod.node)).collect();
        let held: Vec<String> = (self.replicas.iter().flat_map(|replica| replica.engine.book().holders()))
            .map(|holder| format!("{} on {} {:?}", holder.key, holder.node, holder.state))
            .collect();
        let waits: Vec<String> = (self.replicas.iter().flat_map(|replica| replica.engine.waiting()))
            .map(|(pod, reason)| format!("{} {:?} nominated {:?} planned {:?}", pod.key, reason, pod.nominated, pod.planned.is_some()))
            .collect();
        self.say(|| format!("waiting: {waits:?}"));
        self.fail("I26", format!("nothing goes wrong any more, and these do not end: {stuck:?}; pods: {pods:?}; held: {held:?}"));
    }

    fn caught_up(&self, at: usize) -> bool {
        let own = self.kinds().iter().map(|kind| (self.streams.get(&(Watcher::Replica(at), *kind)), self.store.log(*kind).len()));
        own.into_iter().all(|(stream, len)| stream.is_some_and(|stream| stream.is_at(len)))
    }
}

/// A number for the words of a refusal: equal words, equal number.
pub(super) fn words(refused: &Refused) -> u64 {
    let each = |text: String, sum: u64| text.bytes().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    match refused {
        Refused::None => 5,
        Refused::All(reason, _) => each(reason.to_string(), 7),
        // kube-scheduler counts equal words, in the order of the words.
        Refused::Each(list) => {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            list.iter().for_each(|(reason, _)| *counts.entry(reason.to_string()).or_default() += 1);
            counts.into_iter().fold(11, |sum, (text, count)| each(text, sum).wrapping_add(u64::from(count)))
        }
    }
}
