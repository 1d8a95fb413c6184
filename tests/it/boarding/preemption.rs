//! Whose room is taken for whom on the real control plane: whole gangs, no more than are needed, none under a disruption
//! budget; what is freed is the preemptor's; and who made room comes back by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use super::seeds::{SIXTEEN, claims, submit_sixteen};
use super::undo::unharmed;
use crate::support::installed::node_of;
use crate::support::{NodeTemplate, wait_until};

/// The deadline of victims, and what a busy machine adds.
const LAPSED: Duration = Duration::from_mins(4);
/// Longer than the deadline of 120 s.
const STUCK: &str = "150s";
/// The API server deletes what has none at once, whatever keeps its devices.
const GRACE_S: u32 = 300;
/// For what must not happen.
const WATCHED: Duration = Duration::from_secs(5);

async fn start(test: &str, nodes: usize, cpu: &str) -> Result<Option<Scene>> {
    let template = |index| NodeTemplate { cpu: cpu.into(), ..NodeTemplate::default() }.named(format!("node-{index:02}"));
    let Some(scene) = Scene::start(test, (0..nodes).map(template).collect(), None).await? else { return Ok(None) };
    let class: PriorityClass = serde_json::from_value(json!({"metadata": {"name": "high"}, "value": 1000}))?;
    Api::all(scene.client.clone()).create(&PostParams::default(), &class).await?;
    Ok(Some(scene))
}

/// A Job of members of eight GPUs each.
async fn submit(scene: &Scene, name: &str, members: usize, class: Option<&str>) -> Result<()> {
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"parallelism": members, "completions": members, "completionMode": "Indexed", "backoffLimit": 0, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": GRACE_S, "priorityClassName": class, "containers": [
                {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}, "requests": {"cpu": "3"}}}]}}},
    }))?;
    scene.jobs.create(&PostParams::default(), &job).await.with_context(|| format!("Job {name}"))?;
    Ok(())
}

async fn running(scene: &Scene, name: &str, members: usize) -> Result<BTreeSet<String>> {
    submit(scene, name, members, None).await?;
    uids(scene, name, members).await
}

async fn uids(scene: &Scene, name: &str, members: usize) -> Result<BTreeSet<String>> {
    Ok(scene.bound(name, members).await?.iter().filter_map(Pod::uid).collect())
}

