//! `bench gangs`: whole gangs through the engine, asked as the host asks it: a piece of news for each member, then plans
//! until nothing waits. Objects are read before the clock starts: reading them is the watch's work.
//!
//! Nodes are boxes of eight GPUs, 20 in a rack, 10 racks in a block. For the gang that cannot fit two of each rack's nodes
//! are free of pods, so that every rack is looked at, and none holds ten members.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::percentiles::median;
use super::preempt::Full;
use crate::cli::{Console, Exit};
use crate::engine::{Effect, Engine, Input};
use crate::model::{Classes, Pod, PodUid, Reason, Time};
use crate::policy::{Profile, Profiles};
use crate::wire::{NodeObject, PodObject, annotations};

/// Arguments of `bench gangs`.
#[derive(Args, Clone, Debug)]
pub(super) struct GangsArgs {
    /// Runs of which the median is told
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// The large cluster is this many times smaller: for a quick look
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    smaller: u32,
}

/// What `-o json` prints: medians.
#[derive(Debug, Serialize)]
struct Report {
    runs: usize,
    /// 1,000 members of 8 GPUs over 5,000 nodes: the last member's news and the plan.
    plan_1000_pods_5000_nodes_ms: f64,
    /// 512 members of 1 GPU over 500 nodes: the same.
    plan_512_pods_500_nodes_ms: f64,
    /// 10 members of 8 GPUs in one rack of 5,000 nodes, where none has room for them.
    infeasible_10_pods_ms: f64,
    /// The news of one of the 1,000 members.
    member_us: f64,
    /// 1,000 single pods of 1 GPU over 5,000 nodes: each one's plan.
    plan_single_us: f64,
    /// 1,000 full nodes of lower priority: who must go for a gang of 4 or of 64 whole nodes, the slower of the two.
    preempt_1000_nodes_ms: f64,
    /// For 4 nodes.
    preempt_4_of_1000_nodes_ms: f64,
    /// For 64 nodes.
    preempt_64_of_1000_nodes_ms: f64,
    /// Whether both were proven to be the best.
    preempt_proven: bool,
    /// 1,000 single pods of 1 GPU, no GPU free, each looked at again after one pod more has gone: each one's share.
    replan_single_us: f64,
}

pub(super) fn run(args: &GangsArgs, console: Console) -> anyhow::Result<Exit> {
    let (large, few) = (5_000 / args.smaller as usize, 1_000 / args.smaller as usize);
    let runs = args.runs.max(1);
    let times = |title: &str, scene: Scene| -> anyhow::Result<Vec<Times>> {
        console.talk(&format!("{title}: {runs} runs and one to warm up"));
        scene.run()?;
        (0..runs).map(|_| scene.run()).collect()
    };
    let gang = |pods, gpus, required| Scene { nodes: large, taken: Taken::None, pods, gpus, gang: true, required };
    let thousand = times("1,000 pods over 5,000 nodes", gang(few, 8, None))?;
    let small = Scene { nodes: 500, taken: Taken::None, pods: 512, gpus: 1, gang: true, required: None };
    let small = times("512 pods over 500 nodes", small)?;
    let never = times("10 pods that do not fit", Scene { taken: Taken::Most, ..gang(10, 8, Some("rack")) })?;
    let singles = times("1,000 single pods over 5,000 nodes", Scene { gang: false, ..gang(few, 1, None) })?;
    let waiting = times("1,000 single pods that wait", Scene { gang: false, taken: Taken::All, ..gang(few, 1, None) })?;
    console.talk("victims on 1,000 full nodes");
    let (four, sixty_four, preempt_proven) = victims(1_000 / args.smaller as usize, runs)?;
    let of = |runs: &[Times], pick: fn(&Times) -> Duration| median(runs.iter().map(|times| pick(times).as_secs_f64()).collect());
    let report = Report {
        runs,
        plan_1000_pods_5000_nodes_ms: 1e3 * of(&thousand, Times::decided),
        plan_512_pods_500_nodes_ms: 1e3 * of(&small, Times::decided),
        infeasible_10_pods_ms: 1e3 * of(&never, Times::decided),
        member_us: 1e6 * of(&thousand, |times| times.news) / few as f64,
        plan_single_us: 1e6 * of(&singles, |times| times.plans) / few as f64,
        preempt_1000_nodes_ms: 1e3 * four.max(sixty_four),
        preempt_4_of_1000_nodes_ms: 1e3 * four,
        preempt_64_of_1000_nodes_ms: 1e3 * sixty_four,
        preempt_proven,
        replan_single_us: 1e6 * of(&waiting, |times| times.again) / few as f64,
    };
    console.data(&report, table)?;
    Ok(Exit::Ok)
}

