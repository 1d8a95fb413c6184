//! Sixteen workers with eight devices each as a live spec, placed by Gangplank: suspended and resumed, a node lost, ended.
#![expect(clippy::print_stderr, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::companion::{Companion, install, specs, until};
use crate::support::installed::{assert_granted_once, granted, managed_namespace, node_of};
use crate::support::manifests::volume;
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_nodes, wait_until};

const NAME: &str = "distributed-training-job";
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_by_eight_gives_its_devices_back_and_gets_them_again_survives_a_node_and_completes() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("a live TrainingJob", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_nodes(&client, (0..17).map(|index| NodeTemplate::default().named(format!("node-{index:02}"))).collect()).await?;
    let installed = Installed::start(&control_plane, &client).await?;
    let kubeconfig = install(&control_plane, &client).await?;
    let namespace = managed_namespace(&client, "driven").await?;
    for claim in ["training-dataset", "model-checkpoint-store"] {
        apply_yaml(&client, &namespace, &volume(&namespace, claim)).await?;
    }
    let mut companion = Companion::start(&control_plane, &kubeconfig, &["--lease=gangplank-system/gangplank-provision", "--identity=a"])?;
    ensure!(companion.ready().await?.starts_with("ok"));
    let played = async {
        play(&client, &namespace, &companion).await?;
        grow_and_shrink(&client, &namespace).await
    };
    let played = played.await;
    played.with_context(|| companion.log()).with_context(|| installed.gangplank.log())
}

async fn play(client: &kube::Client, namespace: &str, companion: &Companion) -> Result<()> {
    let jobs = specs(client, namespace, "TrainingJob");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let all = async || -> Result<Vec<Pod>> { Ok(pods.list(&ListParams::default()).await?.items) };
    let running = |attempt: u32| move |status: &serde_json::Value| status["phase"] == "Running" && status["attempt"] == attempt;
    let patch =
        async |spec: serde_json::Value| jobs.patch(NAME, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.map(drop);
    let began = Instant::now();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/specs/train-sixteen-by-eight.yaml"))?;
    // What is left on the lost node is ended by force after this grace.
    let text = text + "  checkpoint: {path: /output, grace: 2s}\n";
    apply_yaml(client, namespace, &text).await?;
    until(&jobs, NAME, "sixteen workers", SOON, running(0)).await?;
    let first = all().await?;
    ensure!(first.len() == 16 && granted(&first).len() == 128, "{}", granted(&first).len());
    assert_granted_once(&first);
    eprintln!("sixteen by eight runs after {:.1} s", began.elapsed().as_secs_f32());

    patch(json!({"suspend": true})).await?;
    until(&jobs, NAME, "it to be suspended", SOON, |status| status["phase"] == "Suspended").await?;
    wait_until("its devices to be free", SOON, async || Ok(all().await?.is_empty().then_some(()))).await?;
    patch(json!({"suspend": false})).await?;
    until(&jobs, NAME, "its devices again", SOON, running(0)).await?;
    let second = all().await?;
    ensure!(second.len() == 16 && granted(&second).len() == 128);

    // The one node in seventeen that is left takes the lost worker's place; the others cannot go on without it.
    let began = Instant::now();
    let lost = node_of(&second[3]).context("a node")?.to_owned();
    Api::<Node>::all(client.clone()).delete(&lost, &DeleteParams::default()).await?;
    let status = until(&jobs, NAME, "all to begin anew", SOON, running(1)).await?;
    ensure!(status["failures"].is_null() || status["failures"] == 0, "a lost worker costs nothing: {status:#}");
    let third = all().await?;
    let uids = |pods: &[Pod]| pods.iter().filter_map(ResourceExt::uid).collect::<BTreeSet<_>>();
    ensure!(third.len() == 16 && uids(&third).is_disjoint(&uids(&second)), "all are new");
    ensure!(third.iter().all(|pod| node_of(pod).is_some_and(|node| node != lost)));
    assert_granted_once(&third);
    eprintln!("whole again {:.1} s after a node was lost", began.elapsed().as_secs_f32());

    let done = Patch::Merge(json!({"metadata": {"annotations": {"testcluster.gangplank.dev/complete-after": "1ms"}}}));
    for pod in &third {
        pods.patch(&pod.name_any(), &PatchParams::default(), &done).await?;
    }
    until(&jobs, NAME, "its end", SOON, |status| status["phase"] == "Succeeded").await?;
    let writes = companion.writes().await?;
    eprintln!("written: {writes:?}");
    ensure!(writes["training-job-start"] == 2 && writes["training-job-restart"] == 1, "{writes:?}");
    ensure!(writes.values().sum::<u64>() <= 18, "{writes:?}");
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let told = events.list(&ListParams::default()).await?.items;
    let told: BTreeSet<String> = told
        .into_iter()
        .filter(|event| event.reporting_controller.as_deref() == Some("gangplank-provision"))
        .filter_map(|event| event.reason)
        .collect();
    for reason in ["Started", "Running", "Suspended", "Resumed", "Restarting", "Succeeded"] {
        ensure!(told.contains(reason), "{reason}: {told:?}");
    }
    Ok(())
}

/// Sixteen boxes are left. Whoever is more urgent takes two of an elastic job's, and gives them back.
async fn grow_and_shrink(client: &kube::Client, namespace: &str) -> Result<()> {
    let jobs = specs(client, namespace, "TrainingJob");
    let spec = |name: &str, workers: &str, more: &str| {
        format!(
            "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: {name}}}\nspec: {{image: 'a/b:1', framework: pytorch, command: \
             [torchrun], workers: {workers}, accelerators: 'gpu:8', checkpoint: {{path: /out, grace: 1s}}, outputs: {{/out: model-checkpoint-store}}{more}}}\n"
        )
    };
    apply_yaml(client, namespace, "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: urgent}\nvalue: 1000\n").await?;
    apply_yaml(client, namespace, &spec("elastic", "'14..16'", "")).await?;
    let works = |count: u32| move |status: &serde_json::Value| status["phase"] == "Running" && status["workers"] == count;
    until(&jobs, "elastic", "all sixteen", SOON, works(16)).await?;
    let began = Instant::now();
    apply_yaml(client, namespace, &spec("urgent", "2", ", priority: urgent")).await?;
    until(&jobs, "urgent", "the urgent one to run", SOON, |status| status["phase"] == "Running").await?;
    until(&jobs, "elastic", "it to do with fourteen", SOON, works(14)).await?;
    eprintln!("two of sixteen workers gave way after {:.1} s", began.elapsed().as_secs_f32());
    jobs.delete("urgent", &DeleteParams::default()).await?;
    let status = until(&jobs, "elastic", "all sixteen again", SOON, works(16)).await?;
    ensure!(status["attempt"] == 0, "nobody was started again who could go on: {status:#}");
    Ok(())
}
