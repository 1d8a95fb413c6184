//! An engine and the API server's view of its pods: effects are carried out at once, and each step is followed by the
//! book's own check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::book::HolderState;
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Effect, Engine, FilterQuery, Input, Refused};
use crate::model::fixtures::{node, pod};
use crate::model::{GangId, GangKind, GangRef, Node, Parts, Pod, PodKey, PodPhase, PodUid, ProvisioningOrder, Reason, Time, Wish};
use crate::policy::Profile;

const RACKS: &str = "fabric: {levels: [{name: rack, nodeLabel: rack}]}\naccelerators:";
pub(super) const NAMES: [&str; 6] = ["r1-a", "r1-b", "r1-c", "r2-a", "r2-b", "r2-c"];

/// An engine, and the API server's view of the pods: effects are carried out at once.
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) now: Time,
    pub(super) pods: BTreeMap<PodUid, Pod>,
    /// Effects in words, since the last look.
    done: Vec<String>,
    /// Nominations do not arrive.
    pub(super) deaf: bool,
    /// The profile in force.
    profile: String,
    /// The newest order of nodes.
    pub(super) ordered: Option<ProvisioningOrder>,
}

impl Run {
    /// Two racks of three nodes of eight, where members are nominated.
    pub(super) fn new() -> Self {
        Self::with("{}")
    }

    /// The same with these queues.
    pub(super) fn with(queues: &str) -> Self {
        let profile = Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nqueues: {queues}\naccelerators:"));
        Self::over(profile.replace("nominateAboveNodes: 1000", "nominateAboveNodes: 0"))
    }

    /// The same without nominations, as a cluster of six nodes has it by default.
    pub(super) fn without_nominations() -> Self {
        Self::over(Profile::DEFAULT_YAML.to_owned())
    }

    /// The same with these words on autoscaling.
    pub(super) fn with_autoscaling(autoscaling: &str) -> Self {
        Self::over(Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nautoscaling: {autoscaling}\naccelerators:")))
    }

    fn over(profile: String) -> Self {
        let mut run = Self {
            engine: engine(&profile),
            profile,
            now: Time::from_unix_ms(0),
            pods: BTreeMap::new(),
            done: Vec::new(),
            deaf: false,
            ordered: None,
        };
        nodes().into_iter().for_each(|node| drop(run.step(Input::NodeApplied(node))));
        run.step(Input::Synced);
        run
    }

    /// Another process over the same objects.
    pub(super) fn restart(&mut self) {
        self.engine = engine(&self.profile);
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        pods.into_iter().for_each(|pod| drop(self.step(Input::PodApplied(pod))));
        nodes().into_iter().for_each(|node| drop(self.step(Input::NodeApplied(node))));
        self.step(Input::Synced);
        self.settle();
    }

    pub(super) fn step(&mut self, input: Input<'_>) -> Answer {
        self.now = self.now + Duration::from_millis(1);
        let output = self.engine.step(self.now, input);
        assert_eq!(self.engine.violations(), []);
        for effect in output.effects {
            self.carry_out(effect);
        }
        output.answer
    }

    fn carry_out(&mut self, effect: Effect) {
        let (uid, text) = match &effect {
            Effect::Touch(pod) => (pod.uid.clone(), format!("touch {}", pod.key.name)),
            Effect::Event(event) => (event.pod.uid.clone(), event.reason.to_owned()),
            Effect::NodeEvent(event) => (PodUid::from(""), format!("{} {}", event.reason, event.node)),
            Effect::Nominate { pod, node } => {
                (pod.uid.clone(), format!("nominate {} {}", pod.key.name, node.as_ref().map_or("nowhere", |node| node.as_str())))
            }
            Effect::Release { pod, plan } => {
                (pod.uid.clone(), format!("release {}{}", pod.key.name, if plan.is_some() { "" } else { " freely" }))
            }
            Effect::Condition { pod, reason } => (pod.uid.clone(), format!("say {} {}", pod.key.name, reason.code())),
            Effect::Notice { pod, at } => (pod.uid.clone(), format!("notice {}{}", pod.key.name, if at.is_some() { "" } else { " back" })),
            Effect::ListEnded { namespace } => {
                let ended = |pod: &&Pod| pod.key.namespace == *namespace && pod.phase == PodPhase::Succeeded;
                let pods = self.pods.values().filter(ended).cloned().collect();
                let namespace = namespace.clone();
                self.step(Input::EndedListed { namespace, pods });
                return;
            }
            Effect::Evict { pod, force, .. } => (pod.uid.clone(), format!("{} {}", if *force { "end" } else { "evict" }, pod.key.name)),
            Effect::Suspend { owner, suspend } => (PodUid::from(""), format!("suspend {} {suspend}", owner.key.name)),
            Effect::Provision(order) => {
                self.ordered = Some((**order).clone());
                let sets: Vec<String> = order.sets.iter().map(|((pod, _), count)| format!("{count}x{}", pod.name)).collect();
                (
                    PodUid::from(""),
                    format!("provision {} for {}/{}: {}", order.class, order.owner.kind, order.owner.key.name, sets.join(" ")),
                )
            }
            Effect::Unprovision { request, .. } => (PodUid::from(""), format!("unprovision {}", request.name)),
            Effect::Consume { pod, request, .. } => (pod.uid.clone(), format!("consume {} {request}", pod.key.name)),
        };
        self.done.push(text);
        let Some(mut pod) = self.pods.get(&uid).cloned() else { return };
        match effect {
            Effect::Nominate { node, .. } if !self.deaf => pod.nominated = node,
            Effect::Release { plan, .. } => {
                pod.gated = pod.gated_by_others;
                pod.planned = plan;
            }
            _ => return,
        }
        self.apply(pod);
    }

    pub(super) fn apply(&mut self, pod: Pod) {
        self.pods.insert(pod.uid.clone(), pod.clone());
        self.step(Input::PodApplied(pod));
    }

    /// Creates a pod, and lets the planner have its turn.
    pub(super) fn create(&mut self, pod: Pod) {
        self.apply(pod);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        while self.engine.wants_to_plan() {
            self.step(Input::Plan);
        }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.step(Input::Tick);
            self.settle();
        }
    }

