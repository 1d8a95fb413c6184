//! Groups in the lane without admission: the first member's filter call plans for all, holds every member's devices, and
//! the siblings read the plan. A plan is not written anywhere: it ends with its holds, or with the group's pods.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::{answer, len};
use super::{Engine, FilterAnswer, FilterQuery, Output, Refused, Trace};
use crate::book::{Holder, HolderState, Load, Shape, ShapeKey, takes};
use crate::gang::{Context, Group, Member, Planned, Role, plan};
use crate::model::{GangRef, Grant, NodeName, Parts, Pod, PodKey, PodUid, Reason, Refusal, Time, TopologyWishes};
use std::sync::Arc;
use std::time::Duration;

/// Plans by group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    plans: BTreeMap<PodKey, GroupPlan>,
}

/// Where the members of one group go.
#[derive(Debug)]
struct GroupPlan {
    /// What each of them asks for.
    shape: ShapeKey,
    seats: Vec<Seat>,
    domains: String,
    until: Time,
}

/// One member's place.
#[derive(Debug)]
struct Seat {
    planned: Planned,
    /// The pod that has it; until then a stand-in holds its devices.
    pod: Option<PodUid>,
}

impl Groups {
    /// Whether a holder stands in for a member that has not asked yet.
    pub(super) fn stands_in(uid: &PodUid) -> bool {
        uid.as_str().starts_with(STAND_IN)
    }

    /// Which of its group a pod is, by the plan.
    fn rank(&self, pod: &Pod) -> Option<u32> {
        let plan = self.plans.get(&pod.gang.as_ref()?.id.key)?;
        plan.seats.iter().find(|seat| seat.pod.as_ref() == Some(&pod.uid)).map(|seat| seat.planned.rank)
    }

    /// Forgets plans whose holds are over.
    pub(super) fn expire(&mut self, now: Time) {
        self.plans.retain(|_, plan| plan.until > now);
    }
}

/// How long devices wait for a member that nobody has created: a controller creates its pods within seconds, and whoever may
/// write one pod could else keep a cluster idle by claiming siblings for it.
const STAND_IN_HOLD_MAX: Duration = Duration::from_secs(60);

/// No UID that an API server gives begins so.
const STAND_IN: &str = "group:";

impl Engine {
    /// Which of its group a pod is, where a plan says so.
    pub fn rank(&self, uid: &PodUid) -> Option<u32> {
        self.groups.rank(&self.pods.get(uid)?.pod)
    }

    /// The filter verb for a member of a group.
    pub(super) fn filter_member(&mut self, now: Time, query: FilterQuery<'_>, gang: &GangRef) -> Output {
        let FilterQuery { pod, names } = query;
        let Some(key) = Shape::of(&pod.request).map(|shape| shape.key()) else {
            return self.refuse_pod(now, pod, names, super::filter::impossible(pod));
        };
        self.record(now, pod).pod = pod.clone();
        if self.groups.plans.get(&gang.id.key).is_some_and(|plan| plan.shape != key) {
            return self.refuse_pod(now, pod, names, unlike(gang));
        }
        if let Some(output) = self.seat_member(now, query, gang) {
            return output;
        }
        self.drop_plan(now, &gang.id.key);
        if let Err(refusal) = self.plan_group(now, query, gang, key) {
            return self.refuse_pod(now, pod, names, refusal);
        }
        match self.seat_member(now, query, gang) {
            Some(output) => output,
            None => self.refuse_pod(now, pod, names, elsewhere(gang)),
        }
    }

