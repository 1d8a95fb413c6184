//! How long jobs run, as earlier runs of the same owner tell: the last of them, as a range, and only where they are alike. Known from
//! what was seen to end, so that a restart of Gangplank forgets all of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::Time;

/// So many of the last runs of an owner are remembered.
const RUNS_MAX: usize = 16;
/// Fewer tell nothing.
const RUNS_MIN: usize = 3;
/// So many owners are remembered; of more, those whose last run ended first are forgotten.
const OWNERS_MAX: usize = 10_000;
/// Where the longest run took more than so many times the shortest, the next one is not predictable.
const SPREAD_MAX: u32 = 4;

/// The runs of all owners.
#[derive(Debug, Default)]
pub struct Durations {
    owners: BTreeMap<Arc<str>, Runs>,
}

/// Of one owner, the newest last: which run, and how long it took.
#[derive(Debug, Default)]
struct Runs {
    last: VecDeque<(Arc<str>, Duration)>,
    ended_at: Time,
}

/// How long the next run of an owner may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The shortest of the runs that are remembered.
    pub shortest: Duration,
    /// The longest.
    pub longest: Duration,
    /// How many there are.
    pub runs: usize,
}

impl Durations {
    /// A pod of a run ended by itself. A run is as long as its longest pod.
    pub fn ended(&mut self, now: Time, owner: &Arc<str>, run: &Arc<str>, took: Duration) {
        if self.owners.len() >= OWNERS_MAX && !self.owners.contains_key(owner) {
            self.forget();
        }
        let runs = self.owners.entry(owner.clone()).or_default();
        runs.ended_at = now;
        if let Some((_, longest)) = runs.last.iter_mut().find(|(known, _)| known == run) {
            *longest = took.max(*longest);
            return;
        }
        if runs.last.len() == RUNS_MAX {
            runs.last.pop_front();
        }
        runs.last.push_back((run.clone(), took));
    }

    /// How long the next run of an owner may take; none where too few were seen, or too different ones.
    pub fn of(&self, owner: &str) -> Option<Expectation> {
        let runs = self.owners.get(owner).filter(|runs| runs.last.len() >= RUNS_MIN)?;
        let took = || runs.last.iter().map(|(_, took)| *took);
        let (shortest, longest) = (took().min()?, took().max()?);
        (longest <= shortest * SPREAD_MAX).then_some(Expectation { shortest, longest, runs: runs.last.len() })
    }

    /// Whether nothing is known of anybody.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    fn forget(&mut self) {
        let mut by_end: Vec<(Time, Arc<str>)> = self.owners.iter().map(|(owner, runs)| (runs.ended_at, owner.clone())).collect();
        by_end.sort_unstable();
        by_end.into_iter().take(OWNERS_MAX / 10).for_each(|(_, owner)| drop(self.owners.remove(&owner)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(runs_s: &[u64]) -> Option<Expectation> {
        let mut durations = Durations::default();
        for (at, took_s) in runs_s.iter().enumerate() {
            durations.ended(Time::default(), &"a".into(), &at.to_string().into(), Duration::from_secs(*took_s));
        }
        durations.of("a")
    }

    #[test]
    fn three_runs_that_are_alike_tell_a_range_and_fewer_or_too_different_ones_nothing() {
        let range = |shortest_s, longest_s, runs| {
            Some(Expectation { shortest: Duration::from_secs(shortest_s), longest: Duration::from_secs(longest_s), runs })
        };
        assert_eq!(after(&[100, 200, 150]), range(100, 200, 3));
        assert_eq!(after(&[100, 400, 150, 200]), range(100, 400, 4));
        assert_eq!(after(&[100, 401, 150, 200]), None);
        assert_eq!((after(&[100, 200]), after(&[])), (None, None));
    }

    #[test]
    fn what_was_long_ago_does_not_count_any_more() {
        let mut runs_s = vec![9000; 5];
        runs_s.extend([100; RUNS_MAX]);
        assert_eq!(after(&runs_s).map(|expected| expected.longest), Some(Duration::from_secs(100)));
    }

    #[test]
    fn pods_of_one_run_are_one_run_and_the_longest_of_them_counts() {
        let mut durations = Durations::default();
        for took_s in [50, 70, 60, 10] {
            durations.ended(Time::default(), &"a".into(), &"one".into(), Duration::from_secs(took_s));
        }
        assert_eq!(durations.of("a"), None);
        for run in ["two", "three"] {
            durations.ended(Time::default(), &"a".into(), &run.into(), Duration::from_secs(40));
        }
        assert_eq!(durations.of("a").map(|expected| (expected.longest.as_secs(), expected.runs)), Some((70, 3)));
    }

    #[test]
    fn no_more_owners_are_remembered_than_there_is_room_for() {
        let mut durations = Durations::default();
        for at in 0..=OWNERS_MAX as u64 {
            durations.ended(Time::from_unix_ms(at), &format!("{at:06}").into(), &"run".into(), Duration::from_secs(1));
        }
        assert_eq!(durations.owners.len(), OWNERS_MAX - OWNERS_MAX / 10 + 1);
        assert!(!durations.owners.contains_key("000000") && durations.owners.contains_key("010000"));
    }
}
