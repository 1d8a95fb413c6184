//! Our engine through the extender protocol: a real server on loopback, and kube-scheduler's loop that asks it with
//! kube-scheduler's bytes, one pod after the other, as in `gangplank demo`.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::cli::demo::Extender;
use crate::cli::demo::loopback::Loopback;
use crate::cli::scene::Scene;
use crate::model::{Classes, PodUid};
use crate::policy::{PlainPods, Profile};
use crate::sim::openb::{Asked, ClusterState, Nodes, Packer, Place};
use crate::sim::{Attempt, Outcome, Scheduler, World};
use crate::wire::manifest::{self, Document, openb};

/// The server, its cluster in memory, and the scheduler.
pub(super) struct Protocol {
    runtime: Runtime,
    extender: Extender,
    world: Loopback,
    scheduler: Scheduler,
    nodes: Nodes,
    classes: Arc<Classes>,
    clock_ns: fn() -> u64,
    decided_ns: u64,
    failed: Option<anyhow::Error>,
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protocol").field("address", &self.extender.address).finish_non_exhaustive()
    }
}

impl Protocol {
    pub(super) fn start(nodes: &Nodes, profile: Arc<Profile>, seed: u64, clock_ns: fn() -> u64) -> anyhow::Result<Self> {
        let place = |line: usize| manifest::Place { file: "node list".into(), line, document: line, item: None };
        let objects = openb::nodes(nodes).flatten().zip(1..);
        let documents = objects.map(|(object, line)| Document { place: place(line), object }).collect();
        let scene = Scene::build(documents, Vec::new(), &profile.classes)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no threads to serve with")?;
        let (classes, plain_pods) = (Arc::clone(&profile.classes), profile.plain_pods);
        let (extender, pump) = Extender::start(&runtime, &scene, profile)?;
        let world = Loopback::new(pump, &extender.address.to_string());
        let scheduler = Scheduler::new(seed);
        let scheduler = if plain_pods == PlainPods::Place { scheduler.asking_of_all() } else { scheduler };
        Ok(Self { runtime, extender, world, scheduler, nodes: nodes.clone(), classes, clock_ns, decided_ns: 0, failed: None })
    }

    /// Stops the server, and tells what went wrong on the way.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.extender.stop(self.runtime);
        self.failed.map_or(Ok(()), Err)
    }

    /// Creates the pod if it is new, and lets the scheduler try.
    fn ask(&mut self, asked: &Asked<'_>) -> anyhow::Result<Option<Place>> {
        let uid = uid_of(asked.arrival);
        if self.world.look(|cluster| cluster.pod(&uid).is_none()) {
            let mut object = openb::pod(&format!("{}-{}", asked.pod.name, asked.arrival), asked.pod, &self.nodes);
            object["metadata"]["uid"] = uid.as_str().into();
            object["metadata"]["namespace"] = "default".into();
            let pod = manifest::pod(&object, &self.classes, &manifest::Namespaces::new())?;
            self.extender.memory.create(object, pod)?;
        }
        let began = (self.clock_ns)();
        let mut failed = None;
        self.scheduler.run(&mut self.world, |_, Attempt { outcome, .. }| {
            if let Outcome::Failed(error) = outcome {
                failed = Some(error.clone());
            }
        });
        self.decided_ns = (self.clock_ns)() - began;
        let placed = self.world.look(|cluster| {
            let pod = &cluster.pod(&uid)?.pod;
            let node = pod.node.clone()?;
            let shares = pod.recorded.iter().flat_map(|grant| &grant.containers).flat_map(|container| &container.devices);
            let places = shares.filter_map(|share| share.device.as_ref()?.as_str().parse::<u32>().ok());
            Some((node, places.fold(0, |mask, device| mask | 1 << device)))
        });
        match (placed, failed) {
            (Some((name, devices)), _) => {
                let node = self.nodes.list.binary_search_by(|node| (*node.name).cmp(name.as_str()));
                Ok(Some(Place { node: node.ok().with_context(|| format!("put on {name}, which is in no list"))?, devices }))
            }
            (None, Some(error)) => anyhow::bail!("{}: {error}", asked.pod.name),
            (None, None) => Ok(None),
        }
    }
}

impl Packer for Protocol {
    /// kube-scheduler's loop makes up its own mind on what to offer; the harness checks that it is what it would offer.
    fn choose(&mut self, _: &ClusterState, asked: &Asked<'_>, _: &[usize]) -> Option<Place> {
        self.ask(asked).unwrap_or_else(|error| {
            // The harness stops at the first pod that is refused although a node fits; this says why.
            self.failed.get_or_insert(error);
            None
        })
    }

    fn gone(&mut self, asked: &Asked<'_>) {
        self.extender.memory.delete(&uid_of(asked.arrival));
    }

    fn decided_ns(&self) -> Option<u64> {
        Some(self.decided_ns)
    }
}

fn uid_of(arrival: usize) -> PodUid {
    PodUid::new(format!("openb-{arrival:06}"))
}