    /// Answers with the planned node, and gives the member what is held for it there. None where there is no plan that
    /// holds, or it has the member where kube-scheduler will not have it and nobody is bound yet: plan anew.
    fn seat_member(&mut self, now: Time, query: FilterQuery<'_>, gang: &GangRef) -> Option<Output> {
        let FilterQuery { pod, names } = query;
        let plan = self.groups.plans.get_mut(&gang.id.key)?;
        let own = plan.seats.iter().position(|seat| seat.pod.as_ref() == Some(&pod.uid));
        let ranked = || plan.seats.iter().position(|seat| seat.pod.is_none() && Some(seat.planned.rank) == gang.rank);
        let free = || plan.seats.iter().position(|seat| seat.pod.is_none());
        let Some(at) = own.or_else(ranked).or_else(free) else {
            return Some(self.refuse_pod(now, pod, names, full(gang)));
        };
        let Planned { member, rank, node, grant } = plan.seats[at].planned.clone();
        let (domains, until, committed) = (plan.domains.clone(), plan.until, self.is_committed(gang));
        let offered = names.iter().zip(0_u32..).find(|(name, _)| **name == node.as_str());
        let Some((_, place)) = offered else {
            // kube-scheduler sees something against that node that we do not.
            return committed.then(|| self.refuse_pod(now, pod, names, elsewhere(gang)));
        };
        self.book.release(&member.uid);
        self.book.release(&pod.uid);
        let Some(grant) = self.still_there(pod, &node, grant) else {
            return committed.then(|| self.refuse_pod(now, pod, names, elsewhere(gang)));
        };
        self.hold(now, pod, node.clone(), Some(grant.clone()), HolderState::Held { until });
        if let Some(seat) = self.groups.plans.get_mut(&gang.id.key).and_then(|plan| plan.seats.get_mut(at)) {
            seat.pod = Some(pod.uid.clone());
            seat.planned.grant = grant.clone();
        }
        let lines = vec![format!("group {}: rank {rank} of {}, in {domains}", gang.id, gang.size.unwrap_or(1))];
        let (offered, chosen) = (len(names), Some(node));
        let trace = Arc::new(Trace { at: now, verb: "filter", offered, passed: 1, chosen, grant: Some(grant), lines, ..Trace::default() });
        let record = self.record(now, pod);
        (record.refused, record.trace) = (None, Some(trace.clone()));
        Some(Output { trace: Some(trace), ..answer(FilterAnswer { nodes: vec![place], refused: Refused::None }) })
    }

    /// The planned devices, or others of that node where somebody came between.
    fn still_there(&self, pod: &Pod, node: &NodeName, grant: Grant) -> Option<Grant> {
        let entry = self.book.node(node.as_str())?;
        let shape = Shape::of(&pod.request)?;
        let free = |grant: &Grant| {
            grant.containers.iter().flat_map(|container| &container.devices).all(|share| {
                let place = share.device.as_ref().and_then(|id| {
                    let pool = entry.node.pools.iter().find(|pool| pool.resource == share.resource)?;
                    pool.devices.iter().position(|device| device.id == *id)
                });
                place.zip(entry.pool(&share.resource)).is_some_and(|(place, pool)| pool.free_ids & 1 << place != 0)
            })
        };
        let renamed = || takes(&pod.request, Some(&grant)).1 && free(&grant) && !pod.request.has_shares();
        if renamed() { Some(grant) } else { entry.grant(&shape).ok() }
    }

    /// Plans for all members that are not bound yet, and holds what they get.
    fn plan_group(&mut self, now: Time, query: FilterQuery<'_>, gang: &GangRef, shape: ShapeKey) -> Result<(), Refusal> {
        let FilterQuery { pod, names } = query;
        let bound: Vec<(PodUid, NodeName)> = self.bound_members(gang);
        let missing = gang.size.unwrap_or(1).saturating_sub(len(&bound));
        if missing == 0 {
            return Err(full(gang));
        }
        if let Some((_, refusal)) = self.quota_exceeded_by(pod, missing) {
            return Err(refusal);
        }
        let member = |at: u32| Member {
            uid: PodUid::new(format!("{STAND_IN}{}#{at}", gang.id.key)),
            key: PodKey::new(gang.id.key.namespace.clone(), format!("{}#{at}", gang.id.key.name)),
        };
        // A nominated node is offered alone: it says nothing about the others.
        let alone = names.len() == 1 && pod.nominated.as_ref().is_some_and(|node| node.as_str() == names[0]);
        let mut offered: BTreeSet<&str> = names.iter().copied().collect();
        let mut wishes = pod.topology.clone();
        if let Some((_, node)) = bound.first() {
            self.stay_with(node, &mut wishes, &mut offered);
        }
        let group =
            Group { key: gang.id.key.clone(), roles: vec![Role { pod, members: (0..missing).map(member).collect() }], wishes: &wishes };
        let rules = self.rules(pod);
        let until = now + rules.profile.hold;
        let context = Context {
            fabric: &self.fabric,
            profile: &rules.profile,
            scorer: &rules.scorer,
            offered: (!alone).then_some(&offered),
            state: HolderState::Held { until: now + rules.profile.hold.min(STAND_IN_HOLD_MAX) },
            now,
        };
        let plan = plan(&mut self.book, context, &group)?;
        let seats = plan.members.into_iter().map(|planned| Seat { planned, pod: None }).collect();
        self.groups.plans.insert(gang.id.key.clone(), GroupPlan { shape, seats, domains: plan.domains, until });
        Ok(())
    }

