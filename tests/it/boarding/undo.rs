//! A gang that was bound in part and cannot be whole is taken back through its owner: no pod counts as failed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::recipes::failed_pods;
use super::scene::{SOON, Scene, is_gated, taint};
use super::seeds::{SIXTEEN, claims, submit_sixteen};
use crate::support::installed::node_of;
use crate::support::{NodeTemplate, wait_until};

const NODES: usize = 16;
/// Two deadlines of 11 s, the end of the pods, and what a busy machine adds.
const UNDONE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_by_eight_bound_in_part_are_taken_back_and_the_job_never_fails() -> Result<()> {
    // Each takes half a minute of deadlines.
    let rounds = if std::env::var_os("GANGPLANK_LONG").is_some() { 10 } else { 1 };
    let boxes = (0..NODES).map(|index| NodeTemplate::default().named(format!("node-{index:02}"))).collect();
    let Some(mut scene) = Scene::start("undo", boxes, None).await? else { return Ok(()) };
    claims(&scene).await?;
    for round in 0..rounds {
        let closed = format!("node-{:02}", round * 5 % NODES);
        let (undone, whole) = play(&mut scene, &closed).await.with_context(|| scene.installed.gangplank.log())?;
        eprintln!(
            "round {round}: 15 of 16 were bound; none {:.1} s later; all 16 {:.1} s after the node came back",
            undone.as_secs_f32(),
            whole.as_secs_f32()
        );
    }
    Ok(())
}

/// How long it took until none was bound, and how long until all were.
async fn play(scene: &mut Scene, closed: &str) -> Result<(Duration, Duration)> {
    // Nobody binds between the plan and the taint.
    scene.installed.scheduler.signal("STOP")?;
    submit_sixteen(scene).await?;
    wait_until("all sixteen to be released", SOON, async || {
        let pods = scene.pods_of(SIXTEEN).await?;
        Ok((pods.len() == NODES && !pods.iter().any(is_gated)).then_some(()))
    })
    .await?;
    taint(&scene.nodes, closed, true).await?;
    scene.scheduler_anew().await?;
    wait_until("fifteen to be bound", SOON, async || Ok((bound(scene).await? == NODES - 1).then_some(()))).await?;
    let began = Instant::now();
    wait_until("those to be taken back", UNDONE, async || {
        unharmed(&scene.jobs.get(SIXTEEN).await?)?;
        Ok((bound(scene).await? == 0).then_some(()))
    })
    .await?;
    let undone = began.elapsed();
    // Its pods are there again, and wait.
    wait_until("the Job to go on", SOON, async || {
        let job = scene.jobs.get(SIXTEEN).await?;
        unharmed(&job)?;
        let pods = scene.pods_of(SIXTEEN).await?;
        let suspended = job.spec.and_then(|spec| spec.suspend) == Some(true);
        Ok((!suspended && pods.len() == NODES && pods.iter().all(is_gated)).then_some(()))
    })
    .await?;
    scene.nothing_leaks().await?;
    let began = Instant::now();
    taint(&scene.nodes, closed, false).await?;
    scene.bound(SIXTEEN, NODES).await?;
    let whole = began.elapsed();
    unharmed(&scene.jobs.get(SIXTEEN).await?)?;
    scene.nothing_leaks().await?;
    scene.delete_job(SIXTEEN).await?;
    Ok((undone, whole))
}

async fn bound(scene: &Scene) -> Result<usize> {
    let has_node = |pod: &&Pod| node_of(pod).is_some();
    Ok(scene.pods_of(SIXTEEN).await?.iter().filter(has_node).count())
}

/// Nothing of it counts as failed.
pub(super) fn unharmed(job: &Job) -> Result<()> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let bad: Vec<&str> = conditions.map(|condition| condition.type_.as_str()).filter(|kind| kind.starts_with("Fail")).collect();
    ensure!(failed_pods(job) == 0 && bad.is_empty(), "the Job counts {} failed pods, {bad:?}", failed_pods(job));
    Ok(())
}

/// The pods of a gang that stands in annotations.
fn member(gang: &str, size: usize) -> Value {
    json!({
        "metadata": {
            "labels": {"job-name": gang},
            "annotations": {"gangplank.dev/gang": gang, "gangplank.dev/gang-size": size.to_string()},
        },
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]},
    })
}

/// Nobody suspends these. Pods of a ReplicaSet are evicted and made again; pods that nobody would make again stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_owner_can_be_suspended_pods_are_evicted_or_stay_and_all_are_whole_in_the_end() -> Result<()> {
    const MEMBERS: usize = 3;
    let boxes = (0..2 * MEMBERS).map(|index| NodeTemplate::default().named(format!("node-{index}"))).collect();
    let Some(mut scene) = Scene::start("eviction", boxes, None).await? else { return Ok(()) };
    scene.installed.scheduler.signal("STOP")?;
    for index in 0..MEMBERS {
        let mut pod = member("bare", MEMBERS);
        pod["metadata"]["name"] = json!(format!("bare-{index}"));
        scene.pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    }
    let sets: Api<ReplicaSet> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let selector = json!({"matchLabels": {"job-name": "set"}});
    let spec = json!({"replicas": MEMBERS, "selector": selector, "template": member("set", MEMBERS)});
    sets.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "set"}, "spec": spec}))?).await?;
    let places = wait_until("both gangs to be released", SOON, async || {
        let pods = scene.pods.list(&ListParams::default()).await?.items;
        let released = pods.len() == 2 * MEMBERS && !pods.iter().any(is_gated);
        Ok(if released { Some(scene.places().await?) } else { None })
    })
    .await?;
    // One node of each gang is closed.
    let closed: Vec<&String> =
        ["bare-", "set-"].iter().filter_map(|gang| places.range((*gang).to_owned()..).next()).map(|(_, at)| at).collect();
    for node in &closed {
        taint(&scene.nodes, node, true).await?;
    }
    scene.scheduler_anew().await?;
    let has_node = |pods: Vec<Pod>| pods.iter().filter(|pod| node_of(pod).is_some()).count();
    let in_part = wait_until("two of three of each to be bound", SOON, async || {
        let both = (has_node(scene.pods_of("bare").await?), has_node(scene.pods_of("set").await?));
        Ok((both == (MEMBERS - 1, MEMBERS - 1)).then_some(()))
    });
    if let Err(error) = in_part.await {
        return Err(error.context(scene.story().await));
    }
    let before: Vec<Option<String>> = scene.pods_of("bare").await?.iter().map(ResourceExt::uid).collect();
    let began = Instant::now();
    // What the one gives back makes the other whole.
    let undone = wait_until("one to be taken back, and the other to be whole", UNDONE, async || {
        let (bare, set) = (scene.pods_of("bare").await?, scene.pods_of("set").await?);
        Ok((has_node(bare) == MEMBERS && set.len() == MEMBERS && has_node(set) == 0).then_some(()))
    });
    if let Err(error) = undone.await {
        return Err(error.context(scene.story().await));
    }
    let kept = scene.pods_of("bare").await?.iter().filter(|pod| before.contains(&pod.uid())).count();
    ensure!(kept == MEMBERS, "nobody would make them again");
    let undone = began.elapsed();
    scene.nothing_leaks().await?;
    for node in &closed {
        taint(&scene.nodes, node, false).await?;
    }
    scene.bound("bare", MEMBERS).await?;
    scene.bound("set", MEMBERS).await?;
    eprintln!(
        "two of three of each were bound; evicted or whole after {:.1} s, both whole after {:.1} s",
        undone.as_secs_f32(),
        began.elapsed().as_secs_f32()
    );
    scene.nothing_leaks().await
}
