//! The arms: who schedules, what the pods look like, and one run of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use gangplank::wire::PodObject;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::figures::{Seen, api_requests, cpu_used_s};
use crate::support::installed::{assert_granted_once, granted, install_account, managed_namespace};
use crate::support::{ControlPlane, Gangplank, SecondScheduler, create_namespace, scheduler_config, wait_until};

/// kube-scheduler as it comes, but for its limit on writes.
pub(super) const STOCK: &str = "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {qps: 5000, burst: 5000}
";

const GATE: &str = "test.example/start";
const PARALLELISM: usize = 64;
const BOUND_WITHIN: Duration = Duration::from_mins(5);

/// Who schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    /// kube-scheduler without us.
    Stock,
    /// As installed: admission gates, the plan comes first.
    Planned,
    /// A schedulerName that admission does not know: no gate of ours, filter decides.
    WithoutAdmission,
}

/// What comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pods {
    /// One gang of them all; the last creation starts it.
    Gang,
    /// Each for itself; a burst of the test's own starts them.
    Single,
    /// Each for itself and gated by us alone; they are all there when we start, and the clock starts with our process.
    AllThere,
    /// Each for itself and gated by us alone: it may go as soon as it is there.
    AsTheyCome,
}

impl Arm {
    pub(super) fn name(self, pods: Pods) -> &'static str {
        match (self, pods) {
            (Self::Stock, _) => "stock",
            (Self::Planned, Pods::AllThere) => "planned, all there",
            (Self::Planned, Pods::AsTheyCome) => "planned as they come",
            (Self::Planned, Pods::Single) => "planned, another gate",
            (Self::Planned, Pods::Gang) => "planned",
            (Self::WithoutAdmission, _) => "without admission",
        }
    }

    fn scheduler_name(self) -> &'static str {
        match self {
            Self::Stock => "default-scheduler",
            Self::Planned => "gangplank",
            Self::WithoutAdmission => "extended",
        }
    }
}

/// A control plane and the account that we run as.
pub(super) struct Bench<'a> {
    control_plane: &'a ControlPlane,
    client: Client,
    kubeconfig: std::path::PathBuf,
}

impl<'a> Bench<'a> {
    /// Everything is installed; nothing of ours runs, and no scheduler.
    pub(super) async fn new(control_plane: &'a ControlPlane, client: Client) -> Result<Self> {
        let kubeconfig = install_account(control_plane, &client).await?;
        control_plane.stop("kube-scheduler")?;
        Ok(Self { control_plane, client, kubeconfig })
    }

    /// One run of one arm, from nothing to nothing.
    pub(super) async fn run(&self, arm: Arm, pods: Pods, count: usize, run: usize) -> Result<Seen> {
        if arm == Arm::Stock {
            self.control_plane.start_component("kube-scheduler")?;
            let seen = self.measure(arm, pods, count, run, None).await;
            self.control_plane.stop("kube-scheduler")?;
            return seen;
        }
        let mut gangplank = Gangplank::start(self.control_plane, &self.kubeconfig, &[])?;
        gangplank.wait_ready().await?;
        let address = gangplank.address();
        let mut config = scheduler_config(address)?;
        let name = format!("schedulerName: {}", arm.scheduler_name());
        for (installed, ours) in [("qps: 500\n", "qps: 5000\n"), ("burst: 1000\n", "burst: 5000\n"), ("schedulerName: gangplank", &name)] {
            ensure!(config.matches(installed).count() == 1, "the installed configuration no longer says {installed}");
            config = config.replace(installed, ours);
        }
        let scheduler = SecondScheduler::start(self.control_plane, &config).await?;
        if pods == Pods::AllThere {
            gangplank.terminate()?;
            let seen = self.measure(arm, pods, count, run, Some(address)).await;
            scheduler.stop();
            return seen;
        }
        let seen = self.measure(arm, pods, count, run, None).await.with_context(|| gangplank.log());
        scheduler.stop();
        gangplank.terminate()?;
        seen
    }

