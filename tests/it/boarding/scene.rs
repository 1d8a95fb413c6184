//! A cluster with Gangplank installed, Jobs on it, and what is asked of them again and again: who is bound, whether a gang
//! was bound in part and for how long, and whether the book holds more than runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::installed::{assert_granted_once, digest_of_objects, managed_namespace, node_of, scheduling_message};
use crate::support::{ControlPlane, Installed, Options, SecondScheduler, create_nodes, scheduler_config, wait_until};

/// For what takes a second or two where nothing else runs.
pub(super) const SOON: Duration = Duration::from_mins(1);
/// How often a sample is taken.
const SAMPLE: Duration = Duration::from_millis(200);

/// The stage; it ends when this is dropped.
pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) pods: Api<Pod>,
    pub(super) jobs: Api<Job>,
    pub(super) nodes: Api<Node>,
    pub(super) installed: Installed,
    /// Dropped last.
    control_plane: ControlPlane,
}

impl Scene {
    /// None where there is no control plane to be had.
    pub(super) async fn start(test: &str, nodes: Vec<Node>, profile: Option<&str>) -> Result<Option<Self>> {
        let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
        let Some(control_plane) = ControlPlane::start_or_skip(test, &options) else { return Ok(None) };
        let client = control_plane.client().await?;
        create_nodes(&client, nodes).await?;
        let path = control_plane.dir().join("profile.yaml");
        let mut arguments = Vec::new();
        if let Some(profile) = profile {
            std::fs::write(&path, profile)?;
            arguments.push(format!("--profile={}", path.display()));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let installed = Installed::start_with(&control_plane, &client, &arguments).await?;
        let namespace = managed_namespace(&client, "boarding").await?;
        Ok(Some(Self {
            pods: Api::namespaced(client.clone(), &namespace),
            jobs: Api::namespaced(client.clone(), &namespace),
            nodes: Api::all(client.clone()),
            client,
            namespace,
            installed,
            control_plane,
        }))
    }

    /// Creates a Job of so many members at once.
    pub(super) async fn create_job(&self, name: &str, members: usize, gpus: &str, annotations: Value) -> Result<()> {
        let job: Job = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"parallelism": members, "completions": members, "completionMode": "Indexed", "template": {
                "metadata": {"annotations": annotations},
                "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [
                    {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]}}},
        }))?;
        self.jobs.create(&PostParams::default(), &job).await.with_context(|| format!("Job {name}"))?;
        Ok(())
    }

    /// The pods of a Job that are not on their way out.
    pub(super) async fn pods_of(&self, job: &str) -> Result<Vec<Pod>> {
        let mut pods = self.pods.list(&of_job(job)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// The pods of a Job once so many, and no others, have a node.
    pub(super) async fn bound(&self, job: &str, members: usize) -> Result<Vec<Pod>> {
        let what = format!("{members} pods of {job} to be bound");
        let waited = wait_until(&what, SOON, async || {
            let pods = self.pods_of(job).await?;
            Ok((pods.len() == members && pods.iter().all(|pod| node_of(pod).is_some())).then_some(pods))
        });
        waited.await.with_context(|| self.installed.gangplank.log())
    }

    /// Deletes a Job with its pods, and waits until they are gone.
    pub(super) async fn delete_job(&self, name: &str) -> Result<()> {
        self.jobs.delete(name, &DeleteParams::background()).await?;
        wait_until(&format!("{name} to be gone"), SOON, async || Ok(self.pods.list(&of_job(name)).await?.items.is_empty().then_some(())))
            .await
    }

    pub(super) async fn cordon(&self, node: &str, closed: bool) -> Result<()> {
        let patch = json!({"spec": {"unschedulable": closed}});
        self.nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// What explain knows of a pod.
    pub(super) async fn explained(&mut self, pod: &str) -> Result<Value> {
        self.installed.gangplank.get(&format!("/api/v1/pods/{}/{pod}", self.namespace)).await
    }

    /// The notes of Events of this reason in the namespace.
    pub(super) async fn notes(&self, reason: &str) -> Result<Vec<String>> {
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await?;
        let of_reason = all.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        Ok(of_reason.filter_map(|event| event.note).collect())
    }

    /// The notes of Events of this reason about a Job, as its controller writes them.
    pub(super) async fn notes_of_job(&self, reason: &str, job: &str) -> Result<Vec<String>> {
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await?;
        let about = |event: &k8s_openapi::api::core::v1::Event| {
            event.reason.as_deref() == Some(reason) && event.involved_object.name.as_deref() == Some(job)
        };
        Ok(all.into_iter().filter(about).filter_map(|event| event.message).collect())
    }

    /// kube-scheduler anew, which has listed all nodes before it binds anybody. One that merely goes on after a standstill may hear of
    /// pods first, and bind to a node that was closed meanwhile.
    pub(super) async fn scheduler_anew(&mut self) -> Result<()> {
        self.installed.scheduler.signal("KILL")?;
        let config = scheduler_config(self.installed.gangplank.address())?;
        self.installed.scheduler = SecondScheduler::start(&self.control_plane, &config).await?;
        Ok(())
    }

    /// What a test that waited in vain shows: gangs, pods, and what Gangplank wrote.
    pub(super) async fn story(&mut self) -> String {
        let gangs = self.installed.gangplank.get("/api/v1/gangs").await.map_or_else(|error| error.to_string(), |gangs| gangs.to_string());
        let pods = self.pods.list(&ListParams::default()).await.map(|pods| pods.items).unwrap_or_default();
        let pods: Vec<String> = pods
            .iter()
            .map(|pod| {
                let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
                format!("{} on {:?}, nominated {nominated:?}: {}", pod.name_any(), node_of(pod), scheduling_message(pod))
            })
            .collect();
        format!("{gangs}\n{}\n{}", pods.join("\n"), self.installed.gangplank.log())
    }

    /// Where plans and Bindings have pods, by name.
    pub(super) async fn places(&mut self) -> Result<BTreeMap<String, String>> {
        let book = self.installed.gangplank.get("/api/v1/book").await?;
        let mut places = BTreeMap::new();
        for holder in book["holders"].as_array().into_iter().flatten() {
            let (pod, node) = (holder["pod"].as_str().unwrap_or_default(), holder["node"].as_str().unwrap_or_default());
            places.insert(pod.rsplit('/').next().unwrap_or_default().to_owned(), node.to_owned());
        }
        Ok(places)
    }

    /// Waits until what the book holds is what bound, unfinished pods have, to the device, and nothing is promised.
    pub(super) async fn nothing_leaks(&mut self) -> Result<()> {
        let (client, gangplank) = (self.client.clone(), &mut self.installed.gangplank);
        let (pods, mut last) = (self.pods.clone(), Value::Null);
        let waited = wait_until("the book to hold what runs, and nothing else", SOON, async || {
            let book = gangplank.get("/api/v1/book").await?;
            let holders = book["holders"].as_array().cloned().unwrap_or_default();
            let running = pods.list(&ListParams::default()).await?.items.into_iter().filter(holds_devices);
            let mut running: Vec<String> = running.filter_map(|pod| pod.uid()).collect();
            let mut bound: Vec<&str> = holders.iter().filter_map(|holder| holder["uid"].as_str()).collect();
            running.sort_unstable();
            bound.sort_unstable();
            let same = holders.iter().all(|holder| holder["state"] == "bound")
                && bound == running
                && book["digest"] == json!(digest_of_objects(&client).await?);
            last = book;
            Ok(same.then_some(()))
        })
        .await;
        waited.with_context(|| last.to_string())?;
        assert_granted_once(&self.pods.list(&ListParams::default()).await?.items.into_iter().filter(holds_devices).collect::<Vec<_>>());
        Ok(())
    }
}

fn of_job(job: &str) -> ListParams {
    ListParams::default().labels(&format!("job-name={job}"))
}

/// With scheduling gates.
pub(super) fn is_gated(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()))
}

