//! `gangplank uninstall` on the real API server: our admission goes, gates come off, everybody else's stays.

use std::process::Command;

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, ValidatingAdmissionPolicy, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use crate::support::{ControlPlane, Options, apply_yaml, create_namespace};

const OURS: [&str; 5] = [
    include_str!("../../deploy/admission/guard-annotations.yaml"),
    include_str!("../../deploy/admission/guard-namespaces.yaml"),
    include_str!("../../deploy/admission/mutate-pods.yaml"),
    include_str!("../../deploy/admission/mutate-templates.yaml"),
    include_str!("../../deploy/admission/validate-amounts.yaml"),
];

/// One of ours by its label, one of somebody else.
const WEBHOOKS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: older-clusters, labels: {app.kubernetes.io/part-of: gangplank}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: somebody-elses}
";

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: gated}
spec:
  schedulerName: gangplank
  schedulingGates: [{name: example.com/theirs}, {name: gangplank.dev/gang}]
  containers: [{name: main, image: registry.example/main:1}]
---
apiVersion: v1
kind: Pod
metadata: {name: share}
spec:
  schedulerName: gangplank
  schedulingGates: [{name: gangplank.dev/gang}] # as admission sets it, whose policies may not be in force yet
  containers: [{name: main, image: registry.example/main:1, resources: {limits: {gangplank.dev/gpu-milli: 500}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  containers: [{name: main, image: registry.example/main:1}]
";

#[tokio::test]
async fn uninstall_takes_our_admission_out_and_hands_waiting_pods_back() -> Result<()> {
    let Some(plane) = ControlPlane::start_or_skip("gangplank uninstall", &Options { nodes: 0, ..Options::default() }) else {
        return Ok(());
    };
    let client = plane.client().await?;
    let namespace = create_namespace(&client, "uninstall").await?;
    for yaml in OURS.iter().chain([&WEBHOOKS]) {
        apply_yaml(&client, &namespace, yaml).await?;
    }
    apply_yaml(&client, &namespace, PODS).await?;

    let counts = async || -> Result<[usize; 3]> {
        let all = ListParams::default();
        Ok([
            Api::<MutatingAdmissionPolicy>::all(client.clone()).list(&all).await?.items.len(),
            Api::<ValidatingAdmissionPolicy>::all(client.clone()).list(&all).await?.items.len(),
            Api::<ValidatingWebhookConfiguration>::all(client.clone()).list(&all).await?.items.len(),
        ])
    };
    let gates = async || -> Result<Vec<String>> {
        let pod = Api::<Pod>::namespaced(client.clone(), &namespace).get("gated").await?;
        Ok(pod.spec.and_then(|spec| spec.scheduling_gates).unwrap_or_default().into_iter().map(|gate| gate.name).collect())
    };

    let planned = run(&plane, &["--dry-run"])?;
    assert_eq!((counts().await?, gates().await?.len()), ([2, 3, 2], 2), "a dry run changes nothing");
    let done = run(&plane, &[])?;
    assert_eq!(planned["removed"], done["removed"]);
    assert_eq!(done["removed"].as_array().map(Vec::len), Some(11), "{done}");
    assert_eq!(done["ungated"], serde_json::json!([format!("{namespace}/gated"), format!("{namespace}/share")]));
    assert_eq!((counts().await?, gates().await?), ([0, 0, 1], vec!["example.com/theirs".to_owned()]));
    let waiting: Vec<&str> = done["waiting"].as_array().into_iter().flatten().filter_map(|pod| pod["pod"].as_str()).collect();
    assert_eq!(waiting, [format!("{namespace}/gated"), format!("{namespace}/share")]);

    let again = run(&plane, &[])?;
    assert_eq!(
        (&again["removed"], &again["ungated"]),
        (&serde_json::json!([]), &serde_json::json!([])),
        "the second time there is nothing to do"
    );
    Ok(())
}

fn run(plane: &ControlPlane, args: &[&str]) -> Result<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    command.arg("uninstall").args(args).args(["-o", "json", "--kubeconfig"]).arg(plane.kubeconfig());
    let output = command.output().context("running gangplank")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
