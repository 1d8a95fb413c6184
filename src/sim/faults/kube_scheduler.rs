//! kube-scheduler's queue and cache: who is tried when, and what it believes of nodes. It decides nothing about
//! devices; `cycle` holds the attempt itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::super::{Cluster, NodeView, SimNode, SimPod, Usage, predicate};
use super::store::{Kind, News};
use super::timeline::Ms;
use crate::model::{NodeName, Pod, PodUid};

/// One kube-scheduler, and the process in it.
#[derive(Debug, Default)]
pub(super) struct KubeScheduler {
    pub(super) alive: bool,
    pub(super) life: u64,
    pub(super) paused_until: Ms,
    pub(super) leading: bool,
    /// The lease as last seen to change, and when.
    pub(super) lease_seen: (usize, u64, Ms),
    pub(super) listed: BTreeSet<Kind>,
    /// Its cache: what the watches said, and what it assumes.
    pub(super) cache: Cluster,
    pub(super) assumed: BTreeMap<PodUid, NodeName>,
    pub(super) nominated: BTreeMap<PodUid, NodeName>,
    pub(super) waiting: BTreeMap<PodUid, Waiting>,
    /// Bind calls that are under way.
    pub(super) binding: BTreeMap<PodUid, u64>,
    /// When the next cycle is entered for.
    pub(super) cycle_at: Option<Ms>,
}

/// A pod that is not bound.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) place: Place,
    priority: i32,
    since: Ms,
    tried: Ms,
    refusals: u32,
    errors: u32,
    /// The extender refused it: any bind wakes it, and any change of its own.
    by_extender: bool,
}

/// Where in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Active,
    Backoff(Ms),
    ErrorBackoff(Ms),
    Unschedulable(Ms),
    Gated,
    Binding,
}

/// What wakes pods that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakes {
    Bind,
    Room,
}

/// Pods that have been unschedulable for so long are tried again without cause.
const UNSCHEDULABLE_MAX_MS: Ms = 300_000;

impl KubeScheduler {
    pub(super) fn is_up(&self) -> bool {
        self.alive && self.leading && self.listed.contains(&Kind::Pods) && self.listed.contains(&Kind::Nodes)
    }

    /// A process that starts knows nothing.
    pub(super) fn start(&mut self) {
        *self = Self { alive: true, life: self.life + 1, lease_seen: self.lease_seen, leading: self.leading, ..Self::default() };
    }

    pub(super) fn hear(&mut self, now: Ms, news: News) {
        match news {
            News::Pod(pod, _) if pod.phase.is_finished() => self.pod_gone(now, &pod.uid),
            News::Pod(pod, _) if pod.node.is_some() => self.pod_assigned(now, &pod),
            News::Pod(pod, _) => self.pod_unassigned(now, &pod),
            News::PodGone(uid) => self.pod_gone(now, &uid),
            News::Node(node) => {
                self.cache.apply_node(SimNode { node: node.as_ref().clone(), extra: BTreeMap::new() });
                self.wake(now, Wakes::Room);
            }
            News::NodeGone(name) => drop(self.cache.remove_node(&name)),
            News::Report(..) | News::Quota(_) | News::Gang(_) | News::GangGone(_) | News::Budget(_) => {}
        }
    }

    fn put(&mut self, pod: &Pod) {
        if !self.cache.change_pod(&pod.uid, |present| present.clone_from(pod)) {
            // The name may be another's still: its deletion is on its way.
            let before = self.cache.pod_named(&pod.key).map(|before| before.pod.uid.clone());
            if let Some(before) = before {
                self.cache.delete_pod(&before);
                self.forget(&before);
            }
            let _ = self.cache.create_pod(SimPod::new(pod.clone()));
        }
    }

    fn forget(&mut self, uid: &PodUid) {
        self.assumed.remove(uid);
        self.nominated.remove(uid);
        self.waiting.remove(uid);
        self.binding.remove(uid);
    }

    fn pod_gone(&mut self, now: Ms, uid: &PodUid) {
        if self.cache.delete_pod(uid).is_some() {
            self.forget(uid);
            self.wake(now, Wakes::Room);
        }
    }

    fn pod_assigned(&mut self, now: Ms, pod: &Pod) {
        let news = self.cache.pod(&pod.uid).is_none_or(|known| known.pod.node.is_none()) || self.assumed.contains_key(&pod.uid);
        self.put(pod);
        self.assumed.remove(&pod.uid);
        self.nominated.remove(&pod.uid);
        self.waiting.remove(&pod.uid);
        if news {
            self.wake(now, Wakes::Bind);
        }
    }

    fn pod_unassigned(&mut self, now: Ms, pod: &Pod) {
        let known = self.cache.pod(&pod.uid).is_some();
        let assumed = self.assumed.get(&pod.uid).cloned();
        self.put(&Pod { node: assumed, ..pod.clone() });
        // The nomination of a gated pod counts from its first change on: a new process has not seen one.
        match &pod.nominated {
            Some(node) if known || !pod.gated => drop(self.nominated.insert(pod.uid.clone(), node.clone())),
            Some(_) => {}
            None => drop(self.nominated.remove(&pod.uid)),
        }
        if self.assumed.contains_key(&pod.uid) && !self.waiting.contains_key(&pod.uid) {
            return; // Bound, and the watch is behind.
        }
        let place = if pod.gated { Place::Gated } else { Place::Active };
        let fresh = Waiting { place, priority: pod.priority, since: now, tried: 0, refusals: 0, errors: 0, by_extender: true };
        let waiting = self.waiting.entry(pod.uid.clone()).or_insert(fresh);
        match waiting.place {
            Place::Gated if !pod.gated => (waiting.place, waiting.since) = (Place::Active, now),
            Place::Unschedulable(_) if waiting.by_extender => waiting.awake(now),
            _ => {}
        }
    }

