//! Orders with preemption on counts, without an engine: what the engine's own orders are measured by.
//!
//! The order is walked from its head. Who waits takes what is free; where that is not enough, it takes from those who run
//! and stand behind it by enough, the last ones first, and no more of them than it needs.

use std::collections::{BTreeMap, BTreeSet};

use super::baselines::Room;
use super::{Arbiter, Move, Place, Progress};

/// By what jobs are ordered; ties go by arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Shortest remaining time first.
    RemainingTime,
    /// Shortest remaining service first: time by GPUs.
    RemainingService,
    /// Least attained service first, in steps that double; a job is taken from only by one that is so many steps behind it.
    AttainedService {
        /// GPU seconds at which the first step ends.
        first_step_gpu_s: u64,
        /// Steps between who takes and who is taken from.
        apart: u64,
    },
}

/// An order with preemption.
#[derive(Debug)]
pub struct Reference {
    key: Key,
    /// What a start after the first costs: only who gains more is preempted for.
    restart_s: u64,
    waiting: BTreeSet<usize>,
    running: BTreeMap<usize, Vec<Place>>,
    looks_at_s: Option<u64>,
}

impl Reference {
    /// Nobody is there yet.
    pub fn new(key: Key, restart_s: u64) -> Self {
        Self { key, restart_s, waiting: BTreeSet::new(), running: BTreeMap::new(), looks_at_s: None }
    }

    fn rank(&self, job: usize, progress: &Progress<'_>) -> u64 {
        let gpus = u64::from(progress.job(job).gpus);
        match &self.key {
            Key::RemainingTime => progress.left_s(job),
            Key::RemainingService => progress.left_s(job) * gpus,
            Key::AttainedService { first_step_gpu_s, .. } => step(progress.held_s(job) * gpus, *first_step_gpu_s),
        }
    }

    /// Whether taking from the second for the first gains more than starting it again costs.
    fn pays(&self, rank: u64, gpus: u32, other: u64) -> bool {
        match self.key {
            Key::RemainingTime => other > rank + self.restart_s,
            Key::RemainingService => other > rank + self.restart_s * u64::from(gpus),
            Key::AttainedService { apart, .. } => other >= rank + apart,
        }
    }

    /// Who must go so that this one fits, and where it goes then.
    fn take_from(
        &self,
        job: usize,
        rank: u64,
        room: &Room,
        ranks: &BTreeMap<usize, u64>,
        progress: &Progress<'_>,
    ) -> Option<(Vec<usize>, Vec<Place>)> {
        let pods = progress.job(job).pods(progress.cluster().node_gpus);
        let mut behind: Vec<(u64, usize)> = self
            .running
            .keys()
            .map(|other| (ranks[other], *other))
            .filter(|(other_rank, other)| self.pays(rank, progress.job(*other).gpus, *other_rank))
            .collect();
        behind.sort_unstable();
        let mut room = room.clone();
        let mut victims = Vec::new();
        while room.clone().take(pods).is_none() {
            let (_, victim) = behind.pop()?;
            room.give(&self.running[&victim]);
            victims.push(victim);
        }
        // Who stands furthest in front stays, if the others are enough.
        let mut gone = Vec::new();
        for victim in victims.into_iter().rev() {
            let mut without = room.clone();
            if without.take_just(&self.running[&victim]) && without.clone().take(pods).is_some() {
                room = without;
            } else {
                gone.push(victim);
            }
        }
        Some((gone, room.take(pods)?))
    }
}

impl Arbiter for Reference {
    fn came(&mut self, _: u64, job: usize) {
        self.waiting.insert(job);
    }

    fn ended(&mut self, _: u64, job: usize) {
        self.running.remove(&job);
    }

