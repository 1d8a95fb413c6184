//! A member that can be in one rack alone, which only kube-scheduler knows, and others that were bound in another one first.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use crate::support::installed::node_of;
use crate::support::volumes::{Bound, ZONE, apply, volume_in};
use crate::support::{NodeTemplate, wait_until};

/// Each zone is one rack here.
const RACK: &str = "fabric.topograph.run/tier-0";
const MEMBERS: usize = 3;
/// Two deadlines of 11 s, and what a busy machine adds.
const MOVED: Duration = Duration::from_mins(2);

/// So many pods of the gang, made again when they are evicted.
fn replicas(name: &str, count: usize, spec: &Value) -> Value {
    let labels = json!({"job-name": "train", "set": name});
    let annotations = json!({
        "gangplank.dev/gang": "train", "gangplank.dev/gang-size": MEMBERS.to_string(), "gangplank.dev/topology-required": "rack",
    });
    let mut template = json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec});
    template["spec"]["terminationGracePeriodSeconds"] = json!(0);
    template["spec"]["containers"] = json!([{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]);
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name},
        "spec": {"replicas": count, "selector": {"matchLabels": labels}, "template": template}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_bound_in_the_wrong_rack_is_taken_back_and_planned_where_its_last_member_can_go() -> Result<()> {
    let in_zone = |zone: &str, index: usize| {
        let labels = [(ZONE.to_owned(), zone.to_owned()), (RACK.to_owned(), zone.to_owned())].into();
        NodeTemplate { labels, ..NodeTemplate::default() }.named(format!("{zone}-{index}"))
    };
    let nodes = ["a", "b"].into_iter().flat_map(|zone| (0..MEMBERS).map(move |index| in_zone(zone, index))).collect();
    let Some(mut scene) = Scene::start("the wrong rack", nodes, None).await? else { return Ok(()) };
    // Its claim is not there yet, so that kube-scheduler does not try it while the others are bound.
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let sets = [replicas("plain", MEMBERS - 1, &json!({})), replicas("tied", 1, &json!({"volumes": volumes}))];
    apply(&scene.client, &scene.namespace, &sets).await?;
    let bound = async |zone: &str| {
        let pods = scene.pods_of("train").await?;
        anyhow::Ok(pods.iter().filter(|pod| node_of(pod).is_some_and(|node| node.starts_with(zone))).count())
    };
    wait_until("two to be bound in the wrong rack", SOON, async || Ok((bound("a-").await? == MEMBERS - 1).then_some(()))).await?;
    apply(&scene.client, &scene.namespace, &volume_in(&scene.namespace, "data", "b", Bound::WithPod)).await?;
    let tied = scene.pods_of("train").await?.into_iter().find(|pod| pod.labels()["set"] == "tied").context("the last one")?;
    ensure!(node_of(&tied).is_none());
    let began = Instant::now();
    let moved = wait_until("all to be bound in the other rack", MOVED, async || Ok((bound("b-").await? == MEMBERS).then_some(())));
    if let Err(error) = moved.await {
        return Err(error.context(scene.story().await));
    }
    let now = scene.pods_of("train").await?;
    ensure!(now.len() == MEMBERS && now.iter().any(|pod| pod.uid() == tied.uid()), "who was not bound is not evicted");
    eprintln!("two of three were bound in the wrong rack; all three in the right one {:.1} s later", began.elapsed().as_secs_f32());
    scene.nothing_leaks().await
}
