//! A Node, as far as placement looks, joined with the AcceleratorNode of its agent where there is one.
//!
//! The two are trusted differently. kubelet's allocatable says how many devices may be used, whatever an agent
//! claims: 800 reported GPUs on a node of 8 are 8. The agent says which they are, how they are linked and who has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::accelerator_node::{AcceleratorNode, AcceleratorNodeSpec, DeviceReport, HealthReport};
use super::meta::{self, Amounts};
use super::pod::constraints::taint_effect;
use crate::model::{Classes, Device, DeviceId, Health, Link, Node, NodeName, NodeReport, Pool, Taint};
use crate::topology::{catalogue, inventory};

/// The fields of a Node that placement reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub spec: NodeSpec,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub status: NodeStatus,
}

meta::resource!(NodeObject, "Node", "", "v1", "nodes", ClusterResourceScope);

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeSpec {
    #[serde(default, deserialize_with = "meta::null_default")]
    pub unschedulable: bool,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<TaintObject>,
}

/// `spec.taints[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct TaintObject {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub effect: String,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeStatus {
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: Amounts,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// `status.conditions[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
}

impl NodeObject {
    /// What the engine needs to know of it. `report` must be the AcceleratorNode of the same name.
    pub fn to_model(&self, report: Option<&AcceleratorNode>, classes: &Classes) -> Node {
        let labels: BTreeMap<Arc<str>, Arc<str>> =
            self.metadata.labels.iter().flatten().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect();
        let allocatable = |name: &str, read: fn(&meta::QuantityText) -> u64| self.status.allocatable.get(name).map_or(0, read);
        // What cannot be read is nothing: on a node that errs to the safe side, as on a pod does the most.
        let whole = |amount: &meta::QuantityText| amount.read().map_or(0, |amount| amount.milli() / 1000);
        let counts = self.status.allocatable.iter().map(|(name, amount)| (Arc::from(name.as_str()), whole(amount))).collect();
        let mut pools = inventory::pools(&labels, &counts, classes);
        if let Some(report) = report {
            for pool in &mut pools {
                apply_report(pool, &report.spec);
            }
        }
        Node {
            name: NodeName::from(self.metadata.name.as_deref().unwrap_or_default()),
            labels,
            taints: self.spec.taints.iter().filter_map(taint).collect(),
            unschedulable: self.spec.unschedulable,
            ready: self.ready(),
            cpu_milli: allocatable("cpu", |amount| amount.read().map_or(0, |_| meta::cpu_milli(amount))),
            memory_bytes: allocatable("memory", |amount| amount.read().map_or(0, |_| meta::memory_bytes(amount))),
            pods: u32::try_from(allocatable("pods", whole_units)).unwrap_or(u32::MAX),
            pools,
            report: report.map(|report| node_report(&report.spec)),
        }
    }

    /// Ready, unless a condition denies it: nodes in hand-written files state none, and kubelet always does.
    fn ready(&self) -> bool {
        self.status.conditions.iter().find(|condition| condition.kind == "Ready").is_none_or(|condition| condition.status == "True")
    }
}

fn whole_units(amount: &meta::QuantityText) -> u64 {
    amount.read().map_or(0, |amount| amount.milli() / 1000)
}

fn taint(object: &TaintObject) -> Option<Taint> {
    let value = Arc::from(object.value.as_deref().unwrap_or_default());
    Some(Taint { key: Arc::from(object.key.as_str()), value, effect: taint_effect(&object.effect)? })
}

/// Puts the agent's devices in the place of the nominal ones. A pool of which the agent says nothing stays as it is,
/// and so does one with more devices than a mask has bits.
fn apply_report(pool: &mut Pool, report: &AcceleratorNodeSpec) {
    let mut reported: Vec<&DeviceReport> = report.devices.iter().filter(|device| device.resource == pool.resource.as_str()).collect();
    reported.sort_by(|a, b| (a.index, &a.id).cmp(&(b.index, &b.id)));
    let mut ids = BTreeSet::new();
    reported.retain(|device| ids.insert(device.id.as_str()));
    reported.truncate(Pool::DEVICES_MAX);
    let Some(first) = reported.first() else { return };
    if let Some(product) = first.product.as_deref() {
        pool.product = Some(Arc::from(product));
    }
    let places: BTreeMap<&str, u32> = (0..).zip(&reported).map(|(place, device)| (device.id.as_str(), place)).collect();
    let mut links: BTreeMap<(u32, u32), Link> = BTreeMap::new();
    for link in &report.links {
        let (Some(&a), Some(&b), Some(kind)) = (places.get(link.a.as_str()), places.get(link.b.as_str()), link.kind()) else { continue };
        if a != b {
            links.entry((a.min(b), a.max(b))).or_insert(Link { a: a.min(b), b: a.max(b), kind });
        }
    }
    pool.links = links.into_values().collect();
    pool.devices = reported.into_iter().map(device).collect();
    if pool.links.is_empty() {
        pool.links = catalogue::links(pool.resource.as_str(), pool.product.as_deref(), pool.devices.len());
    }
}

fn device(report: &DeviceReport) -> Device {
    Device {
        id: DeviceId::from(report.id.as_str()),
        index: report.index,
        memory_mib: report.memory_mib,
        numa_node: report.numa_node,
        health: match report.health {
            HealthReport::Healthy => Health::Healthy,
            HealthReport::Unhealthy => Health::Unhealthy,
        },
    }
}

fn node_report(spec: &AcceleratorNodeSpec) -> NodeReport {
    let mut actual: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for allocation in &spec.allocations {
        let ids = allocation.device_ids.iter().map(|id| DeviceId::from(id.as_str())).collect();
        actual.entry(allocation.pod_uid.as_str().into()).or_default().push((Arc::from(allocation.container.as_str()), ids));
    }
    NodeReport { serves_devices: spec.served_by_agent, actual }
}
