//! What queues have to say to the taking of room: by what right it is taken, how much each can spare, and whether a job
//! of the same queue has come so far behind another that the two take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::queues::job_of;
use crate::engine::Engine;
use crate::model::{GangId, Pod, PodUid, Time};
use crate::policy::Job;
use crate::preempt::rules::Standing;
use crate::queue::{Asks, Right, Spare};

/// So long a job is let run before another of its queue takes its turn: a start costs, and nothing is known of it yet.
const TURN: Duration = Duration::from_mins(5);

/// What somebody who wants room may do to each queue.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Queues have a say: not where none is declared, nor where work is moved for nobody's queue.
    counts: bool,
    queue: usize,
    asks: Asks,
    job: Job,
    /// By queue: the right, and what it can spare, each with its place among the allowances.
    over: BTreeMap<usize, (Right, Vec<(usize, Spare)>)>,
}

impl Engine {
    /// For the pods of a gang that want room.
    pub(super) fn rights(&self, now: Time, id: &GangId) -> Rights {
        let Some(gang) = self.lane.gangs.get(id).filter(|_| !self.queues.rules().is_empty()) else { return Rights::default() };
        let entry = self.entry(now, gang);
        Rights { counts: true, queue: entry.queue, asks: entry.asks, job: self.job(now, gang), over: BTreeMap::new() }
    }

    /// How those stand who have room, as seen by who wants it; what their queue can spare enters the allowances.
    pub(super) fn standing(
        &self,
        now: Time,
        pods: &[&Pod],
        rights: &mut Rights,
        allowances: &mut Vec<u32>,
        going: &BTreeSet<PodUid>,
    ) -> Option<Standing> {
        let lead = pods.first()?;
        let priority = pods.iter().map(|pod| pod.priority).max()?;
        let standing = Standing { priority, ..Standing::default() };
        let queue = self.queues.rules().of(&lead.key.namespace);
        let Some(rule) = self.queues.rule(queue).filter(|_| rights.counts) else { return Some(standing) };
        if !rights.over.contains_key(&queue) {
            let right = self.queues.right(rights.queue, &rights.asks, queue);
            let spares = self.queues.spares(rights.queue, queue).into_iter().map(|spare| {
                let gone = self.book.holders().filter(|holder| {
                    let goes = going.contains(&holder.uid) || self.lane.awaited.contains_key(&holder.uid);
                    goes && self.queues.rules().path(self.queues.rules().of(&holder.key.namespace)).any(|at| at == spare.queue)
                });
                let gone = spare.used_by(&self.queues.holds(gone, self.profiles.classes()));
                allowances.push(u32::try_from(spare.left.saturating_sub(gone)).unwrap_or(u32::MAX));
                (allowances.len() - 1, spare)
            });
            let spares = spares.collect();
            rights.over.insert(queue, (right, spares));
        }
        let (right, _) = rights.over.get(&queue)?;
        let run = self.queues.service.of(&job_of(lead));
        let behind = || {
            let job = Job {
                asks_milli: pods.iter().map(|pod| pod.request.units()).sum(),
                expected: pods.iter().filter_map(|pod| pod.expected).max(),
                ran: run.ran(now),
                attained_milli_ms: run.attained_milli_ms(now),
            };
            (now - run.since() >= TURN && rule.order.comes_first(&rights.job, &job)).then(|| rule.order.rank(&job))
        };
        Some(Standing { right: *right, behind: if *right == Right::Own { behind() } else { None }, ..standing })
    }

    /// What goes of the spares of their queue with some pods, by place among the allowances.
    pub(super) fn spared(&self, pods: &[&Pod], rights: &Rights) -> Vec<(usize, u32)> {
        let queue = pods.first().map_or(0, |pod| self.queues.rules().of(&pod.key.namespace));
        let Some((_, spares)) = rights.over.get(&queue).filter(|(_, spares)| !spares.is_empty()) else { return Vec::new() };
        let holds = self.queues.holds(pods.iter().filter_map(|pod| self.book.holder(&pod.uid)), self.profiles.classes());
        let used = spares.iter().map(|(place, spare)| (*place, u32::try_from(spare.used_by(&holds)).unwrap_or(u32::MAX)));
        used.filter(|(_, used)| *used > 0).collect()
    }

    /// By what right a pod that kube-scheduler speaks for may take each of these, and whether their queues can spare them all.
    pub(in crate::engine) fn rights_over(&self, pod: &Pod, victims: &[&Pod]) -> (Vec<Right>, bool) {
        let rules = self.queues.rules();
        let queue = rules.of(&pod.key.namespace);
        let asks = self.queues.asks([(pod, 1)], self.profiles.classes());
        let mut by_queue: BTreeMap<usize, Vec<&Pod>> = BTreeMap::new();
        for victim in victims {
            by_queue.entry(rules.of(&victim.key.namespace)).or_default().push(victim);
        }
        let spare = |(from, _): (&usize, &Vec<&Pod>)| {
            self.queues.spares(queue, *from).iter().all(|spare| {
                let below = victims.iter().filter(|victim| rules.path(rules.of(&victim.key.namespace)).any(|at| at == spare.queue));
                let holds = self.queues.holds(below.filter_map(|victim| self.book.holder(&victim.uid)), self.profiles.classes());
                spare.used_by(&holds) <= spare.left
            })
        };
        let rights = victims.iter().map(|victim| self.queues.right(queue, &asks, rules.of(&victim.key.namespace)));
        (rights.collect(), by_queue.iter().all(spare))
    }
}
