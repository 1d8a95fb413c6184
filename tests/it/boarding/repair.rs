//! Nodes that are lost while a gang of sixteen runs on them, one, two and four at once, not ready, silent or gone, with spares
//! in its rack and without: it is repaired, or goes back whole, within 30 s, and ranks are kept. What is left on the nodes is ended
//! by force once they are gone or out of service, and holds its devices until then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gangplank::cluster::KubeWriter;
use gangplank::engine::{Effect, PodRef};
use gangplank::host::{WriteError, Writer};
use gangplank::model::PodKey;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::scene::{Scene, is_gated};
use crate::support::installed::node_of;
use crate::support::{ControlPlane, NodeTemplate, Options, create_nodes, wait_until};

const MEMBERS: usize = 16;
const SPARES: usize = 4;
/// From the loss of the node on.
const WITHIN: Duration = Duration::from_secs(30);
const READY: &str = "testcluster.gangplank.dev/ready";
const TERMINATE: &str = "testcluster.gangplank.dev/terminate-after";
/// The same nodes are lost again and again.
const RACKS: &str = "apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: racks\nfabric: {levels: [{name: rack, nodeLabel: rack}]}\nrepair: {quarantine: {failures: 0}}\n";

/// How nodes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Is(&'static str),
    Deleted,
}

/// Of each number and each way one; all nine with `GANGPLANK_LONG`.
const LOSSES: [(usize, Loss); 3] = [(1, Loss::Is("False")), (2, Loss::Is("Unknown")), (4, Loss::Deleted)];

fn losses() -> Vec<(usize, Loss)> {
    if std::env::var_os("GANGPLANK_LONG").is_none() {
        return LOSSES.to_vec();
    }
    let [one, two, four] = LOSSES;
    [one.0, two.0, four.0].into_iter().flat_map(|count| [one.1, two.1, four.1].map(|loss| (count, loss))).collect()
}

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
                let patch = json!({"metadata": {"annotations": {READY: null}}, "spec": {"taints": null}});
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

/// What is left on lost nodes holds its devices as long as nobody knows whether it runs, and is ended by force then. After how long.
async fn see_them_end(scene: &mut Scene, job: &str, nodes: &[String], loss: Loss) -> Result<Duration> {
    let pods = scene.pods.clone();
    let left = async || -> Result<Vec<Pod>> {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok(all.into_iter().filter(|pod| node_of(pod).is_some_and(|node| nodes.iter().any(|lost| lost == node))).collect())
    };
    if loss != Loss::Deleted {
        let there = left().await?;
        ensure!(there.len() == nodes.len(), "nobody knows whether they still run: {} of {}", there.len(), nodes.len());
        let held = scene.places().await?;
        ensure!(nodes.iter().all(|node| held.values().any(|place| place == node)), "their devices are held: {held:?}");
        let log = scene.installed.gangplank.log();
        ensure!(there.iter().all(|pod| forced(&log, &pod.name_any()) == 0), "too early: {log}");
        for node in nodes {
            let taints = json!([{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]);
            let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
            scene.nodes.patch(node, &PatchParams::default(), &patch).await?;
        }
    }
    let began = Instant::now();
    let waited = wait_until("what was left on lost nodes to be ended", WITHIN, async || Ok(left().await?.is_empty().then_some(()))).await;
    if let Err(error) = waited {
        return Err(error.context(scene.story().await));
    }
    if loss == Loss::Deleted {
        let log = scene.installed.gangplank.log();
        ensure!(forced(&log, job) >= nodes.len(), "by us: the garbage collector of pods waits for 40 s: {log}");
    }
    Ok(began.elapsed())
}

/// How often pods whose names begin so were ended by force.
fn forced(log: &str, name: &str) -> usize {
    log.lines().filter(|line| line.contains("evicting a pod") && line.contains(&format!("/{name}")) && line.contains("force=true")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_spares_in_its_rack_a_gang_is_repaired_with_its_ranks() -> Result<()> {
    let Some(mut scene) = Scene::start("repair with spares", boxes(MEMBERS + SPARES), Some(RACKS)).await? else { return Ok(()) };
    for (run, (count, loss)) in losses().into_iter().enumerate() {
        let name = format!("train-{run}");
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
        let left = see_them_end(&mut scene, &name, &lost, loss).await?;
        eprintln!("    what was left on them is gone {:.1} s later", left.as_secs_f32());
        bring_back(&scene, &lost, loss).await?;
        scene.delete_job(&name).await?;
        scene.nothing_leaks().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_spares_a_gang_goes_back_whole_and_starts_again_when_there_is_room() -> Result<()> {
    let Some(mut scene) = Scene::start("repair without spares", boxes(MEMBERS), Some(RACKS)).await? else { return Ok(()) };
    for (run, (count, loss)) in losses().into_iter().enumerate() {
        let name = format!("train-{run}");
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
        let left = see_them_end(&mut scene, &name, &lost, loss).await?;
        eprintln!("    what was left on them is gone {:.1} s later", left.as_secs_f32());
        bring_back(&scene, &lost, loss).await?;
        let pods = scene.bound(&name, MEMBERS).await?;
        ensure!(ranks(&members(&pods)) == before, "ranks");
        scene.delete_job(&name).await?;
        scene.nothing_leaks().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_that_was_meant_for_a_pod_spares_the_next_one_of_its_name() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("evictions", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "worker-0"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "none"}]},
    }))?;
    let uid = pods.create(&PostParams::default(), &pod).await?.uid().context("a pod without a UID")?;
    let writer = KubeWriter::new(client, "test".into());
    let evict =
        |uid: &str| Effect::Evict { pod: PodRef { key: PodKey::new("default", "worker-0"), uid: uid.into() }, why: "a test", force: false };
    let refused = writer.carry_out(&evict("dddddddd-0000-0000-0000-000000000000")).await;
    ensure!(matches!(refused, Err(WriteError::Conflict(_))), "{refused:?}");
    ensure!(pods.get("worker-0").await?.metadata.deletion_timestamp.is_none());
    writer.carry_out(&evict(&uid)).await?;
    wait_until("the pod to go", WITHIN, async || {
        let there = pods.get_opt("worker-0").await?;
        Ok(there.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()).then_some(()))
    })
    .await
}
