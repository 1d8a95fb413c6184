//! A world in one thread: the engine answers by [`Engine::step`], time is counted, the watch is never late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::owners::Owners;
use super::{Binding, CallError, Calls, Change, Cluster, FilterReply, RefusedNode, SimPod, Story, World};
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Effect, Engine, FilterQuery, Input, Refused};
use crate::model::{Budget, Curable, GangSpec, NodeName, PodUid, PriorityClass, Quota, Refusal, Time};
use crate::policy::Profiles;

/// What else stands in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// ResourceQuotas.
    pub quotas: Vec<Quota>,
    /// PriorityClasses.
    pub classes: Vec<PriorityClass>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<Budget>,
    /// What objects say of gangs.
    pub gangs: Vec<GangSpec>,
}

/// A cluster and an engine, driven one step at a time.
#[derive(Debug)]
pub struct Direct {
    cluster: Cluster,
    engine: Engine,
    now: Time,
    seen_version: u64,
    stories: BTreeMap<PodUid, Refusal>,
    touched: Vec<PodUid>,
    /// What conditions of gated pods say.
    conditions: BTreeMap<PodUid, String>,
    calls: Calls,
    owners: Owners,
    /// What the watches deliver next, of what is not in the cluster's log.
    news: Vec<Input<'static>>,
    /// When the last of those who were given notice goes.
    notice: Option<Time>,
}

impl Direct {
    /// Tells a new engine everything, as the first lists of the watches would.
    pub fn new(mut cluster: Cluster, profiles: impl Into<Profiles>, surroundings: Surroundings) -> Self {
        let Surroundings { quotas, classes, budgets, gangs } = surroundings;
        let now = begin(&mut cluster);
        let mut world = Self {
            cluster,
            engine: Engine::new(profiles),
            now,
            seen_version: 0,
            stories: BTreeMap::new(),
            touched: Vec::new(),
            conditions: BTreeMap::new(),
            calls: Calls::default(),
            owners: Owners::new(gangs.clone(), budgets.clone()),
            news: Vec::new(),
            notice: None,
        };
        world.list();
        for class in classes {
            world.step(Input::PriorityClassApplied(class));
        }
        for quota in quotas {
            world.step(Input::QuotaApplied(quota));
        }
        budgets.into_iter().for_each(|budget| drop(world.step(Input::BudgetApplied(budget))));
        gangs.into_iter().for_each(|spec| drop(world.step(Input::GangApplied(spec))));
        world.step(Input::Synced);
        world
    }

    /// The engine, for what it can tell of itself.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How many calls were made.
    pub fn calls(&self) -> Calls {
        self.calls
    }

