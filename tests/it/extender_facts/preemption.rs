//! When kube-scheduler preempts with an extender in the room.

use std::time::Duration;

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use super::recorder::{Call, accept, refuse};
use super::scene::{Scene, long_or_skip, say};
use crate::support::apply_yaml;

const CONSTANT: &str = "no node has free devices";
const CLASSES: &str = "
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: facts-high}, value: 100}
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: facts-low}, value: -100}
";

/// What one pod cost that the extender refused everywhere, with a victim on every node.
struct Cost {
    filter_calls: usize,
    preempt_calls: usize,
    message_bytes: usize,
    message_start: String,
}

/// Puts a pod of low priority on every node, past the scheduler, which would take its time.
async fn fill(scene: &Scene, cpu: &str) -> Result<()> {
    apply_yaml(&scene.client, &scene.namespace, CLASSES).await?;
    stream::iter(scene.nodes.iter().enumerate())
        .map(|(index, node)| async move {
            let spec = format!("nodeName: {node}, priorityClassName: facts-low");
            scene.create_pod(&format!("victim-{index}"), cpu, &spec).await
        })
        .buffer_unordered(16)
        .try_collect()
        .await
}

async fn refused_everywhere(test: &str, nodes: u32, map: &'static str, window: Duration) -> Result<Option<Cost>> {
    let script = move |call: &Call| match call.verb.as_str() {
        "filter" => refuse(call, map, CONSTANT),
        _ => accept(call),
    };
    let Some(scene) = Scene::open(test, nodes, "8", script).await? else { return Ok(None) };
    fill(&scene, "1").await?;
    // The scheduler must have seen the victims, or it finds nodes without any.
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.create_pod("refused", "1", "priorityClassName: facts-high").await?;
    let message = scene.reason_of("refused").await?;
    tokio::time::sleep(window).await;
    Ok(Some(Cost {
        filter_calls: scene.recorder.calls_of("filter", "refused").len(),
        preempt_calls: scene.recorder.calls_of("preempt", "refused").len(),
        message_bytes: message.len(),
        message_start: message.chars().take(400).collect(),
    }))
}

/// For each node that `FailedNodes` names, kube-scheduler tries who could go, finds that its own filters need nobody to go,
/// and writes a line about it into the pod, in an order that changes from time to time. Hence what only we see goes to
/// `FailedAndUnresolvableNodes`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_nodes_for_what_only_the_extender_lacks_fills_the_pod_with_a_line_a_node_and_never_asks_preempt() -> Result<()> {
    let test = "FailedNodes for what only the extender lacks";
    let mut sizes = Vec::new();
    let counts: &[u32] =
        if long_or_skip("200, 1,000 and 5,000 nodes of the test of FailedNodes") { &[5, 50, 200, 1000, 5000] } else { &[5, 50] };
    for &nodes in counts {
        let Some(cost) = refused_everywhere(test, nodes, "FailedNodes", Duration::from_secs(2)).await? else { return Ok(()) };
        say(&format!("FailedNodes, {nodes} nodes: {} B, {} filter calls, {:?}", cost.message_bytes, cost.filter_calls, cost.message_start));
        assert_eq!(cost.preempt_calls, 0);
        assert!(cost.message_start.contains("expected at least one victim pod on node"), "{}", cost.message_start);
        sizes.push((nodes as usize, cost.message_bytes, cost.filter_calls));
    }
    let (few, many) = (sizes[0], sizes[1]);
    let per_node = (many.1 - few.1) / (many.0 - few.0);
    assert!((40..120).contains(&per_node), "{per_node} B a node: {sizes:?}");
    assert!(many.2 > 5, "{sizes:?}: the order of the lines used to change and wake the pod");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_refusal_as_unresolvable_is_short_and_rests() -> Result<()> {
    let test = "FailedAndUnresolvableNodes for what only the extender lacks";
    let Some(cost) = refused_everywhere(test, 50, "FailedAndUnresolvableNodes", Duration::from_secs(2)).await? else { return Ok(()) };
    say(&format!("unresolvable, 50 nodes: {} B, {} filter calls, {:?}", cost.message_bytes, cost.filter_calls, cost.message_start));
    assert!(cost.filter_calls <= 2, "{} calls", cost.filter_calls);
    assert_eq!(cost.preempt_calls, 0);
    assert!(cost.message_bytes < 300, "{}", cost.message_start);
    Ok(())
}

/// The veto that `deploy` relies on: no eviction for CPU on a node whose devices would not do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preempt_is_asked_with_uids_for_a_lack_kube_scheduler_sees_and_an_empty_answer_vetoes() -> Result<()> {
    let script = |call: &Call| match call.verb.as_str() {
        "preempt" => json!({"NodeNameToMetaVictims": {}}),
        _ => accept(call),
    };
    let Some(scene) = Scene::open("preempt is asked, and its veto holds", 5, "8", script).await? else { return Ok(()) };
    fill(&scene, "6").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.create_pod("preemptor", "6", "priorityClassName: facts-high").await?;
    let reason = scene.reason_of("preemptor").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = scene.recorder.calls_of("preempt", "preemptor");
    assert!(!calls.is_empty() && calls.len() <= 2, "{} calls", calls.len());
    let body = calls[0].json()?;
    say(&format!("preempt: {reason:?}, {} B, {}", calls[0].body.len(), body["NodeNameToMetaVictims"]));
    assert_eq!(calls[0].nodes.len(), 5);
    assert!(body["NodeNameToVictims"].is_null());
    for node in &scene.nodes {
        let victims = &body["NodeNameToMetaVictims"][node];
        assert_eq!(victims["Pods"].as_array().map(Vec::len), Some(1), "{victims}");
        assert_eq!(victims["Pods"][0]["UID"].as_str().map(str::len), Some(36), "{victims}");
        assert_eq!(victims["NumPDBViolations"], 0);
    }
    assert!(scene.recorder.calls_of("filter", "preemptor").is_empty(), "no node passed kube-scheduler's own filters");
    let pods = scene.pods().list(&kube::api::ListParams::default()).await?;
    assert_eq!(pods.items.len(), 6);
    assert!(pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()), "a victim goes in spite of the veto");
    Ok(())
}
