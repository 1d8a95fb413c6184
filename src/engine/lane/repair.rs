//! Nodes that are lost while gangs run on them. When one is gone, or was not ready for a while, its members are: places near
//! the others are held for those that replace them, rank by rank, and they are evicted, so that their controller makes new
//! ones; an elastic gang goes on with fewer. Where there is no room for them the gang goes back whole.
//!
//! A pod that nobody can stop may still run: its devices stay held until it is gone, and it is ended by force only
//! where its node is gone, or an administrator has said by the out-of-service taint that nothing runs there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Gang, Step, VACANT, vacancy_of};
use crate::book::HolderState;
use crate::engine::decider::reference;
use crate::engine::{Effect, Engine, Event};
use crate::gang::life::{Phase, UNDO};
use crate::model::{GangId, GangKind, NodeName, Pod, PodUid, Time};

/// An administrator says with it that the node is shut down.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// How often a pod is asked to go: the word may be lost, or a disruption budget may be in the way.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// Nodes that are not as they should be, and members that are lost with them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Gone or not ready, since when.
    unwell: BTreeMap<NodeName, Time>,
    /// Those of them whose absence was held against them.
    blamed: BTreeSet<NodeName>,
    /// Members that count no more, and when they were last asked to go, and whether by force.
    members: BTreeMap<PodUid, Option<(Time, bool)>>,
}

impl Losses {
    /// Whether a member counts no more.
    pub(super) fn contains(&self, uid: &PodUid) -> bool {
        self.members.contains_key(uid)
    }

    /// A pod is gone. True if it was lost.
    pub(super) fn gone(&mut self, uid: &PodUid) -> bool {
        self.members.remove(uid).is_some()
    }

    /// Another replica has the voice: it decides anew.
    pub(super) fn forget_members(&mut self) {
        self.members.clear();
    }
}

impl Engine {
    /// A node came, changed or is gone.
    pub(in crate::engine) fn look_at_node(&mut self, now: Time, name: &NodeName) {
        if self.book.node(name.as_str()).is_some_and(|entry| entry.node.ready) {
            self.lane.losses.unwell.remove(name);
            self.lane.losses.blamed.remove(name);
        } else {
            self.lane.losses.unwell.entry(name.clone()).or_insert(now);
        }
    }

    /// Nodes that were gone before this process began.
    pub(super) fn look_for_lost_nodes(&mut self, now: Time) {
        let holders = self.book.holders().map(|holder| &holder.node);
        let gone: BTreeSet<NodeName> = holders.filter(|node| self.book.node(node.as_str()).is_none()).cloned().collect();
        gone.iter().for_each(|node| self.look_at_node(now, node));
    }

    /// Time passed: members on nodes that were away for long enough are lost.
    pub(super) fn repair(&mut self, now: Time) {
        let losses = &mut self.lane.losses;
        if !self.synced || (losses.unwell.is_empty() && losses.members.is_empty()) {
            return;
        }
        let book = &self.book;
        losses.unwell.retain(|name, _| book.node(name.as_str()).is_some() || book.holders_on(name.as_str()).next().is_some());
        losses.blamed.retain(|name| losses.unwell.contains_key(name));
        self.blame_nodes(now);
        let (book, losses) = (&self.book, &self.lane.losses);
        let mut gangs: BTreeMap<GangId, Vec<PodUid>> = BTreeMap::new();
        for (name, since) in &losses.unwell {
            for uid in book.holders_on(name.as_str()).map(|holder| &holder.uid) {
                let (Some(id), Some(record)) = (self.lane.gang_of.get(uid), self.pods.get(uid)) else { continue };
                let after = self.profiles.of(&record.pod).0.profile.repair_after;
                // A Binding on its way may be refused yet.
                let bound =
                    record.pod.node.is_some() && self.lane.gangs.get(id).is_some_and(|gang| gang.members.get(uid) == Some(&Step::Bound));
                if id.kind != GangKind::Alone && bound && now - *since >= after {
                    gangs.entry(id.clone()).or_default().push(uid.clone());
                }
            }
        }
        for (id, lost) in gangs {
            self.repair_gang(now, &id, &lost);
        }
        self.see_to_the_lost(now);
    }

