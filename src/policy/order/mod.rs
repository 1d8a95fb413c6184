//! Orders: who goes first inside a queue, among jobs of equal priority. A profile names one for each queue.
//!
//! One order is one file and one line in [`ORDERS`]. An order ranks a job by what is known of it; equal ranks go by age. Between
//! queues other rules hold (docs/profiles.md, `queues`), and no order comes before the priority.

mod las;
mod priority;
mod srsf;
mod srtf;

use std::time::Duration;

/// Every order by name, the default first.
pub static ORDERS: [&dyn Order; 4] = [&priority::Priority, &srtf::Srtf, &srsf::Srsf, &las::Las];

/// Who goes first among jobs of equal priority.
pub trait Order: Sync + std::fmt::Debug {
    /// The name in profiles.
    fn name(&self) -> &'static str;

    /// What it goes by, in words, for people who wait.
    fn goes_by(&self) -> &'static str;

    /// The lowest goes first, equal ones by age. Depends on what is given here alone.
    fn rank(&self, job: &Job) -> u128;

    /// Whether namespaces that had less than others of the queue go first, before any rank.
    fn is_fair(&self) -> bool {
        false
    }

    /// Whether running jobs may make room for waiting ones of equal priority in their queue at all.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Whether a running job makes room for a waiting one. The difference is large enough to be worth a start, and so that the
    /// two do not interrupt each other in turns.
    fn comes_first(&self, _waiting: &Job, _running: &Job) -> bool {
        false
    }
}

/// What of a job, which is a gang or a single pod, decides its turn. A job that was stopped and comes again is the same job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// What it asks for, in thousandths of devices.
    pub asks_milli: u64,
    /// How long its owner expects it to run, `gangplank.dev/expected-duration`.
    pub expected: Option<Duration>,
    /// How long it ran so far.
    pub ran: Duration,
    /// What it had so far: thousandths of devices times milliseconds.
    pub attained_milli_ms: u128,
}

impl Job {
    /// How long it has to run yet, as far as its owner says. One that outran what was expected is as good as done.
    pub fn remaining(&self) -> Option<Duration> {
        self.expected.map(|expected| expected.saturating_sub(self.ran))
    }
}

/// What it costs to start a job again, as far as orders reckon with it: so much sooner must another be done that it is stopped for that.
const WORTH_A_START: Duration = Duration::from_secs(30);

/// The order of a name.
pub fn order(name: &str) -> Option<&'static dyn Order> {
    ORDERS.into_iter().find(|order| order.name() == name)
}

impl PartialEq for dyn Order {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Order {}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(devices: u64, expected_s: u64, ran_s: u64) -> Job {
        let expected = (expected_s > 0).then(|| Duration::from_secs(expected_s));
        let attained_milli_ms = u128::from(devices) * 1000 * u128::from(ran_s) * 1000;
        Job { asks_milli: devices * 1000, expected, ran: Duration::from_secs(ran_s), attained_milli_ms }
    }

    /// Places of the jobs in the order, the first first.
    fn sorted(name: &str, jobs: &[Job]) -> Vec<usize> {
        let order = order(name).unwrap();
        let mut places: Vec<usize> = (0..jobs.len()).collect();
        places.sort_by_key(|place| order.rank(&jobs[*place]));
        places
    }

    #[test]
    fn each_order_has_a_name_of_its_own_and_the_first_is_the_default() {
        let names: Vec<&str> = ORDERS.iter().map(|order| order.name()).collect();
        assert_eq!(names, ["priority", "srtf", "srsf", "las"]);
        assert!(order("fifo").is_none());
    }

    #[test]
    fn jobs_go_by_what_is_left_of_their_time_of_their_service_or_by_what_they_had() {
        // Two devices for 100 s, eight for 50 s, one that ran 90 of 120 s, one of which nobody knows how long it takes.
        let jobs = [job(2, 100, 0), job(8, 50, 0), job(4, 120, 90), job(1, 0, 0)];
        assert_eq!(sorted("priority", &jobs), [0, 1, 2, 3]);
        assert_eq!(sorted("srtf", &jobs), [2, 1, 0, 3]);
        assert_eq!(sorted("srsf", &jobs), [2, 0, 1, 3]);
        let long = [job(8, 0, 40_000), job(8, 0, 4_000), job(1, 0, 0), job(2, 0, 0)];
        assert_eq!(sorted("las", &long), [2, 3, 1, 0]);
    }

    #[test]
    fn a_job_that_outran_its_expectation_is_as_good_as_done() {
        assert_eq!(job(1, 60, 90).remaining(), Some(Duration::ZERO));
    }
}
