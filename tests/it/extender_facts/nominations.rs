//! A nominated node of a pod that is still gated.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::recorder::accept;
use super::scene::{Scene, say};
use crate::support::apply_yaml;

const CLASSES: &str = "
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: facts-above}, value: 10}
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: facts-below}, value: -10}
";

/// Each node takes one of these pods and no second one.
const CPU: &str = "6";

fn on(node: &str, more: &str) -> String {
    format!("nodeSelector: {{kubernetes.io/hostname: {node}}}{more}")
}

/// A nomination keeps CPU and memory for a gang's member before it is let go, but a scheduler that starts anew does not know
/// until it sees the pod change: whoever relies on it writes to its gated pods after the scheduler's restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gated_pods_nomination_keeps_its_cpu_from_lower_and_equal_priority_until_the_scheduler_restarts() -> Result<()> {
    let Some(mut scene) = Scene::open("a gated pod's nomination keeps its CPU", 5, "8", accept).await? else { return Ok(()) };
    apply_yaml(&scene.client, &scene.namespace, CLASSES).await?;
    let nodes = scene.nodes.clone();
    for (index, node) in nodes.iter().enumerate() {
        let gated = format!("gated-{index}");
        scene.create_pod(&gated, CPU, "schedulingGates: [{name: example.com/gate}]").await?;
        scene.nominate(&gated, node).await?;
    }
    // The nominations are on their way to the scheduler.
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.create_pod("equal", CPU, &on(&nodes[0], "")).await?;
    scene.create_pod("below", CPU, &on(&nodes[1], ", priorityClassName: facts-below")).await?;
    scene.create_pod("above", CPU, &on(&nodes[2], ", priorityClassName: facts-above")).await?;
    for pod in ["equal", "below"] {
        let reason = scene.reason_of(pod).await?;
        say(&format!("{pod}: {reason:?}"));
        assert!(reason.contains("Insufficient cpu"), "{pod}: {reason}");
        assert!(scene.recorder.calls_of("filter", pod).is_empty(), "{pod} got as far as the extender");
    }
    assert_eq!(scene.node_of("above").await?, nodes[2], "higher priority passes over a nomination");

    scene.restart_scheduler().await?;
    for (pod, node) in [("equal", &nodes[0]), ("below", &nodes[1])] {
        assert_eq!(&scene.node_of(pod).await?, node, "the new scheduler knows of no nomination");
    }
    // Any change of the gated pod tells it.
    scene.patch("gated-3", json!({"metadata": {"annotations": {"example.com/touched": "1"}}})).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.create_pod("touched", CPU, &on(&nodes[3], "")).await?;
    scene.create_pod("untouched", CPU, &on(&nodes[4], "")).await?;
    assert_eq!(scene.node_of("untouched").await?, nodes[4]);
    assert!(scene.reason_of("touched").await?.contains("Insufficient cpu"));
    Ok(())
}