    /// That a node was away while pods with devices were on it is held against it, once each time. A node that is gone, or that
    /// somebody has cordoned, was taken away on purpose.
    fn blame_nodes(&mut self, now: Time) {
        let after = self.profiles.default_rules().profile.repair_after;
        let is_open = |name: &NodeName| self.book.node(name.as_str()).is_some_and(|entry| !entry.node.unschedulable);
        let in_use = |name: &NodeName| self.book.holders_on(name.as_str()).any(|holder| holder.state.is_committed());
        let Losses { unwell, blamed, .. } = &self.lane.losses;
        let away = unwell.iter().filter(|(name, since)| now - **since >= after && !blamed.contains(*name));
        let away: Vec<(NodeName, Time)> =
            away.filter(|(name, _)| is_open(name) && in_use(name)).map(|(name, since)| (name.clone(), *since)).collect();
        for (name, since) in away {
            self.lane.losses.blamed.insert(name.clone());
            self.node_was_away(now, &name, since);
        }
    }

    /// Places on a node that were kept for members that are gone are kept no more.
    pub(in crate::engine) fn leave_seats_on(&mut self, now: Time, node: &NodeName) {
        let mut left = Vec::new();
        for gang in self.lane.gangs.values_mut() {
            let (there, elsewhere) = std::mem::take(&mut gang.vacant).into_iter().partition(|seat| seat.node == *node);
            gang.vacant = elsewhere;
            left.extend::<Vec<crate::gang::Planned>>(there);
        }
        let freed: Vec<bool> = left.iter().map(|seat| self.book.release(&seat.member.uid).is_some()).collect();
        if freed.contains(&true) {
            self.gained(now);
        }
    }

