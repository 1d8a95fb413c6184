//! ProvisioningRequests of autoscaling.x-k8s.io, by which an autoscaler is asked for nodes: how ours are written, and what the
//! conditions of one say.

use k8s_openapi::api::core::v1::{Pod, PodTemplate, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::Kind;
use super::annotations::PROVISIONED_FOR;
use crate::model::{GangId, GangKind, OwnerRef, PodKey, ProvisioningOrder, ProvisioningRequest, ProvisioningState};

/// The kind.
pub static KIND: Kind = Kind {
    group: "autoscaling.x-k8s.io",
    versions: &["v1", "v1beta1"],
    kind: "ProvisioningRequest",
    plural: "provisioningrequests",
    feed: "provisioningrequests.autoscaling.x-k8s.io",
};

/// Says on a pod where its nodes come from; autoscalers look for the two.
pub const CONSUME: &str = "autoscaling.x-k8s.io/consume-provisioning-request";
/// See [`CONSUME`].
pub const CLASS: &str = "autoscaling.x-k8s.io/provisioning-class-name";

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "gangplank");
/// The longest message of an autoscaler that is kept.
const MESSAGE_BYTES_MAX: usize = 512;
/// Conditions that say how far it is, the one that counts most first.
const STATES: [(&str, ProvisioningState); 5] = [
    ("Failed", ProvisioningState::Failed),
    ("CapacityRevoked", ProvisioningState::CapacityRevoked),
    ("BookingExpired", ProvisioningState::BookingExpired),
    ("Provisioned", ProvisioningState::Provisioned),
    ("Accepted", ProvisioningState::Accepted),
];

