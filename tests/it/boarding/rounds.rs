//! Ten rounds of work of two priorities and three queues on a cluster that is too small for it: gangs and single pods come and end,
//! take each other's room by priority and by what queues lent, and come back. After each round all who went are those whom the ledger
//! planned, no two took each other's room in turn, and nobody waits who would fit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::recipes::completed;
use super::scene::{Scene, holds_devices, is_gated};
use super::undo::unharmed;
use super::witness::{Witness, is_disrupted, work_of};
use crate::support::installed::{is_running, managed_namespace, node_of};
use crate::support::{NodeTemplate, wait_until};

const NODES: usize = 6;
const GPUS: usize = 8;
/// Namespaces, each with a queue of its own, and how many of the 48 GPUs it is guaranteed.
const QUEUES: [(&str, usize); 3] = [("boarding", 16), ("blue", 16), ("green", 8)];
/// The GPUs that all work asks for together, whenever a round begins.
const DEMAND: usize = 96;
/// Members, and GPUs of each.
const SIZES: [(usize, usize); 12] = [(1, 1), (1, 2), (1, 4), (1, 8), (2, 2), (2, 4), (2, 8), (3, 2), (3, 4), (3, 8), (4, 2), (4, 4)];
/// So long nothing has to change for a round to be over: who waits is looked at again within a second.
const QUIET: Duration = Duration::from_millis(1500);
/// A round may take so long on a busy machine.
const ROUND: Duration = Duration::from_mins(2);
/// The API server deletes what has none at once, before anybody sees it go.
const GRACE_S: u32 = 30;

/// A Job, or a ReplicaSet of one pod.
#[derive(Clone, Debug)]
struct Work {
    name: String,
    queue: &'static str,
    members: usize,
    gpus: usize,
    high: bool,
    serves: bool,
}

impl Work {
    fn of(dice: &mut StdRng, number: usize) -> Self {
        let serves = dice.random_range(0..5) == 0;
        let (members, gpus) = SIZES[dice.random_range(0..SIZES.len())];
        let (queue, _) = QUEUES[dice.random_range(0..QUEUES.len())];
        let high = dice.random_range(0..3) == 0;
        let members = if serves { 1 } else { members };
        // No dash: what follows one is the pod's own.
        let name = format!("{}{number}", if serves { "web" } else { "job" });
        Self { name, queue, members, gpus, high, serves }
    }

    fn asks(&self) -> usize {
        self.members * self.gpus
    }

    async fn submit(&self, scene: &Scene) -> Result<()> {
        let template = json!({
            "metadata": {"labels": {"work": self.name}},
            "spec": {"terminationGracePeriodSeconds": GRACE_S, "priorityClassName": if self.high { "high" } else { "low" },
                "restartPolicy": if self.serves { "Always" } else { "Never" },
                "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": self.gpus}}}]},
        });
        if self.serves {
            let set: ReplicaSet = serde_json::from_value(json!({
                "metadata": {"name": self.name},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"work": self.name}}, "template": template},
            }))?;
            Api::namespaced(scene.client.clone(), self.queue).create(&PostParams::default(), &set).await?;
        } else {
            let job: Job = serde_json::from_value(json!({
                "metadata": {"name": self.name},
                "spec": {"parallelism": self.members, "completions": self.members, "completionMode": "Indexed", "backoffLimit": 0,
                    "template": template},
            }))?;
            Api::namespaced(scene.client.clone(), self.queue).create(&PostParams::default(), &job).await?;
        }
        Ok(())
    }

    /// Its pods have done their work; whoever serves is not wanted any more.
    async fn end(&self, scene: &Scene, pods: &[Pod]) -> Result<()> {
        if self.serves {
            let sets: Api<ReplicaSet> = Api::namespaced(scene.client.clone(), self.queue);
            sets.delete(&self.name, &DeleteParams::background()).await?;
            return Ok(());
        }
        let done = json!({"metadata": {"annotations": {"testcluster.gangplank.dev/complete-after": "1ms"}}});
        let of: Api<Pod> = Api::namespaced(scene.client.clone(), self.queue);
        for pod in pods.iter().filter(|pod| pod.labels().get("work") == Some(&self.name)) {
            match of.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&done)).await {
                // It was evicted a moment ago, for somebody who fits now that others end.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => drop(answer?),
            }
        }
        Ok(())
    }
}

