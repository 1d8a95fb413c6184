//! First come, first served, on counts: strictly, or with whoever fits passing those who do not.

use std::collections::BTreeSet;

use super::{Arbiter, Move, Place, Progress};

/// First come, first served; nobody is ever stopped.
#[derive(Debug, Default)]
pub struct Fifo {
    /// Those behind pass those who do not fit.
    backfill: bool,
    waiting: BTreeSet<usize>,
}

impl Fifo {
    /// Nobody passes anybody.
    pub fn strict() -> Self {
        Self::default()
    }

    /// Whoever fits passes those who do not.
    pub fn with_backfill() -> Self {
        Self { backfill: true, ..Self::default() }
    }
}

impl Arbiter for Fifo {
    fn came(&mut self, _: u64, job: usize) {
        self.waiting.insert(job);
    }

    fn ended(&mut self, _: u64, _: usize) {}

    fn decide(&mut self, _: u64, progress: &Progress<'_>) -> Vec<Move> {
        let mut room = Room::of(progress);
        let mut moves = Vec::new();
        // What did not fit does not fit a moment later either.
        let mut refused: BTreeSet<u32> = BTreeSet::new();
        for job in &self.waiting {
            let listed = progress.job(*job);
            if refused.contains(&listed.gpus) {
                continue;
            }
            match room.take(listed.pods(progress.cluster().node_gpus)) {
                Some(places) => moves.push(Move::Start(*job, places)),
                None if self.backfill => drop(refused.insert(listed.gpus)),
                None => break,
            }
        }
        for one in &moves {
            if let Move::Start(job, _) = one {
                self.waiting.remove(job);
            }
        }
        moves
    }
}

/// Free GPUs by node.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) free: Vec<u32>,
}

impl Room {
    /// What running jobs leave.
    pub(super) fn of(progress: &Progress<'_>) -> Self {
        Self { free: progress.free().to_vec() }
    }

    /// Places for so many pods of so many GPUs each, the fullest nodes first, in the order of nodes.
    pub(super) fn take(&mut self, (pods, each): (u32, u32)) -> Option<Vec<Place>> {
        let mut places: Vec<Place> = Vec::new();
        let mut left = self.free.clone();
        for _ in 0..pods {
            let fits = left.iter().enumerate().filter(|(_, free)| **free >= each);
            let (node, _) = fits.min_by_key(|(node, free)| (**free, *node))?;
            left[node] -= each;
            places.push(Place { node, gpus: each });
        }
        self.free = left;
        Some(places)
    }

    /// Gives places back, or takes just these.
    pub(super) fn give(&mut self, places: &[Place]) {
        places.iter().for_each(|place| self.free[place.node] += place.gpus);
    }

    /// Takes just these places, if they are free.
    pub(super) fn take_just(&mut self, places: &[Place]) -> bool {
        let fits = places.iter().all(|place| self.free[place.node] >= place.gpus);
        if fits {
            places.iter().for_each(|place| self.free[place.node] -= place.gpus);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::jobs::{Cluster, Job, Trace, run};

    fn waits_s(arbiter: &mut Fifo, jobs: &[(u32, u64, u64)]) -> Vec<u64> {
        let job = |(at, (gpus, arrives_s, runs_s)): (usize, &(u32, u64, u64))| Job {
            name: at.to_string().into(),
            namespace: "ns".into(),
            gpus: *gpus,
            arrives_s: *arrives_s,
            runs_s: *runs_s,
            expected_s: None,
            priority: 0,
        };
        let trace = Trace::new(jobs.iter().enumerate().map(job).collect());
        run(Cluster { nodes: 2, node_gpus: 8 }, &trace, 30, arbiter).unwrap().wait_s
    }

    #[test]
    fn who_does_not_fit_holds_up_those_behind_or_is_passed() {
        let jobs = [(8, 0, 100), (16, 1, 50), (4, 2, 200)];
        assert_eq!(waits_s(&mut Fifo::strict(), &jobs), [0, 99, 148]);
        assert_eq!(waits_s(&mut Fifo::with_backfill(), &jobs), [0, 0, 201]);
    }

    #[test]
    fn a_job_of_sixteen_takes_two_whole_nodes_and_small_ones_share_one() {
        let jobs = [(4, 0, 100), (4, 0, 100), (8, 0, 100), (16, 0, 10)];
        assert_eq!(waits_s(&mut Fifo::strict(), &jobs), [0, 0, 0, 100]);
    }

    #[test]
    fn a_job_that_fits_nowhere_never_ends_and_holds_up_nobody_who_may_pass() {
        let jobs = [(24, 0, 10), (8, 1, 10)];
        assert_eq!(waits_s(&mut Fifo::with_backfill(), &jobs), [0]);
        assert_eq!(waits_s(&mut Fifo::strict(), &jobs), [0; 0]);
    }
}
