//! After a restart, or when this replica gets the voice: promises that were written on pods are held again, gangs that are
//! half bound go on to be whole, and every promise is written anew under a higher epoch, so that a Binding that the one
//! before us still has on its way is refused.

use super::{Gang, Step};
use crate::book::{HolderState, takes};
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::model::{GangId, GangKind, Pod, Time};

impl Engine {
    /// Holds what is written on a released pod, where this process did not promise it itself: it was another's, or its
    /// own before it started.
    pub(super) fn adopt(&mut self, now: Time, pod: &Pod, id: &GangId) {
        let Some(plan) = pod.planned.as_ref().filter(|_| pod.node.is_none() && !pod.gated && !pod.deleting) else { return };
        let known = self.lane.epoch;
        self.lane.epoch = known.max(plan.epoch);
        if self.synced && plan.epoch <= known {
            return;
        }
        let ours = self
            .book
            .holder(&pod.uid)
            .is_some_and(|holder| holder.state != HolderState::Planned || holder.grant.as_ref() == Some(&plan.grant));
        if ours {
            return;
        }
        self.book.release(&pod.uid);
        let (takes, honoured) = takes(&pod.request, Some(&plan.grant));
        if !honoured || takes.is_empty() {
            return;
        }
        // Nodes may come after pods: whether the devices are there is looked at when all lists are in.
        self.promise_pod(now, pod, plan.grant.clone());
        // With the voice it is known whose they are: what another replica wrote before it heard that it has lost it counts for nothing.
        if self.synced && !self.is_upheld(&pod.uid) {
            self.book.release(&pod.uid);
            return;
        }
        let gang = self.lane.gang_mut(id, pod);
        gang.epoch = gang.epoch.max(plan.epoch);
        gang.ranks.extend(plan.rank.map(|rank| (pod.uid.clone(), rank)));
    }

    /// The books are complete and this replica has the voice.
    pub(in crate::engine) fn take_over(&mut self, now: Time) {
        // Two that plan one after the other, and of whom the first wrote nothing, must not use the same numbers: nobody plans once a
        // millisecond for long.
        self.lane.epoch = self.lane.epoch.max(now.unix_ms());
        self.look_for_lost_nodes(now);
        let ids: Vec<GangId> = self.lane.gangs.keys().cloned().collect();
        for id in &ids {
            self.drop_broken_promises(now, id);
            self.drop_promises_beyond_maxima(now, id);
            let Some(gang) = self.lane.gangs.get_mut(id) else { continue };
            let (planned, bound) = (gang.tally.planned, gang.tally.bound);
            if planned + bound > 0 {
                gang.phase = Phase::released(now);
                gang.let_go_at = now;
            }
            if planned > 0 {
                self.lane.epoch += 1;
                gang.epoch = self.lane.epoch;
                gang.asked = true;
                self.release_members(id);
            }
            self.advance(now, id);
        }
    }

    /// What was promised, and somebody has, or is not there.
    fn drop_broken_promises(&mut self, now: Time, id: &GangId) {
        let members = self.lane.gangs.get(id).map(Gang::with_places).unwrap_or_default();
        for uid in members {
            let upheld = self.book.holder(&uid).is_some_and(|holder| {
                let node = self.book.node(holder.node.as_str());
                node.is_some_and(|entry| entry.upholds(holder))
            });
            if !upheld {
                self.book.release(&uid);
                if let Some(gang) = self.lane.gangs.get_mut(id) {
                    gang.set(&uid, Some(Step::Waiting));
                }
                self.gained(now);
            }
        }
    }

    /// What was given back before this process began may stand on pods still, and others were promised what it left in their queue.
    fn drop_promises_beyond_maxima(&mut self, now: Time, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id).filter(|gang| gang.tally.bound == 0 && gang.tally.planned > 0) else { return };
        let members = gang.with_places();
        let mark = self.book.checkpoint();
        members.iter().for_each(|uid| drop(self.book.release(uid)));
        let roster = self.roster(id, &members, usize::MAX);
        if self.entitled(&roster.by_role().collect::<Vec<_>>()).is_ok() {
            return self.book.rollback(mark);
        }
        self.book.commit(mark);
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            members.iter().for_each(|uid| gang.set(uid, Some(Step::Waiting)));
        }
        self.gained(now);
    }

    /// Another replica has the voice now: promises that were not written are none.
    pub(in crate::engine) fn step_down(&mut self, now: Time) {
        self.drop_claims(now);
        self.lane.losses.forget_members();
        let ids: Vec<GangId> = self.lane.gangs.keys().cloned().collect();
        for id in ids {
            // Places that were kept are the other's to give.
            self.give_up_vacancies(now, &id);
            let Some(gang) = self.lane.gangs.get_mut(&id) else { continue };
            gang.phase = Phase::Collecting;
            for uid in gang.with_places() {
                let written = self.pods.get(&uid).and_then(|record| record.pod.planned.as_ref()).map(|plan| &plan.grant);
                let holder = self.book.holder(&uid);
                if holder.and_then(|holder| holder.grant.as_ref()) != written {
                    self.book.release(&uid);
                    if let Some(gang) = self.lane.gangs.get_mut(&id) {
                        gang.set(&uid, Some(Step::Waiting));
                    }
                    self.gained(now);
                }
            }
            if id.kind == GangKind::Alone {
                self.forget_if_empty(now, &id);
            }
        }
    }
}
