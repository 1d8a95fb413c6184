//! Drift: the whole truth read afresh against what the watches told. Differences are counted, said and healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::lane::Lane;
use super::{Engine, Output, Trace};
use crate::book::{HolderState, takes};
use crate::model::{Node, NodeName, Pod, PodUid, Time};

/// A list is older than what was told while it was read: what changed this recently is left to the next one.
const LIST_AGE_MAX: Duration = Duration::from_secs(30);

impl Engine {
    pub(super) fn relisted(&mut self, now: Time, pods: Vec<Pod>, nodes: Vec<Node>) -> Output {
        let mut lines = Vec::new();
        self.relist_nodes(now, nodes, &mut lines);
        self.relist_pods(now, pods, &mut lines);
        if lines.is_empty() {
            return Output::default();
        }
        self.gained(now);
        let trace = Trace { at: now, verb: "relist", lines, ..Trace::default() };
        Output { trace: Some(Arc::new(trace)), ..Output::default() }
    }

    fn relist_nodes(&mut self, now: Time, nodes: Vec<Node>, lines: &mut Vec<String>) {
        let listed: BTreeSet<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
        let gone: Vec<NodeName> = self.book.nodes().map(|entry| entry.node.name.clone()).filter(|name| !listed.contains(name)).collect();
        for name in gone {
            self.drift("node-redundant", &format!("node {name} is gone"), lines);
            self.node_deleted(now, &name);
        }
        for node in nodes {
            let kind = match self.book.node(node.name.as_str()) {
                None => "node-missed",
                Some(entry) if entry.node.pools != node.pools || entry.node.report != node.report || entry.node.ready != node.ready => {
                    "node-differs"
                }
                Some(_) => continue,
            };
            self.drift(kind, &format!("node {}", node.name), lines);
            self.set_node(now, node);
        }
    }

    fn relist_pods(&mut self, now: Time, pods: Vec<Pod>, lines: &mut Vec<String>) {
        let (plain, pods): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(|pod| pod.request.is_empty());
        self.relist_plain(now, &plain);
        let occupying: BTreeMap<PodUid, Pod> =
            pods.into_iter().filter(|pod| !pod.phase.is_finished()).map(|pod| (pod.uid.clone(), pod)).collect();
        let settled = |at: Time| now - at > LIST_AGE_MAX;
        let redundant: Vec<PodUid> = self
            .book
            .holders()
            .filter(|holder| settled(holder.changed_at) && !holder.takes.is_empty() && !occupying.contains_key(&holder.uid))
            .filter(|holder| !Lane::stands_in(&holder.uid))
            .map(|holder| holder.uid.clone())
            .collect();
        for uid in redundant {
            self.drift("pod-redundant", &format!("pod {uid} is gone"), lines);
            self.pod_deleted(now, &uid);
        }
        // Its gang must hear of a pod that waited, too.
        let unheld = self.pods.iter().filter(|(uid, record)| !occupying.contains_key(*uid) && settled(record.seen_at));
        for uid in unheld.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
            self.pod_deleted(now, &uid);
        }
        for (uid, pod) in occupying {
            let Some(node) = pod.node.clone() else {
                // Bound in the book, unbound in the list: the API server went back to an older state.
                let bound = self.book.holder(&uid).is_some_and(|holder| settled(holder.changed_at) && holder.state == HolderState::Bound);
                if bound {
                    self.drift("pod-differs", &format!("pod {} is not bound", pod.key), lines);
                    self.book.release(&uid);
                }
                continue;
            };
            let (takes, _) = takes(&pod.request, pod.recorded.as_ref());
            let kind = match self.book.holder(&uid) {
                None => "pod-missed",
                Some(holder) if !settled(holder.changed_at) => continue,
                Some(holder) if holder.node != node || holder.takes != takes || holder.state != HolderState::Bound => "pod-differs",
                Some(_) => continue,
            };
            if self.pods.get(&uid).is_some_and(|record| kind == "pod-missed" && !settled(record.seen_at)) {
                continue;
            }
            self.drift(kind, &format!("pod {}", pod.key), lines);
            self.pod_applied(now, pod);
        }
    }

    /// Pods without devices promise nothing to anybody: what differs is healed and not worth a word.
    fn relist_plain(&mut self, now: Time, pods: &[Pod]) {
        let there: BTreeSet<&PodUid> = pods.iter().map(|pod| &pod.uid).collect();
        self.book.retain_plain(|uid| there.contains(uid));
        self.companions_listed(now, &there);
        for pod in pods {
            self.plain_applied(pod);
            self.companion_news(now, pod);
        }
    }

    fn drift(&mut self, kind: &'static str, what: &str, lines: &mut Vec<String>) {
        *self.counts.drift.entry(kind).or_default() += 1;
        lines.push(format!("{kind}: {what}"));
    }
}
