//! Rendered objects and a cluster: apply, look, delete. Server-side apply under a field manager of our own, so that fields
//! of others stay theirs; an object that we did not make is neither changed nor deleted.

use std::collections::BTreeMap;
use std::path::Path;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, ValidationDirective};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::{ApiCapabilities, ApiResource, Scope};
use kube::{Api, Client};
use serde_json::Value;
use thiserror::Error;

use crate::cluster::{ConnectError, connect};
use crate::recipe::{FIELD_MANAGER, MANAGED_BY};

/// Why something was not done to a cluster.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// There is no cluster to ask.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The cluster has no such kind.
    #[error("the cluster does not serve {kind} of {version}")]
    Unserved {
        /// The kind.
        kind: String,
        /// Its group and version.
        version: String,
    },
    /// An object of that name is somebody else's.
    #[error("{what} is there, and was not made by gangplank-provision")]
    Foreign {
        /// Kind and name.
        what: String,
    },
    /// A field is somebody else's.
    #[error("{what}: {message}")]
    Conflict {
        /// Kind and name.
        what: String,
        /// Whose fields.
        message: String,
    },
    /// A field of it cannot change.
    #[error("{what} cannot be changed: {message}")]
    Immutable {
        /// Kind and name.
        what: String,
        /// Which field.
        message: String,
    },
    /// The API server refuses it, or does not answer.
    #[error("{what}")]
    Api {
        /// Kind and name.
        what: String,
        /// What it says.
        source: Box<kube::Error>,
    },
}

/// A cluster, the namespace of what names none, and what it serves.
pub struct Cluster {
    client: Client,
    namespace: String,
    served: BTreeMap<(String, String), (ApiResource, ApiCapabilities)>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// What became of an applied object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not there.
    Created,
    /// It was, and is another now.
    Changed,
    /// It was as it is.
    Unchanged,
}

impl Cluster {
    /// Of a kubeconfig; contacts nobody yet.
    ///
    /// # Errors
    /// No configuration that leads to a cluster.
    pub async fn connect(kubeconfig: Option<&Path>, namespace: Option<&str>) -> Result<Self, ClusterError> {
        let client = connect(kubeconfig).await?;
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        Ok(Self { client, namespace, served: BTreeMap::new() })
    }

    /// The client, for what is asked otherwise.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The namespace of an object.
    pub fn namespace<'a>(&'a self, object: &'a Value) -> &'a str {
        object["metadata"]["namespace"].as_str().unwrap_or(&self.namespace)
    }

