//! The two distributed training Jobs, unchanged: sixteen times eight GPUs at once, or none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::scene::{SOON, Sampler, Scene};
use crate::support::installed::{apply_file, granted, node_of, scheduling_message};
use crate::support::manifests::{seeds, volume};
use crate::support::{NodeTemplate, apply_yaml, wait_until};

pub(super) const SIXTEEN: &str = "distributed-training-job";
const FOUR: &str = "distributed-training";
/// The aim is 5 s on a machine that does nothing else; a shared one may be busy.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Our example, where the seed is not there.
fn manifest(seed: &str, example: &str) -> PathBuf {
    let examples = || Path::new("deploy/examples").join(example);
    seeds().map_or_else(examples, |seeds| seeds.join(seed))
}

pub(super) async fn submit_sixteen(scene: &Scene) -> Result<()> {
    apply_file(&scene.client, &scene.namespace, &manifest("19-distributed-training-16x8.yaml", "train-sixteen-by-eight.yaml")).await
}

pub(super) async fn claims(scene: &Scene) -> Result<()> {
    for claim in ["training-dataset", "model-checkpoint-store"] {
        apply_yaml(&scene.client, &scene.namespace, &volume(&scene.namespace, claim)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_by_eight_board_together_or_not_at_all() -> Result<()> {
    let boxes = (0..20).map(|index| NodeTemplate::default().named(format!("node-{index:02}"))).collect();
    let Some(mut scene) = Scene::start("sixteen by eight", boxes, None).await? else { return Ok(()) };
    claims(&scene).await?;

    apply_file(&scene.client, &scene.namespace, &manifest("06-distributed-training.yaml", "train-four-workers.yaml")).await?;
    let four = scene.bound(FOUR, 4).await?;
    ensure!(granted(&four).len() == 4, "one GPU each: {:?}", granted(&four));
    let sampler = Sampler::start(scene.pods.clone());
    let began = Instant::now();
    submit_sixteen(&scene).await?;
    let sixteen = scene.bound(SIXTEEN, 16).await?;
    let took = began.elapsed();
    each_alone_on_its_node(&sixteen)?;
    let seen = sampler.stop().await?;
    eprintln!(
        "sixteen by eight: {:.2} s from the Job to the last Binding, bound in part for {:?}",
        took.as_secs_f32(),
        seen.longest_in_part()
    );
    ensure!(seen.longest_in_part() < AT_ONCE, "{seen:?}");
    scene.nothing_leaks().await?;
    scene.delete_job(SIXTEEN).await?;
    scene.delete_job(FOUR).await?;

    // Fifteen are free: five are closed. Then one is opened.
    for index in 0..5 {
        scene.cordon(&format!("node-{index:02}"), true).await?;
    }
    fifteen_are_not_enough(&mut scene).await?;
    let began = Instant::now();
    scene.cordon("node-04", false).await?;
    let uncordoned = all_at_once(&mut scene, began).await?;

    // Fifteen are free: four are closed, and a pod runs on the fifth. Then it goes.
    let blocker: Pod = serde_json::from_value(json!({
        "metadata": {"name": "blocker"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]},
    }))?;
    scene.pods.create(&PostParams::default(), &blocker).await?;
    wait_until("the other pod to be bound", SOON, async || Ok(node_of(&scene.pods.get("blocker").await?).map(drop))).await?;
    fifteen_are_not_enough(&mut scene).await?;
    let began = Instant::now();
    scene.pods.delete("blocker", &DeleteParams::default()).await?;
    let deleted = all_at_once(&mut scene, began).await?;
    eprintln!("the sixteenth node is back: all bound {uncordoned:?} after it was uncordoned, {deleted:?} after its pod was deleted");
    Ok(())
}

fn each_alone_on_its_node(pods: &[Pod]) -> Result<()> {
    let nodes: BTreeSet<&str> = pods.iter().filter_map(node_of).collect();
    ensure!(nodes.len() == 16, "{nodes:?}");
    ensure!(granted(pods).len() == 128, "eight devices each: {:?}", granted(pods));
    Ok(())
}

/// None of the sixteen is bound, and the reason says of how many how many fit: constant text on each pod, the numbers in
/// explain and in an Event.
async fn fifteen_are_not_enough(scene: &mut Scene) -> Result<()> {
    submit_sixteen(scene).await?;
    let waited = wait_until("all sixteen to be told why they wait", SOON, async || {
        let pods = scene.pods_of(SIXTEEN).await?;
        let told = |pod: &Pod| scheduling_message(pod) == "gangplank: the group does not fit as a whole";
        Ok((pods.len() == 16 && pods.iter().all(told)).then_some(pods))
    });
    let pods = waited.await.with_context(|| scene.installed.gangplank.log())?;
    ensure!(pods.iter().all(|pod| node_of(pod).is_none()), "none is bound");
    let first = pods[0].name_any();
    let refusal = scene.explained(&first).await?["trace"]["refusal"].clone();
    let (needed, there) = (refusal["needed"].to_string(), refusal["there"].to_string());
    ensure!(needed.contains("16 members of 8 nvidia.com/gpu") && there.contains("15 of 16 fit in the cluster"), "{refusal}");
    let says = |note: &String| note.contains("needs 16 members") && note.contains("15 of 16 fit in the cluster");
    wait_until("an Event that says so", SOON, async || Ok(scene.notes("GangWaiting").await?.iter().any(says).then_some(()))).await?;
    // For a while, not only now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(scene.pods_of(SIXTEEN).await?.iter().all(|pod| node_of(pod).is_none()), "none is bound");
    scene.nothing_leaks().await
}

/// How long after the sixteenth node came back all were bound.
async fn all_at_once(scene: &mut Scene, began: Instant) -> Result<Duration> {
    let pods = scene.bound(SIXTEEN, 16).await?;
    let took = began.elapsed();
    ensure!(took < AT_ONCE, "{took:?}");
    each_alone_on_its_node(&pods)?;
    scene.nothing_leaks().await?;
    scene.delete_job(SIXTEEN).await?;
    Ok(took)
}
