//! Nodes and pods of the simulated cluster: the model's facts, and those that only kube-scheduler itself looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Node, Pod, Requirement, ResourceName};

/// A node.
#[derive(Clone, Debug)]
pub struct SimNode {
    /// What the engine is told of it.
    pub node: Node,
    /// Allocatable amounts that no class manages (`ephemeral-storage`, `example.com/dongle`), in thousandths.
    pub extra: BTreeMap<Arc<str>, u64>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct SimPod {
    /// What the engine is told of it.
    pub pod: Pod,
    /// `metadata.labels`.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Requests that no class manages, in thousandths.
    pub extra: BTreeMap<Arc<str>, u64>,
    /// Required pod affinity.
    pub affinity: Vec<PodTerm>,
    /// Required pod anti-affinity.
    pub anti_affinity: Vec<PodTerm>,
    /// When it was created, in order; [`super::Cluster::create_pod`] sets it.
    pub created: u64,
}

impl SimPod {
    /// A pod with nothing but what the engine knows.
    pub fn new(pod: Pod) -> Self {
        Self { pod, labels: BTreeMap::new(), extra: BTreeMap::new(), affinity: Vec::new(), anti_affinity: Vec::new(), created: 0 }
    }
}

/// A required term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTerm {
    /// The node label whose value makes a domain.
    pub topology_key: Arc<str>,
    /// Namespaces that it looks at; never empty (the pod's own where none was named).
    pub namespaces: Vec<Arc<str>>,
    /// What a pod's labels must say, all of it; `None` is a selector that matches nothing.
    pub selector: Option<Vec<Requirement>>,
}

/// What the pods of a node use, as kube-scheduler sums it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Pods.
    pub pods: u32,
    /// Managed resources, whole devices.
    pub whole: BTreeMap<ResourceName, u64>,
    /// Everything else, in thousandths.
    pub extra: BTreeMap<Arc<str>, u64>,
}

impl Usage {
    /// Adds a pod.
    pub fn add(&mut self, pod: &SimPod) {
        self.change(pod, u64::saturating_add);
        self.pods = self.pods.saturating_add(1);
    }

    /// Takes a pod away that was added before.
    pub fn remove(&mut self, pod: &SimPod) {
        self.change(pod, u64::saturating_sub);
        self.pods = self.pods.saturating_sub(1);
    }

    fn change(&mut self, pod: &SimPod, by: fn(u64, u64) -> u64) {
        self.cpu_milli = by(self.cpu_milli, pod.pod.cpu_milli);
        self.memory_bytes = by(self.memory_bytes, pod.pod.memory_bytes);
        for resource in pod.pod.request.resources() {
            let used = self.whole.entry(resource.clone()).or_default();
            *used = by(*used, u64::from(pod.pod.request.whole_of(resource)));
        }
        for (resource, amount_milli) in &pod.extra {
            let used = self.extra.entry(Arc::clone(resource)).or_default();
            *used = by(*used, *amount_milli);
        }
    }
}

/// A node with what is used of it: what a predicate looks at.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// The node.
    pub node: &'a SimNode,
    /// What its pods use.
    pub usage: &'a Usage,
}

impl NodeView<'_> {
    /// `status.allocatable` of a managed resource; 0 where it has none.
    pub fn allocatable_of(&self, resource: &ResourceName) -> u64 {
        self.node.node.pools.iter().find(|pool| pool.resource == *resource).map_or(0, |pool| u64::from(pool.allocatable))
    }

    /// Whole devices of a managed resource that no pod uses, by the scheduler's integers.
    pub fn free_of(&self, resource: &ResourceName) -> u64 {
        self.allocatable_of(resource).saturating_sub(self.usage.whole.get(resource).copied().unwrap_or(0))
    }
}