    /// Applies an object, or asks what would become of it.
    ///
    /// # Errors
    /// It is somebody else's, or the API server refuses it.
    pub async fn apply(&mut self, object: &Value, dry_run: bool) -> Result<Applied, ClusterError> {
        let (api, what) = self.api(object).await?;
        let failed = |source| ClusterError::Api { what: what.clone(), source: Box::new(source) };
        let name = name(object);
        let before = api.get_opt(name).await.map_err(failed)?;
        if before.as_ref().is_some_and(|before| !is_ours(before)) {
            return Err(ClusterError::Foreign { what });
        }
        let mut parameters = PatchParams::apply(FIELD_MANAGER);
        parameters.dry_run = dry_run;
        parameters.field_validation = Some(ValidationDirective::Strict);
        let after = api.patch(name, &parameters, &Patch::Apply(object)).await.map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 409 => {
                ClusterError::Conflict { what: what.clone(), message: status.message.clone() }
            }
            kube::Error::Api(status) if status.code == 422 && status.message.contains("immutable") => {
                let message = status.message.split(": Invalid value").next().unwrap_or_default().to_owned();
                ClusterError::Immutable { what: what.clone(), message }
            }
            _ => failed(error),
        })?;
        let version = |object: &DynamicObject| object.metadata.resource_version.clone();
        Ok(match before {
            None => Applied::Created,
            Some(before) if version(&before) == version(&after) => Applied::Unchanged,
            Some(_) => Applied::Changed,
        })
    }

    /// The object as it is now.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn get(&mut self, object: &Value) -> Result<Option<Value>, ClusterError> {
        let (api, what) = match self.api(object).await {
            Ok(api) => api,
            Err(ClusterError::Unserved { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = api.get_opt(name(object)).await.map_err(|source| ClusterError::Api { what, source: Box::new(source) })?;
        // Lists and gets leave the type out; the state goes by it.
        Ok(found.and_then(|found| serde_json::to_value(found).ok()).map(|mut found| {
            found["kind"] = object["kind"].clone();
            found["apiVersion"] = object["apiVersion"].clone();
            found
        }))
    }

    /// Deletes an object and what it made. False: it was not there.
    ///
    /// # Errors
    /// It is somebody else's, or the API server refuses.
    pub async fn delete(&mut self, object: &Value) -> Result<bool, ClusterError> {
        let (api, what) = match self.api(object).await {
            Ok(api) => api,
            Err(ClusterError::Unserved { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let failed = |source| ClusterError::Api { what: what.clone(), source: Box::new(source) };
        let Some(before) = api.get_opt(name(object)).await.map_err(failed)? else { return Ok(false) };
        if !is_ours(&before) {
            return Err(ClusterError::Foreign { what });
        }
        // Of the object that was looked at, and not of one that somebody made under its name since.
        let parameters =
            DeleteParams::foreground().preconditions(kube::api::Preconditions { uid: before.metadata.uid, ..Default::default() });
        match api.delete(name(object), &parameters).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// All objects of the kind and in the namespace of one, by labels.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn list(&mut self, like: &Value, labels: &str) -> Result<Vec<Value>, ClusterError> {
        let (api, what) = self.api(like).await?;
        let list = api.list(&ListParams::default().labels(labels)).await;
        let list = list.map_err(|source| ClusterError::Api { what, source: Box::new(source) })?;
        // Lists leave the type out; the state goes by it.
        let typed = |object: &DynamicObject| {
            let mut found = serde_json::to_value(object).ok()?;
            found["kind"] = like["kind"].clone();
            found["apiVersion"] = like["apiVersion"].clone();
            Some(found)
        };
        Ok(list.items.iter().filter(|object| is_ours(object)).filter_map(typed).collect())
    }

    /// Pods that a Job, a Deployment or the like made, by the labels that it selects them by.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn pods(&self, object: &Value) -> Result<Vec<Value>, ClusterError> {
        let selector = match object["kind"].as_str() {
            Some("Job") => format!("batch.kubernetes.io/job-name={}", name(object)),
            // Trainer's JobSet is called as its TrainJob.
            Some("JobSet" | "TrainJob") => format!("jobset.sigs.k8s.io/jobset-name={}", name(object)),
            Some("Deployment") => {
                let labels = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
                let pairs: Vec<String> = labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
                pairs.join(",")
            }
            _ => return Ok(Vec::new()),
        };
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), self.namespace(object));
        let what = format!("pods of {} {}", object["kind"].as_str().unwrap_or_default(), name(object));
        let list = api.list(&ListParams::default().labels(&selector)).await;
        let list = list.map_err(|source| ClusterError::Api { what, source: Box::new(source) })?;
        Ok(list.items.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect())
    }

    async fn api(&mut self, object: &Value) -> Result<(Api<DynamicObject>, String), ClusterError> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let what = format!("{kind} {}", name(object));
        let key = (version.clone(), kind.clone());
        if !self.served.contains_key(&key) {
            let (group, short) = version.split_once('/').unwrap_or(("", &version));
            let found = kube::discovery::pinned_kind(&self.client, &GroupVersionKind::gvk(group, short, &kind)).await;
            let found = found.map_err(|error| match error {
                kube::Error::Discovery(_) => ClusterError::Unserved { kind: kind.clone(), version: version.clone() },
                kube::Error::Api(status) if status.code == 404 => ClusterError::Unserved { kind: kind.clone(), version: version.clone() },
                error => ClusterError::Api { what: what.clone(), source: Box::new(error) },
            })?;
            self.served.insert(key.clone(), found);
        }
        let (resource, capabilities) = &self.served[&key];
        let api = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), self.namespace(object), resource),
        };
        Ok((api, what))
    }
}

fn is_ours(object: &DynamicObject) -> bool {
    object.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|maker| maker == FIELD_MANAGER)
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
