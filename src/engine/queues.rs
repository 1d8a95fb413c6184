//! Queues as people ask for them: what each is guaranteed, holds, borrows, had of late, and who waits in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use crate::policy::QueueAmount;

/// One queue, as it is now.
#[derive(Clone, Debug)]
pub struct QueueStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The queue above it.
    pub parent: Option<Arc<str>>,
    /// Its part against its siblings.
    pub weight: u32,
    /// What its jobs go by, in words.
    pub goes_by: &'static str,
    /// Of which class it has what.
    pub classes: Vec<QueueClass>,
    /// What it and those below it had of late, in accelerator-seconds.
    pub had_s: u64,
    /// What it had and holds, as a part of what it and its siblings have, in thousandths.
    pub share_permille: u64,
    /// The part that its weight gives it of what nobody is guaranteed, if all its siblings ask for more, in thousandths.
    pub weight_permille: u64,
    /// Gangs and single pods that wait for a place, in it and below it.
    pub waiting: usize,
}

/// One class in a queue.
#[derive(Clone, Debug)]
pub struct QueueClass {
    /// The class.
    pub class: Arc<str>,
    /// What it can always have.
    pub guaranteed: Option<QueueAmount>,
    /// What it cannot pass.
    pub maximum: Option<QueueAmount>,
    /// What it holds, in thousandths of devices.
    pub in_use_milli: u64,
    /// What of that is beyond its guarantee.
    pub borrowed_milli: u64,
}

impl Engine {
    /// Every queue, parents before their children; none where the profile declares none.
    pub fn queues(&self) -> Vec<QueueStatus> {
        let (rules, waiting) = (self.queues.rules(), self.waiting_by_queue());
        let status = |at: usize| {
            let rule = &rules.all()[at];
            let siblings: Vec<usize> = rules.children(rule.parent).collect();
            let weights: u64 = siblings.iter().map(|at| u64::from(rules.all()[*at].weight)).sum();
            let waiting_here = waiting.iter().filter(|(queue, _)| rules.path(**queue).any(|above| above == at));
            QueueStatus {
                name: rule.name.clone(),
                parent: rule.parent.map(|parent| rules.all()[parent].name.clone()),
                weight: rule.weight,
                goes_by: rule.order.goes_by(),
                classes: self.queue_classes(at),
                had_s: self.queues.had_s(at),
                share_permille: self.queues.share_permille(at, &siblings),
                weight_permille: u64::from(rule.weight) * 1000 / weights.max(1),
                waiting: waiting_here.map(|(_, count)| count).sum(),
            }
        };
        (0..rules.all().len()).map(status).collect()
    }

    fn queue_classes(&self, at: usize) -> Vec<QueueClass> {
        let (rule, borrowed) = (&self.queues.rules().all()[at], self.queues.borrowed_milli(at));
        let named: BTreeSet<&Arc<str>> = rule.guaranteed.keys().chain(rule.maximum.keys()).chain(self.queues.classes_of(at)).collect();
        let class = |class: &Arc<str>| QueueClass {
            class: class.clone(),
            guaranteed: rule.guaranteed.get(class).copied(),
            maximum: rule.maximum.get(class).copied(),
            in_use_milli: self.queues.held_milli(at, class),
            borrowed_milli: borrowed.get(class).copied().unwrap_or(0),
        };
        named.into_iter().map(class).collect()
    }
}
