//! Nodes that are lost while a gang of sixteen runs on them, one, two and four at once, not ready, silent or gone, with spares
//! in its rack and without: it is repaired, or goes back whole, within 30 s, and ranks are kept.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::scene::{Scene, is_gated};
use crate::support::installed::node_of;
use crate::support::{NodeTemplate, create_nodes, wait_until};

const MEMBERS: usize = 16;
const SPARES: usize = 4;
/// From the loss of the node on.
const WITHIN: Duration = Duration::from_secs(30);
const READY: &str = "testcluster.gangplank.dev/ready";
const TERMINATE: &str = "testcluster.gangplank.dev/terminate-after";
const RACKS: &str = "apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: racks\nfabric: {levels: [{name: rack, nodeLabel: rack}]}\n";

/// How nodes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Is(&'static str),
    Deleted,
}

const LOSSES: [(usize, Loss); 3] = [(1, Loss::Is("False")), (2, Loss::Is("Unknown")), (4, Loss::Deleted)];

/// By completion index: UID, node, rank.
type Members = BTreeMap<String, (String, String, Option<String>)>;

fn boxes(count: usize) -> Vec<Node> {
    (0..count).map(node).collect()
}

fn node(index: usize) -> Node {
    let labels = [("rack".to_owned(), "r1".to_owned())].into();
    NodeTemplate { labels, ..NodeTemplate::default() }.named(format!("node-{index:02}"))
}

async fn create(scene: &Scene, name: &str) -> Result<()> {
    let container = json!({"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}});
    let annotations = json!({"gangplank.dev/topology-required": "rack"});
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [container]});
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"parallelism": MEMBERS, "completions": MEMBERS, "completionMode": "Indexed",
            "template": {"metadata": {"annotations": annotations}, "spec": spec}},
    }))?;
    scene.jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

fn members(pods: &[Pod]) -> Members {
    let of = |pod: &Pod| {
        let said = |key: &str| pod.annotations().get(key).cloned();
        let index = said("batch.kubernetes.io/job-completion-index").unwrap_or_default();
        (index, (pod.uid().unwrap_or_default(), node_of(pod).unwrap_or_default().to_owned(), said("gangplank.dev/rank")))
    };
    pods.iter().map(of).collect()
}

/// Loses so many of a gang's nodes at once, whose pods end only by force. Their names.
async fn lose(scene: &Scene, pods: &[Pod], count: usize, loss: Loss) -> Result<Vec<String>> {
    let victims: Vec<&Pod> = pods.iter().skip(3).step_by(3).take(count).collect();
    let mut nodes = Vec::new();
    for pod in &victims {
        // No kubelet ends them.
        let patch = json!({"metadata": {"annotations": {TERMINATE: "600s"}}});
        scene.pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        nodes.push(node_of(pod).context("a member without a node")?.to_owned());
    }
    for node in &nodes {
        match loss {
            Loss::Is(status) => {
                let patch = json!({"metadata": {"annotations": {READY: status}}});
                scene.nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            }
            Loss::Deleted => drop(scene.nodes.delete(node, &DeleteParams::default()).await?),
        }
    }
    Ok(nodes)
}

async fn bring_back(scene: &Scene, nodes: &[String], loss: Loss) -> Result<()> {
    for name in nodes {
        match loss {
            Loss::Is(_) => {
                let patch = json!({"metadata": {"annotations": {READY: null}}});
                scene.nodes.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            }
            Loss::Deleted => {
                let index: usize = name.trim_start_matches("node-").parse()?;
                create_nodes(&scene.client, vec![node(index)]).await?;
            }
        }
    }
    Ok(())
}

