//! filter and bind for members: answered from the plan. What kube-scheduler does not offer is planned anew, inside the
//! gang's domains for a member, else for the whole gang as long as nobody is bound.

use super::{Gang, Step};
use crate::book::{HolderState, Shape};
use crate::engine::decider::reference;
use crate::engine::filter::answer;
use crate::engine::{Effect, Engine, FilterAnswer, FilterQuery, Output, Refused};
use crate::gang::life::Phase;
use crate::model::{GangId, GangKind, Grant, NodeName, Pod, PodUid, Reason, Refusal, Time};

/// Plans made anew for one gang between two releases, at most: each may lead to another refusal.
const REPLANS: u32 = 4;

impl Engine {
    /// The filter verb for a pod in this lane. None for a gang of one whose place is not offered: filter decides then.
    pub(in crate::engine) fn filter_member(&mut self, now: Time, query: FilterQuery<'_>) -> Option<Output> {
        let FilterQuery { pod, names } = query;
        let known = self.pods.get(&pod.uid).is_some_and(|record| record.pod.gang == pod.gang);
        if !known || !self.lane.has(&pod.uid) {
            self.record(now, pod).pod = pod.clone();
            self.lane_pod(now, pod);
        }
        let id = self.lane.gang_of.get(&pod.uid)?.clone();
        if Shape::of(&pod.request).is_none() {
            return Some(self.refuse_pod(now, pod, names, crate::engine::filter::impossible(pod)));
        }
        if let Some(gang) = self.lane.gangs.get_mut(&id) {
            gang.asked = true;
        }
        if let Some(output) = self.keep_promise(now, query) {
            return Some(output);
        }
        if id.kind == GangKind::Alone {
            // Nominated elsewhere by somebody: asked about all nodes next, in the same attempt.
            let elsewhere_first = is_alone(query) && self.place_of(&pod.uid).is_some();
            return elsewhere_first.then(|| self.refuse_pod(now, pod, names, elsewhere(&id)));
        }
        if !self.plan_for(now, query, &id) {
            let refusal = self.why_not(pod, &id);
            return Some(self.refuse_pod(now, pod, names, refusal));
        }
        Some(self.keep_promise(now, query).unwrap_or_else(|| self.refuse_pod(now, pod, names, elsewhere(&id))))
    }

    /// Answers with the planned node, if it is offered and its devices are there.
    fn keep_promise(&mut self, now: Time, query: FilterQuery<'_>) -> Option<Output> {
        let FilterQuery { pod, names } = query;
        let node = self.place_of(&pod.uid)?;
        let (_, place) = names.iter().zip(0_u32..).find(|(name, _)| **name == node.as_str())?;
        if !self.is_upheld(&pod.uid) {
            let shape = Shape::of(&pod.request)?;
            self.book.release(&pod.uid);
            let grant = self.book.node(node.as_str())?.grant(&shape).ok();
            let Some(grant) = grant else {
                self.lane_again(now, &pod.uid);
                return None;
            };
            self.promise_pod(now, pod, grant);
        }
        let record = self.record(now, pod);
        record.refused = None;
        let trace = record.trace.clone();
        Some(Output { trace, ..answer(FilterAnswer { nodes: vec![place], refused: Refused::None }) })
    }

    pub(super) fn is_upheld(&self, uid: &PodUid) -> bool {
        let Some(holder) = self.book.holder(uid) else { return false };
        self.book.node(holder.node.as_str()).is_some_and(|entry| entry.upholds(holder))
    }

    /// Whether the member has a place among the offered nodes after planning for it, or for its whole gang.
    fn plan_for(&mut self, now: Time, query: FilterQuery<'_>, id: &GangId) -> bool {
        let FilterQuery { pod, names } = query;
        let alone = is_alone(query);
        let placed = self.place_of(&pod.uid);
        if placed.is_some() && alone {
            return false;
        }
        let unasked = |gang: &mut Gang| gang.nominated_late.insert(pod.uid.clone());
        if placed.is_some() && pod.nominated.is_none() && self.lane.gangs.get_mut(id).is_some_and(unasked) {
            // It may have been shown a sample. Asked about that node alone, it shows whether it has something against it.
            self.effects.push(Effect::Nominate { pod: reference(pod), node: placed });
            return false;
        }
        let Some(gang) = self.lane.gangs.get_mut(id) else { return false };
        if placed.is_some() {
            // kube-scheduler sees something against that node that we do not.
            gang.replanned += 1;
            let moved = gang.replanned <= REPLANS && (self.move_within(now, query, id) || self.plan_all_anew(now, names, id));
            if let Some(gang) = self.lane.gangs.get_mut(id).filter(|_| !moved && !names.is_empty()) {
                gang.offered = Some((now, names.iter().map(|name| NodeName::from(*name)).collect()));
            }
            return moved;
        }
        let (phase, turn) = (gang.phase, gang.turn.clone());
        let waits = phase == Phase::Queued || (gang.tally.waiting > 0 && matches!(phase, Phase::Released { .. } | Phase::Bound));
        let tried = self.lane.refused.contains(&turn) && !self.lane.gained;
        if !waits || tried {
            return false;
        }
        match self.plan_gang(now, id, (!alone).then_some(names)) {
            Ok(()) => self.advance(now, id),
            Err(refusal) => {
                self.lane.ready.remove(id);
                self.refuse_gang(now, turn, None, &refusal);
            }
        }
        self.place_of(&pod.uid).is_some()
    }

