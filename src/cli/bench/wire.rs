//! `bench wire`: a half-used cluster in memory behind the real server, asked by the real client over loopback.
//!
//! Server side is the host's share of a call (parse, decide, journal, render), measured around it in the same process;
//! round trip is what a client on the same machine sees, sockets included. Each filtered pod is bound, and deleted
//! again, so that the cluster stays as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::percentiles::{median, percentile_us};
use crate::api::{Api, ServeLimits, Server};
use crate::cli::http::Client;
use crate::cli::{Console, Exit};
use crate::engine::Effect;
use crate::host::{BindLimits, BindWrite, Binder, Clock, Host, Journal, JournalLimits, Part, PodRead, WriteError, Writer};
use crate::model::{NodeName, PodKey, PodUid};
use crate::policy::Profile;
use crate::telemetry::Metrics;
use crate::wire::extender::{BindRequest, client};
use crate::wire::{NodeObject, PodObject};

/// Arguments of `bench wire`.
#[derive(Args, Clone, Debug)]
pub(super) struct WireArgs {
    /// Cluster sizes: how many names a filter call carries
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 5000])]
    names: Vec<usize>,
    /// Pods filtered and bound in each run
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// Runs of which the median is told
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report {
    names: BTreeMap<String, Figures>,
}

/// Microseconds, but for the rate.
#[derive(Debug, Serialize)]
struct Figures {
    filter_p50_us: f64,
    filter_p99_us: f64,
    filter_round_trip_p50_us: f64,
    filter_round_trip_p99_us: f64,
    prioritize_p99_us: f64,
    bind_p50_us: f64,
    bind_p99_us: f64,
    requests_per_s: f64,
}

pub(super) fn run(args: &WireArgs, console: Console) -> anyhow::Result<Exit> {
    let runtime = Runtime::new().context("no threads to serve with")?;
    let mut report = Report { names: BTreeMap::new() };
    for &names in &args.names {
        console.talk(&format!("{names} names: {} runs of {} pods", args.runs, args.pods));
        report.names.insert(names.to_string(), measure(&runtime, names, args)?);
    }
    console.data(&report, table)?;
    Ok(Exit::Ok)
}

fn measure(runtime: &Runtime, names: usize, args: &WireArgs) -> anyhow::Result<Figures> {
    let stage = Stage::start(runtime, names)?;
    let mut client = Client::new(&stage.address.to_string());
    stage.run(&mut client, args.pods.div_ceil(4), "warm")?;
    let runs = (0..args.runs.max(1)).map(|run| stage.run(&mut client, args.pods, &run.to_string())).collect::<anyhow::Result<Vec<_>>>()?;
    let of = |pick: fn(&Figures) -> f64| median(runs.iter().map(pick).collect());
    Ok(Figures {
        filter_p50_us: of(|run| run.filter_p50_us),
        filter_p99_us: of(|run| run.filter_p99_us),
        filter_round_trip_p50_us: of(|run| run.filter_round_trip_p50_us),
        filter_round_trip_p99_us: of(|run| run.filter_round_trip_p99_us),
        prioritize_p99_us: of(|run| run.prioritize_p99_us),
        bind_p50_us: of(|run| run.bind_p50_us),
        bind_p99_us: of(|run| run.bind_p99_us),
        requests_per_s: of(|run| run.requests_per_s),
    })
}

/// A server over a cluster in memory.
struct Stage {
    host: Arc<Host>,
    memory: Arc<Memory>,
    names: Vec<String>,
    address: SocketAddr,
    /// The server ends when this is dropped.
    _stop: watch::Sender<bool>,
}

impl Stage {
    fn start(runtime: &Runtime, nodes: usize) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::new(JournalLimits::default(), metrics.clone());
        let (host, mut effects) = Host::new(Arc::new(Profile::shipped()), Clock::system(), metrics.clone(), journal);
        // Nobody is told anything here; the queue must not fill.
        runtime.spawn(async move { while effects.recv().await.is_some() {} });
        let names: Vec<String> = (0..nodes).map(|index| format!("gpu-node-{index:05}")).collect();
        for (index, name) in names.iter().enumerate() {
            host.node_applied(Arc::new(NodeObject::deserialize(node(name))?), None);
            if index % 2 == 0 {
                let uid = format!("held-{index}");
                host.pod_applied(Arc::new(PodObject::deserialize(pod(&uid, 1 + index % 7, Some(name)))?))?;
            }
        }
        host.wait_for(Part::Lists, None);
        let memory = Arc::new(Memory::default());
        let _ = memory.host.set(Arc::downgrade(&host));
        let binder = Binder::new(host.clone(), memory.clone(), BindLimits::default());
        let router = Api { host: host.clone(), binder }.router();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = runtime.block_on(Server::bind(listen, router, ServeLimits::default(), metrics)).context("no loopback port is free")?;
        let address = server.address()?;
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(server.run(stopped));
        Ok(Self { host, memory, names, address, _stop: stop })
    }

    fn run(&self, client: &mut Client, pods: usize, run: &str) -> anyhow::Result<Figures> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let mut times = Times::default();
        let mut asked = Duration::ZERO;
        for index in 0..pods {
            let uid = format!("asked-{run}-{index}");
            let object = pod(&uid, 1 + index % 8, None);
            let body = client::render_filter_request(&client::pod_json(&object)?, &names);
            let parsed = PodObject::deserialize(&object)?;
            self.memory.lock().insert(PodKey::new("bench", uid.as_str()), Arc::new(parsed));

            // The same question around the host alone; the answer is the same, and the hold is the pod's own.
            let bytes = Bytes::from(body.clone());
            let began = Instant::now();
            self.host.filter(&bytes)?;
            times.filter.push(began.elapsed());
            let began = Instant::now();
            self.host.prioritize(&bytes)?;
            times.prioritize.push(began.elapsed());

            let began = Instant::now();
            let reply = client.post("/scheduler/filter", &body)?;
            times.round_trip.push(began.elapsed());
            let answer = client::parse_filter_response(&reply.body)?;
            let node = answer.node_names.unwrap_or_default().into_iter().next().context("no node passes: the cluster is full")?;
            let request = BindRequest { key: PodKey::new("bench", uid.as_str()), uid: PodUid::from(&*uid), node: NodeName::from(&*node) };
            let call = Instant::now();
            let reply = client.post("/scheduler/bind", &client::render_bind_request(&request))?;
            times.bind.push(call.elapsed());
            asked += began.elapsed();
            let error = client::parse_bind_response(&reply.body)?.error;
            anyhow::ensure!(error.is_empty(), "bind: {error}");
            self.host.pod_deleted(&request.uid);
            self.memory.lock().remove(&request.key);
        }
        Ok(Figures {
            filter_p50_us: percentile_us(&mut times.filter, 50),
            filter_p99_us: percentile_us(&mut times.filter, 99),
            filter_round_trip_p50_us: percentile_us(&mut times.round_trip, 50),
            filter_round_trip_p99_us: percentile_us(&mut times.round_trip, 99),
            prioritize_p99_us: percentile_us(&mut times.prioritize, 99),
            bind_p50_us: percentile_us(&mut times.bind, 50),
            bind_p99_us: percentile_us(&mut times.bind, 99),
            requests_per_s: 2.0 * pods as f64 / asked.as_secs_f64(),
        })
    }
}

