//! Objects from YAML, namespaces, and waiting for what controllers bring about.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind, TypeMeta};
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

const FIELD_MANAGER: &str = "gangplank-test";
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Applies every document of a YAML text, of whatever kind, with server-side apply; those with a `generateName` are
/// created. Namespaced objects that name no namespace go to `namespace`.
pub async fn apply_yaml(client: &Client, namespace: &str, yaml: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    let mut applied = Vec::with_capacity(documents.len());
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let object: DynamicObject = serde_json::from_value(document)?;
        let name = object.name_any();
        let kind = object.types.as_ref().map_or("an object without a kind", |types| types.kind.as_str()).to_owned();
        applied.push(apply(client, namespace, object).await.with_context(|| format!("applying {kind} {name}"))?);
    }
    Ok(applied)
}

async fn apply(client: &Client, namespace: &str, object: DynamicObject) -> Result<DynamicObject> {
    let types = object.types.clone().context("no apiVersion and kind")?;
    let (resource, capabilities) = discover(client, &types).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
    };
    match object.metadata.name.clone() {
        Some(name) => {
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            Ok(api.patch(&name, &parameters, &Patch::Apply(&object)).await?)
        }
        None => Ok(api.create(&PostParams::default(), &object).await?),
    }
}

/// A kind of a `CustomResourceDefinition` that was applied just now takes a moment to be served.
async fn discover(client: &Client, types: &TypeMeta) -> Result<(ApiResource, ApiCapabilities)> {
    let kind = GroupVersionKind::try_from(types)?;
    let what = format!("{} of {} to be served", types.kind, types.api_version);
    wait_until(&what, Duration::from_secs(10), async || match pinned_kind(client, &kind).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    })
    .await
}

/// Polls until the closure returns something; an error of it ends the wait at once.
pub async fn wait_until<T>(what: &str, timeout: Duration, mut poll: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    let attempts = async {
        loop {
            let asked = Instant::now();
            if let Some(value) = poll().await.with_context(|| format!("waiting for {what}"))? {
                return Ok(value);
            }
            // A question that takes long, such as one about 5,000 nodes, must not keep the API server busy.
            tokio::time::sleep(POLL_INTERVAL.max(asked.elapsed() * 3)).await;
        }
    };
    match tokio::time::timeout(timeout, attempts).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("waited {:.1} s in vain for {what}", began.elapsed().as_secs_f32()),
    }
}

/// Creates a namespace of its own for a test, with a number in its name, and waits for the service account without
/// which no pod is admitted.
pub async fn create_namespace(client: &Client, prefix: &str) -> Result<String> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{prefix}-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.clone());
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    wait_until("the default service account", Duration::from_secs(15), async || Ok(accounts.get_opt("default").await?)).await?;
    Ok(name)
}
