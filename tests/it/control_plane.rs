//! What the tests against a real control plane take for granted.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::GroupVersionKind;
use kube::{Api, Client};

use crate::support::{ControlPlane, NodeTemplate, Options, SecondScheduler, apply_yaml, create_kwok_nodes, create_namespace, wait_until};

const TIMEOUT: Duration = Duration::from_secs(30);

async fn wait_for_running_pods(client: &Client, namespace: &str, selector: &str, count: usize) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    wait_until(&format!("{count} running pods of {selector}"), TIMEOUT, async || {
        let mut running = pods.list(&ListParams::default().labels(selector)).await?.items;
        running.retain(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"));
        Ok((running.len() == count).then_some(running))
    })
    .await
}

#[tokio::test]
async fn a_plain_pod_runs_on_a_kwok_node_through_the_default_scheduler() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("a plain pod runs on a KWOK node") else { return Ok(()) };
    let client = control_plane.client().await?;
    let namespace = create_namespace(&client, "plain").await?;
    let pod = r"
apiVersion: v1
kind: Pod
metadata: {name: plain, labels: {app: plain}}
spec:
  containers:
  - {name: main, image: none, resources: {limits: {nvidia.com/gpu: 2}}}
";
    apply_yaml(&client, &namespace, pod).await?;
    let running = wait_for_running_pods(&client, &namespace, "app=plain", 1).await?;
    let node = running[0].spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    assert!(node.starts_with("gpu-node-"), "it runs on {node:?}");
    Ok(())
}

#[tokio::test]
async fn a_job_and_a_deployment_make_pods() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("a Job and a Deployment make pods") else { return Ok(()) };
    let client = control_plane.client().await?;
    let namespace = create_namespace(&client, "workloads").await?;
    let workloads = r"
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  parallelism: 2
  completions: 2
  template:
    metadata: {labels: {app: job}}
    spec: {restartPolicy: Never, containers: [{name: main, image: none}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: deployment}
spec:
  replicas: 3
  selector: {matchLabels: {app: deployment}}
  template:
    metadata: {labels: {app: deployment}}
    spec: {containers: [{name: main, image: none}]}
";
    assert_eq!(apply_yaml(&client, &namespace, workloads).await?.len(), 2);
    wait_for_running_pods(&client, &namespace, "app=job", 2).await?;
    wait_for_running_pods(&client, &namespace, "app=deployment", 3).await?;
    Ok(())
}

#[tokio::test]
async fn mutating_admission_policies_are_served_as_v1() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("MutatingAdmissionPolicy v1 is served") else {
        return Ok(());
    };
    let client = control_plane.client().await?;
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy");
    let (resource, _) = kube::discovery::pinned_kind(&client, &kind).await?;
    assert_eq!(resource.plural, "mutatingadmissionpolicies");
    Ok(())
}

#[tokio::test]
async fn a_tenant_has_no_rights_and_a_service_account_is_itself() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("a tenant has no rights") else { return Ok(()) };
    let tenant = control_plane.client_as("tenant").await?;
    let refusal = Api::<Pod>::namespaced(tenant, "default").list(&ListParams::default()).await;
    assert!(matches!(&refusal, Err(kube::Error::Api(status)) if status.code == 403), "{refusal:?}");
    let account = control_plane.client_as_service_account("default", "default").await?;
    let refusal = Api::<Pod>::namespaced(account, "default").list(&ListParams::default()).await;
    let Err(kube::Error::Api(status)) = refusal else { panic!("{refusal:?}") };
    assert!(status.message.contains("system:serviceaccount:default:default"), "{}", status.message);
    Ok(())
}

#[tokio::test]
async fn a_second_scheduler_places_the_pods_that_name_it() -> Result<()> {
    // Its own control plane: components are stopped here.
    let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("a second scheduler places pods", &options) else {
        return Ok(());
    };
    let client = control_plane.client().await?;
    let template = NodeTemplate { name_prefix: "small".to_owned(), gpu_count: 1, ..NodeTemplate::default() };
    assert_eq!(create_kwok_nodes(&client, 3, &template).await?.len(), 3);
    let config = "{profiles: [{schedulerName: other-scheduler}]}";
    let scheduler = SecondScheduler::start(&control_plane, config).await?;
    let pod = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}},
              spec: {{schedulerName: other-scheduler, containers: [{{name: main, image: none}}]}}}}"
        )
    };
    apply_yaml(&client, "default", &pod("first")).await?;
    wait_for_running_pods(&client, "default", "app=first", 1).await?;

    let before = control_plane.pid("kwok");
    control_plane.restart("kwok")?;
    assert_ne!(control_plane.pid("kwok"), before);
    apply_yaml(&client, "default", &pod("second")).await?;
    wait_for_running_pods(&client, "default", "app=second", 1).await?;

    scheduler.kill()?;
    apply_yaml(&client, "default", &pod("third")).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let third = Api::<Pod>::namespaced(client, "default").get("third").await?;
    assert_eq!(third.spec.and_then(|spec| spec.node_name), None, "nobody is left to place it");
    Ok(())
}
