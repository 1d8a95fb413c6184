//! Everyday workloads, unchanged, through admission, a stock kube-scheduler and Gangplank, onto nodes. KWOK plays the
//! kubelets: pods reach Running, containers do not exist.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::support::installed::{assert_granted_once, granted, is_running, managed_namespace, node_of, scheduler_of, scheduling_message};
use crate::support::manifests::{seeds, volume};
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_kwok_nodes, wait_until};

const TIMEOUT: Duration = Duration::from_mins(1);

/// A workload: our example, the manifest it retells, and what it comes to.
struct Workload {
    example: &'static str,
    seed: &'static str,
    /// Prefix of its pods' names, how many they are, and whole devices of each.
    pods: (&'static str, usize, usize),
}

const WORKLOADS: [Workload; 10] = [
    Workload { example: "two-gpus", seed: "01-gpu-pod", pods: ("gpu-pod", 1, 2) },
    Workload { example: "tpu-v3", seed: "02-tpu-pod", pods: ("tpu-pod", 1, 8) },
    Workload { example: "train-tensorflow", seed: "03-tensorflow-training", pods: ("tensorflow-training", 1, 4) },
    Workload { example: "train-pytorch", seed: "04-pytorch-training", pods: ("pytorch-training", 1, 4) },
    Workload { example: "train-jax", seed: "05-jax-training", pods: ("jax-training", 1, 4) },
    Workload { example: "train-four-workers", seed: "06-distributed-training", pods: ("distributed-training-", 4, 1) },
    Workload { example: "serve-tensorflow", seed: "09-tensorflow-serving", pods: ("tensorflow-serving-", 3, 1) },
    Workload { example: "preprocess-in-parallel", seed: "13-data-preprocessing", pods: ("data-preprocessing-", 20, 0) },
    Workload { example: "two-containers-one-gpu", seed: "14-gpu-shared-pod", pods: ("gpu-shared-pod", 1, 0) },
    Workload { example: "gpus-of-named-products", seed: "15-gpu-training-pod-affinity", pods: ("gpu-training-pod", 1, 4) },
];

const CLAIMS: [&str; 5] = ["training-data-pvc", "model-output-pvc", "model-storage", "raw-dataset-pvc", "processed-dataset-pvc"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyday_workloads_run_unchanged_on_recorded_devices() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("everyday workloads", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    mixed_room(&client).await?;
    let mut installed = Installed::start(&control_plane, &client).await?;

    run_all(&client, "examples", |workload| Path::new("deploy/examples").join(format!("{}.yaml", workload.example))).await?;
    let seeds = seeds();
    if let Some(seeds) = &seeds {
        run_all(&client, "seeds", |workload| seeds.join(format!("{}.yaml", workload.seed))).await?;
    }
    let pods: Vec<Pod> = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?.items;
    assert_granted_once(&pods);

    // Who asks for no accelerator never came to us.
    let journal = serde_json::to_string(&installed.gangplank.get("/api/v1/journal").await?)?;
    ensure!(journal.contains("gpu-training-pod"), "the journal shows who came");
    let plain = pods.iter().filter(|pod| pod.name_any().starts_with("data-preprocessing-"));
    for uid in plain.filter_map(ResourceExt::uid) {
        ensure!(!journal.contains(&format!("\"PodUID\":\"{uid}\"")), "a pod without accelerators was bound by us");
    }
    Ok(())
}

async fn run_all(client: &Client, namespace: &str, path: impl Fn(&Workload) -> PathBuf) -> Result<()> {
    managed_namespace(client, namespace).await?;
    for claim in CLAIMS {
        apply_yaml(client, namespace, &volume(namespace, claim)).await?;
    }
    for workload in &WORKLOADS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path(workload));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        apply_yaml(client, namespace, &text).await.with_context(|| path.display().to_string())?;
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for workload in &WORKLOADS {
        let (prefix, count, devices) = workload.pods;
        let pods = wait_until(&format!("{namespace}: {count} {prefix} to run"), TIMEOUT, async || {
            let pods = api.list(&ListParams::default()).await?.items;
            let running: Vec<Pod> = pods.into_iter().filter(|pod| pod.name_any().starts_with(prefix) && is_running(pod)).collect();
            Ok((running.len() == count).then_some(running))
        })
        .await?;
        for pod in &pods {
            judge(workload, pod, devices)?;
        }
    }
    Ok(())
}

fn judge(workload: &Workload, pod: &Pod, devices: usize) -> Result<()> {
    let (name, granted) = (pod.name_any(), granted(std::slice::from_ref(pod)));
    let ids: Vec<&str> = granted.iter().filter_map(|(_, _, _, share)| share["id"].as_str()).collect();
    let gated = pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()));
    match workload.seed {
        "13-data-preprocessing" => {
            ensure!(scheduler_of(pod) == Some("default-scheduler") && !gated, "{name} is touched: {:?}", pod.spec);
            ensure!(!pod.annotations().keys().any(|key| key.starts_with("gangplank.dev/")), "{name}: {:?}", pod.annotations());
        }
        "14-gpu-shared-pod" => {
            let parts: Vec<(&str, Option<u64>)> =
                granted.iter().map(|(_, _, container, share)| (container.as_str(), share["milli"].as_u64())).collect();
            ensure!(parts == [("ml-container-1", Some(500)), ("ml-container-2", Some(500))], "{name}: {granted:?}");
            ensure!(ids.len() == 2 && ids[0] == ids[1], "{name}: both on one device: {ids:?}");
            let percent = |index| format!("gangplank.dev/env-{index}-CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
            for index in [0, 1] {
                ensure!(pod.annotations().get(&percent(index)).map(String::as_str) == Some("50"), "{name}: {:?}", pod.annotations());
            }
        }
        _ => {
            ensure!(scheduler_of(pod) == Some("gangplank"), "{name}: {:?}", scheduler_of(pod));
            let distinct: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
            ensure!(ids.len() == devices && distinct.len() == devices, "{name}: {devices} devices, each once: {granted:?}");
        }
    }
    if workload.seed == "15-gpu-training-pod-affinity" {
        ensure!(node_of(pod).is_some_and(|node| node.starts_with("v100")), "{name} on {:?}", node_of(pod));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_of_twenty_holds_for_gpus_and_shares_together() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("a quota of twenty", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, 5, &NodeTemplate::default()).await?;
    let _installed = Installed::start(&control_plane, &client).await?;
    let namespace = managed_namespace(&client, "ml-team-a").await?;
    let quota = seeds().map_or_else(|| PathBuf::from("deploy/examples/team-quota.yaml"), |seeds| seeds.join("16-ml-team-quota.yaml"));
    crate::support::installed::apply_file(&client, &namespace, &quota).await?;
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);

    // 19 whole ones, two halves: twenty.
    for index in 0..19 {
        create_counted(&client, &api, &format!("whole-{index}"), "1").await?;
    }
    for index in 0..2 {
        create_counted(&client, &api, &format!("half-{index}"), "0.5").await?;
    }
    wait_until("twenty GPUs' worth of pods to run", TIMEOUT, async || {
        let pods = api.list(&ListParams::default()).await?.items;
        Ok((pods.iter().filter(|pod| is_running(pod)).count() == 21).then_some(()))
    })
    .await?;

    // A share is no line of the quota to the API server: we refuse it. So is the twentieth whole one beside the halves.
    for (name, amount) in [("share-above", "0.25"), ("whole-above", "1")] {
        create_counted(&client, &api, name, amount).await?;
        let message = wait_until(&format!("{name} to be refused"), TIMEOUT, async || {
            let message = scheduling_message(&api.get(name).await?);
            Ok(message.contains("ResourceQuota").then_some(message))
        })
        .await?;
        ensure!(message.contains("ml-team-quota"), "{name}: {message}");
    }
    // The API server itself refuses the twenty-first whole one when it is created. It counts by what the quota controller
    // wrote last, which right after a burst can be less than there is.
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &namespace);
    wait_until("the quota to be counted", TIMEOUT, async || {
        let used = quotas.get("ml-team-quota").await?.status.and_then(|status| status.used).unwrap_or_default();
        Ok(used.get("requests.nvidia.com/gpu").is_some_and(|used| used.0 == "20").then_some(()))
    })
    .await?;
    let refused = api.create(&PostParams::default(), &counted("whole-refused", "1")).await.err().map(|error| error.to_string());
    ensure!(refused.as_deref().is_some_and(|text| text.contains("exceeded quota: ml-team-quota")), "{refused:?}");

    // What ends makes room, and nobody has to be asked again.
    api.delete("whole-0", &kube::api::DeleteParams::default()).await?;
    wait_until("a refused pod to run", TIMEOUT, async || {
        let pods = [api.get("share-above").await?, api.get("whole-above").await?];
        Ok(pods.iter().any(is_running).then_some(()))
    })
    .await
}

