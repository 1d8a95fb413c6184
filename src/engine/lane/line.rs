//! The line at kube-scheduler: it takes pods one by one, some hundreds a second at best. Decides who merely waits there, so that
//! neither a reminder nor the end of a plan comes before kube-scheduler has.

use std::time::Duration;

use super::{Gang, Step};
use crate::engine::Engine;
use crate::model::{PodUid, Time};

/// kube-scheduler, which takes a few milliseconds a pod, is not going through a line if nothing is heard of it for so long.
const IDLE: Duration = Duration::from_secs(3);

impl Engine {
    /// How many members of a released gang stand in line at kube-scheduler: it asks about others, has not come to them, and found
    /// nothing against them that it did not ask us about.
    pub(super) fn in_line(&self, now: Time, gang: &Gang) -> u32 {
        if now - self.lane.asked_at >= IDLE {
            return 0;
        }
        let waits = |uid: &PodUid| {
            let record = self.pods.get(uid);
            record.is_some_and(|record| !record.pod.gated && !record.pod.unschedulable && record.asked_at < gang.let_go_at)
        };
        let in_line = |(uid, step): &(&PodUid, &Step)| matches!(step, Step::Planned { .. }) && waits(uid);
        gang.members.iter().filter(in_line).fold(0, |count, _| count + 1)
    }
}
