//! An object that stands for a gang, read leanly: of its spec only the words that say how many pods there are and how
//! they want to stand, of its metadata who it is. There may be tens of thousands of Jobs, with a pod template each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::OwnerRef;
use crate::wire::meta;

/// The fields of such an object that are read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the words of the Kubernetes API")]
pub struct GangObject {
    /// Empty in lists of built-in kinds: whoever listed them knows.
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default, deserialize_with = "identity")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "few_words")]
    pub spec: Value,
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Status::is_empty")]
    pub status: Status,
}

/// `status`, as far as it says what is over.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Of a JobSet.
    #[serde(default, deserialize_with = "meta::null_default", skip_serializing_if = "Vec::is_empty")]
    pub replicated_jobs_status: Vec<ReplicatedJobStatus>,
}

/// `status.replicatedJobsStatus[]` of a JobSet: how many of its Jobs have come how far.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ReplicatedJobStatus {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub ready: i64,
    #[serde(default)]
    pub succeeded: i64,
}

/// `status.conditions[]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Condition {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub status: String,
}

impl Status {
    fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.replicated_jobs_status.is_empty()
    }
}

impl GangObject {
    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// An annotation, of those that are kept.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// A label, of those that are kept.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    }

    /// It ended, for good.
    pub fn is_finished(&self) -> bool {
        let over = |condition: &Condition| matches!(&*condition.kind, "Complete" | "Failed" | "Completed") && condition.status == "True";
        self.status.conditions.iter().any(over)
    }

    /// Whether the pods of a Job's template ask for anything that nodes have devices of. Admission may add such a thing to
    /// the pods themselves: those are few, and their own Job is then not seen.
    pub fn asks_for_devices(&self) -> bool {
        self.spec["template"]["spec"][ASKS] == true
    }

    /// It, as an owner.
    pub fn as_owner(&self) -> OwnerRef {
        OwnerRef {
            api_version: self.api_version.as_str().into(),
            kind: self.kind.as_str().into(),
            key: crate::model::PodKey::new(self.namespace(), self.name()),
            uid: self.uid().into(),
        }
    }
}

impl kube::Resource for GangObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whose annotations and labels are kept, by how their keys begin.
const KEPT_PREFIXES: &[&str] = &[
    "alpha.jobset.sigs.k8s.io/",
    "gang.scheduling.koordinator.sh/",
    "gangplank.dev/",
    "leaderworkerset.sigs.k8s.io/",
    "ray.io/gang-scheduling-enabled",
];

/// Metadata without what nobody asks of it, such as the manifest that kubectl keeps in an annotation.
fn identity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = meta::lean(deserializer)?;
    for map in [&mut metadata.annotations, &mut metadata.labels] {
        let kept = map.take().unwrap_or_default().into_iter().filter(|(key, _)| KEPT_PREFIXES.iter().any(|prefix| key.starts_with(prefix)));
        *map = Some(kept.collect()).filter(|kept: &BTreeMap<_, _>| !kept.is_empty());
    }
    (metadata.generate_name, metadata.generation, metadata.creation_timestamp, metadata.finalizers) = (None, None, None, None);
    Ok(metadata)
}

/// Every word of a spec that some reader in this folder looks for, at any depth; the rest is passed over unread.
const WORDS: &[&str] = &[
    "Chief",
    "Evaluator",
    "Launcher",
    "Master",
    "PS",
    "Worker",
    "alpha.jobset.sigs.k8s.io/exclusive-topology",
    "alpha.jobset.sigs.k8s.io/node-selector",
    "annotations",
    "asks",
    "completions",
    "containers",
    "dependsOn",
    "elasticPolicy",
    "gang",
    "groupName",
    "headGroupSpec",
    "highestTierAllowed",
    "highestTierName",
    "initContainers",
    "jaxReplicaSpecs",
    "key",
    "launcherCreationPolicy",
    "leaderWorkerTemplate",
    "metadata",
    "minAvailable",
    "minCount",
    "minMember",
    "minReplicas",
    "mode",
    "mpiReplicaSpecs",
    "name",
    "networkTopology",
    "numOfHosts",
    "paddleReplicaSpecs",
    "parallelism",
    "pytorchReplicaSpecs",
    "replicas",
    "replicatedJobs",
    "resources",
    "runPolicy",
    "schedulingConstraints",
    "schedulingPolicy",
    "size",
    "spec",
    "startupPolicy",
    "startupPolicyOrder",
    "status",
    "subGroupPolicy",
    "subGroupSize",
    "suspend",
    "template",
    "tfReplicaSpecs",
    "topology",
    "workerGroupSpecs",
    "xgbReplicaSpecs",
];
/// Deeper than any of them stands.
const DEPTH_MAX: u32 = 12;

