//! Levels from objects of other projects, on the real control plane: their kinds come after Gangplank, and go again. The
//! kinds are ours in the shape of Kueue's and Volcano's, whose controllers are not there: they are read, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use gangplank::policy::Profile;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::support::installed::{apply_file, install_account, is_running, node_of};
use crate::support::{
    ControlPlane, Gangplank, NodeTemplate, Options, SecondScheduler, apply_yaml, create_namespace, create_nodes, scheduler_config,
    wait_until,
};

/// Kinds are looked for every 40 seconds.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Six boxes, two a rack, with Gangplank, whose profile is a file.
struct Stage {
    client: Client,
    pods: Api<Pod>,
    gangplank: Gangplank,
    profile: PathBuf,
}

impl Stage {
    /// The node, by the last digit of its name, on which a pod that takes a whole box came to run.
    async fn box_of(&self, name: &str) -> Result<Option<char>> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "schedulerName": "gangplank",
                "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}}],
            },
        }))?;
        self.pods.create(&PostParams::default(), &pod).await?;
        let ran = wait_until(&format!("{name} to run"), TIMEOUT, async || Ok(Some(self.pods.get(name).await?).filter(is_running))).await;
        Ok(node_of(&ran.with_context(|| self.gangplank.log())?).context("no node")?.chars().last())
    }

    /// Waits until the log has said so, so many times in all.
    async fn says(&self, text: &str, times: usize) -> Result<()> {
        let said = wait_until(text, TIMEOUT, async || Ok((self.gangplank.log().matches(text).count() >= times).then_some(())));
        said.await.with_context(|| self.gangplank.log())
    }

    async fn install_kind(&self, file: &str) -> Result<()> {
        apply_file(&self.client, "default", format!("tests/it/fabric/{file}").as_ref()).await
    }
}

/// A profile that gathers pods in domains, with levels from the objects of this preset.
fn write(profile: &Path, preset: &str) -> Result<()> {
    let (head, tail) = Profile::DEFAULT_YAML.split_once("\nweights:").context("no weights")?;
    let (_, tail) = tail.split_once("\naccelerators:").context("no accelerators")?;
    let yaml = format!("{head}\nweights: {{network-topology: 1}}\nfabric: {{preset: {preset}}}\naccelerators:{tail}");
    Ok(fs::write(profile, yaml)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_come_from_topologies_and_hyper_nodes_that_are_installed_later_and_go_with_them() -> Result<()> {
    let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("levels from objects", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    let rack =
        |place: usize| NodeTemplate { labels: [("dc/rack".to_owned(), format!("r{}", place % 3))].into(), ..NodeTemplate::default() };
    create_nodes(&client, (0..6).map(|place| rack(place).named(format!("box-{place}"))).collect()).await?;
    let namespace = create_namespace(&client, "fabric").await?;
    let profile = control_plane.dir().join("profile.yaml");
    write(&profile, "kueue")?;
    let gangplank = Gangplank::start(&control_plane, &kubeconfig, &[&format!("--profile={}", profile.display())])?;
    let pods = Api::namespaced(client.clone(), &namespace);
    let mut stage = Stage { client, pods, gangplank, profile };
    stage.gangplank.wait_ready().await.context("a kind that nobody has installed is no reason to wait")?;
    let _scheduler = SecondScheduler::start(&control_plane, &scheduler_config(stage.gangplank.address())?).await?;

    let (missing, there) = ("the profile's fabric has no level but `node`", "the profile's fabric has its levels");
    stage.says(missing, 1).await?;
    assert_eq!(stage.box_of("before").await?, Some('0'), "without levels the first name");
    stage.install_kind("topologies.yaml").await?;
    let levels = "apiVersion: kueue.x-k8s.io/v1beta2\nkind: Topology\nmetadata: {name: dc}\nspec: {levels: [{nodeLabel: dc/rack}]}\n";
    apply_yaml(&stage.client, "default", levels).await?;
    stage.says(there, 1).await?;
    assert_eq!(stage.box_of("kueue").await?, Some('3'), "the rest of the rack that is in use");

    write(&stage.profile, "volcano")?;
    stage.says(missing, 2).await?;
    stage.install_kind("hypernodes.yaml").await?;
    let member = |name: &&str| format!("{{type: Node, selector: {{exactMatch: {{name: {name}}}}}}}");
    for (name, members) in [("s0", &["box-1", "box-2", "box-4"][..]), ("s1", &["box-0", "box-5"])] {
        let (types, members) =
            ("apiVersion: topology.volcano.sh/v1alpha1\nkind: HyperNode", members.iter().map(member).collect::<Vec<_>>());
        let spec = format!("{{tier: 1, tierName: leaf, members: [{}]}}", members.join(", "));
        apply_yaml(&stage.client, "default", &format!("{types}\nmetadata: {{name: {name}}}\nspec: {spec}\n")).await?;
    }
    stage.says(there, 2).await?;
    assert_eq!(stage.box_of("volcano").await?, Some('5'), "the rest of the HyperNode that is in use");

    // The kind goes, and its objects with it.
    let kinds: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    kinds.delete("hypernodes.topology.volcano.sh", &DeleteParams::default()).await?;
    stage.says(missing, 3).await?;
    assert_eq!(stage.box_of("later").await?, Some('1'), "without levels the first name again");
    assert_eq!(stage.gangplank.client().await?.get("/readyz").await?.status, 200);
    assert!(stage.gangplank.terminate()?, "ended well on SIGTERM");
    Ok(())
}
