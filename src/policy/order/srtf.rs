//! `srtf`: the shortest remaining time first.

use super::{Job, Order};

/// By the time that a job has to run yet; one of which nobody knows comes last.
#[derive(Debug)]
pub(super) struct Srtf;

impl Order for Srtf {
    fn name(&self) -> &'static str {
        "srtf"
    }

    fn goes_by(&self) -> &'static str {
        "priority, then the shortest remaining time"
    }

    fn rank(&self, job: &Job) -> u128 {
        job.remaining().map_or(u128::MAX, |remaining| remaining.as_millis())
    }

    fn takes_turns(&self) -> bool {
        true
    }
}
