//! kube-scheduler 1.36.3's scheduling cycle: nominated node first, filters, the extender, scores, bind.
//!
//! Left out: sampling (the config that we ship sets percentageOfNodesToScore: 100), preferred affinity and spread,
//! volumes, ports and resource claims, and preemption (its place is marked).

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::predicate::{self, Neighbours, Unfit};
use super::story::{self, Story};
use super::{Binding, Cluster, Queue, SimPod, World, score};
use crate::model::{Grant, NodeName, PodKey, PodUid};

/// The scheduler: its queue, and its dice for ties.
#[derive(Debug)]
pub struct Scheduler {
    dice: StdRng,
    queue: Queue,
    /// The extender's entry names no managed resources: it is asked about every pod.
    asks_of_all: bool,
}

/// One try on one pod.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which pod.
    pub key: PodKey,
    /// Identity.
    pub uid: PodUid,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a try ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It runs there.
    Bound(NodeName),
    /// No node takes it.
    Unschedulable(Diagnosis),
    /// Not tried: its scheduling gates hold it.
    Gated,
    /// The extender or the API server failed; tried again later.
    Failed(String),
}

/// Why no node takes a pod: nodes by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them gave which reason.
    pub reasons: BTreeMap<Unfit, u32>,
    /// The extender was asked, and refused what was left.
    pub by_extender: bool,
}

/// A pod that waits when nothing moves any more.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which pod.
    pub key: PodKey,
    /// A short, stable code.
    pub code: String,
    /// What kube-scheduler writes into the pod's condition.
    pub condition: String,
    /// What was needed.
    pub needed: String,
    /// What was there.
    pub there: String,
    /// What would change it; may be empty.
    pub remedy: String,
}

impl Scheduler {
    /// How often the pods that wait are tried again after something was bound. Each round must bind something, so
    /// that this only ends runs in which pods make room for one another forever.
    pub const ROUNDS_MAX: u32 = 64;
    /// How often a pod is tried again after an error of the extender.
    pub const ERRORS_MAX: u32 = 5;