/// Seconds for a gang of 4 nodes and for one of 64, medians; and whether every answer was proven to be the best.
fn victims(nodes: usize, runs: usize) -> anyhow::Result<(f64, f64, bool)> {
    let profiles = Profiles::from(Arc::new(Profile::shipped()));
    let classes = profiles.classes();
    let mut full = Full::new(
        nodes,
        |index| Ok(NodeObject::deserialize(node(index))?.to_model(None, classes)),
        |name, gpus| Ok(PodObject::deserialize(held(name, gpus, None))?.to_model(classes)?),
    )?;
    let scene = Scene { nodes, taken: Taken::All, pods: 1, gpus: 8, gang: true, required: None };
    let asked = scene.pod(0, classes)?;
    let mut proven = true;
    let mut times = |members: usize| -> anyhow::Result<f64> {
        full.run(&asked, members)?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let (spent, takeover) = full.run(&asked, members)?;
            proven &= takeover.proven;
            seconds.push(spent.as_secs_f64());
        }
        Ok(median(seconds))
    };
    Ok((times(4.min(nodes / 2))?, times(64.min(nodes / 2))?, proven))
}

/// A cluster and who comes to it.
#[derive(Clone, Copy)]
struct Scene {
    nodes: usize,
    taken: Taken,
    pods: usize,
    gpus: usize,
    /// One gang, or single pods.
    gang: bool,
    required: Option<&'static str>,
}

/// Which nodes are full already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    None,
    /// 18 of each rack's 20.
    Most,
    All,
}

struct Times {
    /// News of all members but the last.
    news: Duration,
    last: Duration,
    /// All plans after that.
    plans: Duration,
    /// All plans after one pod more has gone.
    again: Duration,
}

impl Times {
    fn decided(&self) -> Duration {
        self.last + self.plans
    }
}

/// How many pods are told of a place: by a nomination, or in a small cluster by their release.
fn placed(effects: &[Effect]) -> usize {
    let told = |effect: &Effect| match effect {
        Effect::Nominate { pod, node: Some(_) } | Effect::Release { pod, plan: Some(_) } => Some(pod.uid.clone()),
        _ => None,
    };
    effects.iter().filter_map(told).collect::<BTreeSet<PodUid>>().len()
}