/// Pods on their way out that no kubelet ends.
async fn sweep(scene: &Scene) -> Result<()> {
    for pod in scene.pods.list(&ListParams::default()).await?.items {
        if pod.metadata.deletion_timestamp.is_some() {
            drop(scene.pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_spares_in_its_rack_a_gang_is_repaired_with_its_ranks() -> Result<()> {
    let Some(mut scene) = Scene::start("repair with spares", boxes(MEMBERS + SPARES), Some(RACKS)).await? else { return Ok(()) };
    for (count, loss) in LOSSES {
        let name = format!("train-{count}");
        create(&scene, &name).await?;
        let pods = scene.bound(&name, MEMBERS).await?;
        let before = members(&pods);
        let lost = lose(&scene, &pods, count, loss).await?;
        let began = Instant::now();
        let waited = wait_until("the gang to run on other nodes", 2 * WITHIN, async || {
            let now = members(&scene.pods_of(&name).await?);
            let whole = now.len() == MEMBERS && now.values().all(|(_, node, _)| !node.is_empty() && !lost.contains(node));
            Ok(whole.then_some(now))
        });
        let after = match waited.await {
            Ok(after) => after,
            Err(error) => return Err(error.context(scene.story().await)),
        };
        let took = began.elapsed();
        eprintln!("{count} of {MEMBERS} nodes lost ({loss:?}), with spares: whole after {:.1} s", took.as_secs_f32());
        ensure!(took < WITHIN, "{count} {loss:?}: {took:?}");
        for (index, (uid, node, rank)) in &before {
            let (uid_now, node_now, rank_now) = &after[index];
            ensure!(rank.is_some() && rank == rank_now, "index {index}: rank {rank:?}, then {rank_now:?}");
            // A Job puts off the successors of several that failed at once: then all go back, and none counts as failed.
            let stays = count == 1 && !lost.contains(node);
            ensure!(!stays || (uid, node) == (uid_now, node_now), "index {index}: nobody else moves");
        }
        let left: Vec<String> =
            scene.pods.list(&ListParams::default()).await?.items.iter().filter_map(|pod| Some(node_of(pod)?.to_owned())).collect();
        let stays = lost.iter().filter(|node| left.contains(node)).count();
        if loss != Loss::Deleted {
            ensure!(stays == count, "nobody knows whether they still run: {left:?}");
            let held = scene.places().await?;
            ensure!(lost.iter().all(|node| held.values().any(|place| place == node)), "their devices are held: {held:?}");
        }
        sweep(&scene).await?;
        bring_back(&scene, &lost, loss).await?;
        scene.delete_job(&name).await?;
        scene.nothing_leaks().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_spares_a_gang_goes_back_whole_and_starts_again_when_there_is_room() -> Result<()> {
    let Some(mut scene) = Scene::start("repair without spares", boxes(MEMBERS), Some(RACKS)).await? else { return Ok(()) };
    for (count, loss) in LOSSES {
        let name = format!("train-{count}");
        create(&scene, &name).await?;
        let pods = scene.bound(&name, MEMBERS).await?;
        let ranks = |members: &Members| members.iter().map(|(index, (_, _, rank))| (index.clone(), rank.clone())).collect::<Vec<_>>();
        let before = ranks(&members(&pods));
        let lost = lose(&scene, &pods, count, loss).await?;
        let began = Instant::now();
        let waited = wait_until("the whole gang to wait", 2 * WITHIN, async || {
            let pods = scene.pods_of(&name).await?;
            let suspended = scene.jobs.get(&name).await?.spec.and_then(|spec| spec.suspend) == Some(true);
            Ok((!suspended && pods.len() == MEMBERS && pods.iter().all(is_gated)).then_some(()))
        });
        if let Err(error) = waited.await {
            return Err(error.context(scene.story().await));
        }
        let took = began.elapsed();
        eprintln!("{count} of {MEMBERS} nodes lost ({loss:?}), without spares: back whole after {:.1} s", took.as_secs_f32());
        ensure!(took < WITHIN, "{count} {loss:?}: {took:?}");
        let failed = scene.jobs.get(&name).await?.status.and_then(|status| status.failed).unwrap_or(0);
        ensure!(failed == 0, "{failed} pods count as failed");
        sweep(&scene).await?;
        bring_back(&scene, &lost, loss).await?;
        let pods = scene.bound(&name, MEMBERS).await?;
        ensure!(ranks(&members(&pods)) == before, "ranks");
        scene.delete_job(&name).await?;
        scene.nothing_leaks().await?;
    }
    Ok(())
}