    /// Creates the pods, starts the clock, and us with it where an address is given, and looks on until all are bound.
    async fn measure(&self, arm: Arm, pods: Pods, count: usize, run: usize, start_at: Option<SocketAddr>) -> Result<Seen> {
        let name = format!("{}-{run}", arm.name(pods).replace([' ', ','], "-"));
        let namespace =
            if arm == Arm::Planned { managed_namespace(&self.client, &name).await? } else { create_namespace(&self.client, &name).await? };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let watching = tokio::spawn(follow(Api::namespaced(self.client.clone(), &namespace), count));
        // Admission, and what pods cost to create, are not what is measured here.
        let (mut last, mut created_at) = (None, BTreeMap::new());
        let creating = stream::iter(0..count).map(|index| create(api.clone(), pod(arm, pods, index, count)));
        let mut creating = creating.buffer_unordered(PARALLELISM);
        let (before_creation, mut cpu_before) = (api_requests(&self.client).await?, cpu_used_s());
        while let Some(created) = creating.next().await {
            let now = Instant::now();
            created_at.insert(created?, now);
            last = Some(now);
        }
        let mut began = last.context("no pod")?;
        let mut before = before_creation;
        if matches!(pods, Pods::Single | Pods::AllThere) {
            (before, cpu_before) = (api_requests(&self.client).await?, cpu_used_s());
            began = Instant::now();
        }
        // It ends with this run.
        let _ours = start_at.map(|address| Gangplank::start_at(self.control_plane, &self.kubeconfig, address.port(), &[])).transpose()?;
        if pods == Pods::Single {
            stream::iter(0..count).map(|index| ungate(&api, index)).buffer_unordered(PARALLELISM).try_collect::<Vec<()>>().await?;
        }
        let burst = began.elapsed();
        let bound_at = tokio::time::timeout(BOUND_WITHIN, watching).await.context("not all were bound in time")???;
        let mut took: Vec<Duration> = bound_at.values().map(|at| at.saturating_duration_since(began)).collect();
        took.sort_unstable();
        let waited = |(name, at): (&String, &Instant)| Some(at.saturating_duration_since(*created_at.get(name)?));
        let mut from_creation: Vec<Duration> = bound_at.iter().filter_map(waited).collect();
        from_creation.sort_unstable();
        let cpu_s =
            cpu_used_s().into_iter().map(|(name, used)| (name.clone(), used - cpu_before.get(&name).copied().unwrap_or(0.0))).collect();
        let writes = api_requests(&self.client).await?.since(&before);
        let all = api.list(&ListParams::default()).await?.items;
        if arm != Arm::Stock {
            assert_granted_once(&all);
            ensure!(granted(&all).len() == count, "every pod has its device");
        }
        api.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
        wait_until("the pods to be gone", BOUND_WITHIN, async || {
            Ok(api.list(&ListParams::default().limit(1)).await?.items.is_empty().then_some(()))
        })
        .await?;
        Ok(Seen { took, from_creation, burst: (pods == Pods::Single).then_some(burst), writes, cpu_s, pods: count })
    }
}

/// One GPU each, as in both arms.
fn pod(arm: Arm, pods: Pods, index: usize, count: usize) -> Pod {
    let gates = if pods == Pods::Single { json!([{"name": GATE}]) } else { json!([]) };
    let marks =
        if pods == Pods::Gang { json!({"gangplank.dev/gang": "train", "gangplank.dev/gang-size": count.to_string()}) } else { json!({}) };
    serde_json::from_value(json!({
        "metadata": {"name": name_of(index), "annotations": marks},
        "spec": {"schedulerName": arm.scheduler_name(), "schedulingGates": gates, "containers": [
            {"name": "main", "image": "none", "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}}]},
    }))
    .expect("a pod")
}

fn name_of(index: usize) -> String {
    format!("pod-{index:05}")
}

async fn create(api: Api<Pod>, pod: Pod) -> Result<String> {
    Ok(api.create(&PostParams::default(), &pod).await?.name_any())
}

/// Takes the test's gate away, and no other.
async fn ungate(api: &Api<Pod>, index: usize) -> Result<()> {
    let patch = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}});
    api.patch_metadata(&name_of(index), &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// When each pod was seen bound.
async fn follow(api: Api<PodObject>, count: usize) -> Result<BTreeMap<String, Instant>> {
    let mut bound = BTreeMap::new();
    let mut version = "0".to_owned();
    while bound.len() < count {
        let mut events = api.watch(&WatchParams::default().timeout(290), &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event {
                version = pod.resource_version().unwrap_or(version);
                if pod.spec.node_name.is_some() {
                    bound.entry(pod.name_any()).or_insert_with(Instant::now);
                }
            }
            if bound.len() == count {
                break;
            }
        }
    }
    Ok(bound)
}