impl Scene {
    fn run(&self) -> anyhow::Result<Times> {
        let profiles = Profiles::from(Arc::new(Profile::shipped()));
        let classes = profiles.classes().clone();
        let mut engine = Engine::new(profiles);
        let now = |seconds: u64| Time::from_unix_ms(1_000_000 + 1_000 * seconds);
        for index in 0..self.nodes {
            engine.step(now(0), Input::NodeApplied(NodeObject::deserialize(node(index))?.to_model(None, &classes)));
            if self.taken == Taken::All || (self.taken == Taken::Most && index % 20 >= 2) {
                engine.step(now(0), Input::PodApplied(bound(index, &classes)?));
            }
        }
        engine.step(now(0), Input::Synced);
        let mut pods = (0..self.pods).map(|index| self.pod(index, &classes)).collect::<anyhow::Result<Vec<Pod>>>()?;
        let last = pods.pop().context("no pod")?;
        let timed = |engine: &mut Engine, inputs: Vec<Input<'_>>| {
            let (began, mut effects) = (Instant::now(), Vec::new());
            inputs.into_iter().for_each(|input| effects.extend(engine.step(now(1), input).effects));
            (began.elapsed(), effects)
        };
        let (news, _) = timed(&mut engine, pods.into_iter().map(Input::PodApplied).collect());
        let (last, _) = timed(&mut engine, vec![Input::PodApplied(last)]);
        let (plans, effects) = plan(&mut engine, now(1));
        let told = placed(&effects);
        let fits = self.taken == Taken::None;
        ensure!(told == if fits { self.pods } else { 0 }, "{told} of {} have a place", self.pods);
        if self.taken == Taken::Most {
            let refused =
                effects.iter().any(|effect| matches!(effect, Effect::Condition { reason, .. } if *reason == Reason::NoDomainForGroup));
            ensure!(refused, "nobody said why");
        }
        let mut again = Duration::ZERO;
        if self.taken == Taken::All {
            engine.step(now(2), Input::PodDeleted("bound-0".into()));
            let effects;
            (again, effects) = plan(&mut engine, now(2));
            ensure!(placed(&effects) > 0, "nobody took what came free");
        }
        Ok(Times { news, last, plans, again })
    }

    fn pod(&self, index: usize, classes: &Classes) -> anyhow::Result<Pod> {
        let mut marks = json!({});
        if self.gang {
            marks = json!({annotations::GANG: "train", annotations::GANG_SIZE: self.pods.to_string()});
            if let Some(level) = self.required {
                marks[annotations::TOPOLOGY_REQUIRED] = level.into();
            }
        }
        let limits = json!({"cpu": "1", "nvidia.com/gpu": self.gpus.to_string()});
        let name = format!("train-{index}");
        let object = json!({
            "metadata": {"name": name, "namespace": "bench", "uid": name, "annotations": marks, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "schedulerName": "gangplank", "schedulingGates": [{"name": annotations::GATE}],
                "containers": [{"name": "main", "resources": {"limits": limits, "requests": limits}}],
            },
            "status": {"phase": "Pending"},
        });
        Ok(PodObject::deserialize(object)?.to_model(classes)?)
    }
}

/// Plans until nothing waits for a plan.
fn plan(engine: &mut Engine, now: Time) -> (Duration, Vec<Effect>) {
    let (began, mut effects) = (Instant::now(), Vec::new());
    while engine.wants_to_plan() {
        effects.extend(engine.step(now, Input::Plan).effects);
    }
    (began.elapsed(), effects)
}

fn node(index: usize) -> Value {
    let amounts = json!({"cpu": "192", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"});
    let labels = json!({
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.count": "8",
        "oci.oraclecloud.com/host.network_block_id": format!("block-{}", index / 200),
        "oci.oraclecloud.com/host.rack_id": format!("rack-{}", index / 20),
    });
    json!({"metadata": {"name": format!("gpu-node-{index:05}"), "labels": labels}, "status": {"capacity": amounts, "allocatable": amounts}})
}

fn bound(index: usize, classes: &Classes) -> anyhow::Result<Pod> {
    let object = held(&format!("bound-{index}"), 8, Some(&format!("gpu-node-{index:05}")));
    Ok(PodObject::deserialize(object)?.to_model(classes)?)
}

/// A pod that runs.
fn held(name: &str, gpus: u32, node: Option<&str>) -> Value {
    let limits = json!({"nvidia.com/gpu": gpus.to_string()});
    json!({
        "metadata": {"name": name, "namespace": "bench", "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"limits": limits}}]},
        "status": {"phase": "Running"},
    })
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    for (title, value, unit) in [
        ("1,000 pods of 8 GPUs over 5,000 nodes: last member's news and plan", report.plan_1000_pods_5000_nodes_ms, "ms"),
        ("512 pods of 1 GPU over 500 nodes: the same", report.plan_512_pods_500_nodes_ms, "ms"),
        ("10 pods of 8 GPUs that fit in no rack of 5,000 nodes: the same", report.infeasible_10_pods_ms, "ms"),
        ("news of one member of 1,000", report.member_us, "us"),
        ("single pod of 1 GPU over 5,000 nodes: plan", report.plan_single_us, "us"),
        ("4 nodes out of 1,000 full ones: who must go", report.preempt_4_of_1000_nodes_ms, "ms"),
        ("64 nodes out of 1,000 full ones: who must go", report.preempt_64_of_1000_nodes_ms, "ms"),
        ("one of 1,000 that wait, after a pod has gone: look again", report.replan_single_us, "us"),
    ] {
        let _ = writeln!(text, " {title:<68} | {value:>8.2} {unit}");
    }
    let _ = writeln!(text, "medians of {} runs after one to warm up; the engine alone, in one thread", report.runs);
    text
}
