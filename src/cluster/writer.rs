//! Reads and writes against the API server. It decides which HTTP status means what for a write: see
//! [`crate::host::WriteError`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, PartialObjectMetaExt, Status};
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use serde_json::json;

use crate::engine::{Effect, PodRef};
use crate::host::{BindWrite, PodRead, WriteError, Writer};
use crate::model::{NodeName, OwnerRef, PlanRecord, PodKey, Reason, Time};
use crate::wire::gang::suspension;
use crate::wire::{PodObject, annotations};

/// Writes to the API server.
#[derive(Clone)]
pub struct KubeWriter {
    client: Client,
    recorder: Recorder,
}

/// The longest note of an Event; longer ones are refused by the API server.
const NOTE_BYTES_MAX: usize = 1024;
/// Pods that ended well.
const ENDED: &str = "status.phase=Succeeded";
const ENDED_PAGE: u32 = 500;
/// Who keeps more pods that ended in one namespace waits for what the first pages do not show.
const ENDED_PAGES_MAX: usize = 8;
/// Who reports, in Events.
const REPORTER: &str = "gangplank.dev/gangplank";

impl KubeWriter {
    /// A writer whose Events name this instance.
    pub fn new(client: Client, instance: String) -> Arc<Self> {
        let reporter = Reporter { controller: REPORTER.into(), instance: Some(instance) };
        Arc::new(Self { recorder: Recorder::new(client.clone(), reporter), client })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn pods(&self, namespace: &str) -> Api<PodObject> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn read(&self, key: &PodKey) -> Result<Option<PodRead>, WriteError> {
        let found = self.pods(&key.namespace).get_opt(&key.name).await.map_err(meaning)?;
        Ok(found.map(|object| PodRead {
            resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
            object: Arc::new(object),
        }))
    }

    async fn read_ended(&self, namespace: &str) -> Result<Vec<Arc<PodObject>>, WriteError> {
        let mut params = ListParams { limit: Some(ENDED_PAGE), field_selector: Some(ENDED.into()), ..ListParams::default() };
        let mut ended = Vec::new();
        for _ in 0..ENDED_PAGES_MAX {
            let page = self.pods(namespace).list(&params).await.map_err(meaning)?;
            ended.extend(page.items.into_iter().map(Arc::new));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
        Ok(ended)
    }

    async fn write_binding(&self, write: &BindWrite) -> Result<(), WriteError> {
        let pod = &write.order.pod;
        let written: Result<Status, _> =
            self.pods(&pod.key.namespace).create_subresource("binding", &pod.key.name, &PostParams::default(), &binding(write)).await;
        written.map(drop).map_err(meaning)
    }

    async fn write_touch(&self, pod: &PodRef) -> Result<(), WriteError> {
        let now = jiff::Timestamp::now().to_string();
        // The UID is a precondition: a pod created anew under the name is not ours to wake.
        let metadata = ObjectMeta {
            uid: Some(pod.uid.as_str().into()),
            annotations: Some([(annotations::TOUCHED.to_string(), now)].into()),
            ..ObjectMeta::default()
        };
        let patch = Patch::Merge(metadata.into_request_partial::<PodObject>());
        self.pods(&pod.key.namespace).patch_metadata(&pod.key.name, &PatchParams::default(), &patch).await.map(drop).map_err(meaning)
    }

    async fn write_nomination(&self, pod: &PodRef, node: Option<&NodeName>) -> Result<(), WriteError> {
        let nominated = node.map(NodeName::as_str);
        let patch = json!({"metadata": {"uid": pod.uid.as_str()}, "status": {"nominatedNodeName": nominated}});
        let pods = self.pods(&pod.key.namespace);
        pods.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop).map_err(meaning)
    }

    /// Gate off and plan on, in one write: the plan is there when kube-scheduler first asks about the pod.
    async fn write_release(&self, pod: &PodRef, plan: Option<&PlanRecord>) -> Result<(), WriteError> {
        let mut patch = json!({
            "metadata": {"uid": pod.uid.as_str()},
            "spec": {"schedulingGates": [{"$patch": "delete", "name": annotations::GATE}]},
        });
        if let Some(plan) = plan {
            patch["metadata"]["annotations"] = json!({annotations::PLAN: annotations::render_plan(plan)});
            if let Some(rank) = plan.rank {
                patch["metadata"]["annotations"][annotations::RANK] = rank.to_string().into();
            }
        }
        let pods = self.pods(&pod.key.namespace);
        pods.patch(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop).map_err(meaning)
    }

    /// The API server's own condition of a gated pod, with our words in place of its.
    async fn write_condition(&self, pod: &PodRef, reason: &Reason) -> Result<(), WriteError> {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": reason.to_string()});
        let patch = json!({"metadata": {"uid": pod.uid.as_str()}, "status": {"conditions": [condition]}});
        let pods = self.pods(&pod.key.namespace);
        pods.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop).map_err(meaning)
    }

