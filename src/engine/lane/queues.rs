//! The queue of each gang: what it asks of it, where it stands in its line, and how long its job ran so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::turns::Entry;
use super::{Gang, Step};
use crate::book::Book;
use crate::engine::Engine;
use crate::gang::{Context, Group, Plan, plan};
use crate::model::{Classes, GangId, GangKind, NodeName, Pod, PodUid, Refusal, Time};
use crate::policy::{Job, Queues};
use crate::queue::{Asks, BoxLimit};

/// How often it is looked whose turn it is because others had theirs.
const TURNS: Duration = Duration::from_secs(30);

impl Engine {
    /// The queues of the profiles are in force from here on: everybody who waits stands in line anew.
    pub(in crate::engine) fn line_up(&mut self, now: Time) {
        self.queues.set_rules(self.profiles.queues());
        self.queues.count(&self.book, self.profiles.classes());
        let pods: Vec<Pod> = self.pods.values().map(|record| record.pod.clone()).collect();
        pods.iter().for_each(|pod| self.note_service(now, pod));
        let waiting: Vec<GangId> = self.lane.ready.ids().cloned().collect();
        for id in waiting {
            self.lane.ready.remove(&id);
            self.take_turn(now, &id);
        }
    }

    /// Where a gang stands in its line.
    pub(super) fn entry(&self, now: Time, gang: &Gang) -> Entry {
        let (rules, id) = (self.queues.rules(), &gang.turn.id);
        let mut entry = Entry { queue: 0, group: "".into(), rank: 0, asks: Asks::default(), turn: gang.turn.clone() };
        let queue = rules.of(&id.key.namespace);
        if let Some(rule) = rules.all().get(queue) {
            entry.queue = queue;
            entry.asks = self.queues.asks(self.pods_at(gang, |step| step == Step::Waiting).map(|pod| (pod, 1)), self.profiles.classes());
            if rule.order.is_fair() {
                entry.group = id.key.namespace.clone();
            } else {
                entry.rank = rule.order.rank(&self.job(now, gang));
            }
        }
        entry
    }

    /// What is known of a gang as a job.
    pub(super) fn job(&self, now: Time, gang: &Gang) -> Job {
        let run = self.pods_at(gang, |_| true).next().map(|pod| self.queues.service.of(&job_of(pod))).unwrap_or_default();
        Job {
            asks_milli: self.pods_at(gang, |step| step != Step::Done).map(|pod| pod.request.units()).sum(),
            expected: self.pods_at(gang, |_| true).filter_map(|pod| pod.expected).max(),
            ran: run.ran(now),
            attained_milli_ms: run.attained_milli_ms(now),
        }
    }

    fn pods_at<'a>(&'a self, gang: &'a Gang, wanted: impl Fn(Step) -> bool + 'a) -> impl Iterator<Item = &'a Pod> {
        let uids = gang.members.iter().filter(move |(_, step)| wanted(**step)).map(|(uid, _)| uid);
        uids.filter_map(|uid: &PodUid| self.pods.get(uid)).map(|record| &record.pod)
    }

    /// Notes whether a pod runs, if an order goes by that.
    pub(super) fn note_service(&mut self, now: Time, pod: &Pod) {
        if goes_by_service(self.queues.rules()) {
            let runs = self.book.holder(&pod.uid).is_some_and(|holder| holder.state.is_committed());
            self.queues.service.runs(now, &pod.uid, &job_of(pod), if runs { pod.request.units() } else { 0 });
        }
    }

    /// Where jobs take turns, time alone brings one nearer: those who were refused are looked at again now and then.
    pub(super) fn look_at_turns(&mut self, now: Time) {
        if goes_by_service(self.queues.rules()) && !self.lane.refused.is_empty() && now - self.lane.looked_at >= TURNS {
            self.lane.looked_at = now;
            self.lane.gained();
        }
    }

    /// The maxima in boxes of its namespace's queue that bind so many pods like each.
    pub(super) fn box_limits(&mut self, pods: &[(&Pod, u32)]) -> Vec<BoxLimit> {
        let Some((lead, _)) = pods.first().filter(|_| self.queues.rules().count_boxes()) else { return Vec::new() };
        self.queues.count(&self.book, self.profiles.classes());
        let asks = self.queues.asks(pods.iter().copied(), self.profiles.classes());
        self.queues.box_limits(self.queues.rules().of(&lead.key.namespace), &asks)
    }

    /// How many gangs wait for a plan, by queue.
    pub(in crate::engine) fn waiting_by_queue(&self) -> BTreeMap<usize, usize> {
        let mut waiting = BTreeMap::new();
        for id in self.lane.ready.ids().chain(self.lane.refused.iter().map(|turn| &turn.id)) {
            *waiting.entry(self.queues.rules().of(&id.key.namespace)).or_default() += 1;
        }
        waiting
    }
}

/// A plan that keeps the maxima in boxes: wherever it is best, or else on nodes that are sure to keep them.
pub(super) fn plan_within(
    book: &mut Book,
    context: Context<'_>,
    group: &Group<'_>,
    limits: &[BoxLimit],
    classes: &Classes,
) -> Result<Plan, Refusal> {
    if limits.is_empty() {
        return plan(book, context, group);
    }
    let mark = book.checkpoint();
    match plan(book, context, group) {
        Ok(made) if limits.iter().all(|limit| limit.allows_all(made.members.iter().map(|planned| &planned.node))) => {
            book.commit(mark);
            return Ok(made);
        }
        Ok(_) => book.rollback(mark),
        Err(refusal) => {
            book.rollback(mark);
            return Err(refusal);
        }
    }
    let sure: Vec<BTreeSet<NodeName>> = limits.iter().map(|limit| limit.choose(book, classes)).collect();
    let offered = |name: &NodeName| context.offered.is_none_or(|names| names.contains(name.as_str()));
    let names: BTreeSet<NodeName> = book.nodes().map(|entry| entry.node.name.clone()).collect();
    let names = names.iter().filter(|name| offered(name) && sure.iter().all(|sure| sure.contains(*name)));
    let names: BTreeSet<&str> = names.map(NodeName::as_str).collect();
    plan(book, Context { offered: Some(&names), ..context }, group)
}

/// What a job is known by through all its starts: the controller of its pods, or the name of its gang.
pub(super) fn job_of(pod: &Pod) -> Arc<str> {
    let gang = pod.gang.as_ref().map(|gang| &gang.id).filter(|id| !matches!(id.kind, GangKind::Owner | GangKind::Alone));
    match (gang, &pod.controller) {
        (Some(id), _) => format!("{}/{}", id.kind.name(), id.key).into(),
        (None, Some(owner)) => owner.uid.clone(),
        (None, None) => pod.uid.as_str().into(),
    }
}

fn goes_by_service(rules: &Queues) -> bool {
    rules.all().iter().any(|rule| rule.order.takes_turns())
}