fn counted(name: &str, gpus: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "none", "resources": {
            "limits": {"nvidia.com/gpu": gpus, "cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}}]},
    }))
    .expect("a pod")
}

/// Creates a pod; the quota controller may still be counting a fresh quota.
async fn create_counted(_client: &Client, api: &Api<Pod>, name: &str, gpus: &str) -> Result<()> {
    wait_until(&format!("{name} to be admitted"), TIMEOUT, async || match api.create(&PostParams::default(), &counted(name, gpus)).await {
        Ok(_) => Ok(Some(())),
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("status unknown for quota") => Ok(None),
        Err(error) => Err(error.into()),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installed_beside_running_pods_it_counts_right_at_once_and_disturbs_nobody() -> Result<()> {
    let options = Options { nodes: 4, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("installed beside running pods", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let before: Api<Pod> = Api::namespaced(client.clone(), &crate::support::create_namespace(&client, "before").await?);
    for index in 0..16 {
        let mut pod = counted(&format!("before-{index}"), "1");
        pod.spec.as_mut().context("a spec")?.scheduler_name = Some("default-scheduler".into());
        before.create(&PostParams::default(), &pod).await?;
    }
    let old = wait_until("sixteen pods of the default scheduler to run", TIMEOUT, async || {
        let pods = before.list(&ListParams::default()).await?.items;
        Ok(pods.iter().all(is_running).then_some(pods))
    })
    .await?;

    let mut installed = Installed::start(&control_plane, &client).await?;
    let nodes = installed.gangplank.get("/api/v1/nodes").await?;
    let free: u64 = free_devices(&nodes);
    ensure!(free == 16, "16 of 32 are free: {nodes}");

    let namespace = managed_namespace(&client, "after").await?;
    let after: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for index in 0..17 {
        after.create(&PostParams::default(), &counted(&format!("after-{index}"), "1")).await?;
    }
    wait_until("sixteen of seventeen to run", TIMEOUT, async || {
        let pods = after.list(&ListParams::default()).await?.items;
        Ok((pods.iter().filter(|pod| is_running(pod)).count() == 16).then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pods = after.list(&ListParams::default()).await?.items;
    ensure!(pods.iter().filter(|pod| node_of(pod).is_some()).count() == 16, "the seventeenth waits");
    assert_granted_once(&pods);

    let now = before.list(&ListParams::default()).await?.items;
    let identity = |pods: &[Pod]| -> Vec<_> { pods.iter().map(|pod| (pod.name_any(), pod.uid(), pod.resource_version())).collect() };
    ensure!(identity(&old) == identity(&now), "the pods that ran before are untouched");
    let mut per_node: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for pod in now.iter().chain(&pods) {
        if let Some(node) = node_of(pod) {
            *per_node.entry(node.to_owned()).or_default() += 1;
        }
    }
    ensure!(per_node.values().all(|count| *count <= 8), "nothing is granted twice: {per_node:?}");
    Ok(())
}

/// The free devices of `/api/v1/nodes`, added up.
fn free_devices(nodes: &Value) -> u64 {
    let pools = nodes["nodes"]
        .as_array()
        .or(nodes.as_array())
        .into_iter()
        .flatten()
        .flat_map(|node| node["pools"].as_array().into_iter().flatten());
    pools.filter_map(|pool| pool["free"].as_u64()).sum()
}

/// H100 boxes, V100 boxes by the label that the manifests name, and a TPU v3 host.
async fn mixed_room(client: &Client) -> Result<()> {
    let room = |prefix: &str| NodeTemplate { name_prefix: prefix.into(), ..NodeTemplate::default() };
    create_kwok_nodes(client, 8, &room("h100")).await?;
    let v100 = NodeTemplate { gpu_product: "Tesla-V100".into(), gpu_memory_mib: 32_768, ..room("v100") };
    create_kwok_nodes(client, 2, &v100).await?;
    let resources = [("cloud-tpus.google.com/v3".to_owned(), "8".to_owned())].into();
    create_kwok_nodes(client, 2, &NodeTemplate { gpu_count: 0, resources, ..room("tpu-v3") }).await?;
    Ok(())
}
