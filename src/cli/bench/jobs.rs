//! `bench muri` and `bench philly`: jobs of a trace on equal nodes, by our engine and by others, run by the same code.
//!
//! Here are files, threads and the printing; what is run is in `sim::jobs`. Everything printed is a function of the trace and
//! the options.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;

use super::openb::{parsed, side_by_side};
use crate::cli::{Advice, Console, Exit};
use crate::policy::{Profile, Profiles};
use crate::sim::jobs::{Cluster, Fifo, Figures, Gangplank, Key, Reference, Trace, run};

/// Arguments of `bench muri`.
#[derive(Args, Clone, Debug)]
pub(super) struct MuriArgs {
    /// The trace, as the Muri simulator has it
    #[arg(long, value_name = "CSV")]
    trace: PathBuf,
    /// What each start of a job after its first costs: seconds in which it holds its GPUs and gets nothing done
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    restart_s: u64,
    /// Jobs have the priorities that the trace gives them; without it all are equal
    #[arg(long)]
    priorities: bool,
    #[command(flatten)]
    scene: SceneArgs,
}

/// Arguments of `bench philly`.
#[derive(Args, Clone, Debug)]
pub(super) struct PhillyArgs {
    /// The trace: timestamp, duration, num_gpus, cluster
    #[arg(long, value_name = "CSV")]
    trace: PathBuf,
    /// Take the first so many jobs only
    #[arg(long, value_name = "JOBS")]
    first: Option<usize>,
    #[command(flatten)]
    scene: SceneArgs,
}

/// What a run is on.
#[derive(Args, Clone, Debug)]
struct SceneArgs {
    /// Nodes [default: 8, of the Philly trace 50]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    nodes: Option<u32>,
    /// GPUs of each
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=16))]
    gpus: u32,
    /// Only these orders
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    order: Vec<String>,
}

