//! Members that ended well. The watch of pods leaves out those that ended, and tells an end as it tells a deletion: where
//! it matters, the shell is asked which pods of the namespace ended. It is asked seldom, and for all gangs there at once.
//!
//! Who ended well counts in its gang as long as another member is there: nobody will replace it. What is left of an earlier
//! run under the same name must not count, so that only those are taken that were seen as members, or whose controller
//! is that of a member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Gang, QUIET, Step, vacancy_of};
use crate::engine::{Effect, Engine};
use crate::gang::life::Phase;
use crate::model::{GangId, GangKind, Pod, PodPhase, PodUid, Time};

/// A gang whose members all end at once is gone before anybody is asked about it.
const SETTLES: Duration = Duration::from_secs(2);
/// One namespace is asked about no more often.
const ASKED_AGAIN: Duration = Duration::from_secs(10);
/// What was answered about a gang that waits for members is asked for anew.
const ANSWER_LASTS: Duration = Duration::from_secs(60);

/// What a gang remembers of members that left the watch.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// They were bound, and nobody had deleted them.
    left: BTreeSet<PodUid>,
    /// When somebody is to be asked about them.
    due: Option<Time>,
    /// As of when the last answer was.
    known_at: Option<Time>,
}

impl Ended {
    /// A bound member left.
    pub(super) fn left(&mut self, now: Time, uid: &PodUid) {
        self.left.insert(uid.clone());
        self.due.get_or_insert(now + SETTLES);
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.is_some()
    }
}

/// When each namespace was asked about.
pub(super) type Asked = BTreeMap<Arc<str>, Time>;

impl Gang {
    fn is_live(&self) -> bool {
        self.members.values().any(|step| *step != Step::Done)
    }
}

impl Engine {
    /// Asks who ended well, if a member left that was bound, or if members do not come.
    pub(super) fn ask_who_ended(&mut self, now: Time, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id).filter(|_| self.synced && id.kind != GangKind::Alone) else { return };
        let known = gang.ended.known_at.is_some_and(|at| now - at < ANSWER_LASTS);
        let misses = || gang.phase == Phase::Collecting && gang.tally.waiting > 0 && now - gang.joined_at >= QUIET;
        let due = gang.ended.due.is_some_and(|due| due <= now) || (!known && misses());
        let namespace = &id.key.namespace;
        if !due || self.lane.asked_who_ended.get(namespace).is_some_and(|asked| now - *asked < ASKED_AGAIN) {
            return;
        }
        self.lane.asked_who_ended.retain(|_, asked| now - *asked < ASKED_AGAIN);
        self.lane.asked_who_ended.insert(namespace.clone(), now);
        self.effects.push(Effect::ListEnded { namespace: namespace.clone() });
    }

    /// The pods of a namespace that ended.
    pub(in crate::engine) fn ended_listed(&mut self, now: Time, namespace: &str, pods: &[Pod]) {
        let asked_at = self.lane.asked_who_ended.get(namespace).copied().unwrap_or(now);
        let mut ended: BTreeMap<GangId, Vec<&Pod>> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod.phase == PodPhase::Succeeded && pod.gang.is_some()) {
            if let Some(id) = self.identify(now, pod) {
                ended.entry(id).or_default().push(pod);
            }
        }
        let there = |id: &&GangId| &*id.key.namespace == namespace && id.kind != GangKind::Alone;
        let ids: Vec<GangId> = self.lane.gangs.keys().filter(there).cloned().collect();
        for id in ids {
            self.note_ended(now, asked_at, &id, ended.get(&id).map_or(&[], Vec::as_slice));
        }
    }

    fn note_ended(&mut self, now: Time, asked_at: Time, id: &GangId, pods: &[&Pod]) {
        let Some(gang) = self.lane.gangs.get(id).filter(|gang| gang.is_live()) else { return };
        let live = gang.members.iter().filter(|(_, step)| **step != Step::Done).filter_map(|(uid, _)| self.pods.get(uid));
        let controllers: BTreeSet<&Arc<str>> = live.filter_map(|record| Some(&record.pod.controller.as_ref()?.uid)).collect();
        let counts = |pod: &&&Pod| {
            let was_member = gang.ended.left.contains(&pod.uid) || gang.members.get(&pod.uid) == Some(&Step::Done);
            let is_sibling = || pod.controller.as_ref().is_some_and(|owner| controllers.contains(&owner.uid));
            !self.pods.contains_key(&pod.uid) && (was_member || is_sibling())
        };
        let done: BTreeSet<PodUid> = pods.iter().filter(counts).map(|pod| pod.uid.clone()).collect();
        let before: BTreeSet<PodUid> = gang.at(|step| step == Step::Done).into_iter().collect();
        let Some(gang) = self.lane.gangs.get_mut(id) else { return };
        gang.ended.known_at = Some(asked_at);
        if gang.ended.due.is_some_and(|due| due <= asked_at) {
            gang.ended.due = None;
            gang.ended.left.clear();
        }
        for uid in before.difference(&done) {
            gang.set(uid, None);
            self.lane.gang_of.remove(uid);
        }
        for uid in done.difference(&before) {
            gang.set(uid, Some(Step::Done));
            self.lane.gang_of.insert(uid.clone(), id.clone());
        }
        // Nobody comes to take their places.
        let seats: BTreeSet<PodUid> = done.iter().map(vacancy_of).collect();
        gang.vacant.retain(|seat| !seats.contains(&seat.member.uid));
        let freed: Vec<bool> = seats.iter().map(|seat| self.book.release(seat).is_some()).collect();
        if freed.contains(&true) {
            self.gained(now);
        }
        self.advance(now, id);
    }

    /// A gang of which only those are left that ended is over: another of its name begins with nothing.
    pub(super) fn forget_the_ended(&mut self, id: &GangId) {
        let Some(gang) = self.lane.gangs.get_mut(id).filter(|gang| !gang.is_live()) else { return };
        for uid in gang.at(|_| true) {
            gang.set(&uid, None);
            self.lane.gang_of.remove(&uid);
        }
        gang.ended = Ended::default();
    }
}
