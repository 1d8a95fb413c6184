//! A Pod, as far as placement looks: one type for the watch, for kube-scheduler's requests (which leave out kind and
//! apiVersion) and for manifests. It decides what the fields mean together; who may have what is the engine's.

pub(super) mod constraints;
mod gang;
mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::meta::{self, Amounts};
use super::{WireError, annotations};
use crate::model::{Classes, DeviceRequest, Grant, NodeFailure, OwnerRef, Pattern, Pod, PodKey, PodPhase, PodUid, Time};

/// The fields of a Pod that placement reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub spec: PodSpec,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub status: PodStatus,
}

meta::resource!(PodObject, "Pod", "", "v1", "pods", NamespaceResourceScope);

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_policy: Option<String>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub scheduling_gates: Vec<SchedulingGate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_group: Option<SchedulingGroup>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub overhead: Amounts,
    /// Pod-level resources: override the containers' sums of CPU and memory. They cannot name extended resources.
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Affinity::is_empty")]
    pub affinity: Affinity,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<TolerationObject>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<SpreadConstraint>,
    /// Those that are claims, and no others.
    #[serde(default, deserialize_with = "with_claims", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<PodVolume>,
}

/// `spec.volumes[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodVolume {
    #[serde(default)]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<EphemeralSource>,
}

/// `spec.volumes[].persistentVolumeClaim`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct ClaimSource {
    #[serde(default)]
    pub claim_name: String,
}

/// `spec.volumes[].ephemeral`: a claim of the pod's own, named after both.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct EphemeralSource {}

fn with_claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PodVolume>, D::Error> {
    let mut volumes: Vec<PodVolume> = meta::null_default(deserializer)?;
    volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    Ok(volumes)
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominated_node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PodCondition>,
}

/// `status.conditions[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodCondition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `spec.schedulingGates[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct SchedulingGate {
    pub name: String,
}

/// `spec.schedulingGroup`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct SchedulingGroup {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_group_name: Option<String>,
}

/// `spec.containers[]` and `spec.initContainers[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct Container {
    #[serde(default)]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

/// `resources` of a container, or of the pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct Resources {
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: Amounts,
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: Amounts,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.requests.is_empty()
    }
}

/// `spec.affinity`. Preferred terms are kept whole: only that there are any matters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct Affinity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<PodAffinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_anti_affinity: Option<PodAffinity>,
}

impl Affinity {
    fn is_empty(&self) -> bool {
        self.node_affinity.is_none() && self.pod_affinity.is_none() && self.pod_anti_affinity.is_none()
    }
}

/// `spec.affinity.nodeAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", skip_serializing_if = "Option::is_none")]
    pub required: Option<NodeSelector>,
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        default,
        deserialize_with = "meta::null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub preferred: Vec<Value>,
}

/// `spec.affinity.podAffinity` and `podAntiAffinity`: of the required terms only those that keep equal pods apart matter,
/// the others are kube-scheduler's alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodAffinity {
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        default,
        deserialize_with = "meta::null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub required: Vec<PodAffinityTerm>,
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        default,
        deserialize_with = "meta::null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub preferred: Vec<Value>,
}

/// One required term of pod affinity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PodAffinityTerm {
    #[serde(default)]
    pub topology_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A label selector: everything in it must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct LabelSelector {
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<NodeSelectorRequirement>,
}

/// A node selector: terms of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeSelector {
    #[serde(default, deserialize_with = "meta::null_default")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// A node selector term: requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeSelectorTerm {
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<NodeSelectorRequirement>,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub match_fields: Vec<NodeSelectorRequirement>,
}

/// One requirement of a node selector term.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct NodeSelectorRequirement {
    pub key: String,
    pub operator: String,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// `spec.tolerations[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct TolerationObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

/// `spec.topologySpreadConstraints[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct SpreadConstraint {
    #[serde(default)]
    pub when_unsatisfiable: String,
}

impl PodVolume {
    fn claim(&self, pod: &str) -> Arc<str> {
        let named = self.persistent_volume_claim.as_ref().map(|claim| Arc::from(claim.claim_name.as_str()));
        named.unwrap_or_else(|| format!("{pod}-{}", self.name).into())
    }
}

impl PodCondition {
    fn is_unschedulable(&self) -> bool {
        self.kind == "PodScheduled" && self.status == "False" && self.reason.as_deref() == Some("Unschedulable")
    }
}

