//! Kubernetes' own gangs, alpha in 1.36, beside ours: kube-scheduler holds members back until enough of them have a
//! place, and so do we. Neither may wait for the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{bound, clear, times};
use crate::support::installed::{assert_granted_once, install_account, is_running, managed_namespace};
use crate::support::{
    ControlPlane, Gangplank, Installed, NodeTemplate, Options, apply_yaml, create_kwok_nodes, free_address, scheduler_config, wait_until,
};

const GATES: &str = "GenericWorkload=true,GangScheduling=true";
const MEMBERS: usize = 4;
/// Room for two gangs and a half: of several at once, some wait.
const NODES: u32 = 5;

/// A PodGroup and its pods, of four GPUs each.
fn gang(name: &str) -> String {
    let group = json!({
        "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": name},
        "spec": {"schedulingPolicy": {"gang": {"minCount": MEMBERS}}},
    });
    let pod = |member| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{name}-{member}")},
            "spec": {
                "schedulingGroup": {"podGroupName": name}, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "4"}}}],
            },
        })
    };
    let documents: Vec<Value> = std::iter::once(group).chain((0..MEMBERS).map(pod)).collect();
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_kubernetes_own_gangs_switched_on_every_gang_runs_and_nobody_waits_for_the_other_layer() -> Result<()> {
    // Twenty gangs, or three: two at a time, and then one more than there is room for.
    let gangs = times(20, 3);
    let port = free_address()?.port();
    let options = Options {
        scheduler_config_yaml: Some(scheduler_config(([127, 0, 0, 1], port).into())?),
        flags: vec![
            format!("--arg=kube-apiserver=--feature-gates={GATES}"),
            "--arg=kube-apiserver=--runtime-config=scheduling.k8s.io/v1alpha2=true".to_owned(),
            format!("--arg=kube-scheduler=--feature-gates={GATES}"),
        ],
        ..Options::default()
    };
    let Some(control_plane) = ControlPlane::start_or_skip("Kubernetes' own gangs", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, NODES, &NodeTemplate::default()).await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    Installed::install(&client).await?;
    let mut gangplank = Gangplank::start_at(&control_plane, &kubeconfig, port, &[])?;
    gangplank.wait_ready().await?;
    let namespace = managed_namespace(&client, "native").await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut ran_after_ms = Vec::new();
    for first in (0..gangs).step_by(3) {
        let batch: Vec<String> = (first..gangs.min(first + 3)).map(|index| format!("gang-{index}")).collect();
        let began = Instant::now();
        for name in &batch {
            apply_yaml(&client, &namespace, &gang(name)).await?;
        }
        let mut left = batch.clone();
        while !left.is_empty() {
            let ran = wait_until("one more gang to run", Duration::from_secs(30), async || {
                let found = pods.list(&ListParams::default()).await?.items;
                assert_granted_once(&found);
                let whole = |name: &&String| {
                    let members: Vec<&Pod> = found.iter().filter(|pod| super::gang_of(&pod.name_any()) == **name).collect();
                    members.len() == MEMBERS && members.iter().all(|pod| is_running(pod))
                };
                Ok(left.iter().find(whole).cloned())
            })
            .await;
            let found = pods.list(&ListParams::default()).await?.items;
            let ran = ran.with_context(|| format!("{:?}\n{}", bound(&found), gangplank.log()))?;
            ran_after_ms.push(began.elapsed().as_millis());
            // One that waits is not begun: not one of its members is bound.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = bound(&pods.list(&ListParams::default()).await?.items);
            ensure!(now.values().all(|bound| *bound == 0 || *bound == MEMBERS), "in part: {now:?}");
            for member in 0..MEMBERS {
                pods.delete(&format!("{ran}-{member}"), &kube::api::DeleteParams::default().grace_period(0)).await?;
            }
            left.retain(|name| *name != ran);
        }
        clear(&client, &namespace).await?;
    }
    ran_after_ms.sort_unstable();
    eprintln!("{} of {gangs} gangs ran, after {ran_after_ms:?} ms", ran_after_ms.len());
    ensure!(ran_after_ms.len() == gangs);
    Ok(())
}