    fn repair_gang(&mut self, now: Time, id: &GangId, lost: &[PodUid]) {
        let Some(gang) = self.lane.gangs.get(id).filter(|gang| is_placed(gang)) else { return };
        // Nobody would create them again: they stay, and run on if their node comes back.
        if lost.iter().any(|uid| self.pods.get(uid).is_none_or(|record| record.pod.controller.is_none())) {
            return;
        }
        let Some((size, min)) = self.lane.size(id, gang) else { return };
        let Some(gang) = self.lane.gangs.get_mut(id) else { return };
        for uid in lost {
            gang.set(uid, Some(Step::Outside));
            self.lane.losses.members.insert(uid.clone(), None);
        }
        let left = gang.tally.bound + gang.tally.planned;
        let taken: BTreeSet<u32> = gang.ranks.iter().filter(|(uid, _)| !lost.contains(uid)).map(|(_, rank)| *rank).collect();
        let mut ranked: Vec<(u32, PodUid)> = lost
            .iter()
            .map(|uid| (gang.ranks.remove(uid).unwrap_or(u32::MAX), uid.clone()))
            .filter(|(rank, _)| !taken.contains(rank))
            .collect();
        ranked.sort_unstable();
        let missing = size.saturating_sub(left + gang.tally.waiting + u32::try_from(gang.vacant.len()).unwrap_or(u32::MAX));
        ranked.truncate(missing as usize);
        if matches!(gang.phase, Phase::Undoing { .. }) {
            return self.advance(now, id);
        }
        let slow = left > 0 && self.successors_are_slow(id, lost);
        let held = left == 0 || (!slow && self.hold_spares(now, id, &ranked));
        let nodes: BTreeSet<&str> = lost.iter().filter_map(|uid| self.book.holder(uid)).map(|holder| holder.node.as_str()).collect();
        let nodes = nodes.into_iter().collect::<Vec<_>>().join(", ");
        let (reason, what) = match held {
            true if left == 0 => ("GangLost", "none of its members is left, and it is planned anew"),
            true => ("GangRepaired", "places near the others are held for those that replace them"),
            false if left >= min => ("GangShrunk", "no places are held for others, and it goes on with fewer"),
            false if slow => ("GangLost", "its owner would put off creating others, and the gang goes back whole"),
            false => ("GangLost", "there is no room near the others, and the gang goes back whole"),
        };
        let note = format!("{} members are lost with {nodes}: {what}", lost.len());
        if let Some(record) = lost.first().and_then(|uid| self.pods.get(uid)) {
            self.effects.push(Effect::Event(Event { pod: reference(&record.pod), reason, note, warning: true }));
        }
        if !held && left < min {
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.phase = Phase::Undoing { until: now + UNDO };
            }
            self.undo(now, id);
        }
        if let Some(gang) = self.lane.gangs.get_mut(id)
            && held
            && gang.tally.planned == 0
        {
            // Nothing is late: the others come when their controller makes them.
            gang.phase = Phase::Bound;
        }
        self.advance(now, id);
    }

    /// A Job puts off what replaces failed pods by 10 s, doubled with each that failed: several at once are back sooner when all are.
    fn successors_are_slow(&self, id: &GangId, lost: &[PodUid]) -> bool {
        let mut failed: BTreeMap<&str, u32> = BTreeMap::new();
        let pods = || lost.iter().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod);
        for owner in pods().filter_map(|pod| pod.controller.as_ref()).filter(|owner| &*owner.kind == "Job") {
            *failed.entry(&owner.uid).or_default() += 1;
        }
        failed.values().any(|failed| *failed > 1) && self.has_suspendable_owner(id, pods())
    }

    fn has_suspendable_owner<'a>(&self, id: &GangId, mut pods: impl Iterator<Item = &'a Pod>) -> bool {
        self.lane.spec(id).is_some_and(|spec| spec.suspend.is_some()) || pods.any(|pod| self.suspendable(pod).is_some())
    }

    /// Finds places near the members that are left for those that replace the lost ones, and holds them for a while.
    fn hold_spares(&mut self, now: Time, id: &GangId, lost: &[(u32, PodUid)]) -> bool {
        let Some((_, first)) = lost.first() else { return true };
        let uids: Vec<PodUid> = lost.iter().map(|(_, uid)| uid.clone()).collect();
        let known = |uid: &PodUid| self.pods.get(uid).map(|record| &record.pod);
        let Some(first) = known(first).cloned() else { return false };
        let mut roster = self.roster(id, &uids, usize::MAX);
        let by_uid: BTreeMap<PodUid, u32> = lost.iter().map(|(rank, uid)| (uid.clone(), *rank)).collect();
        let order: Vec<u32> = roster.members.iter().map(|(uid, _)| by_uid[uid]).collect();
        roster.stand_in();
        let state = HolderState::Held { until: now + VACANT };
        let Ok(mut made) = self.make_plan(now, id, &roster, None, (&first, state)) else { return false };
        for (planned, rank) in made.members.iter_mut().zip(order) {
            planned.rank = rank;
        }
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            gang.vacant.extend(made.members);
        }
        true
    }

    /// Lost members are asked to go until they are gone; those whose node came back before they went are members again.
    fn see_to_the_lost(&mut self, now: Time) {
        let uids: Vec<PodUid> = self.lane.losses.members.keys().cloned().collect();
        for uid in uids {
            let Some(record) = self.pods.get(&uid) else {
                self.lane.losses.members.remove(&uid);
                continue;
            };
            let (pod, node) = (&record.pod, self.book.holder(&uid).map(|holder| holder.node.clone()));
            let away = node.as_ref().is_some_and(|node| self.lane.losses.unwell.contains_key(node));
            if !away && !pod.deleting {
                self.lane.losses.members.remove(&uid);
                self.give_rank_back(now, &uid);
                self.lane_again(now, &uid);
                continue;
            }
            let asked = self.lane.losses.members.get(&uid).copied().flatten();
            let force = pod.deleting && node.is_some_and(|node| self.runs_nothing(&node));
            let suspended = self.lane.gang(&uid).is_some_and(|(id, gang)| self.goes_through_owner(id, gang));
            let just_asked = asked.is_some_and(|(asked, forced)| forced == force && now - asked < ASKED_AGAIN);
            if (pod.deleting && !force) || suspended || just_asked {
                continue;
            }
            self.effects.push(Effect::Evict { pod: reference(pod), why: "its node is lost", force });
            self.lane.losses.members.insert(uid, Some((now, force)));
        }
    }

    /// Nobody comes in the place of a member that is there again.
    fn give_rank_back(&mut self, now: Time, uid: &PodUid) {
        let Some(gang) = self.lane.gang_of.get(uid).and_then(|id| self.lane.gangs.get_mut(id)) else { return };
        let stand_in = vacancy_of(uid);
        let Some(at) = gang.vacant.iter().position(|seat| seat.member.uid == stand_in) else { return };
        let seat = gang.vacant.remove(at);
        gang.ranks.insert(uid.clone(), seat.rank);
        if self.book.release(&stand_in).is_some() {
            self.gained(now);
        }
    }

    /// Whether nothing can run on a node any more.
    fn runs_nothing(&self, node: &NodeName) -> bool {
        let taints = self.book.node(node.as_str()).map(|entry| &entry.node.taints);
        taints.is_none_or(|taints| taints.iter().any(|taint| &*taint.key == OUT_OF_SERVICE))
    }

    /// Its owner deletes its pods, and counts none of them as failed.
    fn goes_through_owner(&self, id: &GangId, gang: &Gang) -> bool {
        let pods = || gang.members.keys().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod);
        matches!(gang.phase, Phase::Undoing { .. }) && pods().any(|pod| !pod.deleting) && self.has_suspendable_owner(id, pods())
    }
}

/// Its members have their places, or some do.
fn is_placed(gang: &Gang) -> bool {
    matches!(gang.phase, Phase::Released { .. } | Phase::Bound | Phase::Undoing { .. })
}
