//! Jobs of several queues in virtual time, each one gated pod: they come, run for as long as they take, and end. What is
//! asked of the engine is what the watch, kube-scheduler and the host would ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Effect, Engine, FilterQuery, Input};
use crate::model::fixtures::{node, pod};
use crate::model::{NodeName, Pod, PodKey, PodPhase, PodUid, Time};
use crate::policy::Profile;

/// A job as it comes.
#[derive(Clone, Debug)]
pub(super) struct Coming {
    pub(super) namespace: &'static str,
    pub(super) gpus: u32,
    pub(super) runs_s: u64,
}

/// An engine with some nodes of eight GPUs, and jobs.
pub(super) struct Shop {
    pub(super) engine: Engine,
    pub(super) now_s: u64,
    names: Vec<NodeName>,
    pods: BTreeMap<PodUid, Pod>,
    jobs: BTreeMap<PodUid, Coming>,
    ends: BTreeSet<(u64, PodUid)>,
    /// Jobs that started, by namespace and GPUs, since they were last taken.
    pub(super) started: Vec<(&'static str, u32)>,
    released: Vec<PodUid>,
    evicted: Vec<PodUid>,
    /// Pods that were evicted, and how often a job came again.
    pub(super) evictions: u32,
    /// When jobs started for the first time, by name.
    pub(super) first_s: BTreeMap<Arc<str>, u64>,
    /// GPU seconds by namespace, since they were last taken.
    pub(super) had_s: BTreeMap<Arc<str>, u64>,
    charged_s: u64,
}

impl Shop {
    pub(super) fn new(nodes: usize, queues: &str) -> Self {
        let yaml = Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nqueues: {queues}\naccelerators:"));
        let mut shop = Self {
            engine: Engine::new(Arc::new(Profile::parse(&yaml).unwrap())),
            now_s: 0,
            names: (0..nodes).map(|at| NodeName::from(format!("n{at:02}").as_str())).collect(),
            pods: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ends: BTreeSet::new(),
            started: Vec::new(),
            released: Vec::new(),
            evicted: Vec::new(),
            evictions: 0,
            first_s: BTreeMap::new(),
            had_s: BTreeMap::new(),
            charged_s: 0,
        };
        for name in shop.names.clone() {
            shop.step(Input::NodeApplied(node(name.as_str(), 8)));
        }
        shop.step(Input::Synced);
        shop
    }

    fn step(&mut self, input: Input<'_>) -> Answer {
        let now = Time::from_unix_ms(1_767_225_600_000) + Duration::from_secs(self.now_s);
        let output = self.engine.step(now, input);
        for effect in output.effects {
            match effect {
                Effect::Nominate { pod, node } => self.change(&pod.uid, |pod| pod.nominated = node),
                Effect::Release { pod, plan } => {
                    self.change(&pod.uid, |pod| (pod.gated, pod.planned) = (false, plan));
                    self.released.push(pod.uid);
                }
                Effect::Evict { pod, .. } => self.evicted.push(pod.uid),
                _ => {}
            }
        }
        output.answer
    }

    fn change(&mut self, uid: &PodUid, write: impl FnOnce(&mut Pod)) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        write(pod);
        let pod = pod.clone();
        self.step(Input::PodApplied(pod));
    }

    /// A job is there.
    pub(super) fn comes(&mut self, name: &str, job: &Coming) {
        let owner = name.split('~').next().unwrap();
        let created_at = Time::from_unix_ms(1_767_225_600_000) + Duration::from_secs(self.now_s);
        let pod = Pod { key: PodKey::new(job.namespace, name), gated: true, created_at, ..pod(name).gpus(job.gpus).of_job(owner) };
        self.jobs.insert(pod.uid.clone(), job.clone());
        self.pods.insert(pod.uid.clone(), pod.clone());
        self.step(Input::PodApplied(pod));
    }

    /// Plans and schedules until nothing moves.
    pub(super) fn settle(&mut self) {
        self.step(Input::Tick);
        loop {
            while self.engine.wants_to_plan() {
                self.step(Input::Plan);
            }
            match (self.evicted.pop(), self.released.pop()) {
                (Some(uid), released) => {
                    self.released.extend(released);
                    self.comes_again(&uid);
                }
                (None, Some(uid)) => self.schedule(&uid),
                (None, None) => break,
            }
        }
    }

    /// A pod is evicted, and its controller creates another: what it did is lost.
    fn comes_again(&mut self, uid: &PodUid) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.ends.retain(|(_, other)| other != uid);
        self.step(Input::PodDeleted(uid.clone()));
        self.evictions += 1;
        let (job, owner) = (self.jobs[uid].clone(), pod.key.name.split('~').next().unwrap().to_owned());
        self.comes(&format!("{owner}~{}", self.evictions), &job);
    }

    /// GPUs that a namespace's running jobs have, and those of the smallest that waits.
    pub(super) fn held_and_waiting(&self, namespace: &str) -> (u32, Option<u32>) {
        let of = |runs: bool| self.pods.values().filter(move |pod| *pod.key.namespace == *namespace && pod.node.is_some() == runs);
        let gpus = |pod: &Pod| self.jobs[&pod.uid].gpus;
        (of(true).map(gpus).sum(), of(false).map(gpus).min())
    }

    fn schedule(&mut self, uid: &PodUid) {
        let pod = self.pods[uid].clone();
        let names: Vec<NodeName> = pod.nominated.clone().map_or_else(|| self.names.clone(), |node| vec![node]);
        let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        let Answer::Filter(answer) = self.step(Input::Filter(FilterQuery { pod: &pod, names: &names })) else { panic!() };
        let [place] = answer.nodes[..] else { panic!("a promise is kept") };
        let node = NodeName::from(names[place as usize]);
        assert_eq!(Some(&node), pod.planned.as_ref().map(|plan| &plan.grant.node));
        let Answer::Bind(BindAnswer::Write(order)) = self.step(Input::Bind(BindQuery { pod, node: node.clone() })) else { panic!() };
        self.step(Input::BindOutcome { uid: uid.clone(), node: node.clone(), outcome: BindOutcome::Bound });
        self.change(uid, |pod| {
            (pod.node, pod.nominated, pod.phase, pod.recorded) = (Some(node), None, PodPhase::Running, Some(order.grant));
        });
        let job = &self.jobs[uid];
        self.started.push((job.namespace, job.gpus));
        let owner = self.pods[uid].key.name.split('~').next().unwrap().into();
        self.first_s.entry(owner).or_insert(self.now_s);
        self.ends.insert((self.now_s + job.runs_s, uid.clone()));
    }

    /// When the next job ends.
    pub(super) fn next_end_s(&self) -> Option<u64> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Time passes, and jobs end that are done by then.
    pub(super) fn pass_to(&mut self, now_s: u64) {
        for holder in self.engine.book().holders().filter(|holder| holder.state.is_committed()) {
            let gpus: u64 = holder.takes.iter().map(|take| u64::from(take.milli()) / 1000).sum();
            *self.had_s.entry(holder.key.namespace.clone()).or_default() += gpus * (now_s - self.charged_s);
        }
        (self.now_s, self.charged_s) = (now_s, now_s);
        while let Some((_, uid)) = self.ends.first().filter(|(at, _)| *at <= now_s).cloned() {
            self.ends.pop_first();
            self.pods.remove(&uid);
            self.step(Input::PodDeleted(uid));
        }
    }
}
