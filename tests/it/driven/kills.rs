//! The controller is killed at each write of a kind, before it and after it; the list is that of the code. And each write is answered 409,
//! 429, 500, or not at all. The spec comes to the same end, with nothing twice and nothing left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gangplank::drive::Driver;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::companion::{Companion, install, specs, status, until};
use super::passage::{Passage, Passes};
use crate::support::{ControlPlane, apply_yaml, create_namespace, wait_until};

const SOON: Duration = Duration::from_secs(60);
const NAME: &str = "train";
/// It waits in the queue at first: no node has this label.
const SPEC: &str = "apiVersion: gangplank.dev/v1alpha1
kind: TrainingJob
metadata: {name: train}
spec:
  image: a/b:1
  framework: pytorch
  command: [torchrun, train.py]
  workers: 3
  scheduler: default-scheduler
  nodeLabels: {nowhere: 'yes'}
  claims: {results: {size: 1Gi}}
  outputs: {/out: results}
  config: {/etc/train: {a.yaml: {lr: 1}}}
  keep: 1s
";

/// One life of a spec that has every write there is, and what was seen of it.
struct Life {
    specs: Api<DynamicObject>,
    pods: Api<Pod>,
    jobs: Api<Job>,
    /// Jobs that there were, by UID.
    seen: BTreeSet<String>,
}

impl Life {
    fn new(client: &Client, namespace: &str) -> Self {
        let (pods, jobs) = (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace));
        Self { specs: specs(client, namespace, "TrainingJob"), pods, jobs, seen: BTreeSet::new() }
    }

    async fn edit(&self, spec: Value) -> Result<()> {
        self.specs.patch(NAME, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
        Ok(())
    }

    async fn phase(&mut self, wanted: &str, attempt: u32) -> Result<()> {
        let what = format!("{wanted} in attempt {attempt}");
        let reached = until(&self.specs, NAME, &what, SOON, |status| status["phase"] == wanted && status["attempt"] == attempt).await;
        if let Err(error) = reached {
            let pods = self.pods.list(&ListParams::default()).await?.items;
            let pods: Vec<Value> = pods.iter().map(|pod| json!([pod.name_any(), pod.metadata.deletion_timestamp, pod.status])).collect();
            return Err(error.context(json!(pods).to_string()));
        }
        self.seen.extend(self.jobs.list(&ListParams::default()).await?.items.iter().filter_map(ResourceExt::uid));
        Ok(())
    }

    async fn live(&mut self, client: &Client, namespace: &str) -> Result<()> {
        let volume = format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {namespace}-results}}\nspec: {{capacity: {{storage: 1Gi}}, accessModes: \
             [ReadWriteOnce, ReadWriteMany], hostPath: {{path: /none}}, storageClassName: '', claimRef: {{namespace: {namespace}, name: results}}}}\n"
        );
        apply_yaml(client, namespace, &volume).await?;
        apply_yaml(client, namespace, SPEC).await?;
        self.phase("Queued", 0).await?;
        self.edit(json!({"nodeLabels": null})).await?;
        self.phase("Running", 0).await?;
        self.edit(json!({"suspend": true})).await?;
        self.phase("Suspended", 0).await?;
        self.edit(json!({"suspend": false})).await?;
        self.phase("Running", 0).await?;
        let pods = self.pods.list(&ListParams::default()).await?.items;
        let one = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).context("a pod")?;
        let failed = json!({"status": {"phase": "Failed"}});
        self.pods.patch_status(&one.name_any(), &PatchParams::default(), &Patch::Merge(&failed)).await?;
        self.phase("Running", 1).await?;
        let done = Patch::Merge(json!({"metadata": {"annotations": {"testcluster.gangplank.dev/complete-after": "1ms"}}}));
        for pod in self.pods.list(&ListParams::default()).await?.items {
            self.pods.patch(&pod.name_any(), &PatchParams::default(), &done).await?;
        }
        let gone =
            wait_until("its end, and that of what it kept", SOON, async || Ok(self.specs.get_opt(NAME).await?.is_none().then_some(())));
        if let Err(error) = gone.await {
            return Err(error.context(format!("{:#}", status(&self.specs, NAME).await?)));
        }
        Ok(())
    }

    /// Nothing twice, nothing left but the data.
    async fn same_end(&self, client: &Client, namespace: &str) -> Result<()> {
        ensure!(self.seen.len() == 3, "the first Job, the one that replaced it in the queue, and the second attempt: {:?}", self.seen);
        wait_until("what it owned to be gone", SOON, async || {
            let none = |count: usize| count == 0;
            let files = Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
            let left = [
                self.pods.list(&ListParams::default()).await?.items.len(),
                self.jobs.list(&ListParams::default()).await?.items.len(),
                Api::<Service>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items.len(),
                files.iter().filter(|file| file.name_any() != "kube-root-ca.crt").count(),
            ];
            Ok(left.into_iter().all(none).then_some(()))
        })
        .await?;
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
        ensure!(claims.len() == 1, "{}", claims.len());
        Ok(())
    }
}