    fn decide(&mut self, now_s: u64, progress: &Progress<'_>) -> Vec<Move> {
        let ranks: BTreeMap<usize, u64> =
            self.waiting.iter().chain(self.running.keys()).map(|job| (*job, self.rank(*job, progress))).collect();
        let mut order: BTreeSet<(u64, usize)> = self.waiting.iter().map(|job| (ranks[job], *job)).collect();
        let mut room = Room::of(progress);
        let mut moves = Vec::new();
        let mut refused: BTreeSet<u32> = BTreeSet::new();
        while let Some((rank, job)) = order.pop_first() {
            let gpus = progress.job(job).gpus;
            if refused.contains(&gpus) {
                continue;
            }
            let pods = progress.job(job).pods(progress.cluster().node_gpus);
            let fits = room.take(pods).map(|places| (Vec::new(), places));
            let Some((victims, places)) = fits.or_else(|| self.take_from(job, rank, &room, &ranks, progress)) else {
                refused.insert(gpus);
                continue;
            };
            for victim in &victims {
                if let Some(places) = self.running.remove(victim) {
                    room.give(&places);
                }
                self.waiting.insert(*victim);
                order.insert((ranks[victim], *victim));
                moves.push(Move::Stop(*victim));
            }
            if !victims.is_empty() {
                room.take_just(&places);
            }
            self.waiting.remove(&job);
            self.running.insert(job, places.clone());
            moves.push(Move::Start(job, places));
        }
        self.looks_at_s = self.next_change(now_s, progress);
        moves
    }

    fn looks_at_s(&self) -> Option<u64> {
        self.looks_at_s
    }
}

impl Reference {
    /// When the order changes by time alone.
    fn next_change(&self, now_s: u64, progress: &Progress<'_>) -> Option<u64> {
        let Key::AttainedService { first_step_gpu_s, .. } = self.key else { return None };
        let falls = self.running.keys().map(|job| {
            let (gpus, held_s) = (u64::from(progress.job(*job).gpus), progress.held_s(*job));
            let next = first_step_gpu_s << step(held_s * gpus, first_step_gpu_s);
            now_s + next.div_ceil(gpus) - held_s
        });
        falls.min()
    }
}

/// How many steps so much service is: none up to the first, then one more each time that it doubles.
fn step(gpu_s: u64, first_step_gpu_s: u64) -> u64 {
    (gpu_s / first_step_gpu_s.max(1)).checked_ilog2().map_or(0, |doublings| u64::from(doublings) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::jobs::{Cluster, Figures, Job, Trace, run};

    const SMALL: Cluster = Cluster { nodes: 1, node_gpus: 8 };

    fn job(gpus: u32, arrives_s: u64, runs_s: u64) -> Job {
        Job {
            name: format!("{gpus}-{arrives_s}-{runs_s}").into(),
            namespace: "ns".into(),
            gpus,
            arrives_s,
            runs_s,
            expected_s: None,
            priority: 0,
        }
    }

    fn jct_s(key: Key, jobs: Vec<Job>) -> Figures {
        run(SMALL, &Trace::new(jobs), 30, &mut Reference::new(key, 30)).unwrap()
    }

    #[test]
    fn a_job_is_taken_from_only_where_that_gains_more_than_starting_it_again_costs() {
        let two = |second_s| jct_s(Key::RemainingTime, vec![job(8, 0, 1000), job(8, 100, second_s)]);
        let took = two(800);
        assert_eq!((took.jct_s.as_slice(), took.preemptions, took.longest_wait_s), ([800, 1830].as_slice(), 1, 800));
        let waited = two(880);
        assert_eq!((waited.jct_s.as_slice(), waited.preemptions), ([1000, 1780].as_slice(), 0));
    }

    #[test]
    fn no_more_is_taken_than_is_needed_and_the_last_in_the_order_goes_first() {
        let jobs = vec![job(4, 0, 500), job(4, 0, 900), job(4, 10, 100)];
        let came = jct_s(Key::RemainingTime, jobs);
        assert_eq!((came.jct_s.as_slice(), came.preemptions), ([100, 500, 1030].as_slice(), 1));
    }

    #[test]
    fn by_service_few_devices_for_long_go_before_many_for_a_while() {
        let jobs = vec![job(8, 0, 1000), job(1, 1, 2000)];
        assert_eq!(jct_s(Key::RemainingService, jobs.clone()).jct_s, [2000, 3030]);
        assert_eq!(jct_s(Key::RemainingTime, jobs).jct_s, [1000, 2999]);
    }

    #[test]
    fn by_attained_service_who_had_little_takes_turns_with_who_had_far_more() {
        let key = |apart| Key::AttainedService { first_step_gpu_s: 3600, apart };
        let jobs = || vec![job(8, 0, 100_000), job(8, 20_000, 1000)];
        assert_eq!(jct_s(key(6), jobs()).jct_s, [1000, 101_030]);
        assert_eq!(jct_s(key(9), jobs()).preemptions, 0, "160,000 GPU seconds are six steps");
    }
}
