//! kube-scheduler's own filters, one file each, in its order. Each is a pure function of a pod and a node.

mod fit;
mod inter_pod;
mod node_affinity;
mod taints;
mod unschedulable;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use inter_pod::Neighbours;

use super::{NodeView, SimPod};
use crate::model::{Operator, Requirement};

/// A filter of kube-scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Predicate {
    /// The plugin's name.
    pub name: &'static str,
    /// Why the pod does not fit there; empty if it does.
    pub check: fn(&SimPod, &NodeView<'_>, &Neighbours) -> Vec<Unfit>,
}

/// Every filter, in the order in which kube-scheduler's default profile runs them: the first that objects is heard.
pub static ALL: &[Predicate] = &[
    Predicate { name: "NodeUnschedulable", check: unschedulable::check },
    Predicate { name: "TaintToleration", check: taints::check },
    Predicate { name: "NodeAffinity", check: node_affinity::check },
    Predicate { name: "NodeResourcesFit", check: fit::check },
    Predicate { name: "InterPodAffinity", check: inter_pod::check },
];

/// A reason why a pod does not fit on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfit {
    /// For programs.
    pub code: &'static str,
    /// In kube-scheduler's words.
    pub text: Cow<'static, str>,
    /// Whether evicting pods could change it.
    pub curable: bool,
}

impl Unfit {
    fn new(code: &'static str, text: impl Into<Cow<'static, str>>, curable: bool) -> Self {
        Self { code, text: text.into(), curable }
    }
}

/// What the first objecting filter says; empty if the pod fits.
pub fn check(pod: &SimPod, view: &NodeView<'_>, neighbours: &Neighbours) -> Vec<Unfit> {
    ALL.iter().map(|predicate| (predicate.check)(pod, view, neighbours)).find(|unfit| !unfit.is_empty()).unwrap_or_default()
}

/// Whether labels satisfy a requirement, as apimachinery's `labels.Requirement` decides it.
pub fn satisfied(requirement: &Requirement, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
    compare(requirement, labels.get(&requirement.key).map(AsRef::as_ref))
}

fn compare(requirement: &Requirement, actual: Option<&str>) -> bool {
    let listed = |actual: &str| requirement.values.iter().any(|value| &**value == actual);
    let ordered = |holds: fn(i64, i64) -> bool| {
        let bound = requirement.values.first().and_then(|value| value.parse().ok());
        actual.and_then(|actual| actual.parse().ok()).zip(bound).is_some_and(|(actual, bound)| holds(actual, bound))
    };
    match requirement.operator {
        Operator::In => actual.is_some_and(listed),
        Operator::NotIn => !actual.is_some_and(listed),
        Operator::Exists => actual.is_some(),
        Operator::DoesNotExist => actual.is_none(),
        Operator::Gt => ordered(|actual, bound| actual > bound),
        Operator::Lt => ordered(|actual, bound| actual < bound),
    }
}

/// Small nodes and pods for the tests of this module tree.
#[cfg(test)]
pub(in crate::sim) mod fixture {
    use std::collections::BTreeMap;

    use super::super::{SimNode, SimPod};
    use super::{Neighbours, Predicate, Unfit};
    use crate::model::{ContainerRequest, ContainerRole, Device, Health, Node, Operator, Pod, PodKey, Pool, Requirement};

    /// 8 cores, 32 GiB, 110 pods, no devices.
    pub(in crate::sim) fn node(name: &str) -> SimNode {
        let node = Node {
            name: name.into(),
            labels: BTreeMap::from([("kubernetes.io/hostname".into(), name.into())]),
            taints: vec![],
            unschedulable: false,
            ready: true,
            cpu_milli: 8_000,
            memory_bytes: 32 << 30,
            pods: 110,
            pools: vec![],
            report: None,
        };
        SimNode { node, extra: BTreeMap::new() }
    }

    /// The same with whole devices of one resource.
    pub(in crate::sim) fn node_with(name: &str, resource: &str, count: u32) -> SimNode {
        let mut node = node(name);
        let device = |index: u32| Device {
            id: index.to_string().as_str().into(),
            index,
            memory_mib: None,
            numa_node: None,
            health: Health::Healthy,
        };
        node.node.pools = vec![Pool {
            resource: resource.into(),
            allocatable: count,
            product: None,
            devices: (0..count).map(device).collect(),
            links: vec![],
            sharable: true,
        }];
        node
    }

    /// Asks for nothing.
    pub(in crate::sim) fn pod(name: &str) -> SimPod {
        SimPod::new(Pod { key: PodKey::new("default", name), ..crate::model::fixtures::pod(name) })
    }

    /// Asks for whole devices.
    pub(in crate::sim) fn pod_with(name: &str, resource: &str, count: u32) -> SimPod {
        let mut pod = pod(name);
        pod.pod.request.containers = vec![ContainerRequest {
            container: "main".into(),
            index: 0,
            role: ContainerRole::Main,
            whole: vec![(resource.into(), count)],
            share: None,
        }];
        pod
    }

    pub(in crate::sim) fn requirement(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: key.into(), field: false, operator, values: values.iter().map(|value| (*value).into()).collect() }
    }

    /// What `predicate` says of a pod on an empty node, in kube-scheduler's words.
    pub(in crate::sim) fn texts(predicate: &str, pod: &SimPod, node: &SimNode) -> Vec<String> {
        let predicate: &Predicate = super::ALL.iter().find(|candidate| candidate.name == predicate).unwrap();
        let view = super::NodeView { node, usage: &super::super::Usage::default() };
        (predicate.check)(pod, &view, &Neighbours::default()).into_iter().map(|unfit: Unfit| unfit.text.into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::requirement;
    use super::*;

    #[test]
    fn requirements_compare_as_kubernetes_compares_them() {
        let labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::from([("zone".into(), "a".into()), ("gpus".into(), "8".into())]);
        for (key, operator, values, expected) in [
            ("zone", Operator::In, &["a", "b"][..], true),
            ("zone", Operator::In, &["b"], false),
            ("gone", Operator::In, &["a"], false),
            ("zone", Operator::NotIn, &["b"], true),
            ("zone", Operator::NotIn, &["a"], false),
            ("gone", Operator::NotIn, &["a"], true),
            ("zone", Operator::Exists, &[], true),
            ("gone", Operator::Exists, &[], false),
            ("gone", Operator::DoesNotExist, &[], true),
            ("gpus", Operator::Gt, &["7"], true),
            ("gpus", Operator::Gt, &["8"], false),
            ("gpus", Operator::Lt, &["9"], true),
            ("gpus", Operator::Lt, &["8"], false),
            ("zone", Operator::Gt, &["1"], false),
            ("gone", Operator::Lt, &["1"], false),
            ("gpus", Operator::Gt, &["many"], false),
        ] {
            assert_eq!(satisfied(&requirement(key, operator, values), &labels), expected, "{key} {operator:?} {values:?}");
        }
    }
}
