//! Single pods on linked devices, through admission, a stock kube-scheduler and Gangplank. KWOK plays the kubelets: that
//! the container then sees these devices needs an agent and a real node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::installed::{granted, is_running, managed_namespace, node_of, scheduling_message};
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_kwok_nodes, wait_until};

const TIMEOUT: Duration = Duration::from_mins(1);

/// Pairs with two NVLinks between them in an eight-GPU box of V100s, lower index first.
const DOUBLE_LINKS: [(u32, u32); 8] = [(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_pods_get_devices_that_are_linked_to_each_other() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("linked devices", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    for template in [cube_mesh(), tpu_host(), repartitioned()] {
        create_kwok_nodes(&client, 1, &template).await?;
    }
    let _installed = Installed::start(&control_plane, &client).await?;
    report_instances(&client).await?;
    let namespace = managed_namespace(&client, "topology").await?;
    let scene = Scene { pods: Api::namespaced(client, &namespace) };
    scene.a_pair_on_one_nvlink_island().await?;
    scene.a_sub_slice_within_one_tpu_host().await?;
    scene.a_pair_of_mig_instances().await
}

struct Scene {
    pods: Api<Pod>,
}

impl Scene {
    /// Four pairs of a cube mesh: each has a double link, although a single one came first and went.
    async fn a_pair_on_one_nvlink_island(&self) -> Result<()> {
        for name in ["pair-1", "pair-2", "pair-3", "pair-4"] {
            let devices = self.devices(name, "nvidia.com/gpu", 2).await?;
            ensure!(devices.len() == 2 && DOUBLE_LINKS.contains(&(devices[0], devices[1])), "{name} has {devices:?}");
        }
        Ok(())
    }

    /// Of a host of 2x4 chips, one chip and then a 2x2; four more chips are not there, and the pod says why it waits.
    async fn a_sub_slice_within_one_tpu_host(&self) -> Result<()> {
        self.devices("one-chip", "google.com/tpu", 1).await?;
        let square = self.devices("square", "google.com/tpu", 4).await?;
        // Chips are numbered x fastest; the host is two wide and four deep.
        let first = *square.first().context("no chips")?;
        ensure!(first % 2 == 0 && square == [first, first + 1, first + 2, first + 3], "{square:?} is no 2x2");
        self.create("no-room", "google.com/tpu", 4).await?;
        let message = wait_until("the pod without room to be told so", TIMEOUT, async || {
            let message = scheduling_message(&self.pods.get("no-room").await?);
            Ok((!message.is_empty() && !message.contains("gates")).then_some(message))
        })
        .await?;
        ensure!(node_of(&self.pods.get("no-room").await?).is_none(), "it has no room");
        ensure!(message.contains("Insufficient google.com/tpu") || message.contains("gangplank: "), "{message}");
        Ok(())
    }

    /// GPU 0 has lost one of its instances already: the pair comes from there, and GPU 1 stays whole.
    async fn a_pair_of_mig_instances(&self) -> Result<()> {
        let first = self.devices("instance", MIG, 1).await?;
        let pair = self.devices("instances", MIG, 2).await?;
        let parent = |index: &u32| index / 7;
        ensure!(pair.iter().all(|index| parent(index) == parent(&first[0])), "{pair:?} after {first:?}");
        Ok(())
    }

    async fn create(&self, name: &str, resource: &str, count: u32) -> Result<()> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": "none", "resources": {"limits": {resource: count.to_string()}}}]},
        }))?;
        self.pods.create(&PostParams::default(), &pod).await?;
        Ok(())
    }

    /// Creates the pod, and says by index which devices it was given once it runs.
    async fn devices(&self, name: &str, resource: &str, count: u32) -> Result<Vec<u32>> {
        self.create(name, resource, count).await?;
        let pod = wait_until(&format!("{name} to run"), TIMEOUT, async || {
            let pod = self.pods.get(name).await?;
            Ok(is_running(&pod).then_some(pod))
        })
        .await?;
        let granted = granted(std::slice::from_ref(&pod));
        let index = |share: &Value| share["id"].as_str().and_then(|id| id.rsplit('-').next()).and_then(|index| index.parse().ok());
        let mut indices: Vec<u32> = granted.iter().filter_map(|(_, _, _, share)| index(share)).collect();
        indices.sort_unstable();
        ensure!(indices.len() == count as usize, "{name}: {granted:?}");
        Ok(indices)
    }
}

fn cube_mesh() -> NodeTemplate {
    NodeTemplate { name_prefix: "v100".into(), gpu_product: "Tesla-V100-SXM2-32GB".into(), ..NodeTemplate::default() }
}

fn tpu_host() -> NodeTemplate {
    let labels = [("cloud.google.com/gke-tpu-accelerator", "tpu-v5-lite-podslice"), ("cloud.google.com/gke-tpu-topology", "2x4")];
    NodeTemplate {
        name_prefix: "tpu".into(),
        gpu_count: 0,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        resources: [("google.com/tpu".to_owned(), "8".to_owned())].into(),
        ..NodeTemplate::default()
    }
}

const MIG: &str = "nvidia.com/mig-1g.10gb";

/// A node whose two A100s are cut into seven instances each.
fn repartitioned() -> NodeTemplate {
    let resources = [(MIG.to_owned(), "14".to_owned())].into();
    NodeTemplate { name_prefix: "mig".into(), gpu_count: 0, resources, ..NodeTemplate::default() }
}

async fn report_instances(client: &Client) -> Result<()> {
    let instance = |index: u32| {
        let (gpu, start) = (index / 7, index % 7);
        json!({"id": format!("MIG-{index}"), "index": index, "resource": MIG, "memoryMiB": 9728,
               "partition": {"parent": format!("GPU-{gpu}"), "profile": "1g.10gb", "start": start}})
    };
    let devices: Vec<Value> = (0..14).map(instance).collect();
    let report = json!({
        "apiVersion": "gangplank.dev/v1alpha1", "kind": "AcceleratorNode",
        "metadata": {"name": "mig-00000"}, "spec": {"devices": devices},
    });
    apply_yaml(client, "default", &report.to_string()).await.map(drop)
}
