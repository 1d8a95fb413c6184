//! Gangplank itself: the engine, asked as kube-scheduler asks it. Filter chooses, bind commits, the outcome closes it.
//!
//! Nodes have a report of our agent, so that shares and whole GPUs may meet on a node, as they do in the trace. What the
//! filter passes untouched (pods that ask for nothing managed, unless the profile places them too) goes where a stock
//! kube-scheduler puts it: LeastAllocated with random ties.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Asked, ClusterState, LeastAllocated, NodeSpec, NodeState, Nodes, Packer, Place, PodSpec};
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Engine, FilterQuery, Input};
use crate::model::{
    Constraints, ContainerRequest, ContainerRole, Device, DeviceRequest, Grant, Health, Node, NodeName, NodeReport, Operator, Pod, PodKey,
    PodPhase, PodUid, Pool, Requirement, ShareRequest, Time,
};
use crate::policy::Profile;

/// The engine and what a shell would remember for it.
#[derive(Debug)]
pub struct Ours {
    engine: Engine,
    now: Time,
    names: Vec<NodeName>,
    models: Vec<Arc<str>>,
    stock: LeastAllocated,
    clock_ns: fn() -> u64,
    decided_ns: Option<u64>,
    ahead_ns: u64,
}

impl Ours {
    /// An engine that knows the nodes. `clock_ns` is read around the filter step; `seed` is for ties of the stock
    /// scheduler.
    pub fn new(nodes: &Nodes, profile: Arc<Profile>, seed: u64, clock_ns: fn() -> u64) -> Self {
        let mut ours = Self {
            engine: Engine::new(profile),
            now: Time::from_unix_ms(1_767_225_600_000),
            names: nodes.list.iter().map(|node| NodeName::new(node.name.clone())).collect(),
            models: nodes.models.clone(),
            stock: LeastAllocated::new(nodes, seed),
            clock_ns,
            decided_ns: None,
            ahead_ns: 0,
        };
        for node in &nodes.list {
            ours.step(Input::NodeApplied(node_of(node, &nodes.models)));
        }
        ours.step(Input::Synced);
        ours
    }

    /// The engine, for what it can tell of itself.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn step(&mut self, input: Input<'_>) -> Answer {
        self.now = self.now + Duration::from_millis(1);
        self.engine.step(self.now, input).answer
    }

    /// What the shell does while nobody waits.
    fn work_ahead(&mut self) {
        let began = (self.clock_ns)();
        while self.engine.wants_to_prepare() {
            self.step(Input::Prepare);
        }
        self.ahead_ns += (self.clock_ns)() - began;
    }

    fn bound(&mut self, pod: Pod, grant: Grant) {
        let applied = Pod {
            node: Some(grant.node.clone()),
            phase: PodPhase::Running,
            recorded: (!grant.containers.is_empty()).then_some(grant),
            ..pod
        };
        self.step(Input::PodApplied(applied));
    }
}

impl Packer for Ours {
    fn choose(&mut self, state: &ClusterState, asked: &Asked<'_>, offered: &[usize]) -> Option<Place> {
        let pod = pod_of(asked.arrival, asked.pod, &self.models);
        let names: Vec<&str> = offered.iter().map(|place| self.names[*place].as_str()).collect();
        self.now = self.now + Duration::from_millis(1);
        let began = (self.clock_ns)();
        let output = self.engine.step(self.now, Input::Filter(FilterQuery { pod: &pod, names: &names }));
        self.decided_ns = Some((self.clock_ns)() - began);
        let Answer::Filter(answer) = output.answer else { return None };
        let passed: Vec<usize> = answer.nodes.iter().map(|place| offered[*place as usize]).collect();
        let node = match passed.as_slice() {
            [] => return None,
            [one] => *one,
            several => self.stock.choose(state, asked, several)?.node,
        };
        match self.step(Input::Bind(BindQuery { pod, node: self.names[node].clone() })) {
            Answer::Bind(BindAnswer::Write(order)) => {
                let ids = order.grant.containers.iter().flat_map(|container| &container.devices).filter_map(|share| share.device.as_ref());
                let devices = ids.filter_map(|id| id.as_str().parse::<u32>().ok()).fold(0, |mask, device| mask | 1 << device);
                Some(Place { node, devices })
            }
            _ => None,
        }
    }

