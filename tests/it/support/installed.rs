//! Gangplank as people install it, over a control plane that a test started: definitions, rights, admission, the
//! program and a second kube-scheduler with the installed configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use gangplank::host::{Clock, Host, Journal, JournalLimits};
use gangplank::model::Time;
use gangplank::policy::Profile;
use gangplank::telemetry::Metrics;
use gangplank::wire::{NodeObject, PodObject};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::gangplank::{Gangplank, scheduler_config};
use super::objects::{apply_yaml, wait_until};
use super::second_scheduler::SecondScheduler;

const ADMISSION_TAKES_EFFECT: Duration = Duration::from_secs(30);

/// What runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Installed {
    pub gangplank: Gangplank,
    pub scheduler: SecondScheduler,
    pub kubeconfig: PathBuf,
}

impl Installed {
    /// Installs everything, and returns when it answers.
    pub async fn start(control_plane: &ControlPlane, client: &Client) -> Result<Self> {
        Self::start_with(control_plane, client, &[]).await
    }

    /// As `start`, with more arguments of `gangplank serve`.
    pub async fn start_with(control_plane: &ControlPlane, client: &Client, arguments: &[&str]) -> Result<Self> {
        let kubeconfig = install_account(control_plane, client).await?;
        Self::install(client).await?;
        let mut gangplank = Gangplank::start(control_plane, &kubeconfig, arguments)?;
        gangplank.wait_ready().await?;
        let scheduler = SecondScheduler::start(control_plane, &scheduler_config(gangplank.address())?).await?;
        Ok(Self { gangplank, scheduler, kubeconfig })
    }

    /// Definitions and admission alone, in effect.
    pub async fn install(client: &Client) -> Result<()> {
        for folder in ["deploy/crd", "deploy/admission"] {
            for file in yaml_files(folder)? {
                apply_file(client, "gangplank-system", &file).await?;
            }
        }
        let probe = managed_namespace(client, "probe").await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &probe);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "probe"},
            "spec": {"containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "0.5"}}}]},
        }))?;
        wait_until("admission to take effect", ADMISSION_TAKES_EFFECT, async || match pods.create(&dry, &pod).await {
            Ok(admitted) => Ok((scheduler_of(&admitted) == Some("gangplank")).then_some(())),
            Err(kube::Error::Api(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }
}

/// Applies the account and rights that people install, and returns a kubeconfig of that account.
pub async fn install_account(control_plane: &ControlPlane, client: &Client) -> Result<PathBuf> {
    for file in ["deploy/base/namespace.yaml", "deploy/base/rbac.yaml"] {
        apply_file(client, "gangplank-system", Path::new(file)).await?;
    }
    control_plane.service_account_kubeconfig("gangplank-system", "gangplank")
}

/// Applies a file of this repository, or one anywhere else.
pub async fn apply_file(client: &Client, namespace: &str, path: &Path) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    apply_yaml(client, namespace, &text).await.with_context(|| path.display().to_string())?;
    Ok(())
}

/// A fresh namespace of this name that has opted in, with the account that its pods run as.
pub async fn managed_namespace(client: &Client, name: &str) -> Result<String> {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"gangplank.dev/managed": "true"}}}))?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), name);
    wait_until("the default account", Duration::from_secs(20), async || Ok(accounts.get_opt("default").await?.map(drop))).await?;
    Ok(name.to_owned())
}

/// `spec.schedulerName`.
pub fn scheduler_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.scheduler_name.as_deref()
}

/// `spec.nodeName`.
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// `status.phase` is Running.
pub fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// The message of condition PodScheduled.
pub fn scheduling_message(pod: &Pod) -> String {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "PodScheduled").filter_map(|condition| condition.message.clone()).collect()
}

/// Every granted device as `(pod, node, container, share)`, from the annotations.
pub fn granted(pods: &[Pod]) -> Vec<(String, String, String, serde_json::Value)> {
    let mut all = Vec::new();
    for pod in pods {
        let Some(text) = pod.annotations().get(gangplank::wire::annotations::DEVICES) else { continue };
        let Ok(serde_json::Value::Object(containers)) = serde_json::from_str(text) else { continue };
        let node = node_of(pod).unwrap_or_default().to_owned();
        for (container, shares) in containers {
            for share in shares.as_array().into_iter().flatten() {
                all.push((pod.name_any(), node.clone(), container.clone(), share.clone()));
            }
        }
    }
    all
}

/// On no device is more granted than there is: whole once, or shares of at most 1000 milli.
pub fn assert_granted_once(pods: &[Pod]) {
    let mut milli: std::collections::BTreeMap<(String, String, String), u64> = std::collections::BTreeMap::new();
    for (pod, node, _, share) in granted(pods) {
        let Some(id) = share["id"].as_str() else { continue };
        let resource = share["resource"].as_str().unwrap_or_default().to_owned();
        let sum = milli.entry((node.clone(), resource, id.to_owned())).or_default();
        *sum += share["milli"].as_u64().unwrap_or(1000);
        assert!(*sum <= 1000, "device {id} of {node}: {sum} milli with pod {pod}");
    }
}

fn yaml_files(folder: &str) -> Result<Vec<PathBuf>> {
    let entries: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))?.collect::<Result<_, _>>()?;
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("kustomization.yaml"));
    files.sort();
    Ok(files)
}

/// The digest that a fresh engine has over the API objects, and nothing else.
pub async fn digest_of_objects(client: &Client) -> Result<String> {
    let metrics = Arc::new(Metrics::new());
    let journal = Journal::new(JournalLimits::default(), metrics.clone());
    let (host, _effects) = Host::new(Arc::new(Profile::shipped()), Clock::simulated(Time::default()), metrics, journal);
    for node in Api::<NodeObject>::all(client.clone()).list(&ListParams::default()).await? {
        host.node_applied(Arc::new(node), None);
    }
    for pod in Api::<PodObject>::all(client.clone()).list(&ListParams::default()).await? {
        host.pod_applied(Arc::new(pod))?;
    }
    Ok(host.look(gangplank::engine::Engine::digest))
}
