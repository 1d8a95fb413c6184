//! Writes of ProvisioningRequests. It decides in which order: templates first, because an autoscaler that finds a request
//! without them may stop at it; and when one goes, the request first.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{GroupVersionKind, PartialObjectMetaExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::writer::{KubeWriter, meaning};
use crate::engine::PodRef;
use crate::host::WriteError;
use crate::model::{PodKey, ProvisioningOrder};
use crate::wire::{PodObject, provisioning};

impl KubeWriter {
    fn requests(&self, namespace: &str, version: &str) -> Api<DynamicObject> {
        let named = GroupVersionKind::gvk(provisioning::KIND.group, version, provisioning::KIND.kind);
        let resource = ApiResource::from_gvk_with_plural(&named, provisioning::KIND.plural);
        Api::namespaced_with(self.client().clone(), namespace, &resource)
    }

    pub(super) async fn write_request(&self, order: &ProvisioningOrder) -> Result<(), WriteError> {
        let written = self.try_write_request(order).await;
        if let Err(error) = &written {
            // Rare, and nothing else tells of it: a quota on pod templates, say.
            tracing::warn!(request = %order.key, %error, "nodes could not be asked for");
        }
        written
    }

    async fn try_write_request(&self, order: &ProvisioningOrder) -> Result<(), WriteError> {
        let namespace = &order.key.namespace;
        let pods: Api<Pod> = Api::namespaced(self.client().clone(), namespace);
        let templates: Api<PodTemplate> = Api::namespaced(self.client().clone(), namespace);
        for (name, ((key, uid), _)) in provisioning::template_names(&order.key.name, order.sets.len()).zip(&order.sets) {
            let pod = pods.get(&key.name).await.map_err(meaning)?;
            if pod.metadata.uid.as_deref() != Some(uid.as_str()) {
                return Err(WriteError::NotFound(format!("pod {key} of this UID")));
            }
            create(&templates, &provisioning::template(&name, order, pod)).await?;
        }
        let request: DynamicObject =
            serde_json::from_value(provisioning::request(order)).map_err(|error| WriteError::Unclear(error.to_string()))?;
        create(&self.requests(namespace, &order.version), &request).await
    }

    pub(super) async fn delete_request(&self, key: &PodKey, uid: &str, version: &str, sets: usize) -> Result<(), WriteError> {
        let preconditions = Some(Preconditions { uid: Some(uid.into()), resource_version: None });
        let ours = DeleteParams { preconditions, ..DeleteParams::default() };
        gone(self.requests(&key.namespace, version).delete(&key.name, &ours).await.map(drop))?;
        let templates: Api<PodTemplate> = Api::namespaced(self.client().clone(), &key.namespace);
        for name in provisioning::template_names(&key.name, sets) {
            gone(templates.delete(&name, &DeleteParams::default()).await.map(drop))?;
        }
        Ok(())
    }

    pub(super) async fn write_consumer(&self, pod: &PodRef, request: &Arc<str>, class: &Arc<str>) -> Result<(), WriteError> {
        let said = [(provisioning::CONSUME, request), (provisioning::CLASS, class)];
        let metadata = ObjectMeta {
            uid: Some(pod.uid.as_str().into()),
            annotations: Some(said.map(|(key, value)| (key.to_owned(), value.to_string())).into()),
            ..ObjectMeta::default()
        };
        let patch = Patch::Merge(metadata.into_request_partial::<PodObject>());
        let pods: Api<PodObject> = Api::namespaced(self.client().clone(), &pod.key.namespace);
        pods.patch_metadata(&pod.key.name, &PatchParams::default(), &patch).await.map(drop).map_err(meaning)
    }
}

/// What is there already was written by an attempt before this one.
async fn create<K: Clone + Debug + Serialize + DeserializeOwned>(api: &Api<K>, object: &K) -> Result<(), WriteError> {
    match api.create(&PostParams::default(), object).await.map_err(meaning) {
        Ok(_) | Err(WriteError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn gone(deleted: Result<(), kube::Error>) -> Result<(), WriteError> {
    match deleted.map_err(meaning) {
        Ok(()) | Err(WriteError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