    /// A scheduler whose ties fall as `seed` says.
    pub fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), queue: Queue::default(), asks_of_all: false }
    }

    /// With an entry of the extender that names no managed resources, so that it is asked about pods without them, too
    /// (`plainPods: place`).
    #[must_use]
    pub fn asking_of_all(mut self) -> Self {
        self.asks_of_all = true;
        self
    }

    /// Runs until nothing moves, and tells of every try. Returns who waits, by name.
    pub fn run<W: World>(&mut self, world: &mut W, mut told: impl FnMut(&W, &Attempt)) -> Vec<Waiting> {
        let mut errors: BTreeMap<PodUid, u32> = BTreeMap::new();
        let mut waiting: BTreeMap<PodUid, Outcome> = BTreeMap::new();
        world.touched();
        world.look(|cluster| cluster.pods().for_each(|pod| self.queue.push(pod)));
        for _ in 0..Self::ROUNDS_MAX {
            let mut moved = false;
            while let Some(uid) = self.queue.pop() {
                let Some(pod) = world.look(|cluster| cluster.pod(&uid).cloned()) else { continue };
                let outcome = self.try_pod(world, &pod);
                moved |= matches!(outcome, Outcome::Bound(_));
                let again = matches!(outcome, Outcome::Failed(_)) && {
                    let count = errors.entry(uid.clone()).or_default();
                    *count += 1;
                    *count < Self::ERRORS_MAX
                };
                told(world, &Attempt { key: pod.pod.key.clone(), uid: uid.clone(), outcome: outcome.clone() });
                match outcome {
                    Outcome::Bound(_) => drop(waiting.remove(&uid)),
                    Outcome::Failed(_) if again => self.queue.push(&pod),
                    Outcome::Failed(_) | Outcome::Unschedulable(_) | Outcome::Gated => drop(waiting.insert(uid, outcome)),
                }
            }
            // A Binding is an event that wakes every pod that the extender refused, and so is a touch.
            let touched: BTreeSet<PodUid> = world.touched().into_iter().collect();
            let woken = waiting.keys().filter(|_| moved).chain(&touched);
            world.look(|cluster| woken.filter_map(|uid| cluster.pod(uid)).for_each(|pod| self.queue.push(pod)));
            if self.queue.is_empty() {
                break;
            }
        }
        // kube-scheduler does not look at gated pods: the extender alone knows why they wait.
        let gated: Vec<PodUid> = world.look(|cluster| {
            let gated = cluster.pods().filter(|pod| pod.pod.gated && pod.pod.node.is_none() && !pod.pod.phase.is_finished());
            gated.map(|pod| pod.pod.uid.clone()).collect()
        });
        waiting.extend(gated.into_iter().map(|uid| (uid, Outcome::Gated)));
        let mut waiting: Vec<Waiting> = waiting.into_iter().filter_map(|(uid, outcome)| describe(world, &uid, &outcome)).collect();
        waiting.sort_by(|a, b| a.key.cmp(&b.key));
        waiting
    }

    /// One scheduling cycle.
    fn try_pod<W: World>(&mut self, world: &mut W, pod: &SimPod) -> Outcome {
        let node = match self.choose(world, pod) {
            Ok(node) => node,
            Err(outcome) => return outcome,
        };
        let bound = if self.asks(pod) {
            world.bind(pod, &node).map_err(|error| error.to_string())
        } else {
            let grant = Grant { node: node.clone(), containers: Vec::new() };
            let binding = Binding { key: pod.pod.key.clone(), uid: pod.pod.uid.clone(), grant };
            world.change(|cluster| cluster.bind(&binding)).map_err(|error| error.to_string())
        };
        bound.map_or_else(Outcome::Failed, |()| Outcome::Bound(node))
    }

    fn choose<W: World>(&mut self, world: &mut W, pod: &SimPod) -> Result<NodeName, Outcome> {
        if let Some(nominated) = &pod.pod.nominated {
            let alone = world.look(|cluster| feasible(cluster, pod, Some(nominated)).0);
            if let Ok(mut passed) = self.filter(world, pod, alone, &mut Diagnosis::default())
                && let Some(node) = passed.pop()
            {
                return Ok(node);
            }
        }
        let (names, mut diagnosis) = world.look(|cluster| feasible(cluster, pod, None));
        let mut names = self.filter(world, pod, names, &mut diagnosis)?;
        match names.len() {
            // PostFilter belongs here: DefaultPreemption proposes victims, and the preempt verb corrects them.
            0 => Err(Outcome::Unschedulable(diagnosis)),
            1 => Ok(names.remove(0)),
            _ => Ok(self.best(world, pod, names)),
        }
    }

    /// The highest total; ties fall by the dice.
    fn best<W: World>(&mut self, world: &mut W, pod: &SimPod, mut names: Vec<NodeName>) -> NodeName {
        let in_tree = |cluster: &Cluster| {
            let of = |name| cluster.node(name).map_or(0, |view| score::least_allocated(pod, &view));
            names.iter().map(of).collect::<Vec<i64>>()
        };
        let mut totals = world.look(in_tree);
        if self.asks(pod) {
            // kube-scheduler drops an extender's scores without a word when the call fails.
            for (total, score) in totals.iter_mut().zip(world.prioritize(pod, &names).unwrap_or_default()) {
                *total = total.saturating_add(score.saturating_mul(EXTENDER_FACTOR));
            }
        }
        let best = totals.iter().copied().max().unwrap_or(0);
        let tied: Vec<usize> = (0..names.len()).filter(|place| totals.get(*place) == Some(&best)).collect();
        let place = if tied.len() > 1 { tied[self.dice.random_range(0..tied.len())] } else { tied.first().copied().unwrap_or(0) };
        names.swap_remove(place)
    }

    /// What is left after the extender was asked, if it is interested and there is something to ask about.
    fn filter<W: World>(
        &self,
        world: &mut W,
        pod: &SimPod,
        names: Vec<NodeName>,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<NodeName>, Outcome> {
        if names.is_empty() || !self.asks(pod) {
            return Ok(names);
        }
        let reply = world.filter(pod, &names).map_err(|error| Outcome::Failed(error.to_string()))?;
        diagnosis.by_extender = reply.nodes.is_empty();
        for refused in reply.refused {
            let reason = Unfit { code: "extender", text: refused.text.into(), curable: refused.curable };
            *diagnosis.reasons.entry(reason).or_default() += 1;
        }
        Ok(reply.nodes.iter().filter_map(|place| names.get(usize::try_from(*place).ok()?).cloned()).collect())
    }

    /// kube-scheduler asks an extender about a pod only if a container names one of its managed resources, or if it has none.
    fn asks(&self, pod: &SimPod) -> bool {
        self.asks_of_all || !pod.pod.request.is_empty()
    }
}

/// The nodes that pass kube-scheduler's own filters, and why the others do not.
fn feasible(cluster: &Cluster, pod: &SimPod, only: Option<&NodeName>) -> (Vec<NodeName>, Diagnosis) {
    let neighbours = Neighbours::of(pod, cluster);
    let (mut names, mut diagnosis) = (Vec::new(), Diagnosis::default());
    for view in cluster.nodes().filter(|view| only.is_none_or(|only| *only == view.node.node.name)) {
        diagnosis.nodes += 1;
        let unfit = predicate::check(pod, &view, &neighbours);
        if unfit.is_empty() {
            names.push(view.node.node.name.clone());
        }
        for reason in unfit {
            *diagnosis.reasons.entry(reason).or_default() += 1;
        }
    }
    (names, diagnosis)
}