    pub(super) fn delete(&mut self, name: &str) {
        let uid = uid(name);
        self.pods.remove(&uid);
        self.step(Input::PodDeleted(uid));
        self.settle();
    }

    pub(super) fn filter_of(&mut self, name: &str, names: &[&'static str]) -> Result<&'static str, Reason> {
        let pod = self.pods[&uid(name)].clone();
        assert!(!pod.gated, "kube-scheduler does not ask about {name}");
        let Answer::Filter(answer) = self.step(Input::Filter(FilterQuery { pod: &pod, names })) else { panic!("no answer to filter") };
        match (answer.nodes.as_slice(), answer.refused) {
            ([place], Refused::None) => Ok(names[*place as usize]),
            ([], Refused::All(reason, _)) => Err(reason),
            ([], Refused::Each(each)) => Err(each[0].0.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn filter(&mut self, name: &str) -> Result<&'static str, Reason> {
        self.filter_of(name, &NAMES)
    }

    pub(super) fn bind_to(&mut self, name: &str, node: &str) -> Result<(), Reason> {
        let pod = self.pods[&uid(name)].clone();
        let query = BindQuery { pod: pod.clone(), node: node.into() };
        let order = match self.step(Input::Bind(query)) {
            Answer::Bind(BindAnswer::Write(order)) => order,
            Answer::Bind(BindAnswer::Refused(refusal)) => return Err(refusal.reason),
            other => panic!("{other:?}"),
        };
        self.step(Input::BindOutcome { uid: pod.uid.clone(), node: node.into(), outcome: BindOutcome::Bound });
        self.apply(Pod { recorded: Some(order.grant), nominated: None, ..pod.on(node) });
        Ok(())
    }

    pub(super) fn bind(&mut self, name: &str) {
        let node = self.filter(name).unwrap();
        self.bind_to(name, node).unwrap();
    }

    pub(super) fn held(&self) -> Vec<&str> {
        self.engine.book().holders().map(|holder| holder.node.as_str()).collect()
    }

    pub(super) fn bound(&self) -> usize {
        self.engine.book().holders().filter(|holder| holder.state == HolderState::Bound).count()
    }

    pub(super) fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }
}

fn engine(profile: &str) -> Engine {
    let yaml = profile.replace("accelerators:", RACKS);
    Engine::new(Arc::new(Profile::parse(&yaml).unwrap()))
}

pub(super) fn nodes() -> Vec<Node> {
    let rack = |name: &str| {
        let mut node = node(name, 8);
        node.labels.insert("rack".into(), name[..2].into());
        node
    };
    NAMES.into_iter().map(rack).collect()
}

pub(super) fn uid(name: &str) -> PodUid {
    pod(name).uid
}

/// A member without our gate.
pub(super) fn member(name: &str, size: u32, gpus: u32) -> Pod {
    let mut pod = pod(name).gpus(gpus);
    let id = GangId { kind: GangKind::Annotation, key: PodKey::new("ns", "train"), uid: "".into() };
    pod.gang = Some(GangRef { id, size: Some(size), min: None, role: "".into(), rank: None });
    pod.topology.required = vec![Wish { level: "rack".into(), parts: Parts::Whole }];
    pod
}

pub(super) fn gated(pod: Pod) -> Pod {
    Pod { gated: true, ..pod }
}