/// What there is when nothing moves any more.
struct Rest {
    pods: Vec<Pod>,
    /// Unfinished work whose members all run, and that of which none does.
    runs: Vec<Work>,
    waits: Vec<Work>,
}

struct Rounds {
    scene: Scene,
    witness: Witness,
    dice: StdRng,
    unfinished: BTreeMap<String, Work>,
    submitted: usize,
}

/// What a ReplicaSet gives up by itself carries no such condition; Jobs here give up nothing.
fn scales_down(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "ReplicaSet") && !is_disrupted(pod)
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Rounds {
    async fn start(seed: u64) -> Result<Option<Self>> {
        let queue = |(name, devices): (&str, usize)| {
            format!("  - {{name: {name}, namespaces: {{matchNames: [{name}]}}, guaranteed: [{{class: nvidia-gpu, devices: {devices}}}]}}\n")
        };
        let list: String = QUEUES.into_iter().map(queue).collect();
        let profile = format!("apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: rounds\nqueues:\n  list:\n{list}");
        let nodes = (0..NODES).map(|index| NodeTemplate::default().named(format!("node-{index}"))).collect();
        let Some(mut scene) = Scene::start("ten rounds", nodes, Some(&profile)).await? else { return Ok(None) };
        for (name, _) in QUEUES.into_iter().filter(|(name, _)| *name != scene.namespace) {
            managed_namespace(&scene.client, name).await?;
        }
        for (name, value) in [("low", 10), ("high", 1000)] {
            let class: PriorityClass = serde_json::from_value(json!({"metadata": {"name": name}, "value": value}))?;
            Api::all(scene.client.clone()).create(&PostParams::default(), &class).await?;
        }
        (scene.pods, scene.jobs) = (Api::all(scene.client.clone()), Api::all(scene.client.clone()));
        let witness = Witness::start(scene.pods.clone(), scales_down);
        Ok(Some(Self { scene, witness, dice: StdRng::seed_from_u64(seed), unfinished: BTreeMap::new(), submitted: 0 }))
    }

    async fn submit(&mut self, as_is: fn(Work) -> Work) -> Result<()> {
        let work = as_is(Work::of(&mut self.dice, self.submitted));
        self.submitted += 1;
        work.submit(&self.scene).await?;
        self.unfinished.insert(work.name.clone(), work);
        Ok(())
    }

    /// Work of every kind, until more is asked for than there is.
    async fn fill(&mut self, as_is: fn(Work) -> Work) -> Result<()> {
        while self.unfinished.values().map(Work::asks).sum::<usize>() < DEMAND {
            self.submit(as_is).await?;
        }
        Ok(())
    }

    /// Ends about one in three of what runs, or all of it.
    async fn end(&mut self, rest: &Rest, all: bool) -> Result<()> {
        for work in &rest.runs {
            if all || self.dice.random_range(0..3) == 0 {
                work.end(&self.scene, &rest.pods).await?;
                if work.serves {
                    self.unfinished.remove(&work.name);
                }
            }
        }
        Ok(())
    }

    /// Waits until nothing moves any more.
    async fn settle(&mut self) -> Result<Rest> {
        let mut last: Option<(BTreeSet<String>, Instant)> = None;
        let mut stirs = String::new();
        let settled = wait_until("the round to be over", ROUND, async || {
            let rest = match self.at_rest().await? {
                Ok(rest) => rest,
                Err(why) => {
                    (last, stirs) = (None, why);
                    return Ok(None);
                }
            };
            let now: BTreeSet<String> = rest.pods.iter().filter(|pod| node_of(pod).is_some()).filter_map(Pod::uid).collect();
            match &last {
                Some((before, since)) if *before == now => Ok((since.elapsed() >= QUIET).then_some(rest)),
                _ => {
                    last = Some((now, Instant::now()));
                    Ok(None)
                }
            }
        });
        match settled.await {
            Ok(rest) => Ok(rest),
            Err(error) => Err(error.context(format!("{stirs}\n{}", self.scene.story().await))),
        }
    }

    /// What there is if everybody is where the engine and the controllers want them; else who is not.
    async fn at_rest(&mut self) -> Result<Result<Rest, String>> {
        let jobs = self.scene.jobs.list(&ListParams::default()).await?.items;
        for job in &jobs {
            unharmed(job).with_context(|| job.name_any())?;
            if completed(job) {
                self.unfinished.remove(&job.name_any());
            } else if job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true) {
                return Ok(Err(format!("{} is suspended: {:?}", job.name_any(), job.status)));
            }
        }
        let mut pods = self.scene.pods.list(&ListParams::default()).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_some() || node_of(pod).is_none() || holds_devices(pod));
        for pod in &pods {
            let here = node_of(pod).is_none() || is_running(pod);
            if pod.metadata.deletion_timestamp.is_some() || !here {
                return Ok(Err(format!("{} is going, or does not run yet", pod.name_any())));
            }
        }
        let gangs = self.scene.installed.gangplank.get("/api/v1/gangs").await?["gangs"].clone();
        if let Some(gang) = gangs.as_array().into_iter().flatten().find(|gang| gang["phase"] != "queued") {
            return Ok(Err(gang.to_string()));
        }
        let (mut runs, mut waits) = (Vec::new(), Vec::new());
        for work in self.unfinished.values() {
            let own: Vec<&Pod> = pods.iter().filter(|pod| pod.labels().get("work") == Some(&work.name)).collect();
            let bound = own.iter().filter(|pod| node_of(pod).is_some()).count();
            match bound {
                _ if own.len() != work.members => return Ok(Err(format!("{} has {} pods of {}", work.name, own.len(), work.members))),
                0 => waits.push(work.clone()),
                _ if bound == work.members => runs.push(work.clone()),
                _ => return Ok(Err(format!("{} is bound in part", work.name))),
            }
        }
        Ok(Ok(Rest { pods, runs, waits }))
    }

    /// Who went is who was planned, and no two took each other's room.
    async fn evictions_equal_the_plans(&mut self) -> Result<BTreeMap<String, usize>> {
        let ledger = self.scene.installed.gangplank.get("/api/v1/preemptions").await?["preemptions"].clone();
        let entries = ledger.as_array().cloned().unwrap_or_default();
        let mut planned: BTreeSet<&str> = BTreeSet::new();
        for pod in entries.iter().flat_map(|entry| strings(&entry["pods"])) {
            ensure!(planned.insert(pod), "{pod} is told to go twice: {ledger}");
        }
        let seen = self.witness.seen();
        let unplanned: Vec<&String> = seen.evicted.keys().filter(|pod| !planned.contains(pod.as_str())).collect();
        ensure!(unplanned.is_empty(), "nobody planned that {unplanned:?} go: {ledger}");
        // Who ends between the plan and the eviction is not evicted.
        let stayed = |pod: &&&str| !seen.evicted.contains_key(**pod) && !seen.ended.contains(**pod);
        let stayed: Vec<&&str> = planned.iter().filter(stayed).collect();
        ensure!(stayed.is_empty(), "{stayed:?} were to go and stayed: {ledger}");

        let pair = |entry: &Value| [&entry["victim"], &entry["preemptor"]].map(|title| work_of(title.as_str().unwrap_or_default()));
        let pairs: BTreeSet<[String; 2]> = entries.iter().map(pair).collect();
        for [victim, preemptor] in &pairs {
            ensure!(victim != preemptor, "{victim} took its own room: {ledger}");
            let back = [preemptor.clone(), victim.clone()];
            ensure!(!pairs.contains(&back), "{victim} and {preemptor} took each other's room: {ledger}");
        }
        let mut rules = BTreeMap::new();
        for entry in &entries {
            let why = entry["why"].as_str().unwrap_or_default().split(',').next().unwrap_or_default();
            *rules.entry(why.to_owned()).or_default() += 1;
        }
        Ok(rules)
    }

    /// Nobody waits who would fit, or could take what work of lower priority has in its own queue; and nobody carries a gate, a nomination or a
    /// notice that is not its due.
    fn everything_that_fits_runs(rest: &Rest) -> Result<()> {
        let free = |gone: &dyn Fn(&Work) -> bool| {
            let gone: BTreeSet<&String> = rest.runs.iter().filter(|work| gone(work)).map(|work| &work.name).collect();
            let mut free = BTreeMap::new();
            for index in 0..NODES {
                free.insert(format!("node-{index}"), GPUS);
            }
            for work in &rest.runs {
                for pod in rest.pods.iter().filter(|pod| pod.labels().get("work") == Some(&work.name) && !gone.contains(&work.name)) {
                    *free.entry(node_of(pod).unwrap_or_default().to_owned()).or_default() -= work.gpus;
                }
            }
            free
        };
        let fits = |work: &Work, free: &BTreeMap<String, usize>| free.values().map(|free| free / work.gpus).sum::<usize>() >= work.members;
        for work in &rest.waits {
            let idle = free(&|_| false);
            ensure!(!fits(work, &idle), "{work:?} waits, and {idle:?} is free");
            let lower = free(&|other| work.high && !other.high && other.queue == work.queue);
            ensure!(!work.high || !fits(work, &lower), "{work:?} waits for work of lower priority in its own queue: {:?}", rest.runs);
        }
        for pod in &rest.pods {
            let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
            let waits = node_of(pod).is_none();
            ensure!(is_gated(pod) == waits, "{} has a node or a gate, and not both", pod.name_any());
            ensure!(!waits || nominated.is_none(), "{} waits, and is nominated to {nominated:?}", pod.name_any());
            ensure!(!pod.annotations().contains_key("gangplank.dev/preempt-notice"), "{} was given notice", pod.name_any());
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_ten_rounds_of_two_priorities_and_three_queues_who_goes_is_who_was_planned_and_no_two_go_for_each_other() -> Result<()> {
    let rounds = 10;
    let seed = std::env::var("GANGPLANK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(6);
    let Some(mut play) = Rounds::start(seed).await? else { return Ok(()) };
    let began = Instant::now();
    // One queue borrows what the others are guaranteed.
    play.fill(|work| Work { queue: QUEUES[0].0, high: false, ..work }).await?;
    let mut rest = play.settle().await?;
    for round in 0..rounds {
        play.end(&rest, false).await?;
        play.submit(|work| Work { high: true, ..work }).await?;
        play.submit(|work| Work { high: true, ..work }).await?;
        play.fill(|work| work).await?;
        rest = play.settle().await.with_context(|| format!("seed {seed}, round {round}"))?;
        let told = || format!("seed {seed}, round {round}");
        if let Err(error) = Rounds::everything_that_fits_runs(&rest) {
            return Err(error.context(play.scene.story().await)).with_context(told);
        }
        let rules = play.evictions_equal_the_plans().await.with_context(told)?;
        eprintln!(
            "round {round}, {:.1} s: {} jobs run, {} wait; so far {} pods were evicted, by {rules:?}",
            began.elapsed().as_secs_f32(),
            rest.runs.len(),
            rest.waits.len(),
            play.witness.seen().evicted.len()
        );
    }
    let rules = play.evictions_equal_the_plans().await?;
    ensure!(rules.len() == 2, "both by priority and by what was lent: {rules:?}");

    // Whoever went, or waited, runs in the end.
    while !play.unfinished.is_empty() {
        ensure!(!rest.runs.is_empty(), "{:?} wait, and nothing runs", rest.waits);
        play.end(&rest, true).await?;
        rest = play.settle().await?;
        Rounds::everything_that_fits_runs(&rest)?;
    }
    play.evictions_equal_the_plans().await?;
    let book = play.scene.installed.gangplank.get("/api/v1/book").await?;
    ensure!(book["holders"] == json!([]) && book["waiting"] == json!([]), "{book}");
    eprintln!("seed {seed}: {} jobs, {rounds} rounds and their end in {:.1} s", play.submitted, began.elapsed().as_secs_f32());
    play.scene.nothing_leaks().await
}
