//! Whose room is taken for whom on the real control plane: whole gangs, no more than are needed, none under a disruption
//! budget; what is freed is the preemptor's; and who made room comes back by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gangplank::wire::annotations::PREEMPT_NOTICE;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use super::seeds::{SIXTEEN, claims, submit_sixteen};
use super::undo::unharmed;
use super::witness::{Witness, work_of};
use crate::support::installed::{is_running, node_of};
use crate::support::{NodeTemplate, wait_until};

/// Nobody in these clusters removes it.
const FINALIZER: &str = "test.gangplank.dev/stays";
/// The API server deletes what has none at once, whatever keeps its devices.
const GRACE_S: u32 = 300;
/// For what must not happen.
const WATCHED: Duration = Duration::from_secs(5);

async fn start(test: &str, nodes: usize, cpu: &str, profile: Option<&str>) -> Result<Option<Scene>> {
    let template = |index| NodeTemplate { cpu: cpu.into(), ..NodeTemplate::default() }.named(format!("node-{index:02}"));
    let Some(scene) = Scene::start(test, (0..nodes).map(template).collect(), profile).await? else { return Ok(None) };
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
    let mut names: Vec<String> = entries.iter().filter_map(|entry| entry["pods"][0].as_str().map(work_of)).collect();
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_of_four_nodes_takes_whole_gangs_none_under_a_budget_and_all_come_back() -> Result<()> {
    let Some(mut scene) = start("preemption", 6, "64", None).await? else { return Ok(()) };
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
    let gone = scene.installed.gangplank.get("/api/v1/preemptions").await?["preemptions"][0]["pods"][0].clone();
    let gone = gone.as_str().and_then(|pod| pod.split_once('/')).context("nobody went")?.1.to_owned();
    let explained = scene.explained(&gone).await?;
    ensure!(explained["state"] == "evicted" && explained["madeRoom"]["preemptor"] == "gang boarding/high", "{explained}");
    ensure!(explained["madeRoom"]["back"].to_string().contains("nobody says how long gang boarding/high runs"), "{explained}");
    ensure!(told.iter().all(|note| note.contains("accelerator-seconds of work, and comes back as soon as there is room")), "{told:?}");
    ensure!(told.len() == 4 && told.iter().all(|note| note.contains("makes room for gang boarding/high: lower priority")), "{told:?}");
    scene.nothing_leaks().await?;

    scene.delete_job("high").await?;
    for (name, members) in [("a", 2), ("c", 1), ("d", 1)] {
        uids(&scene, name, members).await?;
        unharmed(&scene.jobs.get(name).await?)?;
    }
    let back = scene.explained(&gone).await?["madeRoom"]["back"].clone();
    ensure!(back == "it runs again", "{back}");
    scene.nothing_leaks().await
}

/// Puts a finalizer on a pod that nobody removes, beside those that it has; `hangs`: and it keeps its devices, as if its kubelet hung.
async fn hold_back(scene: &Scene, pod: &Pod, hangs: bool) -> Result<()> {
    let finalizers = [pod.finalizers(), &[FINALIZER.to_owned()]].concat();
    let annotations = if hangs { json!({"testcluster.gangplank.dev/terminate-after": "1h"}) } else { json!({}) };
    let patch = json!({"metadata": {"finalizers": finalizers, "annotations": annotations}});
    scene.pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// The tests delete it.
fn is_of_high(pod: &Pod) -> bool {
    work_of(&pod.name_any()) == "high"
}

/// Takes it off again, and lets the pod go whatever hangs.
async fn let_go(scene: &Scene, pod: &Pod) -> Result<()> {
    let name = pod.name_any();
    let left: Vec<String> = scene.pods.get(&name).await?.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    scene.pods.patch(&name, &PatchParams::default(), &Patch::Merge(&json!({"metadata": {"finalizers": left}}))).await?;
    match scene.pods.delete(&name, &DeleteParams::default().grace_period(0)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        answer => answer.map(drop).map_err(Into::into),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_victim_that_cannot_go_costs_nobody_else_their_place_and_what_is_free_is_kept() -> Result<()> {
    let profile = "apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: hasty\npreemption: {deadlineSeconds: 10}\n";
    let Some(mut scene) = start("stuck victim", 3, "64", Some(profile)).await? else { return Ok(()) };
    running(&scene, "a", 2).await?;
    let kept = running(&scene, "b", 1).await?;
    let witness = Witness::start(scene.pods.clone(), is_of_high);
    let evicted = |witness: &Witness| witness.seen().evicted.keys().map(|pod| work_of(pod)).collect::<Vec<_>>();

    // What has ended holds nothing, though a finalizer keeps the object: the devices are the preemptor's.
    let stays = scene.pods_of("a").await?.remove(1);
    hold_back(&scene, &stays, false).await?;
    submit(&scene, "high", 2, Some("high")).await?;
    scene.bound("high", 2).await?;
    ensure!(scene.pods.get_opt(&stays.name_any()).await?.is_some(), "the finalizer keeps it");
    ensure!(evicted(&witness) == ["a", "a"], "{:?}", witness.seen());
    let_go(&scene, &stays).await?;
    scene.delete_job("high").await?;
    uids(&scene, "a", 2).await?;

    // One whose kubelet hangs as well keeps its devices. Of two members one goes.
    let pods = scene.pods_of("a").await?;
    hold_back(&scene, &pods[1], true).await?;
    submit(&scene, "high", 2, Some("high")).await?;
    let gone = node_of(&pods[0]).context("no node")?.to_owned();
    let phase = async |scene: &mut Scene| -> Result<Value> {
        let gangs = scene.installed.gangplank.get("/api/v1/gangs").await?["gangs"].clone();
        let high = gangs.as_array().into_iter().flatten().find(|gang| gang["gang"] == "boarding/high");
        Ok(high.map_or(Value::Null, |gang| gang["phase"].clone()))
    };
    wait_until("the gang to preempt", SOON, async || Ok((phase(&mut scene).await? == "preempting").then_some(()))).await?;
    let lapsed = wait_until("the deadline to pass", SOON, async || {
        let phase = phase(&mut scene).await?;
        ensure!(!phase.is_null(), "it did not wait");
        Ok((phase == "queued").then_some(()))
    })
    .await;
    if let Err(error) = lapsed {
        return Err(error.context(scene.story().await));
    }

    // What the other left is kept, and nobody else goes for it.
    submit(&scene, "greedy", 1, None).await?;
    tokio::time::sleep(WATCHED).await;
    ensure!(scene.pods_of("greedy").await?.iter().all(|pod| node_of(pod).is_none()), "what is free is kept");
    let holders = scene.installed.gangplank.get("/api/v1/book").await?["holders"].clone();
    let held = holders.as_array().into_iter().flatten().any(|holder| holder["node"] == gone.as_str() && holder["state"] == "held");
    ensure!(held, "what is free is kept: {holders}");
    ensure!(uids(&scene, "b", 1).await? == kept, "nobody else goes");
    ensure!(victims(&mut scene).await? == ["a", "a"], "{:?}", victims(&mut scene).await?);
    ensure!(evicted(&witness) == ["a"; 4], "{:?}", witness.seen());

    // Room elsewhere: it is planned into that and what is kept, though the victim is there still.
    scene.delete_job("b").await?;
    let high: BTreeSet<String> = scene.bound("high", 2).await?.iter().filter_map(node_of).map(str::to_owned).collect();
    ensure!(high.contains(&gone), "{high:?} without {gone}, which was kept");
    let stuck = scene.pods.get(&pods[1].name_any()).await?;
    ensure!(stuck.metadata.deletion_timestamp.is_some() && is_running(&stuck), "it did not go");

    // Nothing of it stays behind.
    let_go(&scene, &pods[1]).await?;
    scene.delete_job("high").await?;
    for (name, members) in [("a", 2), ("greedy", 1)] {
        uids(&scene, name, members).await?;
        unharmed(&scene.jobs.get(name).await?)?;
    }
    scene.nothing_leaks().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_victim_hears_of_its_eviction_before_and_of_a_plan_that_is_void_by_then_nobody_goes() -> Result<()> {
    let profile = "apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: polite\npreemption: {noticeSeconds: 6}\n";
    let Some(mut scene) = start("notice", 2, "64", Some(profile)).await? else { return Ok(()) };
    let first = running(&scene, "a", 2).await?;
    let witness = Witness::start(scene.pods.clone(), is_of_high);
    let noticed = async |scene: &Scene| -> Result<Option<Vec<Timestamp>>> {
        let pods = scene.pods_of("a").await?;
        let notices: Vec<Timestamp> =
            pods.iter().filter_map(|pod| pod.annotations().get(PREEMPT_NOTICE)).map(|at| at.parse()).collect::<Result<_, _>>()?;
        Ok((notices.len() == 2).then_some(notices))
    };

    // The preemptor is deleted within the notice.
    submit(&scene, "high", 2, Some("high")).await?;
    let at = wait_until("both members to hear of it", SOON, async || noticed(&scene).await).await?;
    scene.delete_job("high").await?;
    wait_until("the notice to be taken back", SOON, async || {
        let noticed = |pod: &Pod| pod.annotations().contains_key(PREEMPT_NOTICE);
        Ok((!scene.pods_of("a").await?.iter().any(noticed)).then_some(()))
    })
    .await?;
    wait_until("the time of the notice to pass", SOON, async || {
        Ok(at.iter().all(|at| Timestamp::now() > *at + SignedDuration::from_secs(2)).then_some(()))
    })
    .await?;
    ensure!(uids(&scene, "a", 2).await? == first, "nobody goes");
    ensure!(victims(&mut scene).await?.is_empty(), "{:?}", victims(&mut scene).await?);
    scene.nothing_leaks().await?;

    // This time it stays.
    submit(&scene, "high", 2, Some("high")).await?;
    let at = wait_until("both members to hear of it", SOON, async || noticed(&scene).await).await?;
    let created = scene.jobs.get("high").await?.metadata.creation_timestamp.context("never created")?.0;
    scene.bound("high", 2).await?;
    let seen = witness.seen().evicted;
    for at in at {
        ensure!(at >= created + SignedDuration::from_secs(6), "created {created}, and was to go at {at}");
        // Times of the API server are whole seconds.
        let late = |told: &Option<Timestamp>| told.is_some_and(|told| told >= at - SignedDuration::from_secs(1));
        ensure!(seen.len() == 2 && seen.values().all(late), "told to go before {at}: {seen:?}");
    }
    ensure!(victims(&mut scene).await? == ["a"], "{:?}", victims(&mut scene).await?);
    scene.delete_job("high").await?;
    uids(&scene, "a", 2).await?;
    unharmed(&scene.jobs.get("a").await?)?;
    scene.nothing_leaks().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_devices_cannot_take_one_member_of_a_gang() -> Result<()> {
    // A member leaves no room for a pod of two CPUs.
    let Some(mut scene) = start("veto", 2, "4", None).await? else { return Ok(()) };
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
    let Some(mut scene) = start("sixteen preempted", 16, "64", None).await? else { return Ok(()) };
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
