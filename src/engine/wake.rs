//! Time passes: holds expire, and pods that kube-scheduler does not know to retry are touched awake.

use std::time::Duration;

use super::decider::reference;
use super::{Effect, Engine, Output};
use crate::book::HolderState;
use crate::model::{PodUid, Time};

/// kube-scheduler retries by itself on most events; only what it has not retried after this is touched.
const OWN_RETRY: Duration = Duration::from_secs(2);

/// At most so many touches a tick: each is an API write.
const TOUCHES_MAX: usize = 50;

impl Engine {
    pub(super) fn tick(&mut self, now: Time) -> Output {
        self.expire(now);
        Output { effects: self.wake(now), ..Output::default() }
    }

    fn expire(&mut self, now: Time) {
        let due: Vec<PodUid> = self
            .book
            .holders()
            .filter(|holder| match holder.state {
                HolderState::Held { until } | HolderState::Binding { until, .. } => until <= now,
                HolderState::Bound => false,
            })
            .map(|holder| holder.uid.clone())
            .collect();
        for uid in due {
            self.book.release(&uid);
            self.counts.holds_expired += 1;
            self.gained_at = Some(now);
        }
    }

    /// Touches pods that were refused before capacity last grew, and were not tried since.
    fn wake(&mut self, now: Time) -> Vec<Effect> {
        let Some(gained_at) = self.gained_at.filter(|gained| now - *gained >= OWN_RETRY) else { return Vec::new() };
        let mut touches = Vec::new();
        for record in self.pods.values_mut() {
            let Some((refused_at, reason)) = record.refused.clone().filter(|(at, _)| *at <= gained_at) else { continue };
            if touches.len() == TOUCHES_MAX {
                return touches; // The rest at the next tick: the gain is still open.
            }
            debug_assert!(refused_at <= now);
            touches.push(Effect::Touch(reference(&record.pod)));
            record.refused = Some((now, reason));
        }
        self.gained_at = None;
        touches
    }
}
