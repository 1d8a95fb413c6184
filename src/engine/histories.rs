//! The engine over random histories: whatever comes in whatever order, what we grant is granted once, nothing is
//! forgotten, and the same history gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::book::HolderState;
use crate::model::fixtures::{node, pod};
use crate::model::{ContainerRole, DeviceId, Grant, Node, NodeName, Pod, PodPhase, PodUid, ShareRequest, Time};
use crate::policy::Profile;

const NODES: u8 = 4;
const PODS: u8 = 10;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The watch repeats what the API server has of a pod.
    Applied(u8),
    /// As `Applied`, after kube-scheduler gave up on an attempt.
    Unschedulable(u8),
    /// Gone from the API server; whether the watch says so is another matter.
    Deleted {
        pod: u8,
        told: bool,
    },
    Finished(u8),
    /// Somebody else binds a pod of that size, without a record.
    Stranger {
        pod: u8,
        node: u8,
        count: u32,
    },
    Node {
        node: u8,
        served: bool,
        sick: Option<u8>,
    },
    NodeGone(u8),
    Filter {
        pod: u8,
        offered: u8,
    },
    /// Whatever kube-scheduler chose.
    Bind {
        pod: u8,
        node: u8,
    },
    /// What became of the last order of this pod: was it written, and what were we told?
    Outcome {
        pod: u8,
        written: bool,
        told: BindOutcome,
    },
    Preempt {
        pod: u8,
        node: u8,
        victims: Vec<u8>,
    },
    Wait(u64),
    Relist,
    Desynced,
    Synced,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![Just(BindOutcome::Bound), Just(BindOutcome::Refused), Just(BindOutcome::Unknown)];
    let step = prop_oneof![
        3 => (0..PODS).prop_map(Step::Applied),
        1 => (0..PODS).prop_map(Step::Unschedulable),
        2 => (0..PODS, any::<bool>()).prop_map(|(pod, told)| Step::Deleted { pod, told }),
        1 => (0..PODS).prop_map(Step::Finished),
        1 => (0..PODS, 0..NODES, 1..3_u32).prop_map(|(pod, node, count)| Step::Stranger { pod, node, count }),
        2 => (0..NODES, any::<bool>(), prop::option::of(0..4_u8)).prop_map(|(node, served, sick)| Step::Node { node, served, sick }),
        1 => (0..NODES).prop_map(Step::NodeGone),
        8 => (0..PODS, 1..16_u8).prop_map(|(pod, offered)| Step::Filter { pod, offered }),
        6 => (0..PODS, 0..NODES).prop_map(|(pod, node)| Step::Bind { pod, node }),
        6 => (0..PODS, any::<bool>(), outcome).prop_map(|(pod, written, told)| Step::Outcome { pod, written, told }),
        1 => (0..PODS, 0..NODES, prop::collection::vec(0..PODS, 0..3)).prop_map(|(pod, node, victims)| Step::Preempt { pod, node, victims }),
        2 => prop_oneof![Just(1), Just(6), Just(40), Just(400), Just(1000)].prop_map(Step::Wait),
        1 => Just(Step::Relist),
        1 => Just(Step::Desynced),
        2 => Just(Step::Synced),
    ];
    prop::collection::vec(step, 1..80)
}

/// What pod number `index` asks for: whole devices, shares with and without memory, and init containers.
fn asking(index: u8) -> Pod {
    let named = pod(&format!("p{index}"));
    match index % 5 {
        0 => named.gpus(1),
        1 => named.gpus(3),
        2 => named.share(400, None).share(300, Some(9000)),
        3 => named.container(ContainerRole::Init, Vec::new(), Some(ShareRequest { milli: 900, memory_mib: None })).share(500, None),
        _ => named.container(ContainerRole::Init, vec![(crate::model::fixtures::gpu(), 2)], None).gpus(1),
    }
}

fn node_name(index: u8) -> NodeName {
    NodeName::new(format!("n{index}"))
}