impl SceneArgs {
    fn cluster(&self, nodes: u32) -> Cluster {
        Cluster { nodes: self.nodes.unwrap_or(nodes) as usize, node_gpus: self.gpus }
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// The engine with the built-in profile and what is said here in its place.
    Ours(Says),
    Fifo,
    FifoBackfill,
    /// The same order on counts, without an engine.
    Counts(fn() -> Key),
}

/// What differs from the built-in profile, and what owners say.
#[derive(Clone, Copy, Debug)]
struct Says {
    /// One queue of this order.
    order: Option<&'static str>,
    /// Owners say how long their jobs run.
    durations: bool,
    /// Room is kept for gangs that have waited too long. First come, first served with backfill keeps none.
    keeps_room: bool,
}

/// A name, who it is, and whose published figure it is beside.
type Order = (&'static str, Who, Option<&'static str>);

/// Every order, in the order of the table.
const ORDERS: &[Order] = &[
    ("srtf", Who::Ours(Says { order: Some("srtf"), durations: true, keeps_room: false }), Some("SRTF")),
    ("srsf", Who::Ours(Says { order: Some("srsf"), durations: true, keeps_room: false }), Some("SRSF")),
    ("las", Who::Ours(Says { order: Some("las"), durations: false, keeps_room: false }), Some("Tiresias-L")),
    ("default", Who::Ours(Says { order: None, durations: true, keeps_room: true }), None),
    ("silent", Who::Ours(Says { order: None, durations: false, keeps_room: true }), None),
    ("keeps-none", Who::Ours(Says { order: None, durations: false, keeps_room: false }), None),
    ("fifo", Who::Fifo, None),
    ("fifo-backfill", Who::FifoBackfill, None),
    ("counts-srtf", Who::Counts(|| Key::RemainingTime), Some("SRTF")),
    ("counts-srsf", Who::Counts(|| Key::RemainingService), Some("SRSF")),
    ("counts-las", Who::Counts(|| Key::AttainedService { first_step_gpu_s: 3600, apart: 6 }), Some("Tiresias-L")),
];

/// How often an engine that goes by what jobs had is told that time passes. A real one is told each second.
const LOOK_EVERY_S: u64 = 3600;

/// Average completion times that were published for the traces, in seconds (Muri, SIGCOMM'22: its simulator, 8 nodes of 8
/// GPUs, consolidated). `_pr`: all jobs come at once.
const PUBLISHED: &[(&str, [(&str, f64); 3])] = &[
    ("trace1", [("SRTF", 1_370_603.0), ("SRSF", 980_141.0), ("Tiresias-L", 3_330_371.0)]),
    ("trace1_pr", [("SRTF", 2_303_544.0), ("SRSF", 1_801_860.0), ("Tiresias-L", 6_921_683.0)]),
    ("trace2", [("SRTF", 2_665_607.0), ("SRSF", 2_213_950.0), ("Tiresias-L", 7_396_369.0)]),
    ("trace2_pr", [("SRTF", 4_079_154.0), ("SRSF", 3_384_600.0), ("Tiresias-L", 10_555_502.0)]),
    ("trace3", [("SRTF", 193_082.0), ("SRSF", 185_022.0), ("Tiresias-L", 347_213.0)]),
    ("trace3_pr", [("SRTF", 844_395.0), ("SRSF", 798_058.0), ("Tiresias-L", 2_213_110.0)]),
    ("trace4", [("SRTF", 581_983.0), ("SRSF", 487_167.0), ("Tiresias-L", 1_319_383.0)]),
    ("trace4_pr", [("SRTF", 1_430_856.0), ("SRSF", 1_218_502.0), ("Tiresias-L", 2_674_023.0)]),
];

/// What `-o json` prints.
#[derive(Debug, Serialize)]
struct Report {
    trace: String,
    jobs: usize,
    nodes: usize,
    node_gpus: u32,
    restart_s: u64,
    orders: BTreeMap<&'static str, Row>,
}

/// Of one order.
#[derive(Debug, Serialize)]
struct Row {
    jct_avg_s: f64,
    jct_p99_s: u64,
    makespan_s: u64,
    /// The longest time that a job was without devices, all its waits together.
    wait_max_s: u64,
    wait_avg_s: f64,
    wait_p99_s: u64,
    /// The longest in one piece.
    wait_longest_s: u64,
    in_use_pct: f64,
    starts: u64,
    preemptions: u64,
    /// Jobs that fit nowhere.
    never_ended: usize,
    /// What was published for this order on a trace of this name, and our average as a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
}

#[derive(Debug, Serialize)]
struct Published {
    name: &'static str,
    jct_avg_s: f64,
    ratio: f64,
}

impl Row {
    fn of(figures: &Figures, published: Option<(&'static str, f64)>) -> Self {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let ratio = |value: f64| (figures.jct_avg_s() / value * 10_000.0).round() / 10_000.0;
        Self {
            jct_avg_s: rounded(figures.jct_avg_s()),
            jct_p99_s: figures.jct_p99_s(),
            makespan_s: figures.makespan_s,
            wait_max_s: figures.wait_max_s(),
            wait_avg_s: rounded(figures.wait_avg_s()),
            wait_p99_s: figures.wait_p99_s(),
            wait_longest_s: figures.longest_wait_s,
            in_use_pct: rounded(figures.in_use_pct),
            starts: figures.starts,
            preemptions: figures.preemptions,
            never_ended: figures.never_ended,
            published: published.map(|(name, value)| Published { name, jct_avg_s: value, ratio: ratio(value) }),
        }
    }
}

pub(super) fn muri(args: &MuriArgs, console: Console) -> anyhow::Result<Exit> {
    let mut trace = parsed(&args.trace, "the Muri simulator", Trace::muri)?;
    if !args.priorities {
        trace.jobs.iter_mut().for_each(|job| job.priority = 0);
    }
    bench(&args.trace, &trace, args.scene.cluster(8), args.restart_s, &chosen(&args.scene.order, ORDERS)?, console)
}

pub(super) fn philly(args: &PhillyArgs, console: Console) -> anyhow::Result<Exit> {
    let mut trace = parsed(&args.trace, "AdaptDL's Philly trace", Trace::philly)?;
    trace.jobs.truncate(args.first.unwrap_or(usize::MAX));
    let plain = |who: &Who| matches!(who, Who::Ours(Says { order: None, .. }) | Who::Fifo | Who::FifoBackfill);
    let orders: Vec<Order> = ORDERS.iter().filter(|(_, who, _)| plain(who)).copied().collect();
    bench(&args.trace, &trace, args.scene.cluster(50), 0, &chosen(&args.scene.order, &orders)?, console)
}

fn chosen(names: &[String], orders: &[Order]) -> anyhow::Result<Vec<Order>> {
    let known: Vec<&str> = orders.iter().map(|(name, ..)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Advice::new(format!("there is no order `{unknown}` here"), format!("choose of {}", known.join(", "))).into());
    }
    Ok(orders.iter().filter(|(name, ..)| names.is_empty() || names.iter().any(|wanted| wanted == name)).copied().collect())
}

fn bench(file: &Path, trace: &Trace, cluster: Cluster, restart_s: u64, orders: &[Order], console: Console) -> anyhow::Result<Exit> {
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let published = |order: Option<&'static str>| {
        let (_, figures) = PUBLISHED.iter().find(|(trace, _)| *trace == name)?;
        figures.iter().copied().find(|(name, _)| Some(*name) == order)
    };
    let came = side_by_side(orders, |(order, who, beside)| {
        let figures = decide(*who, trace, cluster, restart_s).with_context(|| format!("{order} on {name}"))?;
        console.talk(&format!("done: {order}"));
        anyhow::Ok((*order, Row::of(&figures, published(*beside))))
    });
    let orders: BTreeMap<&str, Row> = came.into_iter().collect::<anyhow::Result<_>>()?;
    let report = Report { trace: name, jobs: trace.jobs.len(), nodes: cluster.nodes, node_gpus: cluster.node_gpus, restart_s, orders };
    console.data(&report, table)?;
    Ok(Exit::Ok)
}

