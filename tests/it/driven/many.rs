//! Two controllers of which one stands still for a while, and five hundred specs at once. Both take minutes: with `GANGPLANK_LONG`.
#![expect(clippy::print_stderr, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::companion::{Companion, install, specs, until};
use super::passage::{Passage, Passes};
use crate::support::{ControlPlane, NodeTemplate, Options, apply_yaml, create_kwok_nodes, create_namespace, wait_until};

/// Longer than a lease lasts.
const SOON: Duration = Duration::from_secs(60);
const LEASE: &str = "--lease=gangplank-system/gangplank-provision";

fn is_long(test: &str) -> bool {
    let long = std::env::var_os("GANGPLANK_LONG").is_some();
    if !long {
        eprintln!("SKIPPED: {test} takes minutes: GANGPLANK_LONG=1 runs it");
    }
    long
}

fn spec(name: &str, workers: u32) -> String {
    format!(
        "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: {name}}}\nspec: {{image: 'a/b:1', framework: pytorch, command: \
         [torchrun], workers: {workers}, scheduler: default-scheduler}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_controllers_one_writes_also_when_the_leader_stands_still_and_wakes() -> Result<()> {
    if !is_long("two controllers") {
        return Ok(());
    }
    let Some(control_plane) = ControlPlane::shared_or_skip("two controllers") else { return Ok(()) };
    let client = control_plane.client().await?;
    install(control_plane, &client).await?;
    let namespace = create_namespace(&client, "two").await?;
    let written: Arc<Mutex<Vec<(char, String)>>> = Arc::default();
    let mut passages = Vec::new();
    let mut companions = BTreeMap::new();
    for who in ['a', 'b'] {
        let written = written.clone();
        let judge = move |name: &str| {
            written.lock().unwrap().push((who, name.to_owned()));
            Passes::Yes
        };
        let passage = Passage::start(client.clone(), Arc::new(judge)).await?;
        let identity = format!("--identity={who}");
        let kubeconfig = passage.kubeconfig(control_plane.dir())?;
        let mut companion = Companion::start(control_plane, &kubeconfig, &["--namespace", &namespace, LEASE, &identity])?;
        let told = companion.ready().await?;
        if who == 'a' {
            wait_until("the first to lead", SOON, async || Ok((companion.ready().await? == "ok: leads\n").then_some(()))).await?;
        } else {
            ensure!(told == "ok: another one leads\n", "{told}");
        }
        passages.push(passage);
        companions.insert(who, companion);
    }
    let jobs = specs(&client, &namespace, "TrainingJob");
    let running = |status: &serde_json::Value| status["phase"] == "Running";
    apply_yaml(&client, &namespace, &spec("first", 3)).await?;
    until(&jobs, "first", "the first to run", SOON, running).await?;

    companions[&'a'].signal("STOP")?;
    let began = Instant::now();
    apply_yaml(&client, &namespace, &spec("second", 3)).await?;
    jobs.patch("first", &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": true}}))).await?;
    until(&jobs, "second", "the other one to take over", SOON, running).await?;
    until(&jobs, "first", "it to suspend", SOON, |status| status["phase"] == "Suspended").await?;
    eprintln!("the other one leads and has done it after {:.1} s", began.elapsed().as_secs_f32());
    companions[&'a'].signal("CONT")?;
    jobs.patch("first", &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": false}}))).await?;
    until(&jobs, "first", "the first again", SOON, running).await?;
    apply_yaml(&client, &namespace, &spec("third", 3)).await?;
    until(&jobs, "third", "the third to run", SOON, running).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;

    let written = written.lock().unwrap().clone();
    let by = |who: char| written.iter().filter(|(by, _)| *by == who).map(|(_, name)| name.as_str()).collect::<Vec<_>>();
    ensure!(by('a') == ["training-job-service", "training-job-start", "training-job-status", "training-job-status"], "{:?}", by('a'));
    let starts = by('b').iter().filter(|name| **name == "training-job-start").count();
    ensure!(starts == 2, "{:?}", by('b'));
    let all = Api::<Job>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items;
    ensure!(all.len() == 3, "{}", all.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_come_to_rest_with_the_same_few_writes_each() -> Result<()> {
    const COUNT: u32 = 500;
    if !is_long("five hundred specs") {
        return Ok(());
    }
    let Some(control_plane) = ControlPlane::start_or_skip("five hundred specs", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, 60, &NodeTemplate::default()).await?;
    let kubeconfig = install(&control_plane, &client).await?;
    let namespace = create_namespace(&client, "many").await?;
    let mut companion = Companion::start(&control_plane, &kubeconfig, &[])?;
    companion.ready().await?;
    let mut all = String::new();
    for number in 0..COUNT {
        write!(all, "---\n{}", spec(&format!("train-{number}"), 8))?;
    }
    let began = Instant::now();
    apply_yaml(&client, &namespace, &all).await?;
    let created = began.elapsed();
    let jobs = specs(&client, &namespace, "TrainingJob");
    let long = Duration::from_secs(500);
    let waited = wait_until("all to run", long, async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let items = jobs.list(&ListParams::default()).await?.items;
        Ok(items.iter().all(|spec| spec.data["status"]["phase"] == "Running").then_some(()))
    });
    waited.await.with_context(|| companion.log())?;
    let whole = began.elapsed();
    let writes = companion.writes().await?;
    let sum: u64 = writes.values().sum();
    let idle = Duration::from_secs(std::env::var("GANGPLANK_IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60));
    tokio::time::sleep(idle).await;
    let after: u64 = companion.writes().await?.values().sum();
    eprintln!(
        "{COUNT} specs of 8 created in {:.0} s, all run after {:.0} s; written: {writes:?}, {} a spec; {} in {} s of rest",
        created.as_secs_f32(),
        whole.as_secs_f32(),
        sum as f64 / f64::from(COUNT),
        after - sum,
        idle.as_secs()
    );
    ensure!(sum == u64::from(COUNT) * 4, "{writes:?}");
    ensure!(after == sum, "{} writes at rest", after - sum);
    Ok(())
}
