//! An elastic gang starts with its minimum, grows into idle devices, gives up what is above its minimum before anyone else has
//! to go, and grows again when there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use crate::support::installed::node_of;
use crate::support::{NodeTemplate, wait_until};

/// Work that would be lost with a pod that runs for so long already.
const HEAD_START: Duration = Duration::from_secs(5);
const MIN: usize = 2;
const SIZE: usize = 4;

async fn submit(scene: &Scene, name: &str, members: usize, class: Option<&str>, annotations: Value) -> Result<()> {
    let container = json!({"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}});
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "priorityClassName": class, "containers": [container]});
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"parallelism": members, "completions": members, "completionMode": "Indexed",
            "template": {"metadata": {"annotations": annotations}, "spec": spec}},
    }))?;
    scene.jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

async fn placed(scene: &mut Scene, name: &str, members: usize) -> Result<BTreeSet<String>> {
    let what = format!("{members} pods of {name} to have a node, and no others");
    let waited = wait_until(&what, SOON, async || {
        let pods = scene.pods_of(name).await?;
        let placed: BTreeSet<String> = pods.iter().filter(|pod| node_of(pod).is_some()).filter_map(Pod::uid).collect();
        Ok((placed.len() == members).then_some(placed))
    });
    match waited.await {
        Ok(placed) => Ok(placed),
        Err(error) => Err(error.context(scene.story().await)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_elastic_gang_grows_into_idle_devices_and_shrinks_before_anyone_is_evicted() -> Result<()> {
    let nodes = (0..5).map(|index| NodeTemplate::default().named(format!("node-{index}"))).collect();
    let Some(mut scene) = Scene::start("elastic gangs", nodes, None).await? else { return Ok(()) };
    let class: PriorityClass = serde_json::from_value(json!({"metadata": {"name": "high"}, "value": 1000}))?;
    Api::all(scene.client.clone()).create(&PostParams::default(), &class).await?;
    submit(&scene, "brief", 3, None, json!({})).await?;
    placed(&mut scene, "brief", 3).await?;
    let said =
        json!({"gangplank.dev/gang": "elastic", "gangplank.dev/gang-size": SIZE.to_string(), "gangplank.dev/gang-min": MIN.to_string()});
    submit(&scene, "elastic", SIZE, None, said).await?;
    let first = placed(&mut scene, "elastic", MIN).await?;
    scene.delete_job("brief").await?;
    let all = placed(&mut scene, "elastic", SIZE).await?;
    ensure!(first.is_subset(&all), "it grows: nobody starts anew");
    tokio::time::sleep(HEAD_START).await;
    // Less would be lost with it than with anyone.
    submit(&scene, "young", 1, None, json!({})).await?;
    let young = placed(&mut scene, "young", 1).await?;
    submit(&scene, "high", 2, Some("high"), json!({})).await?;
    placed(&mut scene, "high", 2).await?;
    ensure!(placed(&mut scene, "young", 1).await? == young, "nobody else goes");
    let left = placed(&mut scene, "elastic", MIN).await?;
    ensure!(left.is_subset(&all), "its minimum runs on");
    scene.delete_job("high").await?;
    let again = placed(&mut scene, "elastic", SIZE).await?;
    ensure!(left.is_subset(&again), "it grows again");
    scene.nothing_leaks().await
}
