//! Places that kube-scheduler refuses for reasons of its own: a volume that lies in one zone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::clear;
use crate::support::installed::{assert_granted_once, is_running, managed_namespace, node_of};
use crate::support::volumes::{Bound, ZONE, apply, volume_in};
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, create_kwok_nodes, wait_until};

/// Each zone is one rack here.
const RACK: &str = "fabric.topograph.run/tier-0";
const MEMBERS: usize = 4;
const RUNS_WITHIN: Duration = Duration::from_secs(40);

/// The pod of a member with four GPUs, and with a claim where it has one.
fn template(claim: Option<&str>, annotations: &Value) -> Value {
    let volumes: Vec<Value> = claim.iter().map(|name| json!({"name": "data", "persistentVolumeClaim": {"claimName": name}})).collect();
    json!({
        "metadata": {"annotations": annotations},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "volumes": volumes,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "4"}}}],
        },
    })
}

/// Watches a gang until it runs; the nodes that its members were nominated to on the way, and where they run.
async fn runs(pods: &Api<Pod>) -> Result<(BTreeSet<String>, BTreeMap<String, String>)> {
    let mut nominated = BTreeSet::new();
    let running = wait_until("the gang to run", RUNS_WITHIN, async || {
        let found = pods.list(&ListParams::default()).await?.items;
        assert_granted_once(&found);
        nominated.extend(found.iter().filter_map(|pod| pod.status.as_ref()?.nominated_node_name.clone()));
        let all = found.len() == MEMBERS && found.iter().all(is_running);
        Ok(all.then(|| found.iter().filter_map(|pod| Some((pod.name_any(), node_of(pod)?.to_owned()))).collect()))
    })
    .await;
    let seen = pods.list(&ListParams::default()).await?.items;
    let seen: Vec<_> = seen.iter().map(|pod| (pod.name_any(), node_of(pod).map(str::to_owned), pod.status.clone())).collect();
    Ok((nominated, running.with_context(|| format!("{seen:?}"))?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_whose_planned_nodes_lack_a_volumes_zone_is_planned_anew_and_runs() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("a volume in another zone", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    // The planner sees no difference between the zones and takes the first: that is the wrong one.
    for zone in ["a", "b"] {
        let labels = [(ZONE.to_owned(), zone.to_owned()), (RACK.to_owned(), zone.to_owned())].into();
        let template = NodeTemplate { name_prefix: format!("zone-{zone}"), labels, ..NodeTemplate::default() };
        create_kwok_nodes(&client, 4, &template).await?;
    }
    let installed = Installed::start(&control_plane, &client).await?;
    for (namespace, topology) in [("anywhere", json!({})), ("one-rack", json!({"gangplank.dev/topology-required": "rack"}))] {
        let namespace = managed_namespace(&client, namespace).await?;
        apply(&client, &namespace, &volume_in(&namespace, "data", "b", Bound::WithPod)).await?;
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"},
            "spec": {"parallelism": MEMBERS, "completions": MEMBERS, "backoffLimit": 0, "template": template(Some("data"), &topology)},
        });
        let began = Instant::now();
        apply(&client, &namespace, &[job]).await?;
        let (nominated, nodes) = runs(&Api::namespaced(client.clone(), &namespace)).await.with_context(|| installed.gangplank.log())?;
        eprintln!("{namespace}: nominated {nominated:?}, ran after {:?}", began.elapsed());
        // The first Job is planned in the wrong zone: the cluster is empty. Devices of the one before may not be free yet for the next.
        ensure!(
            namespace.starts_with("one-rack") || nominated.iter().any(|node| node.starts_with("zone-a")),
            "planned in zone b: {nominated:?}"
        );
        ensure!(nodes.values().all(|node| node.starts_with("zone-b")), "{nodes:?}");
        clear(&client, &namespace).await?;
    }

    // One member of four, the last to be created, has a volume whose place can be known: the first plan is the right one. Nobody would
    // make these pods again.
    for (namespace, topology) in [("one-member", json!({})), ("one-member-one-rack", json!({"gangplank.dev/topology-required": "rack"}))] {
        let namespace = managed_namespace(&client, namespace).await?;
        apply(&client, &namespace, &volume_in(&namespace, "data", "b", Bound::Before)).await?;
        let mut gang = json!({"gangplank.dev/gang": "train", "gangplank.dev/gang-size": MEMBERS.to_string()});
        gang.as_object_mut().context("annotations")?.extend(topology.as_object().cloned().unwrap_or_default());
        let pods: Vec<Value> = (0..MEMBERS)
            .map(|member| {
                let mut pod = template((member == MEMBERS - 1).then_some("data"), &gang);
                (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = (json!("v1"), json!("Pod"), json!(format!("train-{member}")));
                pod
            })
            .collect();
        let began = Instant::now();
        apply(&client, &namespace, &pods).await?;
        let (nominated, nodes) = runs(&Api::namespaced(client.clone(), &namespace)).await.with_context(|| installed.gangplank.log())?;
        eprintln!("{namespace}: nominated {nominated:?}, ran after {:?} on {nodes:?}", began.elapsed());
        ensure!(nodes["train-3"].starts_with("zone-b"), "{nodes:?}");
        let anywhere = namespace == "one-member";
        ensure!(anywhere || nominated.iter().chain(nodes.values()).all(|node| node.starts_with("zone-b")), "{nominated:?} {nodes:?}");
        clear(&client, &namespace).await?;
    }
    Ok(())
}