    /// Members that replace others join those that run: in the domains that the group requires as a whole.
    fn stay_with(&self, node: &NodeName, wishes: &mut TopologyWishes, offered: &mut BTreeSet<&str>) {
        let rules = self.fabric.rules();
        let there = self.fabric.domains_of(node.as_str());
        for wish in wishes.required.iter().filter(|wish| wish.parts == Parts::Whole) {
            let Some(level) = rules.level_of(&wish.level) else { continue };
            offered.retain(|name| {
                if level == rules.levels.len() {
                    *name == node.as_str()
                } else {
                    self.fabric.domains_of(name).map(|at| at[level]) == there.map(|at| at[level])
                }
            });
        }
        wishes.required.retain(|wish| wish.parts == Parts::Whole);
        wishes.preferred.retain(|wish| wish.parts == Parts::Whole);
    }

    /// Members that are bound or being bound.
    fn bound_members(&self, gang: &GangRef) -> Vec<(PodUid, NodeName)> {
        let records = self.pods.values().filter(|record| record.pod.gang.as_ref().is_some_and(|other| other.id.key == gang.id.key));
        let bound = records.filter_map(|record| {
            let holder = self.book.holder(&record.pod.uid)?;
            (!matches!(holder.state, HolderState::Held { .. })).then(|| (record.pod.uid.clone(), holder.node.clone()))
        });
        bound.collect()
    }

    fn is_committed(&self, gang: &GangRef) -> bool {
        !self.bound_members(gang).is_empty()
    }

    /// Takes a plan back: what stand-ins and members without a Binding hold is free again.
    pub(super) fn drop_plan(&mut self, now: Time, key: &PodKey) {
        let Some(plan) = self.groups.plans.remove(key) else { return };
        for seat in plan.seats {
            let uid = seat.pod.unwrap_or(seat.planned.member.uid);
            let held = self.book.holder(&uid).is_some_and(|holder| matches!(holder.state, HolderState::Held { .. }));
            if held {
                self.book.release(&uid);
                self.gained(now);
            }
        }
    }

    /// A member is gone: its seat waits for the one that replaces it, and without any member the plan ends.
    pub(super) fn member_gone(&mut self, now: Time, pod: &Pod) {
        let Some(gang) = &pod.gang else { return };
        let Some(plan) = self.groups.plans.get_mut(&gang.id.key) else { return };
        let Some(seat) = plan.seats.iter_mut().find(|seat| seat.pod.as_ref() == Some(&pod.uid)) else { return };
        seat.pod = None;
        let Planned { member, node, grant, .. } = seat.planned.clone();
        let until = plan.until.min(now + STAND_IN_HOLD_MAX);
        if !self.pods.values().any(|record| record.pod.gang.as_ref().is_some_and(|other| other.id.key == gang.id.key)) {
            self.drop_plan(now, &gang.id.key);
        } else if let Some(grant) = self.still_there(pod, &node, grant) {
            let (takes, _) = takes(&pod.request, Some(&grant));
            let (state, load) = (HolderState::Held { until }, Load::of(pod));
            let (uid, key, priority, grant) = (member.uid, member.key, pod.priority, Some(grant));
            self.book.set_holder(Holder { uid, key, priority, node, state, grant, takes, load, changed_at: now });
        }
    }
}

fn unlike(gang: &GangRef) -> Refusal {
    Refusal {
        reason: Reason::GroupInvalid,
        needed: format!("a member of group {} like the others", gang.id.key),
        there: "it asks for other devices than they do".into(),
        remedy: "give pods that ask for other devices a group of their own".into(),
    }
}

fn full(gang: &GangRef) -> Refusal {
    Refusal {
        reason: Reason::GroupInvalid,
        needed: format!("a place in group {}", gang.id.key),
        there: format!("all {} have a member", gang.size.unwrap_or(1)),
        remedy: "raise gangplank.dev/gang-size on its pods, or wait until a member ends".into(),
    }
}

fn elsewhere(gang: &GangRef) -> Refusal {
    Refusal {
        reason: Reason::PlannedElsewhere,
        needed: format!("the planned place in group {}", gang.id.key),
        there: "kube-scheduler does not offer that node, and other members are bound already".into(),
        remedy: "make the node fit for the pod, or let the plan expire: then it is planned anew beside the others".into(),
    }
}
