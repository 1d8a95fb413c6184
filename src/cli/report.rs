//! What a run came to: the object that `simulate -o json` prints (its shape is a promise), and the same for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use super::draw;
use super::scene::Refused;
use crate::engine;
use crate::model::{Amount, Grant, PodUid, ResourceName};
use crate::sim::{Calls, Cluster, SimPod, Waiting};

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Pods that were placed by this run, by name.
    pub placements: Vec<Placement>,
    /// Pods that wait, or that the API server would not take, by name.
    pub pending: Vec<Pending>,
    /// Pods that had to go for others.
    pub evictions: Vec<Eviction>,
    /// Counts.
    pub summary: Summary,
}

/// A pod that was placed.
#[derive(Clone, Debug, Serialize)]
pub struct Placement {
    /// `namespace/name`.
    pub pod: String,
    /// Where.
    pub node: String,
    /// Its devices, by container; empty for a pod that asked for none.
    pub devices: BTreeMap<String, Vec<DeviceLine>>,
    /// Its place in its gang.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
}

/// A device, or a share of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLine {
    /// Unique on its node; absent where the node's devices cannot be told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Thousandths; absent for a whole device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milli: Option<u32>,
    /// Memory, where an amount of it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

/// A pod that waits.
#[derive(Clone, Debug, Serialize)]
pub struct Pending {
    /// `namespace/name`.
    pub pod: String,
    /// Its gang, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gang: Option<String>,
    /// A short, stable code.
    pub reason: String,
    /// What was needed and what was there.
    pub message: String,
    /// What would change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A pod that had to go.
#[derive(Clone, Debug, Serialize)]
pub struct Eviction {
    /// Who went.
    pub pod: String,
    /// For whom.
    #[serde(rename = "for")]
    pub preemptor: String,
    /// Why.
    pub reason: String,
}

/// Counts.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Pods that were bound before the run.
    pub bound_before: usize,
    /// Pods that this run placed.
    pub placed: usize,
    /// Pods that wait.
    pub pending: usize,
    /// Pods that had to go.
    pub evicted: usize,
    /// Devices by resource.
    pub devices: BTreeMap<String, DeviceCount>,
    /// Extender calls.
    pub calls: CallCount,
    /// The seed by which ties fell.
    pub seed: u64,
}

/// Devices of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceCount {
    /// All of them.
    pub total: u64,
    /// Held whole, or by pods whose devices are not known.
    pub held: u64,
    /// Held in part.
    pub shared: u64,
    /// Free.
    pub free: u64,
}

/// Extender calls by verb.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the verbs")]
pub struct CallCount {
    pub filter: u32,
    pub prioritize: u32,
    pub bind: u32,
}

impl From<Calls> for CallCount {
    fn from(calls: Calls) -> Self {
        Self { filter: calls.filter, prioritize: calls.prioritize, bind: calls.bind }
    }
}

/// What a report is made from.
pub(super) struct Ended<'a> {
    pub(super) cluster: &'a Cluster,
    /// The rank that a plan gave a pod.
    pub(super) rank: &'a dyn Fn(&PodUid) -> Option<u32>,
    pub(super) bound_before: &'a BTreeSet<PodUid>,
    pub(super) refused: &'a [Refused],
    pub(super) waiting: &'a [Waiting],
    pub(super) evictions: Vec<&'a engine::Eviction>,
    pub(super) calls: Calls,
    pub(super) seed: u64,
}

impl Report {
    pub(super) fn of(ended: &Ended<'_>) -> Self {
        let placed = ended.cluster.pods().filter(|pod| pod.pod.node.is_some() && !ended.bound_before.contains(&pod.pod.uid));
        let mut placements: Vec<Placement> = placed.filter_map(|pod| Placement::of(pod, (ended.rank)(&pod.pod.uid))).collect();
        placements.sort_by(|a, b| a.pod.cmp(&b.pod));
        let refused = ended.refused.iter().map(|refused| Pending {
            pod: refused.key.to_string(),
            gang: None,
            reason: refused.code.into(),
            message: refused.message.clone(),
            remedy: Some(refused.remedy.clone()).filter(|remedy| !remedy.is_empty()),
        });
        let gangs: BTreeMap<_, _> =
            ended.cluster.pods().filter_map(|pod| Some((&pod.pod.key, pod.pod.gang.as_ref()?.id.to_string()))).collect();
        let of = |waiting: &Waiting| Pending { gang: gangs.get(&waiting.key).cloned(), ..Pending::of(waiting) };
        let mut pending: Vec<Pending> = ended.waiting.iter().map(of).chain(refused).collect();
        pending.sort_by(|a, b| a.pod.cmp(&b.pod));
        let evictions: Vec<Eviction> = ended.evictions.iter().flat_map(|entry| Eviction::of(entry)).collect();
        let summary = Summary {
            nodes: ended.cluster.nodes().count(),
            bound_before: ended.bound_before.len(),
            placed: placements.len(),
            pending: pending.len(),
            evicted: evictions.len(),
            devices: device_counts(ended.cluster),
            calls: ended.calls.into(),
            seed: ended.seed,
        };
        Self { placements, pending, evictions, summary }
    }

