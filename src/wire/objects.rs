//! ResourceQuota, PodDisruptionBudget, PriorityClass and PersistentVolume, as far as placement looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::meta::{self, Amounts};
use super::pod::LabelSelector;
use super::pod::NodeSelector;
use super::pod::constraints::label_selector;
use super::pod::constraints::terms;
use crate::model::{Budget, Classes, PodKey, PriorityClass, Quota, ResourceName, Volume};

/// A ResourceQuota.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct QuotaObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub spec: QuotaSpec,
}

/// `spec` of a ResourceQuota.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct QuotaSpec {
    #[serde(default, deserialize_with = "meta::unique", skip_serializing_if = "BTreeMap::is_empty")]
    pub hard: Amounts,
}

meta::resource!(QuotaObject, "ResourceQuota", "", "v1", "resourcequotas", NamespaceResourceScope);

impl QuotaObject {
    /// Its `requests.<resource>` lines on managed resources; none means that it is no business of ours. A line
    /// `limits.<resource>` is one that Kubernetes accepts and never counts, and so do we. A line that cannot be read
    /// allows nothing more.
    pub fn to_model(&self, classes: &Classes) -> Quota {
        let line = |(name, amount): (&String, &meta::QuantityText)| {
            let resource = name.strip_prefix("requests.").filter(|resource| classes.of(resource).is_some())?;
            let units = amount.read().ok().and_then(|amount| u32::try_from(amount.milli() / 1000).ok());
            Some((ResourceName::from(resource), units.unwrap_or(0)))
        };
        let (namespace, name) = names(&self.metadata);
        Quota { namespace, name, hard: self.spec.hard.iter().filter_map(line).collect() }
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct BudgetObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub spec: BudgetSpec,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub status: BudgetStatus,
}

/// `spec` of a PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct BudgetSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// `status` of a PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct BudgetStatus {
    #[serde(default, deserialize_with = "meta::null_default")]
    pub disruptions_allowed: i32,
}

meta::resource!(BudgetObject, "PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", NamespaceResourceScope);

impl BudgetObject {
    /// How many more of its pods may go now; none before its controller has counted. A selector that cannot be read covers
    /// the whole namespace.
    pub fn to_model(&self) -> Budget {
        let (namespace, name) = names(&self.metadata);
        let selector = self.spec.selector.as_ref().map(|selector| label_selector(selector).unwrap_or_default());
        Budget { namespace, name, selector, disruptions_allowed: self.status.disruptions_allowed.max(0) }
    }
}

/// A PriorityClass.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct PriorityClassObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub value: i32,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub global_default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_policy: Option<String>,
}

meta::resource!(PriorityClassObject, "PriorityClass", "scheduling.k8s.io", "v1", "priorityclasses", ClusterResourceScope);

impl PriorityClassObject {
    /// What the name stands for.
    pub fn to_model(&self) -> PriorityClass {
        PriorityClass {
            name: names(&self.metadata).1,
            value: self.value,
            global_default: self.global_default,
            never_preempts: self.preemption_policy.as_deref() == Some("Never"),
        }
    }
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct VolumeObject {
    #[serde(default, deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub spec: VolumeSpec,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub status: VolumeStatus,
}

/// `spec` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct VolumeSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<ClaimRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<VolumeNodeAffinity>,
}

/// `spec.claimRef` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct ClaimRef {
    #[serde(default, deserialize_with = "meta::null_default")]
    pub namespace: String,
    #[serde(default, deserialize_with = "meta::null_default")]
    pub name: String,
}

/// `spec.nodeAffinity` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct VolumeNodeAffinity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<NodeSelector>,
}

/// `status` of a PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct VolumeStatus {
    #[serde(default, deserialize_with = "meta::null_default")]
    pub phase: String,
}

meta::resource!(VolumeObject, "PersistentVolume", "", "v1", "persistentvolumes", ClusterResourceScope);

