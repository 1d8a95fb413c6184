//! `srsf`: the shortest remaining service first, which is time multiplied by devices.

use super::{Job, Order, WORTH_A_START};

/// By the accelerator-seconds that a job has to run yet; one of which nobody knows comes last.
#[derive(Debug)]
pub(super) struct Srsf;

impl Order for Srsf {
    fn name(&self) -> &'static str {
        "srsf"
    }

    fn goes_by(&self) -> &'static str {
        "priority, then the shortest remaining service"
    }

    fn rank(&self, job: &Job) -> u128 {
        job.remaining().map_or(u128::MAX, |remaining| remaining.as_millis().saturating_mul(u128::from(job.asks_milli)))
    }

    fn takes_turns(&self) -> bool {
        true
    }

    /// As with `srtf`: what runs only comes nearer to its end. It is the one that is stopped whose devices a start costs.
    fn comes_first(&self, waiting: &Job, running: &Job) -> bool {
        let known = waiting.expected.is_some() && running.expected.is_some();
        let worth = WORTH_A_START.as_millis() * u128::from(running.asks_milli);
        known && self.rank(waiting).saturating_add(worth) <= self.rank(running)
    }
}
