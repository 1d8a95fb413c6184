//! What seeds from [`FROM`] on have beside the faults: work that rivals for a full cluster. Preemption is on, queues share the
//! devices, disruption budgets stand over some Jobs, some gangs are elastic, some victims are slow or do not go at all, and
//! nodes stop answering or are gone for good. It is drawn from dice of its own: what a seed below means stays what it was.

use std::fmt::Write as _;
use std::sync::Arc;

use super::dice::Dice;
use super::scenario::{Ask, Disturbance, JobPlan, STORM_MS, Says, Scenario, Trap};
use super::timeline::Ms;
use crate::model::PodKey;

/// The first seed with rivalry.
pub const FROM: u64 = 10_000;

/// Who may have how much, as a seed decides it.
#[derive(Clone, Debug)]
pub(super) struct QueuePlan {
    pub(super) name: &'static str,
    pub(super) parent: Option<&'static str>,
    pub(super) namespaces: &'static [&'static str],
    pub(super) guaranteed: u32,
    pub(super) maximum: Option<u32>,
    pub(super) order: &'static str,
}

/// A PodDisruptionBudget over the Jobs that name it.
#[derive(Clone, Debug)]
pub(super) struct BudgetPlan {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// `spec.minAvailable`.
    pub(super) min_available: u32,
}

/// What is added to a scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Rivalry {
    pub(super) queues: Vec<QueuePlan>,
    pub(super) budgets: Vec<BudgetPlan>,
    pub(super) notice_ms: Ms,
}

/// The label by which budgets select.
pub(super) const BUDGET_LABEL: &str = "budget";
const NAMESPACES: [&str; 2] = ["a", "b"];
const ORDERS: [&str; 4] = ["priority", "srtf", "srsf", "las"];

impl Rivalry {
    /// The place of a namespace's queue.
    pub(super) fn queue_of(&self, namespace: &str) -> Option<usize> {
        self.queues.iter().position(|queue| queue.namespaces.contains(&namespace))
    }

    /// A queue and those above it.
    pub(super) fn path(&self, queue: usize) -> impl Iterator<Item = usize> {
        let above = self.queues[queue].parent.and_then(|parent| self.queues.iter().position(|other| other.name == parent));
        std::iter::once(queue).chain(above)
    }

    /// Sections of the profile, with what queues are guaranteed or without.
    pub(super) fn profile(&self, guarantees: bool) -> String {
        let mut yaml = format!("preemption: {{enabled: true, noticeSeconds: {}}}\nqueues:\n  list:\n", self.notice_ms / 1000);
        for queue in &self.queues {
            let _ = write!(yaml, "  - {{name: {}, order: {}", queue.name, queue.order);
            if let Some(parent) = queue.parent {
                let _ = write!(yaml, ", parent: {parent}");
            }
            if !queue.namespaces.is_empty() {
                let _ = write!(yaml, ", namespaces: {{matchNames: [{}]}}", queue.namespaces.join(", "));
            }
            if queue.guaranteed > 0 && guarantees {
                let _ = write!(yaml, ", guaranteed: [{{class: nvidia-gpu, devices: {}}}]", queue.guaranteed);
            }
            if let Some(maximum) = queue.maximum {
                let _ = write!(yaml, ", maximum: [{{class: nvidia-gpu, devices: {maximum}}}]");
            }
            yaml.push_str("}\n");
        }
        yaml
    }
}

/// Dice that no older part of a scenario throws.
pub(super) fn dice(seed: u64) -> Dice {
    Dice::new(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0x52_69_76_61_6C)
}

/// Adds rivals to the work of a scenario, and what goes wrong between them.
pub(super) fn add(scenario: &mut Scenario, dice: &mut Dice) -> Rivalry {
    let per_node = scenario.nodes[0].0.pools[0].allocatable;
    let nodes = u32::try_from(scenario.nodes.len()).unwrap_or(1);
    let total = per_node * nodes;
    let mut rivalry = Rivalry { notice_ms: *dice.pick(&[0, 0, 2000, 15_000]).unwrap_or(&0), ..Rivalry::default() };
    for at in 0..dice.below(3) {
        let name = ["one", "two"][usize::try_from(at).unwrap_or(0) % 2];
        let min_available = u32::try_from(dice.below(5)).unwrap_or(0);
        rivalry.budgets.push(BudgetPlan { namespace: NAMESPACES[dice.place(2)], name, min_available });
    }
    for job in &mut scenario.jobs {
        job.at += dice.between(5000, 40_000);
        job.priority = i32::try_from(dice.between(0, 4)).unwrap_or(0) * 100;
        traits(dice, job, &rivalry);
    }
    let most = total * u32::try_from(dice.between(60, 140)).unwrap_or(100) / 100;
    let (mut asked, mut count) = (0, 0);
    while asked < most {
        let mut job = filler(dice, count, per_node, (most - asked).min(total / 2));
        traits(dice, &mut job, &rivalry);
        asked += job.devices();
        count += 1;
        scenario.jobs.push(job);
    }
    let lost = disturbances(scenario, dice);
    let left = total - if lost { per_node } else { 0 };
    for job in scenario.jobs.iter_mut().filter(|job| lost && job.devices() * 4 > left * 3) {
        (job.size, job.ask) = (job.size.min(left / 2), Ask::Whole(1));
        job.min = job.min.min(job.size);
    }
    rivalry.queues = queues(dice, scenario, left);
    rivalry
}

