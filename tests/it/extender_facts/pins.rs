//! Gated pods that are let go with their node already chosen.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::recorder::{Call, accept, refuse};
use super::scene::Scene;

const GATED: &str = "schedulingGates: [{name: example.com/gate}]";
const QUIET: Duration = Duration::from_secs(1);

fn ungated() -> Value {
    json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": "example.com/gate"}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_patch_takes_the_gate_off_and_pins_the_pod_and_filter_is_asked_once_about_that_node() -> Result<()> {
    let Some(scene) = Scene::open("one patch ungates and pins", 5, "8", accept).await? else { return Ok(()) };
    scene.create_pod("pinned", "1", GATED).await?;
    let node = &scene.nodes[3];
    let mut patch = ungated();
    patch["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
    scene.patch("pinned", patch).await?;
    assert_eq!(&scene.node_of("pinned").await?, node);
    let calls = scene.settle(1, QUIET).await?;
    assert_eq!(calls.len(), 1, "{calls:?}: no prioritize for a single node");
    assert_eq!((calls[0].verb.as_str(), calls[0].nodes.as_slice()), ("filter", std::slice::from_ref(node)));

    // A gate goes for good, and so does the freedom to pin.
    scene.create_pod("free", "1", "").await?;
    scene.node_of("free").await?;
    assert!(scene.patch("free", json!({"spec": {"schedulingGates": [{"name": "example.com/late"}]}})).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nominated_node_is_asked_about_alone_and_the_others_only_when_it_is_refused() -> Result<()> {
    let script = |call: &Call| match (call.verb.as_str(), call.pod.as_str(), call.nodes.len()) {
        ("filter", "refused", 1) => refuse(call, "FailedAndUnresolvableNodes", "not this one"),
        _ => accept(call),
    };
    let Some(scene) = Scene::open("a nominated node is asked about alone", 5, "8", script).await? else { return Ok(()) };
    for pod in ["welcome", "refused"] {
        scene.create_pod(pod, "1", GATED).await?;
        scene.nominate(pod, &scene.nodes[2]).await?;
        scene.patch(pod, ungated()).await?;
        scene.node_of(pod).await?;
    }
    assert_eq!(scene.node_of("welcome").await?, scene.nodes[2]);
    let calls = scene.settle(4, QUIET).await?;
    let seen: Vec<_> = calls.iter().map(|call| (call.pod.as_str(), call.verb.as_str(), call.nodes.len())).collect();
    let expected = [("welcome", "filter", 1), ("refused", "filter", 1), ("refused", "filter", 5), ("refused", "prioritize", 5)];
    assert_eq!(seen, expected);
    Ok(())
}