#[derive(Default)]
struct Times {
    filter: Vec<Duration>,
    round_trip: Vec<Duration>,
    prioritize: Vec<Duration>,
    bind: Vec<Duration>,
}

/// An API server that says yes at once, and whose watch is as fast.
#[derive(Debug, Default)]
struct Memory {
    pods: Mutex<BTreeMap<PodKey, Arc<PodObject>>>,
    host: OnceLock<std::sync::Weak<Host>>,
}

impl Memory {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PodKey, Arc<PodObject>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer for Memory {
    fn read_pod<'a>(&'a self, key: &'a PodKey) -> BoxFuture<'a, Result<Option<PodRead>, WriteError>> {
        let read = self.lock().get(key).map(|object| PodRead { object: object.clone(), resource_version: "1".into() });
        ready(Ok(read)).boxed()
    }

    fn bind<'a>(&'a self, write: &'a BindWrite) -> BoxFuture<'a, Result<(), WriteError>> {
        let bound = self.lock().get(&write.order.pod.key).map(|object| {
            let mut bound = PodObject::clone(object);
            bound.spec.node_name = Some(write.order.grant.node.to_string());
            let record = crate::wire::annotations::render_devices(&write.order.grant);
            bound.metadata.annotations.get_or_insert_default().insert(crate::wire::annotations::DEVICES.into(), record);
            bound
        });
        if let (Some(bound), Some(host)) = (bound, self.host.get().and_then(std::sync::Weak::upgrade)) {
            // An object of our own making always has a name and a UID.
            let _ = host.pod_applied(Arc::new(bound));
        }
        ready(Ok(())).boxed()
    }

    fn carry_out<'a>(&'a self, _: &'a Effect) -> BoxFuture<'a, Result<(), WriteError>> {
        ready(Ok(())).boxed()
    }
}

fn node(name: &str) -> Value {
    let amounts = json!({"cpu": "192", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"});
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.count": "8"});
    json!({"metadata": {"name": name, "labels": labels}, "status": {"capacity": amounts, "allocatable": amounts}})
}

/// About 3 kB, as a training pod has.
fn pod(uid: &str, gpus: usize, node: Option<&str>) -> Value {
    let env: Vec<Value> =
        (0..30).map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "a value of ordinary length, not short"})).collect();
    let limits = json!({"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": gpus.to_string()});
    json!({
        "metadata": {"name": uid, "namespace": "bench", "uid": uid, "labels": {"app": "bench"}},
        "spec": {
            "schedulerName": "gangplank", "nodeName": node,
            "containers": [{"name": "main", "image": "registry.example.com/team/trainer:1", "env": env,
                "resources": {"limits": limits, "requests": limits}}],
        },
        "status": {"phase": if node.is_some() { "Running" } else { "Pending" }},
    })
}

fn table(report: &Report) -> String {
    let mut text =
        String::from(" names | filter p50 | p99 us | round trip p50 | p99 us | prioritize p99 us | bind p50 | p99 us | requests/s\n");
    let mut rows: Vec<(&String, &Figures)> = report.names.iter().collect();
    rows.sort_by_key(|(names, _)| names.parse::<usize>().unwrap_or(0));
    for (names, figures) in rows {
        let _ = writeln!(
            text,
            "{names:>6} | {:>10.0} | {:>6.0} | {:>14.0} | {:>6.0} | {:>17.0} | {:>8.0} | {:>6.0} | {:>10.0}",
            figures.filter_p50_us,
            figures.filter_p99_us,
            figures.filter_round_trip_p50_us,
            figures.filter_round_trip_p99_us,
            figures.prioritize_p99_us,
            figures.bind_p50_us,
            figures.bind_p99_us,
            figures.requests_per_s,
        );
    }
    text.push_str(
        "filter and prioritize: server side, the host's share of a call; round trip and bind: over loopback HTTP, one connection\n",
    );
    text
}
