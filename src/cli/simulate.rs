//! `gangplank simulate`: what would run where, from the manifests that people have. No cluster is needed or touched.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::report::{Ended, Report};
use super::scene::Scene;
use super::{Advice, Console, Exit, Run, policy};
use crate::engine::Engine;
use crate::model::{PodUid, Time};
use crate::policy::{FabricSection, Profiles};
use crate::sim::{Direct, Scheduler, SimPod, Surroundings};
use crate::wire::fabric;
use crate::wire::manifest::{self, Document};

/// Arguments of `simulate`.
#[derive(Args, Debug)]
pub(super) struct SimulateArgs {
    /// Nodes, AcceleratorNodes, Topology and HyperNode objects, budgets, Jobs and pods as `kubectl get -o yaml` prints them; `-` reads stdin
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    cluster: Vec<PathBuf>,
    /// Manifests of what shall run
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    workloads: Vec<PathBuf>,
    /// Policy profiles: files, folders, or names of built-in ones; without it, `default`
    #[arg(long, visible_alias = "policy", value_name = "FILE|FOLDER|NAME")]
    profile: Vec<PathBuf>,
    /// Decides ties; the same seed gives the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Run for SimulateArgs {
    const NAME: &'static str = "simulate";
    const ABOUT: &'static str = "Say what would run where, from Kubernetes manifests";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let profiles = policy::load(&self.profile)?;
        let outcome = simulate(read(&self.cluster)?, read(&self.workloads)?, profiles, self.seed)?;
        for note in &outcome.notes {
            console.talk(&format!("note: {note}"));
        }
        console.data(&outcome.report, |_| outcome.table(console.color))?;
        Ok(if outcome.report.pending.is_empty() { Exit::Ok } else { Exit::DoesNotFit })
    }
}

/// What a simulation came to.
#[derive(Debug)]
pub struct Simulated {
    /// The data.
    pub report: Report,
    /// What a reader should know.
    pub notes: Vec<String>,
    world: Direct,
    bound_before: BTreeSet<PodUid>,
    asked: BTreeSet<String>,
}

impl Simulated {
    /// For people.
    pub fn table(&self, color: bool) -> String {
        self.report.table(self.world.cluster(), &self.bound_before, color)
    }

    /// The engine, for what else it can be asked.
    pub(super) fn engine(&self) -> &Engine {
        self.world.engine()
    }

    /// Whether it is a pod of the workloads; those of the cluster may wait, too, and who had to go.
    pub(super) fn is_asked(&self, pod: &str) -> bool {
        self.asked.contains(pod)
    }

    /// The latest time that the manifests mention.
    pub(super) fn latest(&self) -> Time {
        let times = |pod: &SimPod| [Some(pod.pod.created_at), Some(pod.pod.started_at), pod.pod.last_checkpoint];
        self.world.cluster().pods().flat_map(times).flatten().max().unwrap_or_default()
    }
}

/// Runs the workloads on the cluster.
///
/// # Errors
/// Objects that are not what their kind says, or a cluster without nodes.
pub fn simulate(cluster: Vec<Document>, workloads: Vec<Document>, profiles: impl Into<Profiles>, seed: u64) -> anyhow::Result<Simulated> {
    let profiles = profiles.into().with_fabric(|section| with_objects(section, &cluster))?;
    let scene = Scene::build(cluster, workloads, profiles.classes())?;
    let gangs = scene.gangs.into_iter().map(|gang| gang.spec).collect();
    let surroundings = Surroundings { quotas: scene.quotas, classes: scene.classes, budgets: scene.budgets, gangs };
    let mut world = Direct::new(scene.cluster, profiles, surroundings);
    let waiting = Scheduler::new(seed).run(&mut world, |_, _| {});
    let report = Report::of(&Ended {
        cluster: world.cluster(),
        rank: &|uid| world.engine().rank(uid),
        bound_before: &scene.bound_before,
        refused: &scene.refused,
        waiting: &waiting,
        evictions: world.engine().evictions().collect(),
        calls: world.calls(),
        seed,
    });
    Ok(Simulated { report, notes: scene.notes, world, bound_before: scene.bound_before, asked: scene.asked })
}

/// The section with the levels of the cluster's own objects, where it takes them from there.
fn with_objects(section: FabricSection, cluster: &[Document]) -> anyhow::Result<FabricSection> {
    let objects = || cluster.iter().map(|document| &document.object);
    let topologies = objects().filter_map(fabric::kueue_topology).collect();
    let hyper_nodes = objects().filter_map(fabric::hyper_node).collect();
    Ok(section.with_objects(&topologies, hyper_nodes).map_err(|problem| {
        Advice::new(problem, "add what `kubectl get topologies.kueue.x-k8s.io,hypernodes.topology.volcano.sh -o yaml` prints to --cluster")
    })?)
}

pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text = if name == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
        let text =
            text.map_err(|error| Advice::new(format!("cannot read {name}: {error}"), "give the path of a file with Kubernetes YAML"))?;
        documents.append(&mut manifest::read(&name, &text)?);
    }
    Ok(documents)
}