    /// Through the Eviction API, so that disruption budgets are heard.
    async fn write_eviction(&self, pod: &PodRef, why: &str, force: bool) -> Result<(), WriteError> {
        tracing::info!(pod = %pod.key, why, force, "evicting a pod");
        let written: Result<Status, _> = self
            .pods(&pod.key.namespace)
            .create_subresource("eviction", &pod.key.name, &PostParams::default(), &eviction(pod, force))
            .await;
        written.map(drop).map_err(meaning)
    }

    async fn write_notice(&self, pod: &PodRef, at: Option<Time>) -> Result<(), WriteError> {
        let patch = json!({"metadata": {"uid": pod.uid.as_str(), "annotations": {annotations::PREEMPT_NOTICE: at.map(rfc_3339)}}});
        let pods = self.pods(&pod.key.namespace);
        pods.patch(&pod.key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop).map_err(meaning)
    }

    async fn write_suspend(&self, owner: &OwnerRef, suspend: bool) -> Result<(), WriteError> {
        let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
        let patch = suspension(owner, suspend);
        let owners: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &owner.key.namespace, &resource);
        owners.patch(&owner.key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop).map_err(meaning)
    }

    async fn write_event(&self, regarding: &ObjectReference, (reason, note, warning): (&str, &str, bool)) -> Result<(), WriteError> {
        let event = KubeEvent {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.into(),
            note: Some(shortened(note)),
            action: "Scheduling".into(),
            secondary: None,
        };
        self.recorder.publish(&event, regarding).await.map_err(meaning)
    }
}

fn about_pod(pod: &PodRef) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.key.namespace.to_string()),
        name: Some(pod.key.name.to_string()),
        uid: Some(pod.uid.as_str().into()).filter(|uid: &String| !uid.is_empty()),
        ..ObjectReference::default()
    }
}

/// kubelet and the node controller name a node by its name in place of its UID, and `kubectl describe node` looks for that.
fn about_node(node: &NodeName) -> ObjectReference {
    let name = Some(node.as_str().to_owned());
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: name.clone(),
        uid: name,
        ..ObjectReference::default()
    }
}

fn rfc_3339(at: Time) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.unix_ms()).unwrap_or(i64::MAX));
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// Node, devices and environment values in one object.
fn binding(write: &BindWrite) -> Binding {
    let order = &write.order;
    let mut annotations: std::collections::BTreeMap<String, String> = order.env.iter().map(annotations::env_annotation).collect();
    if !order.grant.containers.is_empty() {
        annotations.insert(annotations::DEVICES.into(), annotations::render_devices(&order.grant));
    }
    Binding {
        metadata: ObjectMeta {
            name: Some(order.pod.key.name.to_string()),
            namespace: Some(order.pod.key.namespace.to_string()),
            uid: Some(order.pod.uid.as_str().into()),
            resource_version: Some(write.resource_version.clone()),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        // The kind is spelled out: the API server copies topology labels only for targets of this kind.
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(order.grant.node.as_str().into()),
            ..ObjectReference::default()
        },
    }
}

/// Its options are spelled here: the client library's own request for this names them so that the API server reads none, not even
/// the UID.
fn eviction(pod: &PodRef, force: bool) -> Eviction {
    let preconditions = Preconditions { uid: Some(pod.uid.as_str().into()), resource_version: None };
    let grace_period_seconds = force.then_some(0);
    Eviction {
        metadata: ObjectMeta {
            name: Some(pod.key.name.to_string()),
            namespace: Some(pod.key.namespace.to_string()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions { grace_period_seconds, preconditions: Some(preconditions), ..DeleteOptions::default() }),
    }
}

/// Cut at a character within the API's limit.
fn shortened(note: &str) -> String {
    if note.len() <= NOTE_BYTES_MAX {
        return note.into();
    }
    let mut end = NOTE_BYTES_MAX - '…'.len_utf8();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &note[..end])
}