impl VolumeObject {
    /// Whose it is, and where it can be reached. The claim of one that is released is gone: one of that name is another.
    pub fn to_model(&self) -> Volume {
        let kept = |claim: &&ClaimRef| !claim.name.is_empty() && !matches!(self.status.phase.as_str(), "Released" | "Failed");
        let claim = self.spec.claim_ref.as_ref().filter(kept).map(|claim| PodKey::new(claim.namespace.as_str(), claim.name.as_str()));
        let required = self.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        Volume { name: names(&self.metadata).1, claim, reachable: required.map(terms) }
    }
}

fn names(metadata: &ObjectMeta) -> (Arc<str>, Arc<str>) {
    let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
    (text(&metadata.namespace), text(&metadata.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Profile;

    #[test]
    fn a_quota_counts_its_lines_on_managed_requests_alone() {
        let object = json!({"metadata": {"namespace": "ml", "name": "team"}, "spec": {"hard": {
            "requests.nvidia.com/gpu": "20", "limits.nvidia.com/gpu": "5", "requests.cpu": "100", "pods": "50",
            "requests.google.com/tpu": "1e999", "requests.amd.com/gpu": "2500m"}}});
        let quota = serde_json::from_value::<QuotaObject>(object).unwrap().to_model(&Profile::shipped().classes);
        let lines: Vec<_> = quota.hard.iter().map(|(resource, hard)| (resource.as_str(), *hard)).collect();
        assert_eq!(lines, [("amd.com/gpu", 2), ("google.com/tpu", 0), ("nvidia.com/gpu", 20)]);
        assert_eq!((&*quota.namespace, &*quota.name), ("ml", "team"));
    }

    #[test]
    fn a_budget_that_nobody_has_counted_yet_allows_nothing() {
        let allowed = |status| {
            let object = json!({"metadata": {"namespace": "ml", "name": "b"}, "status": status});
            serde_json::from_value::<BudgetObject>(object).unwrap().to_model().disruptions_allowed
        };
        assert_eq!(allowed(json!(null)), 0);
        assert_eq!(allowed(json!({"disruptionsAllowed": 3})), 3);
        assert_eq!(allowed(json!({"disruptionsAllowed": -1})), 0);
    }

    #[test]
    fn a_priority_class_says_what_its_name_is_worth() {
        let object = json!({"metadata": {"name": "high"}, "value": 1000, "globalDefault": true, "preemptionPolicy": "Never"});
        let class = serde_json::from_value::<PriorityClassObject>(object).unwrap().to_model();
        assert_eq!((&*class.name, class.value, class.global_default, class.never_preempts), ("high", 1000, true, true));
        let object = json!({"metadata": {"name": "plain"}, "value": -1, "preemptionPolicy": "PreemptLowerPriority"});
        let class = serde_json::from_value::<PriorityClassObject>(object).unwrap().to_model();
        assert_eq!((class.value, class.global_default, class.never_preempts), (-1, false, false));
    }

    #[test]
    fn a_volume_is_its_claims_until_it_is_released() {
        let volume = |phase: &str, affinity: serde_json::Value| {
            let object = json!({"metadata": {"name": "pv"}, "status": {"phase": phase},
                "spec": {"claimRef": {"kind": "PersistentVolumeClaim", "namespace": "ml", "name": "data"}, "nodeAffinity": affinity}});
            serde_json::from_value::<VolumeObject>(object).unwrap().to_model()
        };
        let zone = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]});
        let bound = volume("Bound", json!({"required": {"nodeSelectorTerms": [zone, {}]}}));
        assert_eq!((&*bound.name, bound.claim), ("pv", Some(PodKey::new("ml", "data"))));
        assert_eq!(bound.reachable.unwrap().len(), 1, "an empty term matches no node");
        assert_eq!(volume("Available", json!({})).reachable, None);
        assert_eq!(volume("Released", json!(null)).claim, None);
        assert_eq!(VolumeObject::default().to_model().claim, None);
    }
}
