//! What every Kubernetes object that we read has in common: metadata without its bulk, maps without duplicate
//! keys, `null` where Go means empty, and quantities kept as text until somebody needs the number.
//!
//! A duplicate key is refused rather than resolved: Go, serde and a person may each see another one of the two.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::{Quantity, QuantityError};

/// Implements `kube::Resource` for a subset of a built-in kind.
macro_rules! resource {
    ($type:ident, $kind:literal, $group:literal, $version:literal, $plural:literal, $scope:ident) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(super) use resource;

/// Reads metadata without managedFields: half of a Node's bytes, and nothing in them is for us.
pub(super) fn lean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lean {
        name: Option<String>,
        generate_name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        labels: Option<Unique<String>>,
        annotations: Option<Unique<String>>,
        owner_references: Option<Vec<OwnerReference>>,
        finalizers: Option<Vec<String>>,
    }
    let lean = Option::<Lean>::deserialize(deserializer)?.unwrap_or_default();
    Ok(ObjectMeta {
        name: lean.name,
        generate_name: lean.generate_name,
        namespace: lean.namespace,
        uid: lean.uid,
        resource_version: lean.resource_version,
        generation: lean.generation,
        creation_timestamp: lean.creation_timestamp,
        deletion_timestamp: lean.deletion_timestamp,
        labels: lean.labels.map(|map| map.0),
        annotations: lean.annotations.map(|map| map.0),
        owner_references: lean.owner_references,
        finalizers: lean.finalizers,
        ..ObjectMeta::default()
    })
}

/// `null` is what Go writes for an empty list or map.
pub(super) fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A map, or `null`; a duplicate key is an error.
pub(super) fn unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error> {
    Ok(Option::<Unique<V>>::deserialize(deserializer)?.map(|map| map.0).unwrap_or_default())
}

struct Unique<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<String, V>()? {
                    if map.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate key `{key}`")));
                    }
                    map.insert(key, value);
                }
                Ok(Unique(map))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

/// Amounts by resource, unread.
pub type Amounts = BTreeMap<String, QuantityText>;

/// A quantity as it was sent, a JSON string or number. Reading it is left to whoever knows what a bad one means:
/// one hostile pod must not fail a list of 100,000.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuantityText(String);

impl QuantityText {
    /// The amount.
    ///
    /// # Errors
    /// Anything but a plain, small, non-negative quantity.
    pub fn read(&self) -> Result<Quantity, QuantityError> {
        Quantity::parse(&self.0)
    }

    /// The text, cut to what people read: hostile ones are long.
    pub fn shown(&self) -> &str {
        let end = self.0.char_indices().nth(Quantity::TEXT_LEN_MAX).map_or(self.0.len(), |(at, _)| at);
        &self.0[..end]
    }
}