    /// For people: a picture of the nodes, who waits and why, counts.
    pub(super) fn table(&self, cluster: &Cluster, bound_before: &BTreeSet<PodUid>, color: bool) -> String {
        let mut out = draw::nodes(cluster, bound_before, color);
        let plain = self.placements.iter().filter(|placement| placement.devices.is_empty()).count();
        if plain > 0 {
            let _ = writeln!(
                out,
                "\n{plain} more {} no accelerators.",
                if plain == 1 { "pod was placed that asks for" } else { "pods were placed that ask for" }
            );
        }
        out.push_str(&self.evicted());
        out.push_str(&self.waiting());
        out.push('\n');
        out.push_str(&self.summary.lines());
        out
    }
}

impl Report {
    /// Who went for whom and why; pods that went for the same are told once.
    fn evicted(&self) -> String {
        let mut out = String::from(if self.evictions.is_empty() { "" } else { "\nEVICTED\n" });
        for went in self.evictions.chunk_by(|a, b| (&a.preemptor, &a.reason) == (&b.preemptor, &b.reason)) {
            let pods: Vec<&str> = went.iter().map(|eviction| eviction.pod.as_str()).collect();
            let _ = writeln!(out, "  {}  for {}\n      {}", pods.join(", "), went[0].preemptor, went[0].reason);
        }
        out
    }

    /// Who waits and why; pods that wait for the same are told once.
    fn waiting(&self) -> String {
        let mut groups: Vec<(&Pending, usize)> = Vec::new();
        for pending in &self.pending {
            let same = |other: &&mut (&Pending, usize)| (&other.0.message, &other.0.remedy) == (&pending.message, &pending.remedy);
            match groups.iter_mut().find(same) {
                Some((_, more)) => *more += 1,
                None => groups.push((pending, 0)),
            }
        }
        let mut out = String::from(if groups.is_empty() { "" } else { "\nWAITING\n" });
        for (pending, more) in groups {
            let others = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(out, "  {}{others}  {}\n      {}", pending.pod, pending.reason, pending.message);
            if let Some(remedy) = &pending.remedy {
                let _ = writeln!(out, "      what would change it: {remedy}");
            }
        }
        out
    }
}

impl Summary {
    fn lines(&self) -> String {
        let mut out =
            format!("{} placed, {} waiting, {} there before, on {} nodes\n", self.placed, self.pending, self.bound_before, self.nodes);
        if self.evicted > 0 {
            let _ = writeln!(out, "{} evicted", self.evicted);
        }
        for (resource, count) in &self.devices {
            let _ = writeln!(out, "{resource}: {} of {} held, {} shared, {} free", count.held, count.total, count.shared, count.free);
        }
        out
    }
}

impl Placement {
    fn of(pod: &SimPod, planned: Option<u32>) -> Option<Self> {
        let node = pod.pod.node.as_ref()?.to_string();
        let devices = pod.pod.recorded.as_ref().map(device_lines).unwrap_or_default();
        let index = || pod.labels.get("batch.kubernetes.io/job-completion-index").and_then(|index| index.parse().ok());
        Some(Self { pod: pod.pod.key.to_string(), node, devices, rank: planned.or_else(index) })
    }
}

impl Eviction {
    fn of(entry: &engine::Eviction) -> impl Iterator<Item = Self> {
        entry.pods.iter().map(|pod| Self { pod: pod.to_string(), preemptor: entry.preemptor.clone(), reason: entry.why.clone() })
    }
}

impl Pending {
    fn of(waiting: &Waiting) -> Self {
        let Waiting { key, code, condition, needed, there, remedy } = waiting;
        Self {
            pod: key.to_string(),
            gang: None,
            reason: code.clone(),
            message: format!("needs {needed}; {there} ({condition})"),
            remedy: Some(remedy.clone()).filter(|remedy| !remedy.is_empty()),
        }
    }
}

fn device_lines(grant: &Grant) -> BTreeMap<String, Vec<DeviceLine>> {
    let line = |share: &crate::model::DeviceShare| {
        let id = share.device.as_ref().map(ToString::to_string);
        match share.amount {
            Amount::Whole => DeviceLine { id, milli: None, memory_mib: None },
            Amount::Share { milli, memory_mib } => DeviceLine { id, milli: Some(milli), memory_mib },
        }
    };
    grant.containers.iter().map(|container| (container.container.to_string(), container.devices.iter().map(line).collect())).collect()
}

fn device_counts(cluster: &Cluster) -> BTreeMap<String, DeviceCount> {
    let mut counts: BTreeMap<String, DeviceCount> = BTreeMap::new();
    for view in cluster.nodes() {
        for pool in &view.node.node.pools {
            let count = counts.entry(pool.resource.to_string()).or_default();
            count.total += u64::from(pool.allocatable);
            count.held += view.usage.whole.get(&pool.resource).copied().unwrap_or(0);
        }
    }
    for (resource, _, _) in draw::shared_devices(cluster) {
        counts.entry(ResourceName::to_string(&resource)).or_default().shared += 1;
    }
    for count in counts.values_mut() {
        count.free = count.total.saturating_sub(count.held).saturating_sub(count.shared);
    }
    counts
}