/// What a Job is like in a crowd.
fn traits(dice: &mut Dice, job: &mut JobPlan, rivalry: &Rivalry) {
    job.never_preempts = dice.chance(120);
    job.says_expected = dice.chance(500);
    if dice.chance(200) {
        job.grace_ms = *dice.pick(&[1000, 30_000, 60_000]).unwrap_or(&30_000);
    }
    if job.gang && job.size > 2 && dice.chance(300) {
        job.min = u32::try_from(dice.between(1, u64::from(job.size) - 1)).unwrap_or(1);
    }
    let budgets: Vec<&'static str> =
        rivalry.budgets.iter().filter(|budget| *budget.namespace == *job.key.namespace).map(|budget| budget.name).collect();
    job.budget = dice.pick(&budgets).copied().filter(|_| dice.chance(500));
}

/// Work that fills the cluster before the others come.
fn filler(dice: &mut Dice, at: u64, per_node: u32, most: u32) -> JobPlan {
    let each = u32::try_from(dice.between(1, u64::from(per_node.min(most)).max(1))).unwrap_or(1);
    let fits = u64::from((most / each).clamp(1, 6));
    let size = u32::try_from(dice.between(1, fits)).unwrap_or(1);
    JobPlan {
        at: dice.below(10_000),
        key: PodKey::new(NAMESPACES[dice.place(2)], format!("fill{at}")),
        size,
        min: size,
        gang: size > 1 && dice.chance(600),
        ask: Ask::Whole(each),
        cpu_milli: dice.between(1, 6) * 1000,
        priority: if dice.chance(700) { 0 } else { 100 },
        run_ms: if dice.chance(80) { dice.between(400_000, 700_000) } else { dice.between(30_000, 150_000) },
        pause_ms: *dice.pick(&[1, 30, 300]).unwrap_or(&30),
        steady_names: dice.chance(500),
        gated: dice.chance(900),
        says: if dice.chance(500) { Says::Annotation } else { Says::Owner },
        suspendable: dice.chance(700),
        impossible: false,
        never_preempts: false,
        says_expected: false,
        grace_ms: 15_000,
        budget: None,
    }
}

/// Whether a node is lost for good among them.
fn disturbances(scenario: &mut Scenario, dice: &mut Dice) -> bool {
    let (jobs, nodes, replicas) = (scenario.jobs.len(), scenario.nodes.len(), scenario.replicas);
    let mut lost = false;
    for _ in 0..dice.below(5) {
        let at = dice.between(5000, STORM_MS - 20_000);
        let short = dice.between(200, 5000);
        let disturbance = match dice.below(8) {
            0 | 1 => Disturbance::Finalizer(dice.place(jobs), dice.between(20_000, 200_000)),
            2 => Disturbance::AtEviction(Trap::Kill(short)),
            3 => Disturbance::AtEviction(Trap::Pause(if replicas > 1 { 14_000 + 4 * short } else { short })),
            4 => Disturbance::AtEviction(Trap::Delete),
            5 => Disturbance::SuspendJob(dice.place(jobs), 8 * short),
            6 if !lost && nodes > 3 => {
                lost = true;
                Disturbance::LoseForGood(dice.place(nodes))
            }
            _ => Disturbance::Unanswering(dice.place(nodes), dice.between(5000, 120_000)),
        };
        scenario.disturbances.push((at, disturbance));
    }
    lost
}

/// Two queues, two below a third, or one for all. Whatever a queue's maximum, each Job of its namespaces fits into it alone.
fn queues(dice: &mut Dice, scenario: &Scenario, total: u32) -> Vec<QueuePlan> {
    let largest = |namespaces: &[&str]| {
        let of = scenario.jobs.iter().filter(|job| namespaces.contains(&&*job.key.namespace));
        of.map(|job| if job.gang { job.devices() } else { job.devices().div_ceil(job.size) }).max().unwrap_or(1)
    };
    let order = |dice: &mut Dice| *dice.pick(&ORDERS).unwrap_or(&"priority");
    let maximum = |dice: &mut Dice, namespaces: &[&str], least: u32| {
        let most = u32::try_from(dice.between(u64::from(total / 2), u64::from(total))).unwrap_or(total);
        dice.chance(400).then(|| most.max(largest(namespaces)).max(least))
    };
    if dice.chance(250) {
        let maximum = maximum(dice, &NAMESPACES, 0);
        return vec![QueuePlan { name: "all", parent: None, namespaces: &["a", "b"], guaranteed: 0, maximum, order: order(dice) }];
    }
    let parent = dice.chance(300).then_some("above");
    let first = u32::try_from(dice.between(0, u64::from(total))).unwrap_or(0);
    let second = u32::try_from(dice.between(0, u64::from(total - first))).unwrap_or(0);
    let mut queues = Vec::new();
    for (name, namespaces, guaranteed) in [("qa", &["a"], first), ("qb", &["b"], second)] {
        let maximum = maximum(dice, namespaces, guaranteed);
        queues.push(QueuePlan { name, parent, namespaces, guaranteed, maximum, order: order(dice) });
    }
    if let Some(name) = parent {
        let maximum = maximum(dice, &NAMESPACES, first + second);
        let maximum = maximum.map(|most| queues.iter().filter_map(|queue| queue.maximum).fold(most, u32::max));
        queues.push(QueuePlan { name, parent: None, namespaces: &[], guaranteed: first + second, maximum, order: "priority" });
    }
    queues
}

impl JobPlan {
    /// Devices of all members together, rounded up.
    pub(super) fn devices(&self) -> u32 {
        match self.ask {
            Ask::Whole(each) => each * self.size,
            Ask::Share(milli) => (milli * self.size).div_ceil(1000),
        }
    }

    /// What its pods are labelled with.
    pub(super) fn labels(&self) -> Arc<std::collections::BTreeMap<Arc<str>, Arc<str>>> {
        Arc::new(self.budget.iter().map(|budget| (Arc::from(BUDGET_LABEL), Arc::from(*budget))).collect())
    }
}
