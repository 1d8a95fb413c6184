//! `srtf`: the shortest remaining time first.

use super::{Job, Order, WORTH_A_START};

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

    /// What waits keeps its rank, and what runs only comes nearer to its end: the one that was stopped never comes back so.
    fn comes_first(&self, waiting: &Job, running: &Job) -> bool {
        let (Some(waiting), Some(running)) = (waiting.remaining(), running.remaining()) else { return false };
        waiting + WORTH_A_START <= running
    }
}
