//! Gangplank itself: each job is a Kubernetes Job whose pods are gated, the engine is told of them as a watch would tell it, and
//! what it wants done is done at once. A pod whose gate is off is put to filter and bind, as kube-scheduler would.
//!
//! A job runs while all of its pods are bound. A pod that is evicted is created anew by its controller, a suspended Job has no
//! pods until it is resumed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Arbiter, Cluster, Job, Move, Place, Progress, Trace};
use crate::book::Violation;
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Effect, Engine, FilterQuery, Input};
use crate::model::{
    ContainerRequest, ContainerRole, Device, DeviceRequest, GangId, GangKind, GangRef, GangSpec, Grant, Health, Node, NodeName, OwnerRef,
    Pod, PodKey, PodPhase, PodUid, Pool, Time, TopologyWishes,
};
use crate::policy::Profiles;

/// The engine, and the API server's view of its pods.
#[derive(Debug)]
pub struct Gangplank<'a> {
    trace: &'a Trace,
    node_gpus: u32,
    engine: Engine,
    now: Time,
    names: Vec<NodeName>,
    pods: BTreeMap<PodUid, Pod>,
    /// Jobs that are there.
    jobs: BTreeMap<usize, Present>,
    by_pod: BTreeMap<PodUid, usize>,
    /// Pods whose gate is off, for kube-scheduler's turn.
    released: VecDeque<PodUid>,
    moves: Vec<Move>,
    /// When room began to be kept, by job.
    kept_s: BTreeMap<usize, u64>,
    look_every_s: Option<u64>,
    looks_at_s: Option<u64>,
}

/// A job that is there.
#[derive(Debug, Default)]
struct Present {
    pods: BTreeSet<PodUid>,
    suspended: bool,
    /// The loop was told that it runs.
    runs: bool,
    /// Pods created so far, so that each has a name of its own.
    created: u32,
}

impl<'a> Gangplank<'a> {
    /// An engine that knows the nodes. With `look_every_s` it is told that time passes at least so often.
    pub fn new(cluster: Cluster, trace: &'a Trace, profiles: impl Into<Profiles>, look_every_s: Option<u64>) -> Self {
        let names: Vec<NodeName> = (0..cluster.nodes).map(|at| NodeName::from(format!("node-{at:03}").as_str())).collect();
        let mut world = Self {
            trace,
            node_gpus: cluster.node_gpus,
            engine: Engine::new(profiles),
            now: START,
            names,
            pods: BTreeMap::new(),
            jobs: BTreeMap::new(),
            by_pod: BTreeMap::new(),
            released: VecDeque::new(),
            moves: Vec::new(),
            kept_s: BTreeMap::new(),
            look_every_s,
            looks_at_s: None,
        };
        for name in world.names.clone() {
            world.step(Input::NodeApplied(node(name, cluster.node_gpus)));
        }
        world.step(Input::Synced);
        world
    }

    /// What of the engine's book does not hold and should.
    pub fn violations(&mut self) -> Vec<Violation> {
        self.engine.violations()
    }

    /// When room began to be kept for a job, in seconds from the first arrival on.
    pub fn room_kept_s(&self, job: usize) -> Option<u64> {
        self.kept_s.get(&job).copied()
    }

    fn note_kept_room(&mut self) {
        let Some((id, since)) = self.engine.room_kept() else { return };
        if let Some(job) = self.jobs.keys().copied().find(|job| self.trace.jobs[*job].name == id.key.name) {
            self.kept_s.entry(job).or_insert((since - START).as_secs());
        }
    }

