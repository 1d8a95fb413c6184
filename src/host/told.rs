//! Pods as the watch told them last, for as long as they may be bound any moment: released, with devices, on no node. It
//! decides which ones are kept. A Binding made from one of these needs no read: its resourceVersion is a precondition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Host, PodRead};
use crate::model::{Pod, PodKey, PodUid};
use crate::wire::PodObject;

/// Pods kept, at most; those beyond it are read before they are bound.
const TOLD_MAX: usize = 16_384;

/// Pods by UID.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<PodUid, Arc<PodObject>>>);

impl Told {
    pub(super) fn applied(&self, pod: &Pod, object: &Arc<PodObject>) {
        let may_be_bound = pod.node.is_none() && !pod.gated && !pod.deleting && !pod.request.is_empty() && !pod.phase.is_finished();
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if may_be_bound && (pods.len() < TOLD_MAX || pods.contains_key(&pod.uid)) {
            pods.insert(pod.uid.clone(), object.clone());
        } else {
            pods.remove(&pod.uid);
        }
    }

    pub(super) fn deleted(&self, uid: &PodUid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Host {
    /// What the watch told last of a pod that may be bound; none if it says otherwise, or nothing, or that this UID has another
    /// name.
    pub(super) fn told(&self, key: &PodKey, uid: &PodUid) -> Option<PodRead> {
        let object = self.told.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid)?.clone();
        let is = |said: &Option<String>, asked: &str| said.as_deref() == Some(asked);
        if !is(&object.metadata.name, &key.name) || !is(&object.metadata.namespace, &key.namespace) {
            return None;
        }
        // Without a version it would be no precondition.
        let resource_version = object.metadata.resource_version.clone().filter(|version| !version.is_empty())?;
        Some(PodRead { object, resource_version })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Classes;
    use crate::policy::Profile;

    fn object(gates: &Value, node: Option<&str>) -> Arc<PodObject> {
        let container = json!({"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}});
        let object = json!({
            "metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "7"},
            "spec": {"nodeName": node, "schedulingGates": gates, "containers": [container]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_pod_is_kept_from_its_release_to_its_binding() {
        let (told, classes): (Told, Arc<Classes>) = (Told::default(), Profile::shipped().classes);
        let known = || told.0.lock().unwrap().contains_key(&PodUid::from("u"));
        let tell = |gates: Value, node| {
            let object = object(&gates, node);
            told.applied(&object.to_model(&classes).unwrap(), &object);
        };
        tell(json!([{"name": "gangplank.dev/gang"}]), None);
        assert!(!known(), "it cannot be bound yet");
        tell(json!([]), None);
        assert!(known());
        tell(json!([]), Some("n"));
        assert!(!known());
        tell(json!([]), None);
        told.deleted(&"u".into());
        assert!(!known());
    }
}
