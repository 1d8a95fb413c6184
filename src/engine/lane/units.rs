//! What may be taken for a gang, as the search for victims wants it: gangs that run, whole; their pods above the minimum;
//! pods alone. Which of them the gang may take is for [`crate::preempt::rules`] to say. Whom nobody would create again stays,
//! unless the profile gives it up; so do pods that belong to their node.

use std::collections::{BTreeMap, BTreeSet};

use super::queues::job_of;
use super::rights::Rights;
use super::{Lane, Step};
use crate::book::HolderState;
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::model::{GangId, GangKind, GangSpec, OwnerRef, Pod, PodUid, Time};
use crate::preempt::rules::{Standing, reach};
use crate::preempt::{Unit, lost_ms};
use crate::queue::Right;

/// Controllers whose pods come back to the same node at once.
const BOUND_TO_NODES: [&str; 2] = ["DaemonSet", "Node"];

/// What may be taken.
#[derive(Debug, Default)]
pub(super) struct Takeable {
    pub(super) units: Vec<Unit>,
    /// By unit: whose it is, and `gang`, `surplus` or `pod`.
    pub(super) of: Vec<(GangId, &'static str)>,
    pub(super) allowances: Vec<u32>,
    /// Pods that are on their way out already.
    pub(super) going: BTreeSet<PodUid>,
}

/// Through owners all of whose running pods go, so that none counts as failed; the others pod by pod.
pub(super) fn ways_out<'a>(owners: &BTreeMap<PodUid, OwnerRef>, going: &'a BTreeSet<PodUid>) -> (BTreeSet<OwnerRef>, Vec<&'a PodUid>) {
    let kept: BTreeSet<&OwnerRef> = owners.iter().filter(|(uid, _)| !going.contains(*uid)).map(|(_, owner)| owner).collect();
    let (mut suspended, mut evicted) = (BTreeSet::new(), Vec::new());
    for uid in going {
        match owners.get(uid).filter(|owner| !kept.contains(owner)) {
            Some(owner) => drop(suspended.insert(owner.clone())),
            None => evicted.push(uid),
        }
    }
    (suspended, evicted)
}

