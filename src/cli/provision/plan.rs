//! `gangplank-provision plan FILE...`: whether it would fit, where, who would have to go for it, and when it would start. The engine that decides
//! in the cluster decides here, over the cluster's objects as they are now; nothing is applied.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde::Serialize;
use serde_json::Value;

use super::start::{self, Start};
use super::target::{Target, block_on};
use super::{Console, Exit, Run};
use crate::cli::report::Report;
use crate::cli::{policy, simulate};
use crate::host::Clock;
use crate::wire::manifest::{Document, Place};

/// Arguments of `plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    target: Target,
    /// The cluster as files of `kubectl get -o yaml`, instead of asking it
    #[arg(long, num_args = 1.., value_name = "FILE")]
    cluster: Vec<PathBuf>,
    /// The profiles that the cluster's Gangplank runs with: files, folders, or names of built-in ones; without it, `default`
    #[arg(long, value_name = "FILE|FOLDER|NAME")]
    profile: Vec<PathBuf>,
    /// The running server, as HOST:PORT: of what was applied and waits it knows durations learnt from earlier runs, and room that is kept
    #[arg(long, env = "GANGPLANK_SERVER")]
    server: Option<String>,
}

/// What a simulation says, and when what was asked about starts.
#[derive(Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    report: &'a Report,
    starts: Vec<Start>,
}

impl Run for PlanArgs {
    const NAME: &'static str = "plan";
    const ABOUT: &'static str = "Say whether specs would fit into a cluster, where, who would have to go, and when they start";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let mut objects = self.target.objects(&self.target.read()?, console, true, |_| true)?;
        let profiles = policy::load(&self.profile)?;
        let (cluster, namespace) = if self.cluster.is_empty() {
            block_on(async {
                let cluster = self.target.cluster().await?;
                let namespace = cluster.namespace(&Value::Null).to_owned();
                Ok((listed(cluster.client()).await?, namespace))
            })?
        } else {
            (simulate::read(&self.cluster)?, self.target.namespace().unwrap_or("default").to_owned())
        };
        objects = start::as_trainer_does(objects);
        for object in objects.iter_mut().filter(|object| object["metadata"]["namespace"].is_null()) {
            object["metadata"]["namespace"] = namespace.clone().into();
        }
        let workloads = documents("spec", objects);
        let outcome = simulate::simulate(cluster, workloads, profiles, 0)?;
        // Files may be old: how long somebody ran is told by what they say themselves.
        let now = if self.cluster.is_empty() { Clock::system().read() } else { outcome.latest() };
        let starts = start::starts(&outcome, now);
        let starts = starts.iter().map(Start::estimated);
        let starts = match &self.server {
            Some(server) => start::asked(server, starts)?,
            None => starts.collect::<Vec<_>>(),
        };
        for note in outcome.notes.iter().map(String::as_str).chain(start::left_out(&starts)) {
            console.talk(&format!("note: {note}"));
        }
        let planned = Planned { report: &outcome.report, starts };
        console.data(&planned, |planned| format!("{}{}", outcome.table(console.color), start::table(&planned.starts)))?;
        // Whoever had to go waits, and that is another matter.
        Ok(if outcome.report.pending.iter().all(|pending| !outcome.is_asked(&pending.pod)) { Exit::Ok } else { Exit::DoesNotFit })
    }
}

/// Everything that a decision looks at. Kinds that the cluster does not serve have no objects.
async fn listed(client: kube::Client) -> anyhow::Result<Vec<Document>> {
    let mut all = Vec::new();
    for (group, version, kind) in KINDS {
        let found = match kube::discovery::pinned_kind(&client, &GroupVersionKind::gvk(group, version, kind)).await {
            Ok((resource, _)) => Api::<DynamicObject>::all_with(client.clone(), &resource).list(&ListParams::default()).await,
            Err(kube::Error::Discovery(_)) => continue,
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => Err(error),
        };
        let found = found.map_err(|error| {
            let hint = "plan reads nodes and everybody's pods: ask for that right, or give files with --cluster";
            super::Advice::new(format!("cannot list {kind} objects: {error}"), hint)
        })?;
        let version = if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
        let objects = found.items.iter().filter_map(|object| {
            let mut object = serde_json::to_value(object).ok()?;
            object["kind"] = (*kind).into();
            object["apiVersion"] = version.clone().into();
            Some(object)
        });
        all.extend(documents(kind, objects.collect()));
    }
    Ok(all)
}

fn documents(file: &str, objects: Vec<Value>) -> Vec<Document> {
    let file: Arc<str> = file.into();
    let place = |at| Place { file: Arc::clone(&file), line: 1, document: at + 1, item: None };
    objects.into_iter().enumerate().map(|(at, object)| Document { place: place(at), object }).collect()
}

const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "Namespace"),
    ("", "v1", "Node"),
    ("", "v1", "ResourceQuota"),
    ("", "v1", "PersistentVolume"),
    ("", "v1", "PersistentVolumeClaim"),
    ("scheduling.k8s.io", "v1", "PriorityClass"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("batch", "v1", "Job"),
    ("", "v1", "Pod"),
    ("gangplank.dev", "v1alpha1", "AcceleratorNode"),
    ("kueue.x-k8s.io", "v1beta2", "Topology"),
    ("topology.volcano.sh", "v1alpha1", "HyperNode"),
];
