//! Nodes that kube-scheduler will not offer for a pod, as far as that can be known beforehand, and why, in words.

use std::collections::BTreeMap;

use crate::book::{Load, NodeEntry, Shape};
use crate::engine::Engine;
use crate::engine::filter::tally;
use crate::engine::story::summary;
use crate::model::{Curable, Pod, Reason, Refusal};

/// What closes a node to a pod, in the order in which kube-scheduler's filters look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closed {
    Quarantine,
    Cordon,
    Taint(String),
    Selector,
    Volume,
    Room(&'static str),
}

impl Closed {
    fn of(entry: &NodeEntry, pod: &Pod) -> Option<Self> {
        let (node, constraints, room, load) = (&entry.node, &pod.constraints, entry.room(), Load::of(pod));
        if entry.quarantined {
            return Some(Self::Quarantine);
        }
        if constraints.shut_out_by_cordon(node) {
            return Some(Self::Cordon);
        }
        if let Some(taint) = constraints.untolerated(node) {
            let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
            return Some(Self::Taint(format!("{}{value}", taint.key)));
        }
        if !constraints.selects(node) {
            return Some(Self::Selector);
        }
        if !constraints.reaches_volumes(node) {
            return Some(Self::Volume);
        }
        let lacks = [
            (room.cpu_milli < load.cpu_milli, "CPU"),
            (room.memory_bytes < load.memory_bytes, "memory"),
            (room.pods < load.pods, "room for pods"),
        ];
        lacks.into_iter().find(|(lacks, _)| *lacks).map(|(_, what)| Self::Room(what))
    }

    fn words(&self) -> String {
        match self {
            Self::Quarantine => "in quarantine after failures".into(),
            Self::Cordon => "cordoned".into(),
            Self::Taint(taint) => format!("with taint {taint}, which it does not tolerate"),
            Self::Selector => "not selected by its node selector or affinity".into(),
            Self::Volume => "from which its volume cannot be reached".into(),
            Self::Room(what) => format!("without enough {what}"),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Quarantine => "wait until the quarantine ends, or label the node gangplank.dev/quarantine=off".into(),
            Self::Cordon => "uncordon nodes with such devices".into(),
            Self::Taint(taint) => format!("add a toleration for taint {taint} to the pod"),
            Self::Selector => "select nodes that have such devices free".into(),
            Self::Volume => "free devices where its volume is, or move the volume".into(),
            Self::Room(what) => format!("ask for less {what}, or wait until pods beside the free devices end"),
        }
    }
}

/// Whether kube-scheduler can be expected to offer the node for the pod.
pub(super) fn is_open(entry: &NodeEntry, pod: &Pod) -> bool {
    Closed::of(entry, pod).is_none()
}

impl Engine {
    /// The story of a pod that no node takes: what the open ones lack, and what closes the others.
    pub(super) fn no_node(&self, pod: &Pod, shape: &Shape<'_>, names: &[&str], refused: &[(Reason, Curable)]) -> Refusal {
        let mut closed: BTreeMap<Closed, u32> = BTreeMap::new();
        for entry in self.book.nodes().filter(|entry| entry.has_room(shape).is_ok()) {
            if let Some(why) = Closed::of(entry, pod) {
                *closed.entry(why).or_default() += 1;
            }
        }
        let Some((most, _)) = closed.iter().max_by_key(|(why, count)| (**count, (*why).clone())) else {
            let all: Vec<&str> =
                if names.is_empty() { self.book.nodes().map(|entry| entry.node.name.as_str()).collect() } else { names.to_vec() };
            let counts =
                if refused.is_empty() { vec![(Reason::InsufficientDevices, crate::engine::filter::len(&all))] } else { tally(refused) };
            return self.story(pod, &all, &counts);
        };
        let parts: Vec<String> = closed.iter().map(|(why, count)| format!("{count} {}", why.words())).collect();
        Refusal {
            reason: Reason::NodesClosed,
            needed: summary(&pod.request),
            there: format!("nodes that have them free: {}", parts.join(", ")),
            remedy: most.remedy(),
        }
    }
}