impl Engine {
    /// What a gang of this standing may take.
    pub(super) fn takeable(&self, now: Time, id: &GangId, preemptor: Standing) -> Takeable {
        let mut takeable = Takeable { going: self.going(), ..Takeable::default() };
        takeable.allowances = self.budgets.values().map(|budget| u32::try_from(budget.disruptions_allowed).unwrap_or(0)).collect();
        for (budget, left) in self.budgets.values().zip(&mut takeable.allowances) {
            // What we have told to go, and its controller may not have counted yet.
            let awaited = self.lane.awaited.keys().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod);
            let under = awaited.filter(|pod| pod.key.namespace == budget.namespace && budget.covers(&pod.labels)).count();
            *left = left.saturating_sub(u32::try_from(under).unwrap_or(u32::MAX));
        }
        let bound = self.book.holders().filter(|holder| holder.state == HolderState::Bound && !Lane::stands_in(&holder.uid));
        let mut gangs: BTreeMap<GangId, Vec<&Pod>> = BTreeMap::new();
        for pod in bound.filter_map(|holder| self.pods.get(&holder.uid)).map(|record| &record.pod) {
            if takeable.going.contains(&pod.uid) || self.lane.awaited.contains_key(&pod.uid) {
                continue;
            }
            let gang = self.lane.gang_of.get(&pod.uid).cloned();
            gangs.entry(gang.unwrap_or_else(|| GangId::alone(pod.key.clone(), pod.uid.as_str().into()))).or_default().push(pod);
        }
        let mut rights = self.rights(now, id);
        let own = self.lane.gangs.get(id).and_then(|gang| self.pods.get(gang.members.keys().next()?)).map(|record| job_of(&record.pod));
        for (other, pods) in gangs {
            // Whoever made room for it once does not get it back from it by force, but for what its queue only borrows by now, and
            // that once.
            let pair = own.as_ref().zip(pods.first()).map(|(own, pod)| (own, job_of(pod)));
            let gave_way = pair.as_ref().is_some_and(|(own, job)| self.lane.ledger.went_for(own, job));
            let took_back = pair.is_some_and(|(own, job)| self.lane.ledger.went_for(&job, own));
            if other != *id && !(gave_way && took_back) {
                self.enter(now, (preemptor, &other, &pods), gave_way, &mut rights, &mut takeable);
            }
        }
        takeable
    }

    /// Pods that are going, but for those that were waited for in vain, and those whose room is for another.
    fn going(&self) -> BTreeSet<PodUid> {
        let suspended: BTreeSet<&str> = self.lane.specs.values().filter(|spec| spec.suspended_by_us).map(|spec| &*spec.id.uid).collect();
        let goes = |pod: &Pod| {
            let controller = pod.controller.as_ref().map(|owner| &*owner.uid);
            let gang = self.lane.gang_of.get(&pod.uid).map(|id| &*id.uid);
            pod.deleting || controller.into_iter().chain(gang).any(|uid| suspended.contains(uid))
        };
        let bound = self.pods.values().map(|record| &record.pod).filter(|pod| pod.node.is_some() && goes(pod));
        bound.map(|pod| pod.uid.clone()).filter(|uid| !self.lane.stuck.contains(uid) && !self.lane.awaited.contains_key(uid)).collect()
    }

    fn enter(
        &self,
        now: Time,
        (preemptor, id, pods): (Standing, &GangId, &[&Pod]),
        gave_way: bool,
        rights: &mut Rights,
        takeable: &mut Takeable,
    ) {
        let stays = |pod: &&Pod| self.stays(pod);
        let standing = self.standing(now, pods, rights, &mut takeable.allowances, &takeable.going);
        let standing = standing.filter(|standing| !gave_way || standing.right == Right::Lent);
        let Some(reach) = standing.and_then(|standing| reach(preemptor, standing)) else { return };
        let rights = &*rights;
        let unit = |title: String, pods: &[&Pod]| Unit {
            title,
            pods: pods.iter().map(|pod| pod.uid.clone()).collect(),
            reach,
            lost_ms: pods.iter().map(|pod| lost_ms(pod, self.devices_milli(&pod.uid), now)).fold(0, u64::saturating_add),
            budgets: [self.budgets_of(pods), self.spared(pods, rights)].concat(),
        };
        let mut add = |unit: Unit, kind: &'static str| {
            // What can never be taken need not be looked at.
            if unit.budgets.iter().all(|(budget, pods)| *pods <= takeable.allowances[*budget]) {
                takeable.units.push(unit);
                takeable.of.push((id.clone(), kind));
            }
        };
        let Some(gang) = self.lane.gangs.get(id).filter(|_| id.kind != GangKind::Alone) else {
            for pod in pods.iter().filter(|pod| !stays(pod)) {
                add(unit(format!("pod {}", pod.key), &[pod]), "pod");
            }
            return;
        };
        // A gang that is on its way somewhere is let arrive.
        if gang.phase != Phase::Bound || gang.tally.planned > 0 {
            return;
        }
        let needed = self.lane.size(id, gang).map_or(usize::MAX, |(_, min)| min as usize);
        let going = &takeable.going;
        let runs = |(uid, step): (&PodUid, &Step)| *step == Step::Bound && !going.contains(uid) && !self.lane.awaited.contains_key(uid);
        let bound = gang.members.iter().filter(|member| runs(*member)).count();
        // What becomes of a Binding on its way is not known: nobody would go with the others. Nor is it sure that those go who are
        // chosen for another and were not told yet.
        let whole = bound == pods.len() && !gang.members.keys().any(|uid| self.may_stay(uid));
        let mut last = pods.to_vec();
        last.sort_by_key(|pod| (gang.ranks.get(&pod.uid).copied(), pod.key.clone()));
        for pod in last.iter().rev().take(pods.len().saturating_sub(needed)).filter(|pod| !stays(pod)) {
            // Those that stay carry its work on.
            add(Unit { lost_ms: 0, ..unit(format!("pod {} above the minimum of gang {id}", pod.key), &[pod]) }, "surplus");
        }
        if whole && !pods.iter().any(stays) {
            add(unit(format!("gang {id}"), pods), "gang");
        }
    }

    /// Nobody would create it again, or only where it was.
    pub(in crate::engine) fn stays(&self, pod: &Pod) -> bool {
        match &pod.controller {
            Some(owner) => BOUND_TO_NODES.contains(&&*owner.kind),
            None => !self.rules(pod).profile.preemption.ownerless_pods,
        }
    }

    /// Whether each gang would go as a whole with these pods, or stay at its minimum at least.
    pub(in crate::engine) fn leaves_gangs_whole(&self, pods: &[PodUid]) -> bool {
        let mut taken: BTreeMap<&GangId, u32> = BTreeMap::new();
        for id in pods.iter().filter_map(|uid| self.lane.gang_of.get(uid)) {
            *taken.entry(id).or_default() += 1;
        }
        taken.into_iter().filter(|(id, _)| id.kind != GangKind::Alone).all(|(id, taken)| {
            let Some(gang) = self.lane.gangs.get(id) else { return true };
            let left = (gang.tally.bound + gang.tally.planned).saturating_sub(taken);
            left == 0 || self.lane.size(id, gang).is_some_and(|(_, min)| left >= min)
        })
    }

    fn devices_milli(&self, uid: &PodUid) -> u64 {
        self.book.holder(uid).map_or(0, |holder| holder.takes.iter().map(|take| u64::from(take.milli())).sum())
    }

    fn budgets_of(&self, pods: &[&Pod]) -> Vec<(usize, u32)> {
        let covered = |(at, budget): (usize, &crate::model::Budget)| {
            let under = pods.iter().filter(|pod| pod.key.namespace == budget.namespace && budget.covers(&pod.labels)).count();
            (under > 0).then(|| (at, u32::try_from(under).unwrap_or(u32::MAX)))
        };
        self.budgets.values().enumerate().filter_map(covered).collect()
    }

    /// Of pods that run and are not going: the object that each can be suspended through.
    pub(super) fn suspendable_owners(&self) -> BTreeMap<PodUid, OwnerRef> {
        let specs = self.lane.specs.values().filter(|spec| spec.suspend.is_some()).map(|spec| (&*spec.id.uid, spec));
        let by_controller: BTreeMap<&str, &GangSpec> = specs.collect();
        let owner_of = |pod: &Pod| -> Option<OwnerRef> {
            let by_gang = self.lane.gang_of.get(&pod.uid).and_then(|id| self.lane.spec(id)).and_then(|spec| spec.suspend.clone());
            by_gang.or_else(|| by_controller.get(&*pod.controller.as_ref()?.uid)?.suspend.clone())
        };
        // Of a Binding that was written the watch may not have told yet.
        let written = |pod: &Pod| self.book.holder(&pod.uid).is_some_and(|holder| holder.state.is_committed());
        let running = self.pods.values().map(|record| &record.pod).filter(|pod| !pod.deleting && (pod.node.is_some() || written(pod)));
        running.filter_map(|pod| Some((pod.uid.clone(), owner_of(pod)?))).collect()
    }
}