async fn victims(scene: &mut Scene) -> Result<Vec<String>> {
    let ledger = scene.installed.gangplank.get("/api/v1/preemptions").await?;
    let entries = ledger["preemptions"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = entries.iter().filter_map(|entry| entry["pods"][0].as_str().map(str::to_owned)).collect();
    names.iter_mut().for_each(|name| *name = name.rsplit('/').next().unwrap_or_default().split('-').next().unwrap_or_default().to_owned());
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_of_four_nodes_takes_whole_gangs_none_under_a_budget_and_all_come_back() -> Result<()> {
    let Some(mut scene) = start("preemption", 6, "64").await? else { return Ok(()) };
    for (name, members) in [("a", 2), ("b", 2), ("c", 1), ("d", 1)] {
        running(&scene, name, members).await?;
    }
    let budget: PodDisruptionBudget =
        serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "b"}}}}))?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(scene.client.clone(), &scene.namespace);
    budgets.create(&PostParams::default(), &budget).await?;
    wait_until("the budget to be counted", SOON, async || {
        let status = budgets.get("b").await?.status;
        Ok(status.is_some_and(|status| status.expected_pods == Some(2)).then_some(()))
    })
    .await?;
    let kept = uids(&scene, "b", 2).await?;

    submit(&scene, "high", 4, Some("high")).await?;
    let high = scene.bound("high", 4).await;
    if high.is_err() {
        eprintln!("{}", scene.story().await);
    }
    let nodes: BTreeSet<String> = high?.iter().filter_map(node_of).map(str::to_owned).collect();
    ensure!(nodes.len() == 4, "{nodes:?}");
    ensure!(victims(&mut scene).await? == ["a", "c", "d"], "{:?}", victims(&mut scene).await?);
    ensure!(uids(&scene, "b", 2).await? == kept, "untouched");
    let told = scene.notes("Preempted").await?;
    ensure!(told.len() == 4 && told.iter().all(|note| note.contains("makes room for gang boarding/high: lower priority")), "{told:?}");
    scene.nothing_leaks().await?;

    scene.delete_job("high").await?;
    for (name, members) in [("a", 2), ("c", 1), ("d", 1)] {
        uids(&scene, name, members).await?;
        unharmed(&scene.jobs.get(name).await?)?;
    }
    scene.nothing_leaks().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_victim_that_cannot_go_costs_nobody_else_their_place_and_what_is_free_is_kept() -> Result<()> {
    let Some(mut scene) = start("stuck victim", 3, "64").await? else { return Ok(()) };
    running(&scene, "a", 2).await?;
    let kept = running(&scene, "b", 1).await?;
    // Of two members one keeps its devices long after it is deleted. (A finalizer alone would not: what has ended holds nothing.)
    let pods = scene.pods_of("a").await?;
    let stays = json!({"metadata": {"annotations": {"testcluster.gangplank.dev/terminate-after": STUCK}}});
    scene.pods.patch(&pods[1].name_any(), &PatchParams::default(), &Patch::Merge(&stays)).await?;
    submit(&scene, "high", 2, Some("high")).await?;

    let gone = node_of(&pods[0]).context("no node")?.to_owned();
    let phase = async |scene: &mut Scene| -> Result<Value> {
        let gangs = scene.installed.gangplank.get("/api/v1/gangs").await?["gangs"].clone();
        let high = gangs.as_array().into_iter().flatten().find(|gang| gang["gang"] == "boarding/high");
        Ok(high.map_or(Value::Null, |gang| gang["phase"].clone()))
    };
    wait_until("the gang to preempt", SOON, async || Ok((phase(&mut scene).await? == "preempting").then_some(()))).await?;
    let lapsed = wait_until("the deadline to pass", LAPSED, async || {
        let phase = phase(&mut scene).await?;
        ensure!(!phase.is_null(), "it did not wait");
        Ok((phase == "queued").then_some(()))
    })
    .await;
    if let Err(error) = lapsed {
        return Err(error.context(scene.story().await));
    }
    ensure!(uids(&scene, "b", 1).await? == kept, "nobody else goes");
    ensure!(victims(&mut scene).await? == ["a"], "{:?}", victims(&mut scene).await?);
    let holders = scene.installed.gangplank.get("/api/v1/book").await?["holders"].clone();
    let held = holders.as_array().into_iter().flatten().any(|holder| holder["node"] == gone.as_str() && holder["state"] == "held");
    ensure!(held, "what is free is kept: {holders}");

    scene.bound("high", 2).await?;
    ensure!(uids(&scene, "b", 1).await? == kept, "untouched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_devices_cannot_take_one_member_of_a_gang() -> Result<()> {
    // A member leaves no room for a pod of two CPUs.
    let Some(mut scene) = start("veto", 2, "4").await? else { return Ok(()) };
    let gang = running(&scene, "a", 2).await?;
    let plain: Pod = serde_json::from_value(json!({
        "metadata": {"name": "plain"},
        "spec": {"schedulerName": "gangplank", "priorityClassName": "high", "containers": [
            {"name": "main", "image": "none", "resources": {"requests": {"cpu": "2"}}}]},
    }))?;
    scene.pods.create(&PostParams::default(), &plain).await?;
    wait_until("kube-scheduler to look for victims", SOON, async || {
        let message = crate::support::installed::scheduling_message(&scene.pods.get("plain").await?);
        Ok(message.contains("preemption").then_some(()))
    })
    .await
    .with_context(|| scene.installed.gangplank.log())?;
    tokio::time::sleep(WATCHED).await;
    let journal = scene.installed.gangplank.get("/api/v1/journal?count=1000").await?.to_string();
    ensure!(journal.contains("\"preempt\""), "it asked, and was refused: {journal}");
    ensure!(uids(&scene, "a", 2).await? == gang, "untouched");
    ensure!(node_of(&scene.pods.get("plain").await?).is_none());
    scene.delete_job("a").await?;
    wait_until("the pod to be bound", SOON, async || Ok(node_of(&scene.pods.get("plain").await?).map(drop))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_by_eight_preempted_again_and_again_never_fail() -> Result<()> {
    let rounds = if std::env::var_os("GANGPLANK_LONG").is_some() { 10 } else { 2 };
    let Some(mut scene) = start("sixteen preempted", 16, "64").await? else { return Ok(()) };
    claims(&scene).await?;
    submit_sixteen(&scene).await?;
    for round in 0..rounds {
        scene.bound(SIXTEEN, 16).await.with_context(|| format!("round {round}"))?;
        submit(&scene, "high", 4, Some("high")).await?;
        scene.bound("high", 4).await?;
        ensure!(scene.pods_of(SIXTEEN).await?.iter().all(|pod| node_of(pod).is_none()), "whole or not at all");
        unharmed(&scene.jobs.get(SIXTEEN).await?)?;
        scene.delete_job("high").await?;
    }
    scene.bound(SIXTEEN, 16).await?;
    unharmed(&scene.jobs.get(SIXTEEN).await?)?;
    ensure!(victims(&mut scene).await?.len() == rounds, "{:?}", victims(&mut scene).await?);
    scene.nothing_leaks().await
}
