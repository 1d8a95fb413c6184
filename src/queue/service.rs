//! How long each job ran and what it had, over all its starts. It is known from what was seen bound, so that a restart of
//! Gangplank forgets the runs that had ended before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{PodUid, Time};

/// Jobs that run nowhere are remembered for so long: one that was stopped comes again long before.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// And at most so many of them.
const JOBS_MAX: usize = 100_000;

/// What a job had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// How long it ran, with anything at all.
    ran_ms: u64,
    attained_milli_ms: u128,
    /// What it has now, and since when.
    milli: u64,
    since: Time,
}

impl Run {
    /// How long it ran until now.
    pub fn ran(&self, now: Time) -> Duration {
        let running = if self.milli > 0 { now - self.since } else { Duration::ZERO };
        Duration::from_millis(self.ran_ms) + running
    }

    /// What it had until now, in thousandths of devices times milliseconds.
    pub fn attained_milli_ms(&self, now: Time) -> u128 {
        self.attained_milli_ms + u128::from(self.milli) * (now - self.since).as_millis()
    }

    /// When it came to have what it has, or ceased to have anything.
    pub fn since(&self) -> Time {
        self.since
    }

    fn settle(&mut self, now: Time) {
        self.attained_milli_ms = self.attained_milli_ms(now);
        self.ran_ms = u64::try_from(self.ran(now).as_millis()).unwrap_or(u64::MAX);
        self.since = self.since.max(now);
    }
}

/// Every job that runs, or ran of late.
#[derive(Debug, Default)]
pub struct Service {
    runs: BTreeMap<Arc<str>, Run>,
    /// Pods that run, each with its job and what it has.
    running: BTreeMap<PodUid, (Arc<str>, u64)>,
}

impl Service {
    /// From now on a pod of a job has so much.
    pub fn runs(&mut self, now: Time, pod: &PodUid, job: &Arc<str>, milli: u64) {
        if self.running.get(pod).is_some_and(|(known, before)| known == job && *before == milli) {
            return;
        }
        self.gone(now, pod);
        if milli == 0 {
            return;
        }
        if self.runs.len() >= JOBS_MAX && !self.runs.contains_key(job) {
            self.forget(now);
        }
        self.running.insert(pod.clone(), (job.clone(), milli));
        let run = self.runs.entry(job.clone()).or_default();
        run.settle(now);
        run.milli += milli;
    }

    /// From now on a pod has nothing.
    pub fn gone(&mut self, now: Time, pod: &PodUid) {
        let Some((job, milli)) = self.running.remove(pod) else { return };
        if let Some(run) = self.runs.get_mut(&job) {
            run.settle(now);
            run.milli = run.milli.saturating_sub(milli);
        }
    }

    /// What a job had.
    pub fn of(&self, job: &str) -> Run {
        self.runs.get(job).copied().unwrap_or_default()
    }

    /// Jobs that ended long ago, or else those that ended first.
    fn forget(&mut self, now: Time) {
        self.runs.retain(|_, run| run.milli > 0 || now - run.since < REMEMBERED);
        let mut ended: Vec<(Time, Arc<str>)> =
            self.runs.iter().filter(|(_, run)| run.milli == 0).map(|(job, run)| (run.since, job.clone())).collect();
        ended.sort_unstable();
        let over = (self.runs.len() + JOBS_MAX / 10).saturating_sub(JOBS_MAX);
        for (_, job) in ended.into_iter().take(over) {
            self.runs.remove(&job);
        }
    }
}