    fn step(&mut self, input: Input<'_>) -> Answer {
        let output = self.engine.step(self.now, input);
        for effect in output.effects {
            self.carry_out(effect);
        }
        output.answer
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Nominate { pod, node } => self.change(&pod.uid, |pod| pod.nominated = node),
            Effect::Release { pod, plan } => {
                self.change(&pod.uid, |pod| (pod.gated, pod.planned) = (false, plan));
                self.released.push_back(pod.uid);
            }
            Effect::Touch(pod) => self.released.push_back(pod.uid),
            Effect::Evict { pod, .. } => self.evicted(&pod.uid),
            Effect::Suspend { owner, suspend } => self.suspended(&owner, suspend),
            // Nothing here makes nodes.
            Effect::Provision(_)
            | Effect::Unprovision { .. }
            | Effect::Consume { .. }
            | Effect::Condition { .. }
            | Effect::Event(_)
            | Effect::NodeEvent(_)
            | Effect::ListEnded { .. }
            | Effect::Notice { .. } => {}
        }
    }

    fn change(&mut self, uid: &PodUid, write: impl FnOnce(&mut Pod)) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        write(pod);
        let pod = pod.clone();
        self.step(Input::PodApplied(pod));
    }

    /// Its controller creates another one.
    fn evicted(&mut self, uid: &PodUid) {
        let Some(job) = self.by_pod.get(uid).copied() else { return };
        self.delete(job, uid);
        if self.jobs.get(&job).is_some_and(|present| !present.suspended) {
            self.create(job);
        }
    }

    fn delete(&mut self, job: usize, uid: &PodUid) {
        self.by_pod.remove(uid);
        self.pods.remove(uid);
        if let Some(present) = self.jobs.get_mut(&job) {
            present.pods.remove(uid);
            if std::mem::take(&mut present.runs) {
                self.moves.push(Move::Stop(job));
            }
        }
        self.step(Input::PodDeleted(uid.clone()));
    }

    fn suspended(&mut self, owner: &OwnerRef, suspend: bool) {
        let Some(job) = self.jobs.keys().copied().find(|job| self.trace.jobs[*job].name == owner.key.name) else { return };
        let Some(present) = self.jobs.get_mut(&job) else { return };
        if std::mem::replace(&mut present.suspended, suspend) == suspend {
            return;
        }
        let gone: Vec<PodUid> = if suspend { present.pods.iter().cloned().collect() } else { Vec::new() };
        self.step(Input::GangApplied(GangSpec { suspended_by_us: suspend, ..self.spec(job) }));
        gone.iter().for_each(|uid| self.delete(job, uid));
        if !suspend {
            self.create_all(job);
        }
    }

    fn spec(&self, job: usize) -> GangSpec {
        let listed = &self.trace.jobs[job];
        let (pods, _) = listed.pods(self.node_gpus);
        let owner = owner(listed);
        GangSpec {
            id: gang(listed),
            size: pods,
            min: pods,
            roles: Vec::new(),
            topology: TopologyWishes::default(),
            suspend: Some(owner),
            suspended_by_us: false,
        }
    }

    fn create_all(&mut self, job: usize) {
        let (pods, _) = self.trace.jobs[job].pods(self.node_gpus);
        (0..pods).for_each(|_| self.create(job));
    }

    /// One more gated pod of a job.
    fn create(&mut self, job: usize) {
        let listed = &self.trace.jobs[job];
        let Some(present) = self.jobs.get_mut(&job) else { return };
        let name = format!("{}-{}", listed.name, present.created);
        present.created += 1;
        let uid = PodUid::new(name.clone());
        present.pods.insert(uid.clone());
        let pod = pod(listed, self.node_gpus, uid.clone(), name, self.now);
        self.by_pod.insert(uid.clone(), job);
        self.pods.insert(uid, pod.clone());
        self.step(Input::PodApplied(pod));
    }

    /// Plans and schedules until nothing moves.
    fn settle(&mut self) {
        loop {
            while self.engine.wants_to_plan() {
                self.step(Input::Plan);
            }
            let Some(uid) = self.released.pop_front() else { break };
            self.schedule(&uid);
        }
    }

    /// kube-scheduler's turn: the nominated node alone, or else all of them.
    fn schedule(&mut self, uid: &PodUid) {
        let Some(pod) = self.pods.get(uid).filter(|pod| !pod.gated && pod.node.is_none()).cloned() else { return };
        let names = pod.nominated.clone().map_or_else(|| self.names.clone(), |node| vec![node]);
        let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        let Answer::Filter(answer) = self.step(Input::Filter(FilterQuery { pod: &pod, names: &names })) else { return };
        let Some(node) = answer.nodes.first().and_then(|at| names.get(*at as usize)).map(|name| NodeName::from(*name)) else { return };
        let Answer::Bind(BindAnswer::Write(order)) = self.step(Input::Bind(BindQuery { pod, node: node.clone() })) else { return };
        self.step(Input::BindOutcome { uid: uid.clone(), node, outcome: BindOutcome::Bound });
        self.bound(uid, order.grant);
    }

    fn bound(&mut self, uid: &PodUid, grant: Grant) {
        self.change(uid, |pod| {
            (pod.node, pod.nominated, pod.phase) = (Some(grant.node.clone()), None, PodPhase::Running);
            pod.recorded = Some(grant);
        });
        if let Some(job) = self.by_pod.get(uid).copied() {
            self.look_at(job);
        }
    }

    /// The loop is told once all pods of a job are bound.
    fn look_at(&mut self, job: usize) {
        let (wanted, gpus) = self.trace.jobs[job].pods(self.node_gpus);
        let Some(present) = self.jobs.get_mut(&job).filter(|present| !present.runs && present.pods.len() == wanted as usize) else {
            return;
        };
        let at = |uid: &PodUid| {
            let node = self.pods.get(uid)?.node.as_ref()?;
            Some(Place { node: self.names.binary_search(node).ok()?, gpus })
        };
        if let Some(places) = present.pods.iter().map(at).collect::<Option<Vec<_>>>() {
            present.runs = true;
            self.moves.push(Move::Start(job, places));
        }
    }

    fn at(&mut self, now_s: u64) {
        self.now = START + Duration::from_secs(now_s);
    }
}