fn decide(who: Who, trace: &Trace, cluster: Cluster, restart_s: u64) -> anyhow::Result<Figures> {
    Ok(match who {
        Who::Fifo => run(cluster, trace, restart_s, &mut Fifo::strict())?,
        Who::FifoBackfill => run(cluster, trace, restart_s, &mut Fifo::with_backfill())?,
        Who::Counts(key) => run(cluster, trace, restart_s, &mut Reference::new(key(), restart_s))?,
        Who::Ours(Says { order, durations, keeps_room }) => {
            let mut trace = trace.clone();
            trace.jobs.iter_mut().for_each(|job| job.expected_s = durations.then_some(job.runs_s));
            let queue = order.map(|order| format!("\nqueues: {{list: [{{name: default, order: {order}}}]}}\n")).unwrap_or_default();
            let yaml = format!("{}{queue}", Profile::DEFAULT_YAML);
            let mut profile = Profile::parse(&yaml)?;
            profile.keep_room_after = profile.keep_room_after.filter(|_| keeps_room);
            let look_every_s = (order == Some("las")).then_some(LOOK_EVERY_S);
            let mut ours = Gangplank::new(cluster, &trace, Profiles::from(Arc::new(profile)), look_every_s);
            let figures = run(cluster, &trace, restart_s, &mut ours)?;
            let violations = ours.violations();
            ensure!(violations.is_empty(), "the book is broken: {violations:?}");
            figures
        }
    })
}

fn table(report: &Report) -> String {
    let Report { trace, jobs, nodes, node_gpus, restart_s, orders } = report;
    let mut text = format!("{trace}: {jobs} jobs on {nodes} nodes of {node_gpus} GPUs, each start after the first charged {restart_s} s\n");
    let _ = writeln!(
        text,
        "{:<14} | {:>12} {:>12} {:>12} | {:>12} {:>12} {:>12} | {:>6} {:>7} {:>9} | published",
        "order", "jct avg s", "jct p99 s", "makespan s", "wait avg s", "wait p99 s", "wait max s", "use %", "starts", "preempted"
    );
    for (name, row) in ORDERS.iter().filter_map(|(name, ..)| Some((name, orders.get(name)?))) {
        let beside = row.published.as_ref().map(|beside| format!("{} {:.0}: {:.3}", beside.name, beside.jct_avg_s, beside.ratio));
        let _ = writeln!(
            text,
            "{name:<14} | {:>12.0} {:>12} {:>12} | {:>12.0} {:>12} {:>12} | {:>6.2} {:>7} {:>9} | {}",
            row.jct_avg_s,
            row.jct_p99_s,
            row.makespan_s,
            row.wait_avg_s,
            row.wait_p99_s,
            row.wait_max_s,
            row.in_use_pct,
            row.starts,
            row.preemptions,
            beside.unwrap_or_default()
        );
    }
    let never: Vec<String> =
        orders.iter().filter(|(_, row)| row.never_ended > 0).map(|(name, row)| format!("{name}: {} jobs", row.never_ended)).collect();
    if !never.is_empty() {
        let _ = writeln!(text, "never ended, because they fit nowhere: {}", never.join(", "));
    }
    text
}
