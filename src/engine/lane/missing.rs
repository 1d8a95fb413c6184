//! Members that do not come: how many there are, and why their owner cannot create the others, in the owner's own words.
//! What owners said is remembered with bounds, and as evidence alone: nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Gang, QUIET, Step};
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::model::{CreationFailure, GangId, GangKind, Reason, Refusal, Time};

/// Owners of which something is remembered; beyond it the oldest word goes.
const FAILURES_MAX: usize = 1024;
/// Kubernetes keeps Events for as long.
const FAILURE_LASTS: Duration = Duration::from_hours(1);
/// A pod that was created so long after a failure may be of the same attempt: controllers create several at a time.
const SAME_ATTEMPT: Duration = Duration::from_secs(10);

/// What owners said of pods that they could not create, by UID.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<Arc<str>, CreationFailure>);

impl Failures {
    fn add(&mut self, failure: CreationFailure) {
        let uid = failure.owner.uid.clone();
        if self.0.get(&uid).is_some_and(|known| known.at > failure.at) {
            return;
        }
        self.0.insert(uid, failure);
        if self.0.len() > FAILURES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, failure)| failure.at).map(|(uid, _)| uid.clone());
            oldest.map(|uid| self.0.remove(&uid));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.0.retain(|_, failure| now - failure.at < FAILURE_LASTS);
    }
}

impl Engine {
    /// An owner could not create a pod: gangs that wait for it say so.
    pub(in crate::engine) fn creation_failed(&mut self, now: Time, failure: CreationFailure) {
        if now - failure.at >= FAILURE_LASTS {
            return;
        }
        let namespace = failure.owner.key.namespace.clone();
        self.lane.failures.add(failure);
        let waits = |(id, gang): &(&GangId, &Gang)| id.key.namespace == namespace && gang.phase == Phase::Collecting;
        let waiting: Vec<GangId> = self.lane.gangs.iter().filter(waits).map(|(id, _)| id.clone()).collect();
        waiting.iter().for_each(|id| self.tell_of_the_missing(now, id));
    }

    /// A gang whose members do not come says so, and says it anew when there is more to say.
    pub(super) fn tell_of_the_missing(&mut self, now: Time, id: &GangId) {
        let Some(gang) = self.lane.gangs.get(id) else { return };
        let quiet = self.synced && gang.phase == Phase::Collecting && now - gang.joined_at >= QUIET;
        if !quiet || id.kind == GangKind::Alone || gang.tally.waiting == 0 {
            return;
        }
        let refusal = self.who_is_missing(id, gang);
        if gang.refusal.as_ref() != Some(&refusal) {
            self.tell_gang(now, id, &refusal);
        }
    }

    /// The story of a gang that waits for members.
    pub(super) fn who_is_missing(&self, id: &GangId, gang: &Gang) -> Refusal {
        let present = gang.tally.waiting + gang.tally.planned + gang.tally.bound;
        let Some((size, _)) = self.lane.size(id, gang) else {
            return Refusal {
                reason: Reason::GroupIncomplete,
                needed: format!("the object of gang {id}, which says its size"),
                there: "it was not seen".to_owned(),
                remedy: "create it, with the size in it".into(),
            };
        };
        let needed = format!("{size} members of gang {id}");
        let Some(failure) = self.failure_of(id, gang) else {
            return Refusal {
                reason: Reason::GroupIncomplete,
                needed,
                there: format!("{present} of them"),
                remedy: "create the missing members: all start at once, or none".into(),
            };
        };
        let CreationFailure { owner, message, .. } = failure;
        Refusal {
            reason: Reason::MembersNotCreated,
            needed,
            there: format!(
                "{present} of them; {} {} cannot create the other {}: {message}",
                owner.kind,
                owner.key,
                size.saturating_sub(present)
            ),
            remedy: remedy(message).into(),
        }
    }

    /// The newest failure to create a member, if none was created since.
    fn failure_of(&self, id: &GangId, gang: &Gang) -> Option<&CreationFailure> {
        if self.lane.failures.0.is_empty() {
            return None;
        }
        let spec = self.lane.spec(id);
        let pods = || gang.members.iter().filter(|(_, step)| **step != Step::Done).filter_map(|(uid, _)| Some(&self.pods.get(uid)?.pod));
        let mut owners: BTreeSet<&Arc<str>> = pods().filter_map(|pod| pod.controller.as_ref()).map(|controller| &controller.uid).collect();
        owners.insert(&id.uid);
        owners.extend(spec.map(|spec| &spec.id.uid));
        owners.extend(spec.and_then(|spec| spec.suspend.as_ref()).map(|owner| &owner.uid));
        let created = pods().map(|pod| pod.created_at).max()?;
        let theirs = |failure: &&CreationFailure| {
            let named = || std::iter::once(&failure.owner.uid).chain(&failure.above);
            failure.owner.key.namespace == id.key.namespace && named().any(|uid| owners.contains(uid))
        };
        let newest = self.lane.failures.0.values().filter(theirs).max_by_key(|failure| failure.at)?;
        (newest.at + SAME_ATTEMPT >= created).then_some(newest)
    }
}

/// By what API server and admission plugins write since long: the words of an unknown webhook speak for themselves.
fn remedy(message: &str) -> &'static str {
    if message.contains("exceeded quota") {
        "raise that ResourceQuota, or delete what uses it up; the owner then tries again by itself"
    } else if message.contains("violates PodSecurity") {
        "write the pod template as the namespace's pod security level wants it, or have the level changed"
    } else {
        "mend what refuses them; the owner tries again by itself"
    }
}