/// The API server, the engine, and what travels between them.
struct World {
    engine: Engine,
    now: Time,
    synced: bool,
    /// What the API server has.
    pods: BTreeMap<PodUid, Pod>,
    nodes: BTreeMap<NodeName, Node>,
    /// Orders that nobody has reported on.
    orders: BTreeMap<PodUid, Grant>,
    /// Orders that were reported as unknown and may land.
    on_their_way: BTreeMap<PodUid, (Grant, Time)>,
    /// What everybody was told, to compare two runs by.
    said: String,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            engine: Engine::new(Arc::new(Profile::shipped())),
            now: Time::from_unix_ms(1_000_000),
            synced: true,
            pods: (0..PODS).map(asking).map(|pod| (pod.uid.clone(), pod)).collect(),
            nodes: (0..NODES).map(|index| node(&format!("n{index}"), 4)).map(|node| (node.name.clone(), node)).collect(),
            orders: BTreeMap::new(),
            on_their_way: BTreeMap::new(),
            said: String::new(),
        };
        let nodes: Vec<Node> = world.nodes.values().cloned().collect();
        nodes.into_iter().for_each(|node| drop(world.tell(Input::NodeApplied(node))));
        world.tell(Input::Synced);
        world
    }

    fn tell(&mut self, input: Input<'_>) -> Answer {
        let output = self.engine.step(self.now, input);
        let _ = writeln!(self.said, "{output:?}");
        self.check();
        output.answer
    }

    /// What the API server has of a pod, as the watch shows it.
    fn show(&mut self, uid: &PodUid) {
        if let Some(pod) = self.pods.get(uid).cloned() {
            self.tell(Input::PodApplied(pod));
        }
    }

    fn land(&mut self, uid: &PodUid, grant: Grant) {
        if let Some(pod) = self.pods.get_mut(uid).filter(|pod| pod.node.is_none()) {
            (pod.node, pod.phase, pod.unschedulable) = (Some(grant.node.clone()), PodPhase::Running, false);
            pod.recorded = Some(grant);
        }
    }

    fn take(&mut self, step: &Step) {
        let uid_of = |index: u8| asking(index).uid;
        match step {
            Step::Applied(index) => self.show(&uid_of(*index)),
            Step::Unschedulable(index) => {
                if let Some(pod) = self.pods.get_mut(&uid_of(*index)).filter(|pod| pod.node.is_none()) {
                    pod.unschedulable = true;
                }
                self.show(&uid_of(*index));
            }
            Step::Deleted { pod, told } => {
                self.pods.remove(&uid_of(*pod));
                self.on_their_way.remove(&uid_of(*pod));
                if *told {
                    self.tell(Input::PodDeleted(uid_of(*pod)));
                }
            }
            Step::Finished(index) => {
                if let Some(pod) = self.pods.get_mut(&uid_of(*index)).filter(|pod| pod.node.is_some()) {
                    pod.phase = PodPhase::Succeeded;
                }
                self.show(&uid_of(*index));
            }
            Step::Stranger { pod: index, node, count } => {
                let stranger = pod(&format!("s{index}")).gpus(*count).on(node_name(*node).as_str());
                self.pods.insert(stranger.uid.clone(), stranger.clone());
                self.show(&stranger.uid);
            }
            Step::Node { node: index, served, sick } => {
                let fresh = node(node_name(*index).as_str(), 4);
                let fresh = sick.map_or(fresh.clone(), |place| fresh.unhealthy(&[place.into()]));
                let fresh = if *served { fresh.served() } else { fresh };
                self.nodes.insert(fresh.name.clone(), fresh.clone());
                self.tell(Input::NodeApplied(fresh));
            }
            Step::NodeGone(index) => {
                self.nodes.remove(&node_name(*index));
                self.tell(Input::NodeDeleted(node_name(*index)));
            }
            Step::Filter { pod, offered } => self.filter(&asking(*pod), *offered),
            Step::Bind { pod, node } => self.bind(&uid_of(*pod), &node_name(*node)),
            Step::Outcome { pod, written, told } => self.outcome(&uid_of(*pod), *written, *told),
            Step::Preempt { pod, node, victims } => {
                let name = node_name(*node);
                let victims = victims.iter().map(|index| uid_of(*index)).collect();
                let candidates = [PreemptCandidate { node: name.as_str(), victims, pdb_violations: 0 }];
                let before = format!("{:?}", self.engine.book().holders().collect::<Vec<_>>());
                self.tell(Input::Preempt(PreemptQuery { pod: &asking(*pod).priority(5), candidates: &candidates }));
                assert_eq!(before, format!("{:?}", self.engine.book().holders().collect::<Vec<_>>()), "a question changes nothing");
            }
            Step::Wait(seconds) => self.wait(*seconds),
            Step::Relist => {
                let (pods, nodes) = (self.pods.values().cloned().collect(), self.nodes.values().cloned().collect());
                self.tell(Input::Relisted { pods, nodes });
            }
            Step::Desynced => {
                self.synced = false;
                self.tell(Input::Desynced);
            }
            Step::Synced => {
                self.synced = true;
                self.tell(Input::Synced);
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        // A flow lasts two seconds at most.
        let open: Vec<PodUid> = self.orders.keys().cloned().collect();
        open.iter().for_each(|uid| self.outcome(uid, false, BindOutcome::Unknown));
        // Nor does the watch lag for minutes: the deadline of an undecided binding rests on that.
        let bound: Vec<PodUid> = self.pods.values().filter(|pod| seconds >= 300 && pod.node.is_some()).map(|pod| pod.uid.clone()).collect();
        bound.iter().for_each(|uid| self.show(uid));
        self.now = self.now + Duration::from_secs(seconds);
        // A write that nobody answered lands within the deadline or never.
        let now = self.now;
        self.on_their_way.retain(|_, (_, until)| *until > now);
        self.tell(Input::Tick);
    }

    fn filter(&mut self, pod: &Pod, offered: u8) {
        let names: Vec<NodeName> = (0..NODES).filter(|index| offered & 1 << index != 0).map(node_name).collect();
        let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        match self.tell(Input::Filter(FilterQuery { pod, names: &names })) {
            Answer::NotReady => assert!(!self.synced),
            Answer::Filter(answer) => {
                assert!(self.synced && answer.nodes.len() <= 1 && answer.nodes.iter().all(|place| (*place as usize) < names.len()));
            }
            other => panic!("{other:?}"),
        }
    }

    /// The binder's part: one flow a pod, the pod read afresh.
    fn bind(&mut self, uid: &PodUid, node: &NodeName) {
        if self.orders.contains_key(uid) {
            return;
        }
        let Some(pod) = self.pods.get(uid).cloned() else { return };
        match self.tell(Input::Bind(BindQuery { pod: pod.clone(), node: node.clone() })) {
            Answer::NotReady => assert!(!self.synced),
            Answer::Bind(BindAnswer::Write(order)) => {
                assert!(pod.node.is_none() && order.grant.node == *node);
                if let Some((before, _)) = self.on_their_way.get(uid) {
                    assert_eq!(*before, order.grant, "two writes under way name the same devices");
                }
                self.orders.insert(uid.clone(), order.grant);
            }
            Answer::Bind(BindAnswer::AlreadyBound) => assert_eq!(pod.node.as_ref(), Some(node)),
            Answer::Bind(BindAnswer::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn outcome(&mut self, uid: &PodUid, written: bool, told: BindOutcome) {
        let Some(grant) = self.orders.remove(uid) else {
            // A write of before, of which nobody heard, lands after all.
            if let Some((grant, _)) = self.on_their_way.remove(uid).filter(|_| written) {
                self.land(uid, grant);
                self.show(uid);
            }
            return;
        };
        let node = grant.node.clone();
        match told {
            BindOutcome::Bound if self.pods.get(uid).is_some_and(|pod| pod.node.is_none()) => {
                self.on_their_way.remove(uid);
                self.land(uid, grant);
            }
            BindOutcome::Bound => return drop(self.tell(Input::BindOutcome { uid: uid.clone(), node, outcome: BindOutcome::Refused })),
            BindOutcome::Refused => {}
            BindOutcome::Unknown if written => self.land(uid, grant),
            BindOutcome::Unknown if !self.pods.contains_key(uid) => {}
            BindOutcome::Unknown => drop(self.on_their_way.insert(uid.clone(), (grant, self.now + Duration::from_secs(300)))),
        }
        self.tell(Input::BindOutcome { uid: uid.clone(), node, outcome: told });
    }

    /// The invariants, and that no device is written for two pods. What strangers and changed nodes break is theirs.
    fn check(&mut self) {
        let broken: Vec<_> =
            self.engine.violations().into_iter().filter(|violation| matches!(violation.kind, "index" | "fold" | "checkpoint")).collect();
        assert_eq!(broken, vec![]);
        let mut whole = BTreeSet::new();
        let mut milli: BTreeMap<(&NodeName, &DeviceId), u32> = BTreeMap::new();
        for holder in self.engine.book().holders() {
            for take in &holder.takes {
                let Some(device) = &take.device else { continue };
                *milli.entry((&holder.node, device)).or_default() += take.milli();
                if take.amount == crate::model::Amount::Whole {
                    assert!(whole.insert((&holder.node, device)), "{device} of {} is granted twice", holder.node);
                }
            }
        }
        assert!(milli.values().all(|milli| *milli <= 1000), "{milli:?}");
        for (uid, (grant, _)) in &self.on_their_way {
            let holder = self.engine.book().holder(uid);
            assert!(
                holder.is_some_and(|holder| holder.node == grant.node && holder.state != HolderState::Held { until: self.now }),
                "{uid} may be bound yet"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_grants_twice_or_forgets(steps in steps()) {
        let (mut world, mut again) = (World::new(), World::new());
        for step in &steps {
            world.take(step);
            again.take(step);
        }
        prop_assert_eq!(&world.said, &again.said);
        prop_assert_eq!(world.engine.digest(), again.engine.digest());
        // Everybody goes, and the watch loses half of it; the relist finds the rest.
        let gone: Vec<PodUid> = world.pods.keys().cloned().collect();
        world.pods.clear();
        world.orders.clear();
        world.on_their_way.clear();
        gone.iter().step_by(2).for_each(|uid| drop(world.tell(Input::PodDeleted(uid.clone()))));
        world.take(&Step::Wait(40));
        world.take(&Step::Relist);
        prop_assert_eq!(world.engine.book().holders().count(), 0);
        prop_assert_eq!(world.engine.pods.len(), 0, "records of pods that are gone");
        for entry in world.engine.book().nodes() {
            let pool = &entry.pools[0];
            prop_assert_eq!(pool.free, pool.healthy.count_ones());
        }
    }
}