/// A request of ours; none if it is somebody else's.
pub fn read(object: &DynamicObject) -> Option<ProvisioningRequest> {
    let metadata = &object.metadata;
    let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    metadata.labels.as_ref()?.get(MANAGED_BY.0).filter(|by| *by == MANAGED_BY.1)?;
    let gang = gang_of(namespace, metadata.annotations.as_ref()?.get(PROVISIONED_FOR)?)?;
    let (spec, conditions) = (&object.data["spec"], object.data["status"]["conditions"].as_array());
    let condition = |kind: &str| conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    let holds =
        |(kind, state): &(&str, ProvisioningState)| Some((condition(kind).filter(|condition| condition["status"] == "True")?, *state));
    let state = STATES.iter().find_map(holds);
    // Why it is not provisioned yet stands in a condition that is false.
    let said = state
        .filter(|(_, state)| *state != ProvisioningState::Accepted)
        .map(|(condition, _)| condition)
        .or_else(|| condition("Provisioned"));
    let count = |set: &Value| set["count"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    Some(ProvisioningRequest {
        key: PodKey::new(namespace, name),
        uid: metadata.uid.as_deref()?.into(),
        gang,
        class: spec["provisioningClassName"].as_str().unwrap_or_default().into(),
        counts: spec["podSets"].as_array().into_iter().flatten().map(count).collect(),
        state: state.map_or(ProvisioningState::Pending, |(_, state)| state),
        message: said.and_then(|condition| condition["message"].as_str()).map(shortened).unwrap_or_default().into(),
    })
}

/// As it is written on a request: convention, name and UID.
fn gang_text(id: &GangId) -> String {
    format!("{}/{}/{}", id.kind.name(), id.key.name, id.uid)
}

fn gang_of(namespace: &str, text: &str) -> Option<GangId> {
    let mut parts = text.splitn(3, '/');
    let (kind, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = GangKind::ALL.into_iter().find(|known| known.name() == kind)?;
    Some(GangId { kind, key: PodKey::new(namespace, name), uid: uid.into() })
}

fn shortened(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of a request's pod templates.
pub fn template_names(request: &str, sets: usize) -> impl Iterator<Item = String> {
    (0..sets).map(move |set| format!("{request}-{set}"))
}

fn metadata(name: &str, order: &ProvisioningOrder) -> ObjectMeta {
    let OwnerRef { api_version, kind, key, uid } = &order.owner;
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(order.key.namespace.to_string()),
        labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
        annotations: Some([(PROVISIONED_FOR.to_owned(), gang_text(&order.gang))].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: api_version.to_string(),
            kind: kind.to_string(),
            name: key.name.to_string(),
            uid: uid.to_string(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    }
}

/// The template that stands for a role: one of its members, as if it had been created without gate, node and rank.
pub fn template(name: &str, order: &ProvisioningOrder, pod: Pod) -> PodTemplate {
    let mut spec = pod.spec.unwrap_or_default();
    (spec.scheduling_gates, spec.node_name, spec.hostname) = (None, None, None);
    let metadata_of_pods = ObjectMeta { labels: pod.metadata.labels, ..ObjectMeta::default() };
    PodTemplate { metadata: metadata(name, order), template: Some(PodTemplateSpec { metadata: Some(metadata_of_pods), spec: Some(spec) }) }
}

/// The request itself.
pub fn request(order: &ProvisioningOrder) -> Value {
    let names = template_names(&order.key.name, order.sets.len());
    let sets: Vec<Value> =
        names.zip(&order.sets).map(|(name, (_, count))| json!({"podTemplateRef": {"name": name}, "count": count})).collect();
    json!({
        "apiVersion": format!("{}/{}", KIND.group, order.version),
        "kind": KIND.kind,
        "metadata": metadata(&order.key.name, order),
        "spec": {"provisioningClassName": &*order.class, "parameters": order.parameters, "podSets": sets},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> ProvisioningOrder {
        let gang = GangId { kind: GangKind::Owner, key: PodKey::new("ml", "train"), uid: "u-1".into() };
        let owner = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: gang.key.clone(), uid: "u-1".into() };
        let parameters = [(std::sync::Arc::from("maxRunDurationSeconds"), std::sync::Arc::from("3600"))].into();
        let sets = vec![((PodKey::new("ml", "train-0"), "p-0".into()), 1), ((PodKey::new("ml", "train-1"), "p-1".into()), 15)];
        ProvisioningOrder {
            key: PodKey::new("ml", "train-u1"),
            version: "v1".into(),
            gang,
            owner,
            class: "queued-provisioning.gke.io".into(),
            parameters,
            sets,
        }
    }

    fn written(conditions: &Value) -> DynamicObject {
        let mut object = request(&order());
        object["metadata"]["uid"] = "r-1".into();
        object["status"] = json!({"conditions": conditions});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_we_write_is_read_back_as_ours_and_that_of_others_is_not() {
        let request = read(&written(&json!([]))).unwrap();
        assert_eq!((request.gang, request.counts, request.state), (order().gang, vec![1, 15], ProvisioningState::Pending));
        assert_eq!(written(&json!([])).data["spec"]["podSets"][1], json!({"podTemplateRef": {"name": "train-u1-1"}, "count": 15}));
        let mut other = written(&json!([]));
        other.metadata.labels = None;
        assert_eq!(read(&other), None, "Kueue's, say");
        let mut other = written(&json!([]));
        other.metadata.annotations = Some([(PROVISIONED_FOR.to_owned(), "train".to_owned())].into());
        assert_eq!(read(&other), None);
    }

    #[test]
    fn the_gravest_condition_counts_and_its_message_is_told() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "message": format!("{kind} {status}")});
        for (conditions, state, message) in [
            (json!([condition("Accepted", "True")]), ProvisioningState::Accepted, ""),
            (json!([condition("Accepted", "True"), condition("Provisioned", "False")]), ProvisioningState::Accepted, "Provisioned False"),
            (json!([condition("Provisioned", "True"), condition("Accepted", "True")]), ProvisioningState::Provisioned, "Provisioned True"),
            (
                json!([condition("Provisioned", "True"), condition("BookingExpired", "True")]),
                ProvisioningState::BookingExpired,
                "BookingExpired True",
            ),
            (
                json!([condition("Provisioned", "True"), condition("CapacityRevoked", "True")]),
                ProvisioningState::CapacityRevoked,
                "CapacityRevoked True",
            ),
            (json!([condition("Failed", "True"), condition("Accepted", "True")]), ProvisioningState::Failed, "Failed True"),
        ] {
            let request = read(&written(&conditions)).unwrap();
            assert_eq!((request.state, &*request.message), (state, message), "{conditions}");
        }
    }

    #[test]
    fn a_template_has_what_schedulers_look_at_and_not_what_made_the_pod_one_of_many() {
        let pod = json!({"metadata": {"name": "train-0", "labels": {"app": "t"}, "annotations": {"a": "b"}}, "spec": {"nodeName": "n",
            "hostname": "train-0", "schedulingGates": [{"name": "gangplank.dev/gang"}], "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"operator": "Exists"}], "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}});
        let made = serde_json::to_value(template("train-u1-0", &order(), serde_json::from_value(pod).unwrap())).unwrap();
        assert_eq!(made["template"]["metadata"], json!({"labels": {"app": "t"}}));
        let spec = &made["template"]["spec"];
        assert!(spec["schedulingGates"].is_null() && spec["nodeName"].is_null() && spec["hostname"].is_null(), "{spec}");
        assert_eq!(
            (&spec["nodeSelector"]["pool"], &spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]),
            (&json!("gpu"), &json!("8"))
        );
        assert_eq!(made["metadata"]["ownerReferences"], json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "u-1"}]));
    }
}