fn describe<W: World>(world: &mut W, uid: &PodUid, outcome: &Outcome) -> Option<Waiting> {
    let pod = world.look(|cluster| cluster.pod(uid).cloned())?;
    let key = pod.pod.key.clone();
    match outcome {
        Outcome::Bound(_) => None,
        Outcome::Failed(error) => Some(Waiting {
            key,
            code: "extender-error".into(),
            condition: error.clone(),
            needed: "an answer of the extender".into(),
            there: format!("{} errors, the last one: {error}", Scheduler::ERRORS_MAX),
            remedy: "look at the extender's log".into(),
        }),
        Outcome::Gated => {
            let story = world.refusal(&pod);
            let Story { code, needed, there, remedy } = story.unwrap_or_else(|| Story {
                code: "scheduling-gated".into(),
                needed: "its scheduling gates taken off".into(),
                there: "somebody holds it back".into(),
                remedy: "see who owns the gates".into(),
            });
            let condition = world.condition(&pod).unwrap_or_else(|| "Scheduling is blocked due to non-empty scheduling gates".into());
            Some(Waiting { key, code: code.into_owned(), condition, needed, there, remedy })
        }
        Outcome::Unschedulable(diagnosis) => {
            let condition = diagnosis.to_string();
            let by_extender = diagnosis.by_extender.then(|| world.refusal(&pod)).flatten();
            let story = by_extender.unwrap_or_else(|| world.look(|cluster| story::tell(cluster, &pod, diagnosis)));
            let Story { code, needed, there, remedy } = story;
            Some(Waiting { key, code: code.into_owned(), condition, needed, there, remedy })
        }
    }
}

impl std::fmt::Display for Diagnosis {
    /// As kube-scheduler writes it: counts by text, sorted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut by_text: BTreeMap<&str, u32> = BTreeMap::new();
        for (unfit, count) in &self.reasons {
            *by_text.entry(&unfit.text).or_default() += count;
        }
        let mut lines: Vec<String> = by_text.iter().map(|(text, count)| format!("{count} {text}")).collect();
        lines.sort();
        write!(f, "0/{} nodes are available", self.nodes)?;
        if lines.is_empty() { f.write_str(".") } else { write!(f, ": {}.", lines.join(", ")) }
    }
}

/// kube-scheduler scales an extender's 0..10 to the plugins' 0..100; our entry has weight 1.
const EXTENDER_FACTOR: i64 = 10;

#[cfg(test)]
mod tests {
    use super::super::predicate::fixture::{node_with, pod, pod_with};
    use super::super::{CallError, FilterReply, RefusedNode};
    use super::*;

    const GPU: &str = "nvidia.com/gpu";

    /// An extender that answers from a script and notes what it was asked.
    #[derive(Default)]
    struct Scripted {
        cluster: Cluster,
        asked: Vec<String>,
        /// Names that it passes; the rest is refused.
        passes: Vec<&'static str>,
        scores: Vec<i64>,
        filter_errors: u32,
    }

    impl World for Scripted {
        fn look<R>(&self, read: impl FnOnce(&Cluster) -> R) -> R {
            read(&self.cluster)
        }

        fn change<R>(&mut self, write: impl FnOnce(&mut Cluster) -> R) -> R {
            write(&mut self.cluster)
        }

        fn filter(&mut self, pod: &SimPod, names: &[NodeName]) -> Result<FilterReply, CallError> {
            let list: Vec<&str> = names.iter().map(NodeName::as_str).collect();
            self.asked.push(format!("filter {} {}", pod.pod.key.name, list.join(" ")));
            if self.filter_errors > 0 {
                self.filter_errors -= 1;
                return Err(CallError("connection refused".into()));
            }
            let mut reply = FilterReply::default();
            for (place, name) in (0_u32..).zip(list) {
                if self.passes.contains(&name) {
                    reply.nodes.push(place);
                } else {
                    reply.refused.push(RefusedNode { place, text: "no".into(), curable: false });
                }
            }
            Ok(reply)
        }

        fn prioritize(&mut self, pod: &SimPod, _: &[NodeName]) -> Result<Vec<i64>, CallError> {
            self.asked.push(format!("prioritize {}", pod.pod.key.name));
            Ok(self.scores.clone())
        }