/// Puts a taint on a node that keeps new pods away, or takes all taints off.
pub(super) async fn taint(nodes: &Api<Node>, node: &str, tainted: bool) -> Result<()> {
    let taints = if tainted { json!([{"key": "test/closed", "effect": "NoSchedule"}]) } else { Value::Null };
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(&json!({"spec": {"taints": taints}}))).await?;
    Ok(())
}

/// Bound, and not ended.
pub(super) fn holds_devices(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    node_of(pod).is_some() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// What samples of all pods of a namespace show of gangs.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) samples: u32,
    /// The longest time for which samples in a row showed a gang with some pods bound and some not, by Job.
    pub(super) in_part: BTreeMap<String, Duration>,
    /// Jobs with pods that were bound and not ended, in each sample.
    pub(super) running: Vec<BTreeMap<String, usize>>,
}

impl Seen {
    pub(super) fn longest_in_part(&self) -> Duration {
        self.in_part.values().max().copied().unwrap_or_default()
    }
}

/// Looks at all pods over and over until it is asked what it saw.
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Seen>>,
}

impl Sampler {
    pub(super) fn start(pods: Api<Pod>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut since: BTreeMap<String, Instant> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let all = pods.list(&ListParams::default()).await?.items;
                look(&mut seen, &mut since, &all);
                tokio::time::sleep(SAMPLE).await;
            }
            Ok(seen)
        });
        Self { stop, task }
    }

    pub(super) async fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.task.await??;
        ensure!(seen.samples > 0, "no sample was taken");
        Ok(seen)
    }
}

fn look(seen: &mut Seen, since: &mut BTreeMap<String, Instant>, pods: &[Pod]) {
    let mut gangs: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        if let Some(job) = pod.labels().get("job-name") {
            gangs.entry(job.clone()).or_default().push(pod);
        }
    }
    let mut running = BTreeMap::new();
    for (job, pods) in gangs {
        let bound = pods.iter().filter(|pod| node_of(pod).is_some()).count();
        if bound == 0 || bound == pods.len() {
            since.remove(&job);
        } else {
            let lasted = since.entry(job.clone()).or_insert_with(Instant::now).elapsed();
            let longest = seen.in_part.entry(job.clone()).or_default();
            *longest = (*longest).max(lasted);
        }
        let holding = pods.iter().filter(|pod| holds_devices(pod)).count();
        if holding > 0 {
            running.insert(job, holding);
        }
    }
    seen.samples += 1;
    seen.running.push(running);
}