    fn wake(&mut self, now: Ms, what: Wakes) {
        for waiting in self.waiting.values_mut() {
            if matches!(waiting.place, Place::Unschedulable(_)) && (what == Wakes::Room || waiting.by_extender) {
                waiting.awake(now);
            }
        }
    }

    pub(super) fn flush(&mut self, now: Ms) {
        for waiting in self.waiting.values_mut() {
            if matches!(waiting.place, Place::Unschedulable(since) if now > since + UNSCHEDULABLE_MAX_MS) {
                waiting.awake(now);
            }
        }
    }

    /// The pod to try now. An idle scheduler takes those that back off after a refusal early, never those after an error.
    pub(super) fn pop(&mut self, now: Ms) -> Option<PodUid> {
        let due = |waiting: &Waiting| match waiting.place {
            Place::Active => true,
            Place::Backoff(until) | Place::ErrorBackoff(until) => until <= now,
            Place::Unschedulable(_) | Place::Gated | Place::Binding => false,
        };
        let order = |entry: &(&PodUid, &Waiting)| (Reverse(entry.1.priority), entry.1.since, entry.0.clone());
        let early = |waiting: &Waiting| matches!(waiting.place, Place::Backoff(_));
        let next = self.waiting.iter().filter(|(_, waiting)| due(waiting)).min_by_key(order);
        let next = next.or_else(|| self.waiting.iter().filter(|(_, waiting)| early(waiting)).min_by_key(order));
        next.map(|(uid, _)| uid.clone())
    }

    /// When there will be something to try, if nothing happens before.
    pub(super) fn next_try(&self, now: Ms) -> Option<Ms> {
        let at = |waiting: &Waiting| match waiting.place {
            Place::Active | Place::Backoff(_) => Some(now),
            Place::ErrorBackoff(until) => Some(until.max(now)),
            Place::Unschedulable(_) | Place::Gated | Place::Binding => None,
        };
        self.waiting.values().filter_map(at).min()
    }

    pub(super) fn refused(&mut self, now: Ms, uid: &PodUid, by_extender: bool) {
        if let Some(waiting) = self.waiting.get_mut(uid) {
            (waiting.place, waiting.tried, waiting.by_extender) = (Place::Unschedulable(now), now, by_extender);
            (waiting.refusals, waiting.errors) = (waiting.refusals + 1, 0);
        }
        self.nominated.remove(uid);
    }

    pub(super) fn failed(&mut self, now: Ms, uid: &PodUid) {
        if let Some(waiting) = self.waiting.get_mut(uid) {
            waiting.errors += 1;
            (waiting.place, waiting.tried) = (Place::ErrorBackoff(now + backoff_ms(waiting.errors)), now);
        }
        self.nominated.remove(uid);
    }

    /// From here on the pod counts on that node.
    pub(super) fn assume(&mut self, uid: &PodUid, node: &NodeName, call: u64) {
        self.cache.change_pod(uid, |pod| pod.node = Some(node.clone()));
        self.assumed.insert(uid.clone(), node.clone());
        self.nominated.remove(uid);
        self.binding.insert(uid.clone(), call);
        if let Some(waiting) = self.waiting.get_mut(uid) {
            waiting.place = Place::Binding;
        }
    }

    /// The Binding came to nothing, as far as it knows.
    pub(super) fn unassume(&mut self, now: Ms, uid: &PodUid) {
        if self.assumed.remove(uid).is_some() {
            self.cache.change_pod(uid, |pod| pod.node = None);
            self.failed(now, uid);
            self.wake(now, Wakes::Room);
        }
    }

    /// The nodes that pass its own filters; nominated pods of at least this priority count on theirs.
    pub(super) fn feasible(&self, pod: &SimPod, only: Option<&NodeName>) -> Vec<NodeName> {
        let neighbours = predicate::Neighbours::default();
        let fits = |view: &NodeView<'_>| {
            let mut usage: Usage = view.usage.clone();
            for (uid, _) in self.nominated.iter().filter(|(uid, node)| **node == view.node.node.name && **uid != pod.pod.uid) {
                let nominated = self.cache.pod(uid).filter(|other| other.pod.priority >= pod.pod.priority && other.pod.node.is_none());
                nominated.into_iter().for_each(|other| usage.add(other));
            }
            predicate::check(pod, &NodeView { node: view.node, usage: &usage }, &neighbours).is_empty()
        };
        let views = self.cache.nodes().filter(|view| only.is_none_or(|only| view.node.node.name == *only));
        views.filter(fits).map(|view| view.node.node.name.clone()).collect()
    }
}

impl Waiting {
    fn awake(&mut self, now: Ms) {
        let until = self.tried + backoff_ms(self.refusals);
        self.place = if until > now { Place::Backoff(until) } else { Place::Active };
    }
}

/// 1 s doubling to 10 s.
fn backoff_ms(times: u32) -> Ms {
    (1000 << times.saturating_sub(1).min(4)).min(10_000)
}