/// What an error means for the question whether something was written.
pub(crate) fn meaning(error: kube::Error) -> WriteError {
    let kube::Error::Api(status) = error else { return WriteError::Unclear(error.to_string()) };
    let message = status.message.clone();
    match status.code {
        404 => WriteError::NotFound(message),
        409 => WriteError::Conflict(message),
        429 => {
            let after_s = status.details.as_ref().map_or(1, |details| details.retry_after_seconds.max(1));
            WriteError::Throttled { after: Duration::from_secs(after_s.into()), message }
        }
        // From a proxy on the way: the API server may have gone on.
        408 => WriteError::Unclear(message),
        code @ 400..=499 => WriteError::Refused { code, message },
        code => WriteError::Unclear(format!("{code} {message}")),
    }
}

impl Writer for KubeWriter {
    fn read_pod<'a>(&'a self, key: &'a PodKey) -> BoxFuture<'a, Result<Option<PodRead>, WriteError>> {
        self.read(key).boxed()
    }

    fn bind<'a>(&'a self, write: &'a BindWrite) -> BoxFuture<'a, Result<(), WriteError>> {
        self.write_binding(write).boxed()
    }

    fn list_ended<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<Arc<PodObject>>, WriteError>> {
        self.read_ended(namespace).boxed()
    }

    fn carry_out<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            match effect {
                Effect::Touch(pod) => self.write_touch(pod).await,
                Effect::Event(event) => self.write_event(&about_pod(&event.pod), (event.reason, &event.note, event.warning)).await,
                Effect::NodeEvent(event) => self.write_event(&about_node(&event.node), (event.reason, &event.note, event.warning)).await,
                Effect::Nominate { pod, node } => self.write_nomination(pod, node.as_ref()).await,
                Effect::Release { pod, plan } => self.write_release(pod, plan.as_ref()).await,
                Effect::Condition { pod, reason } => self.write_condition(pod, reason).await,
                Effect::Notice { pod, at } => self.write_notice(pod, *at).await,
                // Read, and answered, by who carries effects out.
                Effect::ListEnded { .. } => Ok(()),
                Effect::Evict { pod, why, force } => self.write_eviction(pod, why, *force).await,
                Effect::Suspend { owner, suspend } => self.write_suspend(owner, *suspend).await,
                Effect::Provision(order) => self.write_request(order).await,
                Effect::Unprovision { request, uid, version, sets } => self.delete_request(request, uid, version, *sets).await,
                Effect::Consume { pod, request, class } => self.write_consumer(pod, request, class).await,
            }
        }
        .boxed()
    }
}

impl fmt::Debug for KubeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KubeWriter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::BindOrder;
    use crate::model::{Amount, ContainerGrant, DeviceShare, Grant};

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        assert_eq!(shortened("short"), "short");
        for pad in 0..4 {
            let note = format!("{}{}", "x".repeat(pad), "🦀".repeat(400));
            let cut = shortened(&note);
            assert!(cut.len() <= NOTE_BYTES_MAX && cut.len() > NOTE_BYTES_MAX - 8 && cut.ends_with('…'), "{}", cut.len());
        }
    }

    #[test]
    fn an_eviction_names_the_pod_that_is_meant_and_no_grace_only_where_it_is_forced() {
        let pod = PodRef { key: PodKey::new("default", "train"), uid: "u-1".into() };
        let json = |force| serde_json::to_value(eviction(&pod, force)).unwrap();
        let (asked, forced) = (json(false), json(true));
        assert_eq!((&asked["apiVersion"], &asked["kind"]), (&json!("policy/v1"), &json!("Eviction")));
        assert_eq!(asked["deleteOptions"], json!({"preconditions": {"uid": "u-1"}}));
        assert_eq!(forced["deleteOptions"], json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "u-1"}}));
    }

    #[test]
    fn a_binding_carries_node_devices_and_its_preconditions_in_one_object() {
        let share = DeviceShare { resource: "nvidia.com/gpu".into(), device: Some("3".into()), amount: Amount::Whole };
        let grant = Grant { node: "n1".into(), containers: vec![ContainerGrant { container: "main".into(), devices: vec![share] }] };
        let pod = PodRef { key: PodKey::new("default", "train"), uid: "u-1".into() };
        let write = BindWrite { order: BindOrder { pod, grant, env: Vec::new() }, resource_version: "17".into() };
        let json = serde_json::to_value(binding(&write)).unwrap();
        assert_eq!(json["apiVersion"], "v1");
        assert_eq!(json["kind"], "Binding");
        assert_eq!(json["metadata"]["uid"], "u-1");
        assert_eq!(json["metadata"]["resourceVersion"], "17");
        assert_eq!(json["metadata"]["annotations"][annotations::DEVICES], r#"{"main":[{"id":"3","resource":"nvidia.com/gpu"}]}"#);
        assert_eq!(json["target"]["kind"], "Node");
        assert_eq!(json["target"]["name"], "n1");
    }
}
