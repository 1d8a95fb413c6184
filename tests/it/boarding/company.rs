//! Members that are unlike the others, gates of others beside ours, and what people are told of gangs that wait.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use crate::support::installed::{is_running, node_of, scheduling_message};
use crate::support::{NodeTemplate, program, wait_until};

const KUEUE: &str = "kueue.x-k8s.io/admission";

fn boxes(count: usize) -> Vec<k8s_openapi::api::core::v1::Node> {
    (0..count).map(|index| NodeTemplate::default().named(format!("node-{index}"))).collect()
}

/// A pod that belongs to a gang, with so many GPUs.
async fn create(scene: &Scene, gang: &str, size: usize, name: &str, gpus: u32, spec: Value) -> Result<()> {
    let limits = if gpus == 0 { json!({}) } else { json!({"nvidia.com/gpu": gpus.to_string()}) };
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"job-name": gang},
            "annotations": {"gangplank.dev/gang": gang, "gangplank.dev/gang-size": size.to_string()}},
        "spec": spec,
    });
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"] = json!([{"name": "main", "image": "none", "resources": {"limits": limits}}]);
    scene.pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await.with_context(|| name.to_owned())?;
    Ok(())
}

/// What a command of ours prints about the running server.
fn printed(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let server = scene.installed.gangplank.address().to_string();
    let output = std::process::Command::new(program()).args(arguments).args(["--server", &server]).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until a command prints all of these.
async fn prints(scene: &Scene, arguments: &[&str], wanted: &[&str]) -> Result<()> {
    let mut last = String::new();
    let outcome = wait_until(&format!("{arguments:?} to print {wanted:?}"), SOON, async || {
        last = printed(scene, arguments)?;
        Ok(wanted.iter().all(|text| last.contains(text)).then_some(()))
    })
    .await;
    outcome.with_context(|| last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_waits_for_its_launcher_which_asks_for_no_accelerators() -> Result<()> {
    let Some(mut scene) = Scene::start("a launcher and its workers", boxes(2), None).await? else { return Ok(()) };
    for worker in ["worker-0", "worker-1"] {
        create(&scene, "mpi", 3, worker, 8, json!({})).await?;
    }
    wait_until("the workers to wait for the launcher", SOON, async || {
        let waits = |pod: &Pod| scheduling_message(pod) == "gangplank: waiting for the other members of the group";
        let pods = scene.pods_of("mpi").await?;
        Ok((pods.len() == 2 && pods.iter().all(waits)).then_some(()))
    })
    .await?;
    create(&scene, "mpi", 3, "launcher", 0, json!({"schedulerName": "gangplank"})).await?;
    scene.bound("mpi", 3).await?;
    let places = scene.places().await?;
    ensure!(places.keys().eq(["worker-0", "worker-1"]), "the launcher holds nothing: {places:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_and_explain_tell_who_waits_for_what_and_a_gate_of_kueue_is_waited_for() -> Result<()> {
    let Some(mut scene) = Scene::start("who waits for what", boxes(2), None).await? else { return Ok(()) };
    let namespace = scene.namespace.clone();
    let named = |gang: &str| format!("{namespace}/{gang}");
    prints(&scene, &["queue"], &["no gang waits"]).await?;
    scene.create_job("first", 2, "8", json!({})).await?;
    scene.bound("first", 2).await?;
    scene.create_job("second", 2, "8", json!({})).await?;
    for name in ["third-0", "third-1"] {
        create(&scene, "third", 2, name, 8, json!({"schedulingGates": [{"name": KUEUE}]})).await?;
    }
    prints(&scene, &["queue"], &[&named("second"), "queued", "2/2", "2 lack free devices", &named("third"), "collecting", "0 of them"])
        .await?;
    let held = format!("held by  nvidia.com/gpu: gang {} (16)", named("first"));
    prints(&scene, &["explain", &named("second")], &["phase    queued", "members  2 wanted, 2 can start", &held]).await?;
    prints(&scene, &["explain", &named("third")], &["phase    collecting", "outside", "third-0", "third-1"]).await?;

    scene.delete_job("first").await?;
    scene.bound("second", 2).await?;
    scene.delete_job("second").await?;
    // There is room for it, and it is not ours to begin.
    scene.nothing_leaks().await?;
    admit(&scene, "third-0").await?;
    prints(&scene, &["explain", &named("third")], &["phase    collecting", "1 of them"]).await?;
    for pod in scene.pods_of("third").await? {
        let gates: Vec<String> =
            pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten()).map(|gate| gate.name.clone()).collect();
        let ours = gates.iter().any(|gate| gate == "gangplank.dev/gang");
        ensure!(ours && gates.iter().any(|gate| gate == KUEUE) == (pod.name_any() == "third-1"), "{}: {gates:?}", pod.name_any());
        ensure!(node_of(&pod).is_none());
    }
    admit(&scene, "third-1").await?;
    scene.bound("third", 2).await?;
    prints(&scene, &["queue"], &["no gang waits"]).await?;
    prints(&scene, &["explain", &named("third")], &["phase    bound", "rank 0   bound", "rank 1   bound"]).await
}

/// The watch leaves out pods that ended, so that an end arrives as a deletion: what became of the member is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_created_anew_do_not_wait_for_one_that_ended_well() -> Result<()> {
    let Some(mut scene) = Scene::start("one ended well", boxes(3), None).await? else { return Ok(()) };
    scene.create_job("train", 3, "8", json!({})).await?;
    scene.bound("train", 3).await?;
    let first = wait_until("them to run", SOON, async || {
        let pods = scene.pods_of("train").await?;
        Ok(pods.iter().all(is_running).then_some(pods))
    });
    let first = first.await?;
    for (pod, phase) in first.iter().zip(["Succeeded", "Failed", "Failed"]) {
        end(&scene, &pod.name_any(), phase).await?;
    }
    let waited = wait_until("the two that failed to run again", 2 * SOON, async || {
        let mut pods = scene.pods_of("train").await?;
        pods.retain(|pod| !ended(pod));
        Ok((pods.len() == 2 && pods.iter().all(|pod| node_of(pod).is_some())).then_some(()))
    });
    waited.await.with_context(|| scene.installed.gangplank.log())?;
    scene.nothing_leaks().await
}

/// As kubelet says it.
async fn end(scene: &Scene, pod: &str, phase: &str) -> Result<()> {
    scene.pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(json!({"status": {"phase": phase}}))).await?;
    Ok(())
}

fn ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// As Kueue does when it admits the workload of a pod.
async fn admit(scene: &Scene, pod: &str) -> Result<()> {
    let patch = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": KUEUE}]}});
    scene.pods.patch(pod, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}