        fn bind(&mut self, pod: &SimPod, node: &NodeName) -> Result<(), CallError> {
            self.asked.push(format!("bind {} {node}", pod.pod.key.name));
            let grant = Grant { node: node.clone(), containers: vec![] };
            let binding = Binding { key: pod.pod.key.clone(), uid: pod.pod.uid.clone(), grant };
            self.cluster.bind(&binding).map_err(|error| CallError(error.to_string()))
        }

        fn refusal(&mut self, _: &SimPod) -> Option<Story> {
            None
        }

        fn condition(&self, _: &SimPod) -> Option<String> {
            None
        }

        fn touched(&mut self) -> Vec<PodUid> {
            Vec::new()
        }
    }

    fn room(passes: &[&'static str], pods: Vec<SimPod>) -> Scripted {
        let mut world = Scripted { passes: passes.to_vec(), ..Scripted::default() };
        for name in ["n1", "n2", "n3"] {
            world.cluster.apply_node(node_with(name, GPU, 8));
        }
        for pod in pods {
            world.cluster.create_pod(pod).unwrap();
        }
        world
    }

    fn run(world: &mut Scripted) -> (Vec<String>, Vec<Waiting>) {
        let waiting = Scheduler::new(1).run(world, |_, _| {});
        (std::mem::take(&mut world.asked), waiting)
    }

    #[test]
    fn one_passing_node_is_bound_without_asking_for_scores() {
        let (asked, waiting) = run(&mut room(&["n2"], vec![pod_with("a", GPU, 8)]));
        assert_eq!(asked, ["filter a n1 n2 n3", "bind a n2"]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn among_several_the_extenders_score_decides() {
        let mut world = room(&["n1", "n2", "n3"], vec![pod_with("a", GPU, 1)]);
        world.scores = vec![1, 2, 10];
        assert_eq!(run(&mut world).0, ["filter a n1 n2 n3", "prioritize a", "bind a n3"]);
    }

    #[test]
    fn only_nodes_that_pass_the_schedulers_own_filters_are_asked_about() {
        let mut world = room(&["n1", "n2", "n3"], vec![pod_with("a", GPU, 1)]);
        let mut full = pod_with("full", GPU, 8);
        full.pod.node = Some("n2".into());
        world.cluster.create_pod(full).unwrap();
        assert_eq!(run(&mut world).0[0], "filter a n1 n3");
    }

    #[test]
    fn a_nominated_node_is_asked_about_alone_and_the_rest_only_if_it_refuses() {
        let nominated = || {
            let mut pod = pod_with("a", GPU, 1);
            pod.pod.nominated = Some("n3".into());
            pod
        };
        assert_eq!(run(&mut room(&["n1", "n3"], vec![nominated()])).0, ["filter a n3", "bind a n3"]);
        assert_eq!(run(&mut room(&["n1"], vec![nominated()])).0, ["filter a n3", "filter a n1 n2 n3", "bind a n1"]);
    }

    #[test]
    fn a_pod_without_accelerators_never_reaches_the_extender() {
        let (asked, waiting) = run(&mut room(&[], vec![pod("plain")]));
        assert!(asked.is_empty());
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_refused_pod_is_tried_again_once_after_others_were_bound_and_then_waits() {
        let mut huge = pod_with("huge", GPU, 8);
        huge.pod.priority = 10;
        let mut world = room(&["n1"], vec![huge, pod("plain")]);
        world.passes.clear();
        let (asked, waiting) = run(&mut world);
        assert_eq!(asked, ["filter huge n1 n2 n3", "filter huge n1 n2 n3"]);
        assert_eq!(waiting[0].condition, "0/3 nodes are available: 3 no.");
    }

    #[test]
    fn an_extender_that_fails_is_asked_again_and_not_forever() {
        let mut world = room(&["n1"], vec![pod_with("a", GPU, 1)]);
        world.filter_errors = Scheduler::ERRORS_MAX - 1;
        assert!(run(&mut world).1.is_empty());
        let mut world = room(&["n1"], vec![pod_with("a", GPU, 1)]);
        world.filter_errors = u32::MAX;
        let (asked, waiting) = run(&mut world);
        assert_eq!(asked.len(), Scheduler::ERRORS_MAX as usize);
        assert_eq!(waiting[0].code, "extender-error");
    }

    #[test]
    fn ties_fall_by_the_seed_and_the_same_seed_falls_the_same_way() {
        let chosen = |seed| {
            let mut world = room(&["n1", "n2", "n3"], (0..12).map(|at| pod_with(&format!("p{at:02}"), GPU, 1)).collect());
            Scheduler::new(seed).run(&mut world, |_, _| {});
            world.asked.into_iter().filter(|line| line.starts_with("bind")).collect::<Vec<_>>()
        };
        assert_eq!(chosen(7), chosen(7));
        assert!((0..8).any(|seed| chosen(seed) != chosen(7)));
    }
}
