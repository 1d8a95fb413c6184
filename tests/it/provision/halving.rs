//! `apply --wait` of a sweep that halves, on the real control plane: Jobs are started, judged by what they wrote, and the best
//! go on. Nobody places their pods: this test ends them, as kubelet would, with the metric that their trial has.

use std::collections::BTreeMap;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::{ControlPlane, create_namespace};

const SPEC: &str = "apiVersion: gangplank.dev/v1alpha1
kind: Sweep
metadata: {name: s}
spec:
  search: halving
  trials: 9
  parallel: 4
  budget: {min: 1, max: 9}
  metric: {name: loss, goal: minimize, from: file}
  parameters: {lr: {min: 0.001, max: 0.1, log: true}}
  job: {image: 'a/b:1', scheduler: nobody, retries: 0, outputs: {/out: results}, checkpoint: {path: /out}}
";

/// The fifth trial is the best with every budget, and the third fails.
const BEST: u32 = 5;
const FAILS: u32 = 3;

fn variable<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let env = pod.spec.as_ref()?.containers.first()?.env.as_ref()?;
    env.iter().find(|variable| variable.name == name)?.value.as_deref()
}

/// Ends every pod that waits; says how many there were at a time.
async fn end_pods(client: &Client, namespace: &str) -> Result<usize> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default()).await?.items;
    let open: Vec<&Pod> = pods.iter().filter(|pod| pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Pending")).collect();
    for pod in &open {
        let number = |name: &str| variable(pod, name).and_then(|value| value.parse::<u32>().ok());
        let (trial, budget) = (number("TRIAL").context("TRIAL")?, number("BUDGET").context("BUDGET")?);
        let loss = f64::from(trial.abs_diff(BEST)) + 1.0 / f64::from(budget);
        let (phase, code) = if trial == FAILS { ("Failed", 1) } else { ("Succeeded", 0) };
        let ended = json!({"terminated": {"exitCode": code, "message": format!("{{\"loss\": {loss}}}")}});
        let status = json!({"name": "main", "image": "a/b:1", "imageID": "", "ready": false, "restartCount": 0, "state": ended});
        let patch = json!({"status": {"phase": phase, "containerStatuses": [status]}});
        let name = pod.metadata.name.as_deref().context("a name")?;
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    }
    Ok(open.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_trials_go_on_and_the_table_says_which_is_the_best() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("a sweep that halves") else { return Ok(()) };
    let client = control_plane.client().await?;
    let namespace = create_namespace(&client, "halving").await?;
    let kubeconfig = control_plane.kubeconfig().display().to_string();
    let run = |args: &[&str]| {
        let all: Vec<String> =
            args.iter().copied().chain(["-", "--kubeconfig", &kubeconfig, "-n", &namespace, "-o", "json"]).map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || super::provision(&all.iter().map(String::as_str).collect::<Vec<_>>(), SPEC))
    };
    let rows = |output: &Output| -> Result<Vec<Value>> { serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}")) };

    // Stopped early, and started again: it goes on from what is there.
    let stopped = run(&["apply", "--wait", "--timeout", "3s"]).await?;
    ensure!(stopped.status.code() == Some(4) && rows(&stopped)?.len() == 4, "{stopped:?}");
    let driven = run(&["apply", "--wait", "--timeout", "3m"]);
    let mut most = 0;
    while !driven.is_finished() {
        most = most.max(end_pods(&client, &namespace).await?);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let driven = driven.await?;
    ensure!(driven.status.success(), "{driven:?}");
    ensure!(most <= 4, "{most} at a time");
    let trials = rows(&driven)?;
    let best: Vec<&Value> = trials.iter().filter(|trial| trial["best"] == true).collect();
    ensure!(best.len() == 1 && best[0]["trial"] == BEST && best[0]["budget"] == 9, "{best:?}");
    let mut rungs: BTreeMap<u64, usize> = BTreeMap::new();
    for trial in &trials {
        *rungs.entry(trial["budget"].as_u64().context("a budget")?).or_default() += 1;
        ensure!(trial["trial"] != FAILS || trial["phase"] == "failed" && trial["budget"] == 1, "{trial}");
    }
    // Promotions that later ones would have undone are the price of not waiting: three are the least.
    ensure!(rungs[&1] == 9 && (3..=6).contains(&rungs[&3]) && (1..=2).contains(&rungs[&9]), "{rungs:?}");

    let status = run(&["status"]).await?;
    ensure!(rows(&status)?.iter().filter(|trial| trial["best"] == true).map(|trial| trial["trial"] == BEST).eq([true]), "{status:?}");
    let deleted = run(&["delete", "--timeout", "2m"]).await?;
    ensure!(deleted.status.success(), "{deleted:?}");
    let jobs = Api::<Job>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items;
    let files = Api::<ConfigMap>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items;
    ensure!(jobs.is_empty() && files.iter().all(|file| file.metadata.name.as_deref() == Some("kube-root-ca.crt")), "{jobs:?} {files:?}");
    Ok(())
}
