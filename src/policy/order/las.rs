//! `las`: the least attained service first. It needs no durations: what had little so far is likely to be short.

use super::{Job, Order};

/// By the accelerator-seconds that a job had, in steps that double: jobs that had about as much go by age, or they would
/// interrupt each other in turns.
#[derive(Debug)]
pub(super) struct Las;

/// A job is stopped only for one that is so many steps before it: it had at least 32 times as much (docs/decisions/0015).
const STEPS_APART: u128 = 6;
/// The first step ends at one accelerator-hour.
const STEP_MILLI_MS: u128 = 1000 * 3_600_000;

impl Order for Las {
    fn name(&self) -> &'static str {
        "las"
    }

    fn goes_by(&self) -> &'static str {
        "priority, then the least attained service"
    }

    fn rank(&self, job: &Job) -> u128 {
        (job.attained_milli_ms / STEP_MILLI_MS).checked_ilog2().map_or(0, |doublings| u128::from(doublings) + 1)
    }

    fn takes_turns(&self) -> bool {
        true
    }

    /// Whoever is stopped must have had far more than the other, so that each turn is as many times as long as the last.
    fn comes_first(&self, waiting: &Job, running: &Job) -> bool {
        self.rank(running) >= self.rank(waiting) + STEPS_APART
    }
}
