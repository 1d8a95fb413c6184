//! What each queue holds now and what it had of late, its own and that of those below it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decay::{Had, spans, step_ms};
use super::service::Service;
use crate::book::{Book, Holder};
use crate::model::{AcceleratorClass, Classes, GangId, NodeName, Pod, SHARE_MILLI, Time};
use crate::policy::{QueueAmount, QueueRule, Queues};

/// What somebody asks for or holds, by accelerator class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks(pub(super) BTreeMap<Arc<str>, Amounts>);

/// Of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    /// Thousandths of devices.
    pub(super) milli: u64,
    /// Nodes that it has devices of; of those who ask, the fewest that it can do with.
    pub(super) boxes: u32,
}

impl Amounts {
    /// As a rule counts it, and as much as the rule says.
    pub(super) fn by(self, rule: QueueAmount) -> (u64, u64) {
        match rule {
            QueueAmount::Devices(devices) => (self.milli, u64::from(devices) * 1000),
            QueueAmount::Boxes(boxes) => (u64::from(self.boxes), boxes.into()),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { milli: self.milli + other.milli, boxes: self.boxes + other.boxes }
    }
}

impl Asks {
    /// So many devices of a class, in thousandths.
    pub fn of(class: &str, milli: u64) -> Self {
        Self(BTreeMap::from([(class.into(), Amounts { milli, boxes: 0 })]))
    }

    fn add(&mut self, class: &Arc<str>, milli: u64, boxes: u32) {
        let amounts = self.0.entry(class.clone()).or_default();
        *amounts = amounts.plus(Amounts { milli, boxes });
    }

    /// Thousandths of devices of all classes together.
    pub fn milli(&self) -> u64 {
        self.0.values().map(|amounts| amounts.milli).sum()
    }

    pub(super) fn class(&self, class: &str) -> Amounts {
        self.0.get(class).copied().unwrap_or_default()
    }
}

/// What queues hold and had.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) rules: Queues,
    /// By place of the queue: what it and those below it hold.
    pub(super) held: Vec<Asks>,
    /// The same, over time.
    pub(super) had: Vec<Had>,
    /// By place of the queue: the nodes of which it holds devices, by class, where a rule counts them.
    pub(super) boxes: Vec<BTreeMap<Arc<str>, BTreeSet<NodeName>>>,
    /// How many devices of a class the largest node has.
    box_devices: BTreeMap<Arc<str>, u32>,
    /// Gangs for which others make room: their queues, and what they ask for.
    pub(super) claims: BTreeMap<GangId, (usize, Asks)>,
    by_namespace: BTreeMap<Arc<str>, (u64, Had)>,
    charged_at: Time,
    /// The version of the book that `held` is of.
    version: Option<u64>,
    /// How long each job ran.
    pub service: Service,
}

impl Ledger {
    /// Queues by these rules. What was had stays with queues that keep their names.
    pub fn set_rules(&mut self, rules: &Queues) {
        if self.rules == *rules {
            return;
        }
        let had_by_name: BTreeMap<Arc<str>, Had> =
            self.rules.all().iter().zip(&self.had).map(|(rule, had)| (rule.name.clone(), *had)).collect();
        self.had = rules.all().iter().map(|rule| had_by_name.get(&rule.name).copied().unwrap_or_default()).collect();
        self.held = vec![Asks::default(); rules.all().len()];
        let moved = std::mem::take(&mut self.claims);
        self.rules = rules.clone();
        moved.into_iter().for_each(|(id, (_, asks))| self.claim(id, asks));
        self.version = None;
    }

    /// The rules.
    pub fn rules(&self) -> &Queues {
        &self.rules
    }

    /// The rule of a queue.
    pub fn rule(&self, queue: usize) -> Option<&QueueRule> {
        self.rules.all().get(queue)
    }

    /// Time passed, over which what was held is what the book says now: called before anything in the book changes.
    pub fn charge(&mut self, now: Time, book: &Book, classes: &Classes) {
        if self.rules.is_empty() || (now <= self.charged_at && self.version == Some(book.held_version())) {
            return;
        }
        self.count(book, classes);
        if self.charged_at > Time::default() {
            for span in spans(self.charged_at, now, self.rules.half_life) {
                self.had.iter_mut().zip(&self.held).for_each(|(had, held)| had.add(held.milli(), span));
                self.by_namespace.values_mut().for_each(|(held, had)| had.add(*held, span));
            }
            self.by_namespace.retain(|_, (held, had)| *held > 0 || had.milli_ms() > 0);
        }
        self.charged_at = self.charged_at.max(now);
    }

    /// Takes what is held from the book, if that changed.
    pub fn count(&mut self, book: &Book, classes: &Classes) {
        if self.rules.is_empty() || self.version == Some(book.held_version()) {
            return;
        }
        self.version = Some(book.held_version());
        self.held = vec![Asks::default(); self.rules.all().len()];
        self.by_namespace.values_mut().for_each(|(held, _)| *held = 0);
        for (namespace, resource, milli) in book.held() {
            let Some(class) = class_of(classes, resource.as_str()).filter(|_| is_somebodys(namespace)) else { continue };
            for queue in self.rules.path(self.rules.of(namespace)) {
                self.held[queue].add(&class.name, milli, 0);
            }
            match self.by_namespace.get_mut(namespace) {
                Some((held, _)) => *held += milli,
                None => drop(self.by_namespace.insert(namespace.clone(), (milli, Had::default()))),
            }
        }
        if self.rules.count_boxes() {
            self.count_boxes(book, classes);
        }
    }

