//! Gangs along the fabric: scenarios of tests/scenarios, which are simulated there, on the real control plane. The same
//! nodes, the same Job, the same places and ranks; or the same story of why not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

#[path = "../../scenarios/blocks.rs"]
#[expect(dead_code, reason = "where a block begins is for those who rewrite it")]
mod blocks;
use blocks::blocks;

use super::scene::{SOON, Scene};
use crate::support::installed::{node_of, scheduling_message};
use crate::support::{apply_yaml, create_nodes, wait_until};

/// What a scenario says.
struct Scenario {
    nodes: Vec<Node>,
    /// Pods that hold nodes already.
    others: Vec<Value>,
    profile: Option<String>,
    job: String,
    workload: String,
    /// Members by completion index.
    expected: BTreeMap<u32, Fate>,
}

/// What becomes of a member.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Placed { node: String, rank: u32 },
    Waits { message: String, remedy: String },
}

impl Scenario {
    fn read(name: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/{name}.md"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let blocks = blocks(&text);
        let of = |kind: &str| blocks.iter().find(|block| block.kind == kind).map(|block| block.body.to_owned());
        let cluster: Value = serde_saphyr::from_str(&of("yaml cluster").context("no cluster")?)?;
        let workload = of("yaml workloads").context("no workloads")?;
        let job: Value = serde_saphyr::from_str(&workload)?;
        let job = job["metadata"]["name"].as_str().context("a Job without a name")?.to_owned();
        let (mut nodes, mut others) = (Vec::new(), Vec::new());
        for item in cluster["items"].as_array().context("no items")? {
            match item["kind"].as_str() {
                Some("Node") => nodes.push(serde_json::from_value(item.clone())?),
                _ => others.push(item.clone()),
            }
        }
        let expected = fates(&job, &of("text placements").context("no placements")?)?;
        Ok(Self { nodes, others, profile: of("yaml profile"), job, workload, expected })
    }

    /// Runs it, and takes everything away again.
    async fn run(self, scene: &mut Scene) -> Result<()> {
        create_nodes(&scene.client, self.nodes).await?;
        for mut pod in self.others {
            // Named nodes: they were never gated, nor scheduled.
            pod["spec"]["containers"][0]["image"] = "none".into();
            apply_yaml(&scene.client, "default", &pod.to_string()).await?;
        }
        apply_yaml(&scene.client, &scene.namespace, &self.workload).await?;
        let mut actual = BTreeMap::new();
        let waited = wait_until(&format!("{} members to be placed or refused", self.expected.len()), SOON, async || {
            actual.clear();
            for pod in scene.pods_of(&self.job).await? {
                let index: u32 = pod.annotations().get("batch.kubernetes.io/job-completion-index").context("an index")?.parse()?;
                if let Some(fate) = fate(scene, &pod).await? {
                    actual.insert(index, fate);
                }
            }
            Ok((actual.len() == self.expected.len()).then_some(()))
        })
        .await;
        waited.with_context(|| scene.installed.gangplank.log())?;
        ensure!(actual == self.expected, "expected {:#?}\nactual {actual:#?}", self.expected);
        scene.delete_job(&self.job).await?;
        let now = DeleteParams::default().grace_period(0);
        let others: Api<Pod> = Api::namespaced(scene.client.clone(), "default");
        others.delete_collection(&now, &ListParams::default()).await?;
        scene.nodes.delete_collection(&now, &ListParams::default()).await?;
        wait_until("the cluster to be empty", SOON, async || {
            let left = others.list(&ListParams::default()).await?.items.len() + scene.nodes.list(&ListParams::default()).await?.items.len();
            Ok((left == 0).then_some(()))
        })
        .await?;
        scene.nothing_leaks().await
    }
}

/// What has become of a pod; none while nothing has.
async fn fate(scene: &mut Scene, pod: &Pod) -> Result<Option<Fate>> {
    if let Some(node) = node_of(pod) {
        let rank = pod.annotations().get("gangplank.dev/rank").context("bound without a rank")?.parse()?;
        return Ok(Some(Fate::Placed { node: node.to_owned(), rank }));
    }
    let text = scheduling_message(pod);
    if !text.starts_with("gangplank: ") || text == "gangplank: waiting for the other members of the group" {
        return Ok(None);
    }
    let refusal = scene.explained(&pod.name_any()).await?["trace"]["refusal"].clone();
    let word = |key: &str| refusal[key].as_str().unwrap_or_default();
    let message = format!("needs {}; {} ({text})", word("needed"), word("there"));
    Ok(Some(Fate::Waits { message, remedy: word("remedy").to_owned() }))
}

/// Reads the lines `default/train-0-ps4bk -> r3-n1  worker=0,1  rank 0`, or `... waits: CODE` with two lines below it.
fn fates(job: &str, placements: &str) -> Result<BTreeMap<u32, Fate>> {
    let mut fates = BTreeMap::new();
    let mut lines = placements.lines();
    while let Some(line) = lines.next() {
        let (pod, rest) = line.split_once(' ').context("a pod and what becomes of it")?;
        let index = pod.strip_prefix(&format!("default/{job}-")).and_then(|rest| rest.split('-').next()).context("an index")?.parse()?;
        let fate = match rest.strip_prefix("-> ") {
            Some(place) => Fate::Placed {
                node: place.split(' ').next().unwrap_or_default().to_owned(),
                rank: place.rsplit(' ').next().context("a rank")?.parse()?,
            },
            None => Fate::Waits {
                message: lines.next().context("a message")?.trim().to_owned(),
                remedy: lines.next().context("a remedy")?.trim().trim_start_matches("remedy: ").to_owned(),
            },
        };
        fates.insert(index, fate);
    }
    ensure!(!fates.is_empty(), "no placements");
    Ok(fates)
}

/// One control plane for scenarios of one profile.
async fn play(names: &[&str]) -> Result<()> {
    let scenarios: Vec<Scenario> =
        names.iter().map(|name| Scenario::read(name).with_context(|| (*name).to_owned())).collect::<Result<_>>()?;
    let profile = scenarios[0].profile.clone();
    ensure!(scenarios.iter().all(|scenario| scenario.profile == profile), "{names:?} are of one profile");
    let Some(mut scene) = Scene::start(names[0], Vec::new(), profile.as_deref()).await? else { return Ok(()) };
    for (name, scenario) in names.iter().zip(scenarios) {
        scenario.run(&mut scene).await.with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_in_one_rack_preferred_and_required() -> Result<()> {
    play(&["one-rack-preferred", "one-rack-preferred-spread", "one-rack-required-fits", "one-rack-required"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_of_the_eighteen_trays_of_an_nvl72_and_no_more() -> Result<()> {
    play(&["nvl72-sixteen-of-eighteen", "nvl72-seventeen", "nvl72-twelve-and-twelve"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tpu_slice_over_its_hosts_in_the_order_of_its_workers() -> Result<()> {
    play(&["tpu-4x4-over-hosts", "tpu-4x4-not-free"]).await
}