impl From<&str> for QuantityText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl<'de> Deserialize<'de> for QuantityText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = QuantityText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, as a string or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(QuantityText(text.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(QuantityText(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(QuantityText(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(QuantityText(number.to_string()))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// No node has a billion cores: whatever is asked beyond is as impossible, and sums of it cannot overflow.
const CPU_MILLI_MAX: u64 = 1 << 40;
/// No node has a PiB of memory.
const MEMORY_BYTES_MAX: u64 = 1 << 50;

/// CPU in thousandths of a core. What cannot be read counts as more than any node has, as it would not fit one either.
pub(super) fn cpu_milli(amount: &QuantityText) -> u64 {
    amount.read().map_or(CPU_MILLI_MAX, |amount| amount.milli().min(CPU_MILLI_MAX))
}

/// Memory in bytes; what cannot be read as for [`cpu_milli`].
pub(super) fn memory_bytes(amount: &QuantityText) -> u64 {
    amount.read().map_or(MEMORY_BYTES_MAX, |amount| amount.units_rounded_up().min(MEMORY_BYTES_MAX))
}

/// `metadata.labels`.
pub(super) fn labels(metadata: &ObjectMeta) -> BTreeMap<Arc<str>, Arc<str>> {
    metadata.labels.iter().flatten().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use kube::core::{ObjectList, WatchEvent};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::{AcceleratorNode, BudgetObject, NodeObject, PodObject, PriorityClassObject, QuotaObject, VolumeObject};

    /// Each kind through every door it comes in by: a list, a watch event, a manifest.
    fn check<K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static>(path: &str, object: &Value) {
        assert_eq!(K::url_path(&(), None), path);
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [object]}).to_string();
        let list: ObjectList<K> = serde_json::from_str(&list).unwrap();
        // The object before the type: the parser has to buffer it.
        let event = format!(r#"{{"object":{object},"type":"ADDED"}}"#);
        let WatchEvent::Added(added) = serde_json::from_str::<WatchEvent<K>>(&event).unwrap() else { panic!("{event}") };
        let manifest: K = serde_saphyr::from_str(&serde_saphyr::to_string(object).unwrap()).unwrap();
        for read in [&list.items[0], &added, &manifest] {
            assert_eq!(read.meta().name.as_deref(), Some("x"));
            assert_eq!(format!("{read:?}"), format!("{added:?}"));
        }
    }

    #[test]
    fn every_kind_can_be_listed_watched_and_read_from_a_manifest() {
        let metadata =
            json!({"name": "x", "namespace": "n", "uid": "u", "labels": {"a": "b"}, "creationTimestamp": "2026-10-01T12:00:00Z"});
        check::<PodObject>(
            "/api/v1/pods",
            &json!({"metadata": metadata, "spec": {"priority": 5, "overhead": {"cpu": 0.5},
                "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": 4, "memory": "1Gi"}}}],
                "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}}}}),
        );
        check::<NodeObject>("/api/v1/nodes", &json!({"metadata": metadata, "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": 8}}}));
        check::<QuotaObject>("/api/v1/resourcequotas", &json!({"metadata": metadata, "spec": {"hard": {"requests.nvidia.com/gpu": 20}}}));
        check::<VolumeObject>(
            "/api/v1/persistentvolumes",
            &json!({"metadata": metadata, "spec": {"claimRef": {"namespace": "n", "name": "c"}, "nodeAffinity": {"required": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]}}},
                "status": {"phase": "Bound"}}),
        );
        check::<BudgetObject>("/apis/policy/v1/poddisruptionbudgets", &json!({"metadata": metadata, "status": {"disruptionsAllowed": 1}}));
        check::<PriorityClassObject>("/apis/scheduling.k8s.io/v1/priorityclasses", &json!({"metadata": metadata, "value": 7}));
        let device = json!({"id": "GPU-0", "index": 0, "resource": "nvidia.com/gpu", "memoryMiB": 81559});
        check::<AcceleratorNode>(
            "/apis/gangplank.dev/v1alpha1/acceleratornodes",
            &json!({"apiVersion": "gangplank.dev/v1alpha1", "kind": "AcceleratorNode", "metadata": metadata, "spec": {"devices": [device]}}),
        );
    }

    #[test]
    fn what_go_writes_for_empty_is_empty() {
        let pod = json!({"metadata": {"name": "x", "creationTimestamp": null, "labels": null},
            "spec": {"containers": null, "nodeSelector": null, "affinity": null, "tolerations": null, "overhead": null, "resources": null},
            "status": null});
        let pod: PodObject = serde_json::from_value(pod).unwrap();
        assert_eq!((pod.spec, pod.status), Default::default());
        let node: NodeObject = serde_json::from_value(json!({"metadata": null, "spec": null, "status": {"allocatable": null}})).unwrap();
        assert_eq!(node, NodeObject::default());
    }

    #[test]
    fn a_hostile_text_is_shown_short_and_cut_between_characters() {
        let text = "ü".repeat(1000);
        assert_eq!(QuantityText::from(text.as_str()).shown(), "ü".repeat(Quantity::TEXT_LEN_MAX));
        assert_eq!(QuantityText::from("1").shown(), "1");
    }

    #[test]
    fn sums_of_the_largest_amounts_do_not_overflow() {
        let most = QuantityText::from("9e18");
        assert!(cpu_milli(&most).checked_mul(1 << 20).is_some() && memory_bytes(&most).checked_mul(1 << 13).is_some());
    }
}