    fn placed(&mut self, asked: &Asked<'_>, place: &Place) {
        let pod = pod_of(asked.arrival, asked.pod, &self.models);
        let node = self.names[place.node].clone();
        self.step(Input::BindOutcome { uid: pod.uid.clone(), node: node.clone(), outcome: BindOutcome::Bound });
        let grant = self.engine.book().holder(&pod.uid).and_then(|holder| holder.grant.clone());
        self.bound(pod, grant.unwrap_or(Grant { node, containers: Vec::new() }));
        self.work_ahead();
    }

    fn gone(&mut self, asked: &Asked<'_>) {
        self.step(Input::PodDeleted(uid_of(asked.arrival)));
        self.work_ahead();
    }

    fn decided_ns(&self) -> Option<u64> {
        self.decided_ns
    }

    fn ahead_ns(&self) -> Option<u64> {
        Some(self.ahead_ns)
    }
}

/// The node as it looks with our agent on it.
fn node_of(spec: &NodeSpec, models: &[Arc<str>]) -> Node {
    let model = models[spec.model].clone();
    let device = |index: u32| Device {
        id: index.to_string().as_str().into(),
        index,
        memory_mib: None,
        numa_node: None,
        partition: None,
        health: Health::Healthy,
    };
    Node {
        name: NodeName::new(spec.name.clone()),
        labels: BTreeMap::from([(Arc::from(PRODUCT_LABEL), model.clone())]),
        taints: Vec::new(),
        unschedulable: false,
        ready: true,
        cpu_milli: spec.cpu_milli.into(),
        memory_bytes: u64::from(spec.memory_mib) << 20,
        pods: NodeState::PODS_MAX,
        pools: vec![Pool {
            resource: GPU.into(),
            allocatable: u32::try_from(spec.gpus).unwrap_or(0),
            product: Some(model),
            devices: (0..).take(spec.gpus).map(device).collect(),
            links: Vec::new(),
            sharable: true,
        }],
        report: Some(NodeReport { serves_devices: true, actual: BTreeMap::new() }),
    }
}

/// The pod as kube-scheduler shows it.
fn pod_of(arrival: usize, spec: &PodSpec, models: &[Arc<str>]) -> Pod {
    let share = spec.is_share().then_some(ShareRequest { milli: spec.gpu_milli, memory_mib: None });
    let whole = u32::try_from(spec.gpus).ok().filter(|gpus| *gpus > 0 && share.is_none());
    let asks = ContainerRequest {
        container: "main".into(),
        index: 0,
        role: ContainerRole::Main,
        whole: whole.map(|gpus| (GPU.into(), gpus)).into_iter().collect(),
        share,
    };
    let wanted = |mask: u32| models.iter().enumerate().filter(move |(model, _)| mask & 1 << model != 0).map(|(_, name)| name.clone());
    let requirement =
        |mask: u32| Requirement { key: PRODUCT_LABEL.into(), field: false, operator: Operator::In, values: wanted(mask).collect() };
    Pod {
        request: DeviceRequest { containers: if spec.gpus == 0 { Vec::new() } else { vec![asks] }, ..DeviceRequest::default() },
        cpu_milli: spec.cpu_milli.into(),
        memory_bytes: u64::from(spec.memory_mib) << 20,
        constraints: Constraints { node_affinity: spec.models.map(|mask| vec![vec![requirement(mask)]]), ..Constraints::default() },
        ..Pod::pending(uid_of(arrival), PodKey::new("openb", format!("{}-{arrival}", spec.name)))
    }
}

fn uid_of(arrival: usize) -> PodUid {
    PodUid::new(format!("openb-{arrival:06}"))
}

const GPU: &str = "nvidia.com/gpu";
const PRODUCT_LABEL: &str = "nvidia.com/gpu.product";
