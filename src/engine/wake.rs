//! Time passes: holds expire, and pods that kube-scheduler does not know to retry are touched awake.

use std::time::Duration;

use super::decider::reference;
use super::{Effect, Engine, Output};
use crate::book::HolderState;
use crate::model::{PodUid, Time};

/// kube-scheduler retries by itself on most events; only what it has not retried after this is touched.
const OWN_RETRY: Duration = Duration::from_secs(2);

/// The watch shows a pod sooner than that.
const UNSHOWN: Duration = Duration::from_secs(30);

/// At most so many touches a tick: each is an API write.
const TOUCHES_MAX: usize = 50;

/// When capacity grew: the first time that nobody was touched for yet, and the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    first: Time,
    last: Time,
}

impl Engine {
    pub(super) fn gained(&mut self, now: Time) {
        self.lane.gained();
        self.gain = Some(Gain { first: self.gain.map_or(now, |gain| gain.first), last: now });
    }

    pub(super) fn tick(&mut self, now: Time) -> Output {
        self.expire(now);
        self.forget_the_unshown(now);
        self.look_at_quarantines(now);
        self.lane_tick(now);
        Output { effects: self.wake(now), ..Output::default() }
    }

    fn expire(&mut self, now: Time) {
        let due: Vec<PodUid> = self
            .book
            .holders()
            .filter(|holder| match holder.state {
                HolderState::Held { until } | HolderState::Binding { until, .. } => until <= now,
                HolderState::Planned | HolderState::Bound => false,
            })
            .map(|holder| holder.uid.clone())
            .collect();
        for uid in due {
            self.book.release(&uid);
            self.counts.holds_expired += 1;
            self.gained(now);
            self.lane_again(now, &uid);
        }
    }

    /// kube-scheduler can ask about a pod of which we heard just before that it is gone. A member that no watch has shown for so long after
    /// the last question was such a one: it keeps no room, and its gang does without it. What filter holds for a pod alone has its own deadline.
    fn forget_the_unshown(&mut self, now: Time) {
        let stands = |uid: &PodUid| self.book.holder(uid).is_some_and(|holder| holder.state.is_committed());
        let late =
            self.pods.iter().filter(|(uid, record)| !record.shown && now - record.seen_at > UNSHOWN && self.lane.has(uid) && !stands(uid));
        let gone: Vec<PodUid> = late.map(|(uid, _)| uid.clone()).collect();
        gone.iter().for_each(|uid| self.pod_deleted(now, uid));
    }

    /// Touches pods that were refused before capacity last grew, and were not tried since.
    fn wake(&mut self, now: Time) -> Vec<Effect> {
        // From the first gain on: in a busy cluster there is always one of a moment ago.
        let Some(Gain { first, last }) = self.gain.filter(|gain| now - gain.first >= OWN_RETRY) else { return Vec::new() };
        let mut touches = Vec::new();
        for record in self.pods.values_mut() {
            let Some((refused_at, reason)) = record.refused.clone().filter(|(at, _)| *at <= first) else { continue };
            if self.lane.has(&record.pod.uid) {
                continue; // Woken by its nomination, when it has a place.
            }
            if touches.len() == TOUCHES_MAX {
                return touches; // The rest at the next tick: the gain is still open.
            }
            debug_assert!(refused_at <= now);
            touches.push(Effect::Touch(reference(&record.pod)));
            record.refused = Some((now, reason));
        }
        self.gain = (last > first).then_some(Gain { first: last, last });
        touches
    }
}
