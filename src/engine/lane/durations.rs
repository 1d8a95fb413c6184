//! How long a pod is expected to run: what its owner says, or else what earlier runs of the same owner took. Runs are of one owner if the
//! controllers of their pods have the same kind and namespace, and names that differ only in what is put behind a name to tell runs
//! apart: a number, as CronJobs and sweeps do, or the five letters of `generateName`; and if their pods ask for as much.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::model::{Pod, PodUid, Time};

/// How long a pod is expected to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// At least, where earlier runs tell.
    pub(super) least: Duration,
    pub(super) most: Duration,
    /// Its owner says nothing: earlier runs tell.
    pub(super) learnt: bool,
}

impl Engine {
    /// How long a pod is expected to run; none where nobody says, and earlier runs are too few or too different.
    pub(super) fn expected(&self, pod: &Pod) -> Option<Expected> {
        if let Some(most) = pod.expected {
            return Some(Expected { least: Duration::ZERO, most, learnt: false });
        }
        if self.lane.durations.is_empty() {
            return None;
        }
        let known = self.lane.durations.of(&owner_of(pod)?)?;
        Some(Expected { least: known.shortest, most: known.longest, learnt: true })
    }

    /// A pod is gone. If it ended by itself, it tells how long those like it run.
    pub(in crate::engine) fn note_run(&mut self, now: Time, uid: &PodUid) {
        let Some(pod) = self.pods.get(uid).map(|record| &record.pod).filter(|pod| pod.node.is_some() && !pod.deleting) else { return };
        let (Some(owner), Some(run), Some(since)) = (owner_of(pod), &pod.controller, self.runs_since(pod)) else { return };
        let run = run.uid.clone();
        self.lane.durations.ended(now, &owner, &run, now - since);
    }

    /// Since when a pod runs; none if it does not.
    pub(super) fn runs_since(&self, pod: &Pod) -> Option<Time> {
        let bound = self.book.holder(&pod.uid).filter(|holder| holder.state.is_committed())?;
        Some(if pod.started_at > Time::default() { pod.started_at } else { bound.changed_at })
    }
}

/// Whose runs tell how long a pod runs.
fn owner_of(pod: &Pod) -> Option<Arc<str>> {
    let controller = pod.controller.as_ref()?;
    Some(format!("{}/{}/{}/{}", controller.kind, controller.key.namespace, family(&controller.key.name), pod.request.units()).into())
}

/// A name without what tells runs apart.
fn family(name: &str) -> &str {
    let Some((family, last)) = name.rsplit_once('-') else { return name };
    let number = !last.is_empty() && last.bytes().all(|letter| letter.is_ascii_digit());
    let generated = last.len() == 5 && last.bytes().all(|letter| b"bcdfghjklmnpqrstvwxz2456789".contains(&letter));
    if number || generated { family } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_generated_letters_tell_runs_apart_and_words_do_not() {
        let names = ["nightly-29384720", "sweep-7", "train-x7k2p", "llama-large", "train", "resnet-50-eval"];
        assert_eq!(names.map(family), ["nightly", "sweep", "train", "llama-large", "train", "resnet-50-eval"]);
    }
}
