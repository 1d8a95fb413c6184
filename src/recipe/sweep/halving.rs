//! Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020): many trials
//! get a small budget, the best of them a larger one, and so on. Nobody waits for a rung to fill: a trial is promoted as
//! soon as it is among the best of those that have ended there, and a new one begins where none can be.
//!
//! What to do next is a function of what has been done. It is read off the cluster each time, so that whoever drives it may
//! be stopped and started again. Nothing is run here.

use std::cmp::Ordering;

use super::metric::Goal;

/// Which budgets there are, and who gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halving {
    /// What a trial may spend from its beginning, by rung, in whatever its program counts.
    pub budgets: Vec<u64>,
    /// One of so many is promoted.
    pub factor: u64,
    /// How many trials there are.
    pub trials: u32,
    /// How many run at a time.
    pub parallel: u32,
    /// What all of them may spend together.
    pub total: Option<u64>,
    /// Which metric is better.
    pub goal: Goal,
    /// A promoted trial goes on where it was: it spends only what the rung has more.
    pub resumes: bool,
}

/// A trial on a rung.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Which trial.
    pub trial: u32,
    /// Which rung, from 0.
    pub rung: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It goes on.
    Running,
    /// It has ended, with this metric.
    Ended(f64),
    /// It failed, or said no number. It is worse than all others.
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Start this trial on this rung: a new one on the first, a promoted one above.
    Start {
        /// Which trial.
        trial: u32,
        /// Which rung.
        rung: usize,
    },
    /// Nothing, until a run ends.
    Wait,
    /// Nothing any more. Which was best, unless all failed.
    Done(Option<Run>),
}

impl Halving {
    /// Budgets from the least to the most, each so many times the one before; the last is the most.
    pub fn budgets(min: u64, max: u64, factor: u64) -> Vec<u64> {
        let mut budgets = vec![min];
        while let Some(next) = budgets.last().and_then(|last| last.checked_mul(factor)).filter(|next| *next < max) {
            budgets.push(next);
        }
        if min < max {
            budgets.push(max);
        }
        budgets
    }

    /// What to do, after these runs.
    pub fn next(&self, done: &[Run]) -> Next {
        let running = done.iter().filter(|run| run.outcome == Outcome::Running).count();
        let wish = if running < self.parallel as usize { self.wish(done) } else { None };
        let spent: u64 = done.iter().map(|run| self.cost(run.rung)).fold(0, u64::saturating_add);
        let affordable = |rung| self.total.is_none_or(|total| spent.saturating_add(self.cost(rung)) <= total);
        match wish {
            Some((trial, rung)) if affordable(rung) => Next::Start { trial, rung },
            _ if running > 0 => Next::Wait,
            _ => Next::Done(best(self.goal, done)),
        }
    }

    /// What a run on a rung spends.
    pub fn cost(&self, rung: usize) -> u64 {
        let before = if self.resumes && rung > 0 { self.budgets[rung - 1] } else { 0 };
        self.budgets[rung] - before
    }

    /// A promotion from as high as there is one, else a trial that was not begun.
    fn wish(&self, done: &[Run]) -> Option<(u32, usize)> {
        let promoted = (0..self.budgets.len() - 1).rev().find_map(|rung| Some((self.promotable(done, rung)?, rung + 1)));
        promoted.or_else(|| {
            let begun = |trial: &u32| done.iter().any(|run| run.rung == 0 && run.trial == *trial);
            (0..self.trials).find(|trial| !begun(trial)).map(|trial| (trial, 0))
        })
    }

    /// The best trial of a rung that is among its best and not above it yet.
    fn promotable(&self, done: &[Run], rung: usize) -> Option<u32> {
        let mut ended: Vec<&Run> = done.iter().filter(|run| run.rung == rung && run.outcome != Outcome::Running).collect();
        ended.sort_by(|a, b| order(self.goal, a, b));
        let best = ended.len() / usize::try_from(self.factor).unwrap_or(usize::MAX);
        let above = |trial: u32| done.iter().any(|run| run.rung == rung + 1 && run.trial == trial);
        let fit = |run: &&&Run| matches!(run.outcome, Outcome::Ended(_)) && !above(run.trial);
        ended[..best].iter().find(fit).map(|run| run.trial)
    }
}

/// The best so far: on the highest rung that anybody ended on, for budgets cannot be compared.
pub fn best(goal: Goal, runs: &[Run]) -> Option<Run> {
    let ended = |run: &&Run| matches!(run.outcome, Outcome::Ended(_));
    runs.iter().filter(ended).min_by(|a, b| b.rung.cmp(&a.rung).then_with(|| order(goal, a, b))).copied()
}

/// Better ones first; of equals, the one that was first.
fn order(goal: Goal, a: &Run, b: &Run) -> Ordering {
    let by_metric = match (a.outcome, b.outcome) {
        (Outcome::Ended(a), Outcome::Ended(b)) => goal.order(a, b),
        (Outcome::Ended(_), _) => Ordering::Less,
        (_, Outcome::Ended(_)) => Ordering::Greater,
        _ => Ordering::Equal,
    };
    by_metric.then(a.trial.cmp(&b.trial))
}
