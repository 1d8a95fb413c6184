//! A node whose kubelet refuses the devices of pod after pod is given no more of them, until an operator says so. Pods that
//! fail by themselves do not bring that about.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use crate::support::installed::{is_running, node_of};
use crate::support::{NodeTemplate, wait_until};

fn boxes() -> Vec<Node> {
    let named = |name: &str| {
        let labels = [("box".to_owned(), name.to_owned())].into();
        NodeTemplate { labels, ..NodeTemplate::default() }.named(name.to_owned())
    };
    vec![named("bad"), named("good")]
}

async fn create(scene: &Scene, name: &str, on: Option<&str>) -> Result<()> {
    let selector = on.map_or(json!({}), |on| json!({"box": on}));
    let container = json!({"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}});
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "nodeSelector": selector, "containers": [container]});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    scene.pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

async fn bound(scene: &mut Scene, name: &str) -> Result<String> {
    let pods = scene.pods.clone();
    let waited = wait_until(&format!("{name} to be bound"), SOON, async || Ok(node_of(&pods.get(name).await?).map(str::to_owned))).await;
    match waited {
        Ok(node) => Ok(node),
        Err(error) => Err(error.context(scene.story().await)),
    }
}

/// Runs pods on `bad` that end as `status` says.
async fn fail(scene: &mut Scene, prefix: &str, count: usize, status: &Value) -> Result<()> {
    for at in 0..count {
        let name = format!("{prefix}-{at}");
        create(scene, &name, Some("bad")).await?;
        bound(scene, &name).await?;
        // KWOK's own word on a pod that it has just got would overwrite ours.
        let pods = &scene.pods;
        wait_until(&format!("{name} to run"), SOON, async || Ok(is_running(&pods.get(&name).await?).then_some(()))).await?;
        scene.pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    }
    Ok(())
}

async fn quarantine(scene: &mut Scene) -> Result<Value> {
    let view = scene.installed.gangplank.get("/api/v1/nodes").await?;
    let bad = view["nodes"].as_array().context("nodes")?.iter().find(|node| node["name"] == "bad").context("bad")?;
    Ok(bad["quarantine"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_refuses_devices_again_and_again_is_given_no_pods_until_an_operator_says_so() -> Result<()> {
    let Some(mut scene) = Scene::start("quarantine", boxes(), None).await? else { return Ok(()) };
    fail(&mut scene, "own-fault", 5, &json!({"phase": "Failed"})).await?;
    ensure!(quarantine(&mut scene).await?.is_null(), "how a pod's program ends says nothing about its node");
    let refused = json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "Allocate failed due to device plugin"});
    fail(&mut scene, "refused", 3, &refused).await?;
    wait_until("the quarantine", SOON, async || Ok(quarantine(&mut scene).await?["why"].as_str().map(str::to_owned))).await?;
    create(&scene, "waits", Some("bad")).await?;
    create(&scene, "elsewhere", None).await?;
    ensure!(bound(&mut scene, "elsewhere").await? == "good");
    let explained = wait_until("the reason", SOON, async || {
        let explained = scene.explained("waits").await?.to_string();
        Ok(explained.contains("in quarantine").then_some(explained))
    });
    explained.await?;
    ensure!(node_of(&scene.pods.get("waits").await?).is_none());
    let events: Api<Event> = Api::namespaced(scene.client.clone(), "default");
    let told = async |reason: &str| -> Result<bool> {
        let all = events.list(&ListParams::default().fields("regarding.kind=Node,regarding.name=bad")).await?;
        Ok(all.items.iter().any(|event| event.reason.as_deref() == Some(reason)))
    };
    wait_until("the Event on the node", SOON, async || Ok(told("NodeQuarantined").await?.then_some(()))).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"gangplank.dev/quarantine": "off"}}}));
    scene.nodes.patch("bad", &PatchParams::default(), &label).await?;
    ensure!(bound(&mut scene, "waits").await? == "bad");
    ensure!(quarantine(&mut scene).await?.is_null());
    wait_until("the Event of its end", SOON, async || Ok(told("NodeQuarantineEnded").await?.then_some(()))).await?;
    for name in ["waits", "elsewhere"] {
        scene.pods.delete(name, &DeleteParams::default()).await?;
    }
    scene.nothing_leaks().await
}