/// Stands in a pod's spec, instead of its containers, where one asks for an extended resource.
const ASKS: &str = "asks";
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];
const AMOUNTS: [&str; 2] = ["limits", "requests"];

fn few_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let mut spec = FewWords(0).deserialize(deserializer)?;
    take_containers(&mut spec);
    Ok(spec)
}

/// Of containers only that is kept whether one of them asks for an extended resource: those have a domain in their names.
fn take_containers(spec: &mut Value) {
    match spec {
        Value::Object(map) => {
            let containers: Vec<Value> = CONTAINERS.iter().filter_map(|list| map.remove(*list)).collect();
            let containers = containers.iter().filter_map(Value::as_array).flatten();
            let amounts =
                |container: &Value| AMOUNTS.iter().any(|side| container["resources"][*side].as_object().is_some_and(|of| !of.is_empty()));
            if containers.into_iter().any(amounts) {
                map.insert(ASKS.to_owned(), true.into());
            }
            map.values_mut().for_each(take_containers);
        }
        Value::Array(list) => list.iter_mut().for_each(take_containers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct FewWords(u32);

impl<'de> DeserializeSeed<'de> for FewWords {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > DEPTH_MAX {
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FewWords {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a spec")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if AMOUNTS.contains(&key.as_str()) {
                let amounts: BTreeMap<String, IgnoredAny> = access.next_value()?;
                let extended = amounts.into_keys().filter(|name| name.contains('/'));
                map.insert(key, extended.map(|name| (name, Value::Null)).collect::<Map<_, _>>().into());
            } else if WORDS.binary_search(&key.as_str()).is_ok() {
                map.insert(key, access.next_value_seed(Self(self.0 + 1))?);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(Self(self.0 + 1))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::from(truth))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_stand_in_order_because_they_are_searched() {
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn of_a_job_only_its_size_and_its_name_are_kept() {
        let container = json!({"name": "main", "image": "x".repeat(4096), "resources": {"limits": {"cpu": "4", "nvidia.com/gpu": 8}}, "env": [{"name": "A", "value": "b".repeat(4096)}]});
        let object = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "j", "namespace": "ml", "uid": "u", "managedFields": [{"manager": "m"}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "y".repeat(4096), "gangplank.dev/suspended": "true"}},
            "spec": {"parallelism": 4, "completions": 4, "template": {"spec": {"containers": [container], "volumes": [{"name": "v"}]}}},
            "status": {"conditions": [{"type": "Complete", "status": "True", "message": "z".repeat(4096)}], "succeeded": 4}});
        let read: GangObject = serde_json::from_value(object).unwrap();
        assert_eq!(read.spec, json!({"parallelism": 4, "completions": 4, "template": {"spec": {"asks": true}}}));
        assert!(read.asks_for_devices());
        assert_eq!(read.annotation("gangplank.dev/suspended"), Some("true"));
        assert!(read.is_finished());
        let text = serde_json::to_string(&read).unwrap();
        assert!(text.len() < 400, "{} bytes: {text}", text.len());
        assert_eq!(serde_json::from_str::<GangObject>(&text).unwrap(), read);
    }

    #[test]
    fn a_job_asks_for_devices_if_one_of_its_containers_does() {
        let asks = |containers: Value| {
            let object = json!({"spec": {"template": {"spec": containers}}});
            serde_json::from_value::<GangObject>(object).unwrap().asks_for_devices()
        };
        let amounts = |side: &str, name: &str| json!([{"name": "a"}, {"name": "b", "resources": {side: {"cpu": 1, name: 1}}}]);
        assert!(asks(json!({"containers": amounts("limits", "nvidia.com/gpu")})));
        assert!(asks(json!({"containers": null, "initContainers": amounts("requests", "gangplank.dev/gpu-milli")})));
        assert!(!asks(json!({"containers": amounts("limits", "memory"), "volumes": [{"name": "nvidia.com/gpu"}]})));
        assert!(!asks(json!(null)));
    }

    #[test]
    fn a_spec_that_is_nothing_or_nested_without_end_is_read_all_the_same() {
        let read = |text: &str| serde_json::from_str::<GangObject>(text).unwrap().spec;
        assert_eq!(read(r#"{"spec": null}"#), Value::Null);
        assert_eq!(read(r#"{"spec": "text"}"#), json!("text"));
        let deep = format!("{{\"spec\": {}1{}}}", "{\"template\":".repeat(60), "}".repeat(60));
        assert!(read(&deep).to_string().len() < 300);
    }
}