fn steps() -> BTreeSet<&'static str> {
    Driver::named("TrainingJob").into_iter().flat_map(|driver| driver.steps).map(|step| step.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_write_before_it_and_after_it_a_training_job_comes_to_the_same_end() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("the controller killed at each write") else { return Ok(()) };
    let client = control_plane.client().await?;
    install(control_plane, &client).await?;
    let namespace = create_namespace(&client, "kills").await?;
    let times: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let (kill, mut kills) = mpsc::unbounded_channel();
    let judge = {
        let times = times.clone();
        move |name: &str| {
            let mut times = times.lock().unwrap();
            let time = times.entry(name.to_owned()).or_default();
            *time += 1;
            let fate = match *time {
                1 => Passes::No,
                2 => Passes::Unheard,
                _ => Passes::Yes,
            };
            if fate != Passes::Yes {
                let _ = kill.send((name.to_owned(), fate));
            }
            fate
        }
    };
    let passage = Passage::start(client.clone(), Arc::new(judge)).await?;
    let kubeconfig = passage.kubeconfig(control_plane.dir())?;
    let start = || Companion::start(control_plane, &kubeconfig, &["--namespace", &namespace]);
    let mut companion = start()?;
    let mut life = Life::new(&client, &namespace);
    let began = Instant::now();
    let mut killed = 0;
    {
        let all = life.live(&client, &namespace);
        tokio::pin!(all);
        loop {
            tokio::select! {
                lived = &mut all => break lived.with_context(|| companion.log())?,
                Some((_, fate)) = kills.recv() => {
                    if fate == Passes::Unheard {
                        // The API server has it; who wrote it will not know.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    companion.kill()?;
                    killed += 1;
                    companion = start()?;
                }
            }
        }
    }
    life.same_end(&client, &namespace).await.with_context(|| companion.log())?;
    let times = times.lock().unwrap().clone();
    let names: BTreeSet<&str> = times.keys().map(String::as_str).collect();
    ensure!(names == steps(), "every write there is: {times:?}");
    eprintln!("killed {killed} times in {:.1} s, at {} writes", began.elapsed().as_secs_f32(), names.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_answered_409_429_500_and_not_at_all_it_comes_to_the_same_end() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("writes that fail") else { return Ok(()) };
    let client = control_plane.client().await?;
    install(control_plane, &client).await?;
    let namespace = create_namespace(&client, "fails").await?;
    let times: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let judge = {
        let times = times.clone();
        move |name: &str| {
            let mut times = times.lock().unwrap();
            let time = times.entry(name.to_owned()).or_default();
            *time += 1;
            match *time {
                1 => Passes::Answered(409),
                2 => Passes::Answered(500),
                // Seconds each: of one that makes, one that ends and one that tells.
                3 if ["training-job-start", "training-job-restart", "training-job-status"].contains(&name) => Passes::Answered(429),
                4 if name == "training-job-start" => Passes::Unheard,
                _ => Passes::Yes,
            }
        }
    };
    let passage = Passage::start(client.clone(), Arc::new(judge)).await?;
    let companion = Companion::start(control_plane, &passage.kubeconfig(control_plane.dir())?, &["--namespace", &namespace])?;
    let mut life = Life::new(&client, &namespace);
    let began = Instant::now();
    life.live(&client, &namespace).await.with_context(|| companion.log())?;
    life.same_end(&client, &namespace).await?;
    let times = times.lock().unwrap().clone();
    ensure!(times.keys().map(String::as_str).collect::<BTreeSet<_>>() == steps(), "{times:?}");
    eprintln!("two to four failures of each of {} writes, in {:.1} s", times.len(), began.elapsed().as_secs_f32());
    Ok(())
}
