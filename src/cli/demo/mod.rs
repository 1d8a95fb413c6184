//! `gangplank demo`: the whole thing on one machine. A room in memory, the real extender server on a free loopback port,
//! and kube-scheduler's loop that calls it with kube-scheduler's bytes.

pub(super) mod loopback;
pub(super) mod memory;
mod pump;
mod room;

use std::io::{IsTerminal, stderr};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::loopback::Loopback;
use self::memory::Memory;
use self::pump::Pump;
use super::report::{Ended, Report};
use super::scene::Scene;
use super::{Console, Exit, Format, Run};
use crate::api::{Api, ServeLimits, Server};
use crate::host::{BindLimits, Binder, Clock, Host, Journal, JournalLimits, Part};
use crate::policy::Profile;
use crate::sim::{Outcome, Scheduler, World};
use crate::telemetry::Metrics;
use crate::wire::manifest::{self, Document};
use crate::wire::{NodeObject, QuotaObject};

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Decides ties; the same seed gives the same placements
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep answering on loopback afterwards, until interrupted
    #[arg(long)]
    serve: bool,
}

impl Run for DemoArgs {
    const NAME: &'static str = "demo";
    const ABOUT: &'static str = "Show the whole thing on this machine, without a cluster";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let profile = Arc::new(Profile::shipped());
        let scene = Scene::build(room::nodes(), workloads()?, &profile.classes)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("the runtime cannot be started")?;
        let (server, pump) = Extender::start(&runtime, &scene, profile)?;
        console.talk(&format!("a room of {} nodes; the extender answers on http://{}", scene.nodes.len(), server.address));
        for note in &scene.notes {
            console.talk(&format!("note: {note}"));
        }
        let mut world = Loopback::new(pump, &server.address.to_string());
        let progress = Progress::new(console, world.look(|cluster| cluster.pods().filter(|pod| pod.pod.node.is_none()).count()));
        let waiting = Scheduler::new(self.seed).run(&mut world, |_, attempt| progress.tell(&attempt.outcome));
        progress.end();
        let calls = world.calls();
        let (report, table) = world.look(|cluster| {
            let ended = Ended {
                cluster,
                rank: &|_| None,
                bound_before: &scene.bound_before,
                refused: &scene.refused,
                waiting: &waiting,
                // All have the same priority here.
                evictions: Vec::new(),
                calls,
                seed: self.seed,
            };
            let report = Report::of(&ended);
            let table = report.table(cluster, &scene.bound_before, console.color);
            (report, table)
        });
        let us = |percentile| world.filter_us(percentile).unwrap_or(0);
        let calls = format!(
            "{} filter, {} prioritize and {} bind calls over HTTP; filter p50 {} us, p99 {} us\n",
            calls.filter,
            calls.prioritize,
            calls.bind,
            us(50),
            us(99),
        );
        if console.format != Format::Table {
            // How long it took is not part of what was decided: the same seed gives the same data.
            console.talk(calls.trim_end());
        }
        console.data(&report, |_| format!("{table}{calls}"))?;
        if self.serve {
            world.into_pump().run_by_itself(&runtime);
            server.keep(&runtime, console)?;
        }
        server.stop(runtime);
        Ok(Exit::Ok)
    }
}

/// The real server over the cluster in memory.
pub(super) struct Extender {
    pub(super) address: SocketAddr,
    pub(super) memory: Arc<Memory>,
    stop: watch::Sender<bool>,
}

impl Extender {
    pub(super) fn start(runtime: &Runtime, scene: &Scene, profile: Arc<Profile>) -> anyhow::Result<(Self, Pump)> {
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::new(JournalLimits::default(), Arc::clone(&metrics));
        let (host, effects) = Host::new(profile, Clock::system(), Arc::clone(&metrics), journal);
        for (object, report) in &scene.nodes {
            host.node_applied(Arc::new(NodeObject::deserialize(object)?), report.clone().map(Arc::new));
        }
        for object in &scene.quota_objects {
            host.quota_applied(Arc::new(QuotaObject::deserialize(object)?));
        }
        for gang in &scene.gangs {
            host.gang_applied(gang.spec.clone(), &gang.object, gang.place, gang.suspends.as_ref());
        }
        let memory = Memory::new(scene.cluster.clone(), scene.pods.clone());
        memory.watch(&host)?;
        host.wait_for(Part::Lists, None);
        let writer: Arc<dyn crate::host::Writer> = Arc::clone(&memory) as _;
        let binder = Binder::new(Arc::clone(&host), writer, BindLimits::default());
        let pump = Pump { host: Arc::clone(&host), memory: Arc::clone(&memory), effects };
        let router = Api { host, binder }.router();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = runtime.block_on(Server::bind(listen, router, ServeLimits::default(), metrics)).context("no loopback port is free")?;
        let address = server.address()?;
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(server.run(stopped));
        Ok((Self { address, memory, stop }, pump))
    }

    /// Answers until interrupted.
    fn keep(&self, runtime: &Runtime, console: Console) -> anyhow::Result<()> {
        let base = format!("http://{}", self.address);
        console.talk(&format!(
            "\nit keeps answering; try\n  curl {base}/api/v1/nodes\n  curl {base}/api/v1/pods/research/linked-pair\n  curl {base}/metrics\n  \
             gangplank topo dgx1-v100-1 --server {base}\n  gangplank explain research/linked-pair --server {base}\nCtrl-C ends it"
        ));
        runtime.block_on(tokio::signal::ctrl_c()).context("the interrupt signal cannot be waited for")
    }

    pub(super) fn stop(&self, runtime: Runtime) {
        self.stop.send_replace(true);
        runtime.shutdown_timeout(Duration::from_millis(500));
    }
}

/// The workloads that ship in the binary.
fn workloads() -> anyhow::Result<Vec<Document>> {
    let files = [
        ("extra.yaml", include_str!("extra.yaml")),
        ("two-gpus.yaml", include_str!("../../../deploy/examples/two-gpus.yaml")),
        ("train-pytorch.yaml", include_str!("../../../deploy/examples/train-pytorch.yaml")),
        ("train-four-workers.yaml", include_str!("../../../deploy/examples/train-four-workers.yaml")),
        ("serve-tensorflow.yaml", include_str!("../../../deploy/examples/serve-tensorflow.yaml")),
        ("two-containers-one-gpu.yaml", include_str!("../../../deploy/examples/two-containers-one-gpu.yaml")),
        ("tpu-v3.yaml", include_str!("../../../deploy/examples/tpu-v3.yaml")),
        ("preprocess-in-parallel.yaml", include_str!("../../../deploy/examples/preprocess-in-parallel.yaml")),
    ];
    let mut documents = Vec::new();
    for (name, text) in files {
        documents.append(&mut manifest::read(name, text)?);
    }
    Ok(documents)
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    console: Console,
    total: usize,
    placed: std::cell::Cell<usize>,
}

impl Progress {
    fn new(console: Console, total: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            // A template that does not parse falls back to the plain bar.
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} pods placed, {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, console, total, placed: std::cell::Cell::new(0) }
    }

    fn tell(&self, outcome: &Outcome) {
        let Outcome::Bound(_) = outcome else { return };
        let placed = self.placed.get() + 1;
        self.placed.set(placed);
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if placed.is_multiple_of(self.total.div_ceil(4).max(1)) => {
                self.console.talk(&format!("{placed} of {} pods placed", self.total));
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
