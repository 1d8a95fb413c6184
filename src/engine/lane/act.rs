//! From phase to phase: what [`crate::gang::life::next`] asks for is done here, in the book and as effects. Nothing is
//! done before the books are complete and this replica has the voice.

use std::cmp::Reverse;

use super::{Gang, Step, VACANT, vacancy_of};
use crate::book::{Holder, HolderState};
use crate::engine::decider::reference;
use crate::engine::{Effect, Engine};
use crate::gang::life::{Act, Phase, next};
use crate::gang::{Member, Planned};
use crate::model::{GangId, GangKind, GangSpec, PlanRecord, Pod, PodKey, PodUid, Time};

impl Engine {
    /// Moves a gang on as far as it goes.
    pub(super) fn advance(&mut self, now: Time, id: &GangId) {
        if !self.synced {
            return;
        }
        while let Some(gang) = self.lane.gangs.get(id) {
            let mut members = self.lane.members(id, gang, now);
            if matches!(gang.phase, Phase::Released { until, .. } if until <= now) {
                members.in_line = self.in_line(now, gang);
            }
            let (phase, act) = next(gang.phase, &members, now);
            if (phase == gang.phase && act == Act::Rest) || (act == Act::Undo && self.lane.stood_still(now)) {
                break;
            }
            let again = matches!(gang.phase, Phase::Undoing { .. });
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                if gang.phase == Phase::Collecting {
                    gang.refusal = None;
                }
                gang.phase = phase;
                if act == Act::Release {
                    gang.let_go_at = now;
                }
            }
            if phase == Phase::Bound && self.has_arrived(id) {
                self.may_give_way(id);
            }
            match act {
                Act::Rest => {}
                Act::GiveBack => self.give_back(now, id),
                Act::Release => self.release_members(id),
                Act::Remind => self.remind(id),
                Act::Undo if again && self.nobody_goes(id) => self.go_forward(now, id),
                Act::Undo => self.undo(now, id),
                Act::Resume => self.resume(id),
                Act::Lapse => self.lapse(now, id),
            }
        }
        self.take_turn(now, id);
    }

    /// A gang has arrived. While it was on its way nobody could take its room: who stands above it, or may take back what its queue
    /// borrows, and was refused looks again.
    fn may_give_way(&mut self, id: &GangId) {
        let (Some(gang), Some(first)) = (self.lane.gangs.get(id), self.lane.refused.iter().next()) else { return };
        let urgent = first.priority < gang.turn.priority;
        self.queues.count(&self.book, self.profiles.classes());
        if urgent || self.queues.is_claimable(self.queues.rules().of(&id.key.namespace)) {
            self.lane.gained();
        }
    }

    /// All of a gang's Bindings are known to be written.
    fn has_arrived(&self, id: &GangId) -> bool {
        let written = |uid: &PodUid| self.book.holder(uid).is_none_or(|holder| holder.state == HolderState::Bound);
        self.lane.gangs.get(id).is_some_and(|gang| gang.members.iter().all(|(uid, step)| *step != Step::Bound || written(uid)))
    }

    /// A pod's Binding is known to be written. The last of a gang's is its arrival, unless it has another phase to go.
    pub(in crate::engine) fn binding_written(&mut self, uid: &PodUid) {
        let Some(first) = self.lane.refused.iter().next() else { return };
        let stands_below = || self.book.holder(uid).is_some_and(|holder| first.priority < Reverse(holder.priority));
        match self.lane.gang(uid).map(|(id, gang)| (id.clone(), gang.phase)) {
            None if stands_below() => self.lane.gained(),
            Some((id, phase)) if id.kind == GangKind::Alone || (phase == Phase::Bound && self.has_arrived(&id)) => self.may_give_way(&id),
            None | Some(_) => {}
        }
    }

    /// Enters a gang among those that wait for a plan, or takes it out.
    pub(super) fn take_turn(&mut self, now: Time, id: &GangId) {
        self.review_kept_for(now, id);
        let Some(gang) = self.lane.gangs.get(id) else { return };
        let joins = matches!(gang.phase, Phase::Released { .. } | Phase::Bound) && gang.tally.waiting > 0;
        let waits = gang.phase == Phase::Queued || joins;
        let turn = gang.turn.clone();
        if !waits || !self.may_be_planned(gang) {
            self.lane.ready.remove(id);
            self.lane.refused.remove(&turn);
        } else if self.lane.refused.contains(&turn) {
            self.lane.refused.stands_alone(&turn);
        } else if !self.lane.ready.contains(id) {
            let entry = self.entry(now, gang);
            self.lane.ready.insert(entry);
        }
    }

    /// A pod that never had our gate is ours only if kube-scheduler asks about it.
    fn may_be_planned(&self, gang: &Gang) -> bool {
        let gated = |uid: &PodUid| self.pods.get(uid).is_some_and(|record| record.pod.gated || record.pod.planned.is_some());
        gang.asked || gang.members.iter().all(|(uid, step)| *step != Step::Waiting || gated(uid))
    }

    /// What members hold that are not bound is free again.
    pub(super) fn give_back(&mut self, now: Time, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id) else { return };
        for uid in gang.with_places() {
            self.book.release(&uid);
            self.gained(now);
            if let Some(pod) = self.pods.get(&uid).map(|record| &record.pod).filter(|pod| pod.nominated.is_some()) {
                self.effects.push(Effect::Nominate { pod: reference(pod), node: None });
            }
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.set(&uid, Some(Step::Waiting));
            }
        }
        self.give_up_vacancies(now, id);
        self.drop_claim(now, id);
    }

    pub(super) fn give_up_vacancies(&mut self, now: Time, id: &GangId) {
        let vacant = self.lane.gangs.get_mut(id).map(|gang| std::mem::take(&mut gang.vacant)).unwrap_or_default();
        for seat in vacant {
            if self.book.release(&seat.member.uid).is_some() {
                self.gained(now);
            }
        }
    }

    /// Gates off, and the plan on each pod in the same write. A pod that never had a gate needs none: its members are
    /// planned anew beside the bound ones if this process ends.
    pub(super) fn release_members(&mut self, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id) else { return };
        for uid in gang.with_places() {
            let Some(plan) = self.promise(id, gang, &uid) else { continue };
            let Some(pod) = self.pods.get(&uid).map(|record| &record.pod) else { continue };
            let stale = pod.planned.as_ref().is_some_and(|planned| *planned != plan);
            if pod.gated || stale {
                self.effects.push(Effect::Release { pod: reference(pod), plan: Some(plan) });
            }
        }
    }

    /// What is written on a member.
    pub(super) fn promise(&self, id: &GangId, gang: &Gang, uid: &PodUid) -> Option<PlanRecord> {
        let grant = self.book.holder(uid).filter(|holder| holder.state == HolderState::Planned)?.grant.clone()?;
        let rank = gang.ranks.get(uid).copied().filter(|_| id.kind != GangKind::Alone);
        Some(PlanRecord { epoch: gang.epoch, grant, rank })
    }

    /// Tells kube-scheduler again where those go that are not bound.
    fn remind(&mut self, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id) else { return };
        for uid in gang.with_places() {
            let (Some(node), Some(pod)) = (self.place_of(&uid), self.pods.get(&uid).map(|record| &record.pod)) else { continue };
            if pod.nominated.as_ref() == Some(&node) {
                self.effects.push(Effect::Touch(reference(pod)));
            } else {
                self.effects.push(Effect::Nominate { pod: reference(pod), node: Some(node) });
            }
        }
        self.release_members(id);
    }

    /// Takes back what is bound of a gang that cannot be whole: through an owner that can be suspended, so that no pod
    /// counts as failed. Pods that nobody would create again stay, and the others join them when they can.
    pub(super) fn undo(&mut self, now: Time, id: &GangId) {
        self.give_back(now, id);
        let Some(gang) = self.lane.gangs.get(id) else { return };
        let bound: Vec<&Pod> = gang.at(|step| step == Step::Bound).iter().filter_map(|uid| Some(&self.pods.get(uid)?.pod)).collect();
        let owner = self.lane.spec(id).and_then(|spec| spec.suspend.clone()).or_else(|| bound.iter().find_map(|pod| self.suspendable(pod)));
        if let Some(owner) = owner {
            self.effects.push(Effect::Suspend { owner, suspend: true });
            return;
        }
        // Whose Binding is on its way may turn out unbound, and to its Job an eviction before it runs is a failure. It is
        // looked at again when that is known, or when the undo is asked for again.
        let decided = bound.iter().all(|pod| pod.node.is_some());
        let evicted: Vec<_> = bound.into_iter().filter(|pod| pod.controller.is_some() && pod.node.is_some()).map(reference).collect();
        if evicted.is_empty()
            && decided
            && let Some(gang) = self.lane.gangs.get_mut(id)
        {
            gang.phase = Phase::released(now);
        }
        let why = "the rest of its gang cannot start";
        self.effects.extend(evicted.into_iter().map(|pod| Effect::Evict { pod, why, force: false }));
    }

    /// Members were told to go, and none does: a disruption budget is in the way, or the word was lost.
    fn nobody_goes(&self, id: &GangId) -> bool {
        let Some(gang) = self.lane.gangs.get(id) else { return false };
        let bound = gang.at(|step| step == Step::Bound);
        let mut pods = bound.iter().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod);
        self.lane.spec(id).is_none_or(|spec| spec.suspend.is_none()) && pods.all(|pod| !pod.deleting && self.suspendable(pod).is_none())
    }

    /// Others are planned beside members that stay, for as long as a release lasts. Then these are told to go again.
    fn go_forward(&mut self, now: Time, id: &GangId) {
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            gang.phase = Phase::released(now);
        }
    }

    /// The owner of a pod that can be suspended, as the pod's controller says it.
    pub(super) fn suspendable(&self, pod: &Pod) -> Option<crate::model::OwnerRef> {
        let controller = pod.controller.as_ref()?;
        self.lane.specs.values().find(|spec| spec.id.uid == controller.uid)?.suspend.clone()
    }

    fn resume(&mut self, id: &GangId) {
        let owner = self.lane.spec(id).filter(|spec| spec.suspended_by_us).and_then(|spec| spec.suspend.clone());
        self.effects.extend(owner.map(|owner| Effect::Suspend { owner, suspend: false }));
    }

    /// Holds the place of a member that is gone for the one that replaces it.
    pub(super) fn keep_place(&mut self, now: Time, id: &GangId, pod: &Pod, holder: Holder) {
        // Without the voice it is not ours to hold: whoever has it may have given the place away since.
        let Some(grant) = holder.grant.clone().filter(|_| self.synced) else { return };
        let Some(gang) = self.lane.gangs.get_mut(id) else { return };
        let rank = gang.ranks.remove(&pod.uid).unwrap_or(0);
        let uid = vacancy_of(&pod.uid);
        let key = PodKey::new(pod.key.namespace.clone(), format!("{} (gone)", pod.key.name));
        let node = holder.node.clone();
        gang.vacant.push(Planned { member: Member { uid: uid.clone(), key: key.clone() }, rank, node: node.clone(), grant });
        let upheld = self.book.node(node.as_str()).is_some_and(|entry| !entry.quarantined);
        if upheld {
            let state = HolderState::Held { until: now + VACANT };
            let stand_in = Holder { uid, key, state, changed_at: now, ..holder };
            self.book.set_holder(stand_in.clone());
            if !self.book.node(node.as_str()).is_some_and(|entry| entry.upholds(&stand_in)) {
                self.book.release(&stand_in.uid);
            }
        }
    }

    /// Time passed: deadlines, owners that wait to be resumed, elastic gangs whose last members do not come.
    pub(in crate::engine) fn lane_tick(&mut self, now: Time) {
        self.lane.failures.expire(now);
        self.look_at_turns(now);
        self.look_at_patience(now);
        let stood_still = self.lane.stood_still(now);
        self.lane.ticked_at = Some(now);
        // Of what runs or waits for room there may be many, and time changes nothing about it.
        let moves = |gang: &Gang| {
            gang.phase == Phase::Collecting || gang.phase.deadline().is_some() || !gang.vacant.is_empty() || gang.ended.is_due()
        };
        let ids: Vec<GangId> = self.lane.gangs.iter().filter(|(_, gang)| moves(gang)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let Some(gang) = self.lane.gangs.get(&id) else { continue };
            let takes_back = gang.tally.bound > 0;
            let due = gang.phase.deadline().is_some_and(|until| until <= now) && !(stood_still && takes_back);
            let vacant = !gang.vacant.is_empty();
            // A release without a plan that nobody carried out, and pods of a controller whose object nobody shows.
            let stays = gang.phase == Phase::Collecting && matches!(id.kind, GangKind::Owner | GangKind::Alone);
            if stays {
                self.look_at_members(now, &id);
            }
            self.ask_who_ended(now, &id);
            self.tell_of_the_missing(now, &id);
            if vacant {
                self.forget_lapsed_vacancies(&id);
            }
            if due || self.lane.gangs.get(&id).is_some_and(|gang| gang.phase == Phase::Collecting) {
                self.advance(now, &id);
            }
        }
        self.move_claims(now);
        if !stood_still {
            self.repair(now);
        }
        self.resume_owners();
        self.ask_for_nodes(now);
    }

    fn forget_lapsed_vacancies(&mut self, id: &GangId) {
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            let book = &self.book;
            gang.vacant.retain(|seat| book.holder(&seat.member.uid).is_some());
        }
    }

    /// An owner that we suspended goes on once none of its pods is bound, whoever of us suspended it.
    fn resume_owners(&mut self) {
        let runs = |spec: &GangSpec| {
            let of = |pod: &Pod| pod.controller.as_ref().is_some_and(|owner| owner.uid == spec.id.uid);
            self.pods.values().any(|record| record.pod.node.is_some() && of(&record.pod))
        };
        let due = self.lane.specs.values().filter(|spec| spec.suspended_by_us && !runs(spec)).filter(|spec| {
            let gang = self.lane.gangs.get(&spec.id);
            gang.is_none_or(|gang| gang.tally.bound == 0 && !matches!(gang.phase, Phase::Undoing { .. }))
        });
        let resumed: Vec<Effect> =
            due.filter_map(|spec| spec.suspend.clone()).map(|owner| Effect::Suspend { owner, suspend: false }).collect();
        self.effects.extend(resumed);
    }
}
