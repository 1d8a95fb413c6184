//! Claims, and volumes that lie in one zone.

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use super::objects::apply_yaml;

/// The label that says in which zone a node is.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// When a claim gets its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Before any pod asks for it.
    Before,
    /// When kube-scheduler has a node for a pod that asks for it: until then only kube-scheduler knows where that can be.
    WithPod,
}

/// A claim, and the only volume for it, which lies in one zone.
pub fn volume_in(namespace: &str, claim: &str, zone: &str, bound: Bound) -> Vec<Value> {
    let selects = json!({"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]});
    let (class, kept_for, name) = match bound {
        Bound::Before => ("", json!({"namespace": namespace, "name": claim}), json!(format!("{namespace}-{claim}"))),
        Bound::WithPod => (namespace, Value::Null, Value::Null),
    };
    let waits = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": namespace},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{namespace}-{claim}")},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": class, "hostPath": {"path": "/none"},
            "claimRef": kept_for,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [selects]}},
        },
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
        "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": class, "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    match bound {
        Bound::Before => vec![volume, claim],
        Bound::WithPod => vec![waits, volume, claim],
    }
}

/// Applies objects.
pub async fn apply(client: &Client, namespace: &str, objects: &[Value]) -> Result<()> {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    apply_yaml(client, namespace, &documents.join("\n---\n")).await?;
    Ok(())
}