    /// The cluster as it is now.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn list(&mut self) {
        let nodes: Vec<_> = self.cluster.nodes().map(|view| view.node.node.clone()).collect();
        // As they were created: of equals the first comes first.
        let mut pods: Vec<_> = self.cluster.pods().map(|pod| (pod.created, pod.pod.clone())).collect();
        pods.sort_by_key(|(created, _)| *created);
        self.seen_version = self.cluster.version();
        for node in nodes {
            self.step(Input::NodeApplied(node));
        }
        for (_, pod) in pods {
            self.step(Input::PodApplied(pod));
        }
    }

    /// Delivers what the watches would have delivered by now, and what follows from it.
    fn catch_up(&mut self) {
        while !self.news.is_empty() || self.seen_version != self.cluster.version() {
            for news in std::mem::take(&mut self.news) {
                self.step(news);
            }
            self.deliver();
        }
    }

    /// Nothing moves but with time: notices run out, and owners that were suspended go on.
    fn wait(&mut self) {
        for _ in 0..WAITS_MAX {
            let notice = self.notice.take();
            if notice.is_none() && !self.owners.any_suspended() {
                return;
            }
            self.now = notice.map_or(self.now, |until| self.now.max(until));
            self.step(Input::Tick);
            self.catch_up();
        }
    }

    fn deliver(&mut self) {
        let Ok(changes) = self.cluster.changes_after(self.seen_version) else { return self.list() };
        let changes: Vec<Change> = changes.cloned().collect();
        self.seen_version = self.cluster.version();
        for change in changes {
            let news = match change {
                Change::Node(name) => self.cluster.node(&name).map(|view| Input::NodeApplied(view.node.node.clone())),
                Change::Pod(uid) => self.cluster.pod(&uid).map(|pod| Input::PodApplied(pod.pod.clone())),
                Change::PodGone(uid) => Some(Input::PodDeleted(uid)),
            };
            if let Some(news) = news {
                self.step(news);
            }
        }
    }

    fn step(&mut self, input: Input<'_>) -> Answer {
        self.now = self.now + STEP;
        let output = self.engine.step(self.now, input);
        self.carry_out(output.effects);
        self.work_ahead();
        output.answer
    }

    /// What the host does while nobody asks.
    fn work_ahead(&mut self) {
        while self.engine.wants_to_prepare() {
            self.engine.step(self.now, Input::Prepare);
        }
        while self.engine.wants_to_plan() {
            let output = self.engine.step(self.now, Input::Plan);
            self.carry_out(output.effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Touch(pod) => self.touched.push(pod.uid),
                Effect::Nominate { pod, node } => {
                    self.cluster.nominate(&pod.uid, node);
                    // Any change of a pod wakes it.
                    self.touched.push(pod.uid);
                }
                Effect::Release { pod, plan } => {
                    self.cluster.release(&pod.uid, plan);
                    self.touched.push(pod.uid);
                }
                Effect::Evict { pod, .. } => {
                    let news = self.owners.evict(&mut self.cluster, &pod.uid, self.now);
                    self.news.extend(news);
                }
                Effect::Suspend { owner, suspend } => {
                    let news = self.owners.suspend(&mut self.cluster, &owner, suspend, self.now);
                    self.news.extend(news);
                }
                Effect::Notice { at, .. } => self.notice = self.notice.max(at),
                // What an event says is in the trace too; nothing here makes nodes.
                Effect::Condition { pod, reason } => drop(self.conditions.insert(pod.uid, reason.to_string())),
                Effect::Event(_)
                | Effect::NodeEvent(_)
                | Effect::ListEnded { .. }
                | Effect::Provision(_)
                | Effect::Unprovision { .. }
                | Effect::Consume { .. } => {}
            }
        }
    }

    fn ask(&mut self, pod: &SimPod, names: &[NodeName], verb: Verb) -> Answer {
        self.catch_up();
        let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        self.now = self.now + STEP;
        let query = FilterQuery { pod: &pod.pod, names: &names };
        let input = match verb {
            Verb::Filter => Input::Filter(query),
            Verb::Prioritize => Input::Prioritize(query),
        };
        let output = self.engine.step(self.now, input);
        if let Some(refusal) = output.trace.as_ref().and_then(|trace| trace.refusal.clone()) {
            self.stories.insert(pod.pod.uid.clone(), refusal);
        }
        self.carry_out(output.effects);
        output.answer
    }
}

impl World for Direct {
    fn look<R>(&self, read: impl FnOnce(&Cluster) -> R) -> R {
        read(&self.cluster)
    }

    fn change<R>(&mut self, write: impl FnOnce(&mut Cluster) -> R) -> R {
        write(&mut self.cluster)
    }