    fn count_boxes(&mut self, book: &Book, classes: &Classes) {
        self.boxes = vec![BTreeMap::new(); self.rules.all().len()];
        for holder in book.holders().filter(|holder| is_somebodys(&holder.key.namespace)) {
            for take in &holder.takes {
                let Some(class) = class_of(classes, take.resource.as_str()) else { continue };
                for queue in self.rules.path(self.rules.of(&holder.key.namespace)) {
                    let nodes = self.boxes[queue].entry(class.name.clone()).or_default();
                    if nodes.insert(holder.node.clone()) {
                        self.held[queue].add(&class.name, 0, 1);
                    }
                }
            }
        }
        self.box_devices.clear();
        for pool in book.nodes().flat_map(|entry| &entry.pools) {
            if let Some(class) = classes.of(pool.resource.as_str()) {
                let most = self.box_devices.entry(class.name.clone()).or_default();
                *most = pool.units.max(*most);
            }
        }
    }

    /// Others make room for a gang, which counts in its queue until it has it.
    pub fn claim(&mut self, id: GangId, asks: Asks) {
        let queue = self.rules.of(&id.key.namespace);
        if queue < self.rules.all().len() {
            self.claims.insert(id, (queue, asks));
        }
    }

    /// It has its room, or does not get it.
    pub fn unclaim(&mut self, id: &GangId) {
        self.claims.remove(id);
    }

    /// What some holders have, together.
    pub fn holds<'a>(&self, holders: impl Iterator<Item = &'a Holder>, classes: &Classes) -> Asks {
        let (mut holds, mut nodes) = (Asks::default(), BTreeSet::new());
        for holder in holders {
            for take in &holder.takes {
                let Some(class) = class_of(classes, take.resource.as_str()) else { continue };
                let first = nodes.insert((class.name.clone(), holder.node.clone()));
                holds.add(&class.name, take.milli().into(), first.into());
            }
        }
        holds
    }

    /// What pods ask for, each so many times. One that asks for a whole box needs one.
    pub fn asks<'a>(&self, pods: impl IntoIterator<Item = (&'a Pod, u32)>, classes: &Classes) -> Asks {
        let mut asks = Asks::default();
        for (pod, count) in pods {
            for resource in pod.request.resources() {
                let Some(class) = classes.of(resource.as_str()) else { continue };
                let devices = pod.request.whole_of(resource);
                let whole = self.box_devices.get(&class.name).is_some_and(|most| devices >= *most);
                asks.add(&class.name, u64::from(devices) * 1000 * u64::from(count), if whole { count } else { 0 });
            }
            let shares = u64::from(pod.request.share_milli()) * u64::from(count);
            if let Some(class) = class_of(classes, SHARE_MILLI).filter(|_| shares > 0) {
                asks.add(&class.name, shares, 0);
            }
        }
        asks
    }

    /// What a namespace had of late and holds, as its queue's other namespaces are compared with it.
    pub fn standing_of_namespace(&self, namespace: &str) -> u128 {
        self.by_namespace.get(namespace).map_or(0, |(held, had)| self.standing(*held, *had))
    }

    /// What was had, and what is held as if it were for one step of decay more: of those who had as much, who holds more comes
    /// later. More than a step would favour queues of few large jobs: each is served until it holds too much.
    pub(super) fn standing(&self, held_milli: u64, had: Had) -> u128 {
        had.milli_ms() + u128::from(held_milli) * step_ms(self.rules.half_life)
    }

    /// What a queue holds of a class, in thousandths of devices.
    pub fn held_milli(&self, queue: usize, class: &str) -> u64 {
        self.held.get(queue).map_or(0, |held| held.class(class).milli)
    }

    /// The classes of which a queue holds anything.
    pub fn classes_of(&self, queue: usize) -> impl Iterator<Item = &Arc<str>> {
        self.held.get(queue).into_iter().flat_map(|held| held.0.keys())
    }

    /// What a queue had and holds, as a part of what all of `siblings` have, in thousandths.
    pub fn share_permille(&self, queue: usize, siblings: &[usize]) -> u64 {
        let share = |at: usize| self.standing(self.held[at].milli(), self.had[at]);
        let all: u128 = siblings.iter().map(|at| share(*at)).sum();
        u64::try_from(share(queue) * 1000 / all.max(1)).unwrap_or(1000)
    }

    /// What a queue had of late, in accelerator-seconds.
    pub fn had_s(&self, queue: usize) -> u64 {
        self.had.get(queue).map_or(0, |had| u64::try_from(had.milli_ms() / 1_000_000).unwrap_or(u64::MAX))
    }
}

/// What is kept for a gang while others make room for it has no namespace: it is counted as that gang's claim.
fn is_somebodys(namespace: &str) -> bool {
    !namespace.is_empty()
}

/// The class of a resource. A share of which nobody says of what counts for the first class that can be shared.
fn class_of<'a>(classes: &'a Classes, resource: &str) -> Option<&'a AcceleratorClass> {
    classes.of(resource).or_else(|| classes.0.iter().find(|class| class.sharable && resource == SHARE_MILLI))
}
