//! Gangs that are interrupted: something is killed, paused or refused between the bindings of their members, and
//! afterwards each of them runs whole, or not at all, on devices that nobody else has.

mod kills;
mod native;
mod replicas;
mod tenants;
mod turnstile;
mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::support::installed::node_of;
use crate::support::wait_until;

/// Members of each gang.
const MEMBERS: usize = 8;
/// After an interruption a gang is whole within.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// What tests like these repeat, in full where it is asked for.
fn times(in_full: usize, in_ci: usize) -> usize {
    if std::env::var_os("GANGPLANK_LONG").is_some() { in_full } else { in_ci }
}

/// The gang or the series of a pod that is named `<gang>-<anything>`.
fn gang_of(pod: &str) -> &str {
    pod.rsplit_once('-').map_or(pod, |(gang, _)| gang)
}

/// How many pods of each gang are bound.
fn bound(pods: &[Pod]) -> BTreeMap<String, usize> {
    let mut bound = BTreeMap::new();
    for pod in pods {
        *bound.entry(gang_of(&pod.name_any()).to_owned()).or_default() += usize::from(node_of(pod).is_some());
    }
    bound
}

/// A Job of eight pods with one GPU each, which is a gang by itself.
async fn create_gang(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let container = json!({"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}});
    let template = json!({"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}});
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"parallelism": MEMBERS, "completions": MEMBERS, "backoffLimit": 0, "template": template},
    }))?;
    Api::<Job>::namespaced(client.clone(), namespace).create(&PostParams::default(), &job).await?;
    Ok(())
}

/// Pods of one GPU each that belong to nobody.
async fn create_singles(api: &Api<Pod>, series: &str, count: usize) -> Result<()> {
    for index in 0..count {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("{series}-{index}")},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
        }))?;
        api.create(&PostParams::default(), &pod).await?;
    }
    Ok(())
}

/// Deletes the Jobs and pods of a namespace, and waits until they are gone.
async fn clear(client: &Client, namespace: &str) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    jobs.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    wait_until("the pods to be gone", Duration::from_mins(1), async || {
        pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
        Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await
}