impl PodObject {
    /// What the engine needs to know of it.
    ///
    /// # Errors
    /// No name, or no UID: a manifest, not an object that an API server holds. Amounts that make no sense are no
    /// error, they become [`crate::model::DeviceRequest::impossible`].
    pub fn to_model(&self, classes: &Classes) -> Result<Pod, WireError> {
        let missing = |path, expected| WireError::Missing { message: "Pod", path, expected };
        let name = non_empty(self.metadata.name.as_ref()).ok_or_else(|| missing("metadata.name", "the pod's name"))?;
        let uid = non_empty(self.metadata.uid.as_ref())
            .ok_or_else(|| missing("metadata.uid", "what the API server gave it when it was created"))?;
        let namespace = non_empty(self.metadata.namespace.as_ref()).unwrap_or("default");
        let spec = &self.spec;
        let (cpu_milli, memory_bytes) = request::cpu_and_memory(spec);
        let (gang, topology) = gang::read(self, namespace);
        Ok(Pod {
            uid: PodUid::from(uid),
            key: PodKey::new(namespace, name),
            labels: Arc::new(meta::labels(&self.metadata)),
            node: non_empty(spec.node_name.as_ref()).map(Into::into),
            nominated: non_empty(self.status.nominated_node_name.as_ref()).map(Into::into),
            phase: self.phase(),
            deleting: self.metadata.deletion_timestamp.is_some(),
            unschedulable: self.status.conditions.iter().any(PodCondition::is_unschedulable),
            gated: !spec.scheduling_gates.is_empty(),
            gated_by_others: spec.scheduling_gates.iter().any(|gate| gate.name != annotations::GATE),
            created_at: self.created_at(),
            started_at: self.status.start_time.as_deref().and_then(annotations::parse_time).unwrap_or_else(|| self.created_at()),
            last_checkpoint: self.annotation(annotations::LAST_CHECKPOINT).and_then(annotations::parse_time),
            controller: self.controller(namespace),
            scheduler: non_empty(spec.scheduler_name.as_ref()).unwrap_or("default-scheduler").into(),
            priority: spec.priority.unwrap_or(0),
            priority_class: non_empty(spec.priority_class_name.as_ref()).map(Arc::from),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            profile: self.annotation(annotations::PROFILE).map(Arc::from),
            expected: self.annotation(annotations::EXPECTED_DURATION).and_then(crate::model::duration::parse),
            request: DeviceRequest { pattern: self.pattern(), ..request::devices(spec, classes) },
            cpu_milli,
            memory_bytes,
            constraints: constraints::read(spec, &self.metadata),
            claims: spec.volumes.iter().map(|volume| volume.claim(name)).collect(),
            has_preferences: constraints::has_preferences(spec),
            gang,
            topology,
            recorded: self.recorded(),
            planned: self.annotation(annotations::PLAN).and_then(|text| annotations::parse_plan(text).ok()),
        })
    }

    fn pattern(&self) -> Pattern {
        match self.annotation(annotations::DEVICE_PATTERN) {
            Some("clique") => Pattern::Clique,
            Some("none") => Pattern::Apart,
            _ => Pattern::Ring,
        }
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn created_at(&self) -> Time {
        let created = self.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
        Time::from_unix_ms(u64::try_from(created).unwrap_or(0))
    }

    fn controller(&self, namespace: &str) -> Option<OwnerRef> {
        let owner = self.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        Some(OwnerRef {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            key: PodKey::new(namespace, owner.name.as_str()),
            uid: owner.uid.as_str().into(),
        })
    }

    fn phase(&self) -> PodPhase {
        match self.status.phase.as_deref() {
            None | Some("" | "Pending") => PodPhase::Pending,
            Some("Running") => PodPhase::Running,
            Some("Succeeded") => PodPhase::Succeeded,
            Some("Failed") => PodPhase::Failed,
            Some(_) => PodPhase::Unknown,
        }
    }

    /// That its node did not run it, though we had granted it devices there: kubelet, or a device plugin, refused them. Neither the
    /// record of devices nor a status is anything that tenants write.
    pub fn node_failure(&self) -> Option<NodeFailure> {
        let why = self.status.reason.as_deref().filter(|reason| *reason == REFUSED_BY_KUBELET)?;
        (self.phase() == PodPhase::Failed).then_some(())?;
        Some(NodeFailure {
            uid: PodUid::from(non_empty(self.metadata.uid.as_ref())?),
            pod: PodKey::new(non_empty(self.metadata.namespace.as_ref())?, non_empty(self.metadata.name.as_ref())?),
            node: self.recorded()?.node,
            why: why.into(),
            // It never ran: kubelet refused it when it would have started it.
            at: self.status.start_time.as_deref().and_then(annotations::parse_time).unwrap_or_else(|| self.created_at()),
        })
    }

    /// The grant that its annotation records. A record that cannot be read, or names containers that are not there, is
    /// no record: the pod counts as an anonymous holder then, which is safe.
    fn recorded(&self) -> Option<Grant> {
        let node = non_empty(self.spec.node_name.as_ref())?;
        let containers = annotations::parse_devices(self.annotation(annotations::DEVICES)?).ok()?;
        let has = |name: &str| self.spec.init_containers.iter().chain(&self.spec.containers).any(|container| container.name == name);
        containers.iter().all(|grant| has(&grant.container)).then(|| Grant { node: node.into(), containers })
    }
}

/// `status.reason` of a pod that kubelet did not admit because its devices could not be allocated.
const REFUSED_BY_KUBELET: &str = "UnexpectedAdmissionError";

fn non_empty(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
