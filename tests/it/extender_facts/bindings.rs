//! What the API server makes of a Binding.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::recorder::accept;
use super::scene::Scene;

/// The devices of a pod are written with its node or not at all, and nobody binds it twice. A Binding of a gated pod, or of
/// one that took the name of the pod we mean, does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_writes_node_annotations_and_labels_at_once_and_only_on_the_pod_it_means() -> Result<()> {
    let Some(scene) = Scene::open("a Binding writes node and annotations", 2, "8", accept).await? else { return Ok(()) };
    let bind = async |pod: &Pod, uid: &str| -> Result<Pod, kube::Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "target": {"apiVersion": "v1", "kind": "Node", "name": scene.nodes[1]},
            "metadata": {"name": name, "namespace": scene.namespace, "uid": uid,
                         "annotations": {"example.com/devices": "0,3"}, "labels": {"example.com/bound-by": "test"}},
        });
        let url = format!("/api/v1/namespaces/{}/pods/{name}/binding", scene.namespace);
        let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
        let request = axum::http::Request::post(url).header("content-type", "application/json").body(body);
        scene.client.request_status::<Pod>(request.map_err(kube::Error::HttpError)?).await?;
        scene.pods().get(name).await
    };
    // Nobody else binds it: no scheduler has this name.
    let spec = "schedulerName: nobody, containers: [{name: main, image: none}]";
    let yaml = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: bound, annotations: {{example.com/mine: kept}}}}, spec: {{{spec}}}}}\n---\n
         {{apiVersion: v1, kind: Pod, metadata: {{name: gated}}, spec: {{schedulingGates: [{{name: example.com/gate}}], {spec}}}}}"
    );
    crate::support::apply_yaml(&scene.client, &scene.namespace, &yaml).await?;
    scene.nominate("bound", &scene.nodes[0]).await?;

    let pod = scene.pods().get("bound").await?;
    let uid = pod.metadata.uid.clone().context("no UID")?;
    assert_conflict(&bind(&pod, "00000000-0000-0000-0000-000000000000").await);
    let bound = bind(&pod, &uid).await?;
    assert_eq!(bound.spec.and_then(|spec| spec.node_name).as_deref(), Some(scene.nodes[1].as_str()));
    let annotations = bound.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations.get("example.com/devices").map(String::as_str), Some("0,3"));
    assert_eq!(annotations.get("example.com/mine").map(String::as_str), Some("kept"));
    assert_eq!(bound.metadata.labels.unwrap_or_default().get("example.com/bound-by").map(String::as_str), Some("test"));
    assert_eq!(bound.status.and_then(|status| status.nominated_node_name), None);
    assert_conflict(&bind(&pod, &uid).await);

    let gated = scene.pods().get("gated").await?;
    assert_conflict(&bind(&gated, gated.metadata.uid.as_deref().unwrap_or_default()).await);
    Ok(())
}

fn assert_conflict(outcome: &Result<Pod, kube::Error>) {
    assert!(matches!(outcome, Err(kube::Error::Api(status)) if status.code == 409), "{outcome:?}");
}