    /// Another node for one member, near the others.
    fn move_within(&mut self, now: Time, query: FilterQuery<'_>, id: &GangId) -> bool {
        let FilterQuery { pod, names } = query;
        let others = |gang: &Gang| gang.tally.planned + gang.tally.bound > 1;
        if !self.lane.gangs.get(id).is_some_and(others) {
            return false;
        }
        let mark = self.book.checkpoint();
        let rank = self.lane.gangs.get(id).and_then(|gang| gang.ranks.get(&pod.uid).copied());
        let before = self.effects.len();
        self.book.release(&pod.uid);
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            gang.set(&pod.uid, Some(Step::Waiting));
        }
        let roster = self.roster(id, std::slice::from_ref(&pod.uid), 1);
        if self.place(now, id, &roster, Some(names)).is_ok() {
            self.book.commit(mark);
            if let (Some(gang), Some(rank)) = (self.lane.gangs.get_mut(id), rank) {
                gang.ranks.insert(pod.uid.clone(), rank);
            }
            // It is answered in a moment: no need to wake it.
            let wakes = |effect: &Effect| matches!(effect, Effect::Touch(to) | Effect::Nominate { pod: to, .. } if to.uid == pod.uid);
            let later = self.effects.split_off(before);
            self.effects.extend(later.into_iter().filter(|effect| !wakes(effect)));
            return true;
        }
        self.book.rollback(mark);
        self.lane_again(now, &pod.uid);
        false
    }

    /// The whole gang somewhere else, as long as nobody is bound.
    fn plan_all_anew(&mut self, now: Time, names: &[&str], id: &GangId) -> bool {
        if self.lane.gangs.get(id).is_none_or(|gang| gang.tally.bound > 0) {
            return false;
        }
        let mark = self.book.checkpoint();
        let before = (self.lane.gangs.get(id).map(|gang| (gang.phase, gang.replanned)), self.effects.len());
        let members = self.lane.gangs.get(id).map(Gang::with_places).unwrap_or_default();
        for uid in &members {
            self.book.release(uid);
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.set(uid, Some(Step::Waiting));
            }
        }
        let phase = before.0.map_or(Phase::Queued, |(phase, _)| phase);
        let roster = self.roster(id, &members, usize::MAX);
        let made = self.place(now, id, &roster, Some(names)).is_ok();
        if made {
            self.book.commit(mark);
        } else {
            self.book.rollback(mark);
            self.effects.truncate(before.1);
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.phase = phase;
            }
            for uid in &members {
                self.lane_again(now, uid);
            }
        }
        made
    }

    /// The story of a member without a place.
    pub(super) fn why_not(&self, pod: &Pod, id: &GangId) -> Refusal {
        let Some(gang) = self.lane.gangs.get(id) else { return elsewhere(id) };
        match (gang.phase, &gang.refusal) {
            (Phase::Collecting, _) => self.who_is_missing(id, gang),
            (Phase::Queued | Phase::Preempting { .. } | Phase::Released { .. } | Phase::Bound, Some(refusal)) => refusal.clone(),
            _ if self.place_of(&pod.uid).is_some() => elsewhere(id),
            _ => Refusal {
                reason: Reason::GroupQueued,
                needed: format!("a plan for gang {id}"),
                there: "it is its turn in a moment".into(),
                remedy: "none needed: its members are woken when it has a place".into(),
            },
        }
    }

    /// Why this pod must not be bound to that node, if it is of this lane and its plan says otherwise.
    pub(in crate::engine) fn against_plan(&self, pod: &Pod, node: &NodeName) -> Option<Refusal> {
        let seen = pod.planned.as_ref().map_or(0, |plan| plan.epoch);
        let (id, gang) = self.lane.gang(&pod.uid)?;
        if seen > gang.epoch.max(self.lane.epoch) {
            return Some(Refusal {
                reason: Reason::PlannedElsewhere,
                needed: format!("the plan of epoch {seen}"),
                there: "another replica made a later plan than this one knows".into(),
                remedy: "none needed: that replica binds the pod".into(),
            });
        }
        let holder = self.book.holder(&pod.uid).filter(|holder| holder.node == *node);
        let kept = holder.is_some_and(|holder| holder.state != HolderState::Bound);
        (id.kind != GangKind::Alone && !kept).then(|| elsewhere(id))
    }

    /// A Binding was refused, so that nothing was written: a member keeps its place.
    pub(in crate::engine) fn promise_again(&mut self, now: Time, uid: &PodUid, grant: Option<&Grant>) -> bool {
        let Some(grant) = grant.filter(|_| self.lane.gang(uid).is_some_and(|(id, _)| id.kind != GangKind::Alone)) else { return false };
        let Some(pod) = self.pods.get(uid).map(|record| record.pod.clone()) else { return false };
        self.promise_pod(now, &pod, grant.clone());
        self.lane_again(now, uid);
        true
    }
}

/// A nominated node is asked about alone: that says nothing about the others.
fn is_alone(query: FilterQuery<'_>) -> bool {
    query.names.len() == 1 && query.pod.nominated.as_ref().is_some_and(|node| node.as_str() == query.names[0])
}

fn elsewhere(id: &GangId) -> Refusal {
    Refusal {
        reason: Reason::PlannedElsewhere,
        needed: format!("the planned place in gang {id}"),
        there: "kube-scheduler does not offer that node for it".into(),
        remedy: "make the node fit for the pod; else the plan ends at its deadline and is made anew".into(),
    }
}