    fn filter(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<FilterReply, CallError> {
        self.calls.filter += 1;
        match self.ask(pod, names, Verb::Filter) {
            Answer::Filter(answer) => Ok(FilterReply { nodes: answer.nodes, refused: refused(answer.refused, names.len()) }),
            other => Err(unexpected("filter", &other)),
        }
    }

    fn prioritize(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<Vec<i64>, CallError> {
        self.calls.prioritize += 1;
        match self.ask(pod, names, Verb::Prioritize) {
            Answer::Prioritize(scores) => Ok(scores),
            other => Err(unexpected("prioritize", &other)),
        }
    }

    fn bind(&mut self, pod: &SimPod, node: &NodeName) -> Result<(), CallError> {
        self.calls.bind += 1;
        self.catch_up();
        let current = self.cluster.pod(&pod.pod.uid).ok_or_else(|| CallError("the pod is gone".into()))?.pod.clone();
        let order = match self.step(Input::Bind(BindQuery { pod: current, node: node.clone() })) {
            Answer::Bind(BindAnswer::Write(order)) => order,
            Answer::Bind(BindAnswer::AlreadyBound) => return Ok(()),
            Answer::Bind(BindAnswer::Refused(refusal)) => return Err(CallError(refusal.reason.to_string())),
            other => return Err(unexpected("bind", &other)),
        };
        let written = self.cluster.bind(&Binding { key: order.pod.key, uid: order.pod.uid.clone(), grant: order.grant });
        let outcome = if written.is_ok() { BindOutcome::Bound } else { BindOutcome::Refused };
        self.step(Input::BindOutcome { uid: order.pod.uid, node: node.clone(), outcome });
        self.catch_up();
        written.map_err(|error| CallError(error.to_string()))
    }

    fn refusal(&mut self, pod: &SimPod) -> Option<Story> {
        // A gated pod was never asked about: what the planner said counts.
        let planned = || self.engine.explain(&pod.pod.uid).and_then(|trace| trace.refusal.clone());
        let told = self.stories.get(&pod.pod.uid).filter(|_| !pod.pod.gated).cloned();
        let Refusal { reason, needed, there, remedy } = told.or_else(planned)?;
        Some(Story { code: reason.code().into(), needed, there, remedy })
    }

    fn condition(&self, pod: &SimPod) -> Option<String> {
        self.conditions.get(&pod.pod.uid).cloned()
    }

    fn touched(&mut self) -> Vec<PodUid> {
        self.catch_up();
        self.wait();
        std::mem::take(&mut self.touched)
    }
}

/// Which of the two questions of the same shape.
#[derive(Clone, Copy)]
enum Verb {
    Filter,
    Prioritize,
}

fn refused(refused: Refused, count: usize) -> Vec<RefusedNode> {
    let entry = |place: usize, reason: &crate::model::Reason, curable: Curable| {
        let place = u32::try_from(place).ok()?;
        Some(RefusedNode { place, text: reason.to_string(), curable: curable == Curable::ByEviction })
    };
    match refused {
        Refused::None => Vec::new(),
        Refused::All(reason, curable) => (0..count).filter_map(|place| entry(place, &reason, curable)).collect(),
        Refused::Each(each) => each.iter().enumerate().filter_map(|(place, (reason, curable))| entry(place, reason, *curable)).collect(),
    }
}

fn unexpected(verb: &str, answer: &Answer) -> CallError {
    match answer {
        Answer::NotReady => CallError(format!("{verb}: not ready")),
        _ => CallError(format!("{verb}: the engine answered another question")),
    }
}

/// The newest time that stands in the cluster, so that nothing began after it. What says nothing of when it began, begins then.
fn begin(cluster: &mut Cluster) -> Time {
    let now = cluster.pods().map(|pod| pod.pod.started_at.max(pod.pod.created_at)).max().unwrap_or_default().max(START);
    let timeless = |pod: &&SimPod| pod.pod.started_at == Time::default();
    let timeless: Vec<PodUid> = cluster.pods().filter(timeless).map(|pod| pod.pod.uid.clone()).collect();
    for uid in &timeless {
        cluster.change_pod(uid, |pod| pod.started_at = now);
    }
    now
}

/// Where time starts at the earliest: any instant will do, the same one on every run.
const START: Time = Time::from_unix_ms(1_767_225_600_000);
/// How often in a row time passes.
const WAITS_MAX: usize = 8;
/// How long a step takes.
const STEP: Duration = Duration::from_millis(1);
