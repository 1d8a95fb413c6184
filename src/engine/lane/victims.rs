//! What those are told who made room: for whom, and when they are expected back. How long who took the room runs is what its owner says, or
//! what earlier runs tell; where neither does, nothing is promised.

use super::durations::Expected;
use super::ledger::Eviction;
use super::queues::job_of;
use crate::engine::Engine;
use crate::model::{Pod, Time};

impl Engine {
    /// The last time that a pod made room, or one before it of the same job.
    pub fn made_room(&self, namespace: &str, name: &str) -> Option<&Eviction> {
        let job = self.pod(namespace, name).map(job_of);
        let is_it = |entry: &&Eviction| {
            let named = entry.pods.iter().any(|key| &*key.namespace == namespace && &*key.name == name);
            named || job.as_ref() == Some(&entry.job)
        };
        self.lane.ledger.entries().rev().find(is_it)
    }

    /// When one that made room is expected back, in words.
    pub fn comes_back(&self, now: Time, entry: &Eviction) -> String {
        let pods = || self.pods.values().map(|record| &record.pod);
        if entry.kind == "surplus" {
            return "its gang runs on without it, and it joins that again as soon as there is room".into();
        }
        // Who was told to go may run on for a moment.
        let runs = |pod: &Pod| pod.node.is_some() && !pod.deleting && !self.lane.awaited.contains_key(&pod.uid);
        if pods().any(|pod| runs(pod) && job_of(pod) == entry.job) {
            return "it runs again".into();
        }
        let takers: Vec<&Pod> = pods().filter(|pod| job_of(pod) == entry.preemptor_job).collect();
        self.room_again(now, &takers, &entry.preemptor)
    }

    /// When those who took room are expected to leave it.
    pub(super) fn room_again(&self, now: Time, takers: &[&Pod], title: &str) -> String {
        if takers.is_empty() {
            return format!("as soon as there is room: {title} is gone");
        }
        let Some(expected) = takers.iter().map(|pod| self.expected(pod)).collect::<Option<Vec<Expected>>>() else {
            return format!("as soon as there is room; when is not predictable: nobody says how long {title} runs");
        };
        let least = expected.iter().map(|expected| expected.least).max().unwrap_or_default();
        let most = expected.iter().map(|expected| expected.most).max().unwrap_or_default();
        let learnt = expected.iter().any(|expected| expected.learnt);
        let basis = if learnt { "earlier runs of its owner" } else { "what it says of itself" };
        let Some(since) = takers.iter().filter_map(|pod| self.runs_since(pod)).max() else {
            let (least, most) = (least.as_secs(), most.as_secs());
            return format!("{least} to {most} s after {title} has started, by {basis}; sooner where there is other room");
        };
        let left = |end: Time| if end > now { (end - now).as_secs() } else { 0 };
        match (left(since + least), left(since + most)) {
            (_, 0) => format!("as soon as there is room: {title} was expected to end by now, by {basis}"),
            (least, most) => format!("in {least} to {most} s, when {title} ends, by {basis}; sooner where there is other room"),
        }
    }
}