impl Arbiter for Gangplank<'_> {
    fn came(&mut self, now_s: u64, job: usize) {
        self.at(now_s);
        self.jobs.insert(job, Present::default());
        self.step(Input::GangApplied(self.spec(job)));
        self.create_all(job);
    }

    fn ended(&mut self, now_s: u64, job: usize) {
        self.at(now_s);
        let Some(present) = self.jobs.remove(&job) else { return };
        for uid in &present.pods {
            self.by_pod.remove(uid);
            if let Some(pod) = self.pods.remove(uid) {
                self.step(Input::PodApplied(Pod { phase: PodPhase::Succeeded, ..pod }));
            }
        }
        for uid in present.pods {
            self.step(Input::PodDeleted(uid));
        }
        self.step(Input::GangDeleted(gang(&self.trace.jobs[job])));
    }

    fn decide(&mut self, now_s: u64, _: &Progress<'_>) -> Vec<Move> {
        self.at(now_s);
        // An owner that was suspended goes on at the tick after its pods are gone.
        for _ in 0..2 {
            self.step(Input::Tick);
            self.note_kept_room();
            self.settle();
            self.note_kept_room();
        }
        self.looks_at_s = self.look_every_s.filter(|_| !self.jobs.is_empty()).map(|every_s| now_s + every_s);
        std::mem::take(&mut self.moves)
    }

    fn looks_at_s(&self) -> Option<u64> {
        self.looks_at_s
    }
}

fn node(name: NodeName, gpus: u32) -> Node {
    let device = |index: u32| Device {
        id: index.to_string().as_str().into(),
        index,
        memory_mib: None,
        numa_node: None,
        partition: None,
        health: Health::Healthy,
    };
    Node {
        name,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        unschedulable: false,
        ready: true,
        cpu_milli: 192_000,
        memory_bytes: 2 << 40,
        pods: 110,
        pools: vec![Pool {
            resource: GPU.into(),
            allocatable: gpus,
            product: None,
            devices: (0..gpus).map(device).collect(),
            links: Vec::new(),
            sharable: false,
        }],
        report: None,
    }
}

fn pod(job: &Job, node_gpus: u32, uid: PodUid, name: String, now: Time) -> Pod {
    let (_, gpus) = job.pods(node_gpus);
    let asks =
        ContainerRequest { container: "main".into(), index: 0, role: ContainerRole::Main, whole: vec![(GPU.into(), gpus)], share: None };
    Pod {
        gated: true,
        created_at: now,
        controller: Some(owner(job)),
        priority: job.priority,
        expected: job.expected_s.map(Duration::from_secs),
        gang: Some(GangRef { id: gang(job), size: None, min: None, role: "".into(), rank: None }),
        request: DeviceRequest { containers: vec![asks], ..DeviceRequest::default() },
        ..Pod::pending(uid, PodKey::new(job.namespace.clone(), name))
    }
}

fn owner(job: &Job) -> OwnerRef {
    OwnerRef {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        key: PodKey::new(job.namespace.clone(), job.name.clone()),
        uid: job.name.clone(),
    }
}

fn gang(job: &Job) -> GangId {
    GangId { kind: GangKind::Owner, key: PodKey::new(job.namespace.clone(), job.name.clone()), uid: Arc::clone(&job.name) }
}

/// Where time starts: any instant will do, the same one on every run.
const START: Time = Time::from_unix_ms(1_767_225_600_000);
const GPU: &str = "nvidia.com/gpu";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Profile;
    use crate::sim::jobs::{Fifo, Figures, run};

    const CLUSTER: Cluster = Cluster { nodes: 4, node_gpus: 8 };

    /// A hundred jobs of all sizes, twice as many as there is room for.
    fn jobs() -> Trace {
        let job = |at: u64| Job {
            name: format!("job-{at}").into(),
            namespace: "ns".into(),
            gpus: [1, 4, 8, 1, 16, 2, 8, 32][usize::try_from(at * 5 % 8).unwrap_or(0)],
            arrives_s: at * 40,
            runs_s: 50 + at * 389 % 700,
            expected_s: None,
            priority: 0,
        };
        Trace::new((0..100).map(job).collect())
    }

    fn came(trace: &Trace) -> Figures {
        let mut ours = Gangplank::new(CLUSTER, trace, Arc::new(Profile::shipped()), None);
        let figures = run(CLUSTER, trace, 30, &mut ours).unwrap();
        assert_eq!(ours.violations(), []);
        figures
    }

    #[test]
    fn of_equal_priority_the_engine_serves_by_age_and_lets_pass_who_fits() {
        let trace = jobs();
        let ours = came(&trace);
        let fifo = run(CLUSTER, &trace, 30, &mut Fifo::with_backfill()).unwrap();
        assert_eq!((ours.never_ended, ours.starts, ours.preemptions), (0, 100, 0));
        assert!(ours.wait_max_s() > 500, "nobody waited: {ours:?}");
        assert!(ours.jct_avg_s() <= fifo.jct_avg_s() * 1.02, "{} against {}", ours.jct_avg_s(), fifo.jct_avg_s());
    }

    #[test]
    fn the_same_trace_comes_to_the_same_figures() {
        let trace = jobs();
        assert_eq!(came(&trace), came(&trace));
    }
}
