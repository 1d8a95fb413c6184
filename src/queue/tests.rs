//! Queues on a book: who is served, who may take what, what is remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Asks, Head, Ledger, Right};
use crate::book::{Book, Holder, HolderState, Load, takes};
use crate::model::fixtures::{node, pod};
use crate::model::{Classes, Pod, PodKey, PodUid, Time};
use crate::policy::{Profile, Queues};

/// A cluster of 64 GPUs, and queues.
struct Rig {
    ledger: Ledger,
    book: Book,
    classes: Classes,
}

const ORG: &str = "{name: org, guaranteed: [{class: nvidia-gpu, devices: 40}], maximum: [{class: nvidia-gpu, devices: 56}]},
    {name: a, parent: org, namespaces: {matchNames: [a]}, guaranteed: [{class: nvidia-gpu, devices: 16}]},
    {name: b, parent: org, namespaces: {matchNames: [b]}, weight: 3},
    {name: c, namespaces: {matchNames: [c]}, guaranteed: [{class: nvidia-gpu, devices: 8}], maximum: [{class: nvidia-gpu, devices: 24}], weight: 2}";

fn queues(list: &str) -> Queues {
    let yaml =
        Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nqueues: {{halfLifeSeconds: 3600, list: [{list}]}}\naccelerators:"));
    Profile::parse(&yaml).unwrap().queues
}

impl Rig {
    fn new(list: &str) -> Self {
        let mut book = Book::default();
        for at in 0..8 {
            book.set_node(node(&format!("n{at}"), 8));
        }
        let classes = (*Profile::shipped().classes).clone();
        let mut rig = Self { ledger: Ledger::default(), book, classes };
        rig.ledger.set_rules(&queues(list));
        rig.count();
        rig
    }

    fn count(&mut self) {
        self.ledger.count(&self.book, &self.classes);
    }

    /// A pod of a namespace holds so many GPUs; 0: it is gone.
    fn hold(&mut self, name: &str, namespace: &str, gpus: u32) {
        let pod = Pod { key: PodKey::new(namespace, name), ..pod(name).gpus(gpus) };
        if gpus == 0 {
            self.book.release(&pod.uid);
        } else {
            let (takes, _) = takes(&pod.request, None);
            self.book.set_holder(Holder {
                uid: PodUid::new(format!("uid-{name}")),
                key: pod.key.clone(),
                priority: 0,
                node: "n0".into(),
                state: HolderState::Bound,
                grant: None,
                takes,
                load: Load::default(),
                changed_at: Time::default(),
            });
        }
        self.count();
    }

    fn queue(&self, name: &str) -> usize {
        self.ledger.rules().all().iter().position(|queue| *queue.name == *name).unwrap()
    }

    fn next(&self, waiting: &[(&str, u64, u32)]) -> &str {
        let asks: Vec<Asks> = waiting.iter().map(|(_, gpus, _)| asks(*gpus)).collect();
        let mut heads: BTreeMap<usize, Head<'_, u32>> = BTreeMap::new();
        for (asks, (name, _, turn)) in asks.iter().zip(waiting) {
            heads.insert(self.queue(name), Head { asks, turn: *turn });
        }
        &self.ledger.rule(self.ledger.next(&heads).unwrap()).unwrap().name
    }

    fn reclaims(&self, queue: &str, gpus: u64, from: &str, taken: u64) -> bool {
        let (queue, from) = (self.queue(queue), self.queue(from));
        let keeps = self.ledger.spares(queue, from).iter().all(|spare| spare.used_by(&asks(taken)) <= spare.left);
        self.ledger.right(queue, &asks(gpus), from) == Right::Lent && keeps
    }
}

fn asks(gpus: u64) -> Asks {
    Asks::of("nvidia-gpu", gpus * 1000)
}

#[test]
fn who_stays_within_the_guarantee_is_served_first_then_who_had_least_for_its_weight_then_the_more_urgent() {
    let mut rig = Rig::new(ORG);
    assert_eq!(rig.next(&[("a", 8, 2), ("b", 8, 1), ("c", 8, 3)]), "a", "both org and c are below, org's share is equal, turn 2 before 3");
    assert_eq!(rig.next(&[("b", 8, 1), ("default", 1, 0)]), "b", "org is guaranteed 40, of which b may have what a leaves");
    rig.hold("a1", "a", 16);
    assert_eq!(rig.next(&[("a", 8, 1), ("b", 8, 2), ("c", 8, 3)]), "c", "c has nothing, org has 16");
    rig.hold("c1", "c", 8);
    assert_eq!(rig.next(&[("a", 8, 1), ("b", 8, 2), ("c", 1, 0)]), "b", "org is below, c not; in org b has less for its weight");
    rig.hold("b1", "b", 24);
    assert_eq!(rig.next(&[("a", 8, 1), ("b", 8, 2), ("c", 1, 3)]), "c", "none is below: c has 4 a weight, org 40");
}

#[test]
fn a_maximum_binds_the_queues_below_it_and_only_those_who_ask_for_the_class() {
    let mut rig = Rig::new(ORG);
    rig.hold("b1", "b", 56);
    let exceeded = rig.ledger.admits(rig.queue("a"), &asks(1), None).unwrap_err();
    assert_eq!((exceeded.queue, exceeded.amounts), (rig.queue("org"), (56_000, 1000, 56_000)));
    assert_eq!(rig.ledger.admits(rig.queue("a"), &Asks::of("amd-gpu", 8000), None), Ok(()));
    assert_eq!(rig.ledger.admits(rig.queue("c"), &asks(24), None), Ok(()));
    assert!(rig.ledger.admits(rig.queue("c"), &asks(25), None).is_err());
}

#[test]
fn a_guarantee_is_taken_back_from_those_who_borrow_it_and_from_them_alone() {
    let mut rig = Rig::new(ORG);
    rig.hold("b1", "b", 40);
    rig.hold("c1", "c", 24);
    assert!(rig.reclaims("a", 8, "b", 8), "a has nothing of its 16, b is guaranteed nothing");
    assert!(!rig.reclaims("a", 8, "c", 8), "that would be for org, which has its 40");
    assert!(!rig.reclaims("b", 8, "c", 8));
    rig.hold("b1", "b", 32);
    assert!(rig.reclaims("a", 8, "c", 8), "org is below its 40 now");
    assert!(rig.reclaims("a", 8, "c", 16));
    assert!(!rig.reclaims("a", 8, "c", 17), "c is guaranteed 8");
    assert!(!rig.reclaims("a", 9, "c", 9), "org would pass its 40");
    assert!(rig.reclaims("c", 8, "b", 8) == rig.ledger.within_guarantee(rig.queue("c"), &asks(8)));
    assert!(!rig.reclaims("a", 1, "a", 1), "inside a queue other rules hold");
}

#[test]
fn what_a_queue_borrows_is_what_it_holds_beyond_its_guarantee() {
    let mut rig = Rig::new(ORG);
    rig.hold("c1", "c", 20);
    assert_eq!(rig.ledger.borrowed_milli(rig.queue("c")), BTreeMap::from([("nvidia-gpu".into(), 12_000)]));
    assert_eq!(rig.ledger.borrowed_milli(rig.queue("org")), BTreeMap::new());
}

#[test]
fn what_a_queue_had_counts_until_it_is_forgotten() {
    let mut rig =
        Rig::new("{name: a, namespaces: {matchNames: [a]}}, {name: b, namespaces: {matchNames: [b]}}, {name: default, weight: 1000}");
    let at = |hours: u64| Time::from_unix_ms(1_700_000_000_000 + hours * 3_600_000);
    let pass = |rig: &mut Rig, hours| rig.ledger.charge(at(hours), &rig.book, &rig.classes);
    pass(&mut rig, 0);
    rig.hold("a1", "a", 8);
    pass(&mut rig, 2);
    rig.hold("a1", "a", 0);
    assert_eq!(rig.next(&[("a", 1, 1), ("b", 1, 2)]), "b", "a had 8 for two hours");
    assert!((28_000..36_000).contains(&rig.ledger.had_s(rig.queue("a"))), "{}", rig.ledger.had_s(rig.queue("a")));
    rig.hold("b1", "b", 1);
    pass(&mut rig, 3);
    assert_eq!(rig.next(&[("a", 1, 1), ("b", 1, 2)]), "b");
    pass(&mut rig, 40);
    assert_eq!(rig.next(&[("a", 1, 1), ("b", 1, 2)]), "a", "b has had one ever since, what a had is forgotten");
}

#[test]
fn queues_that_keep_their_names_keep_what_they_had() {
    let mut rig = Rig::new("{name: a, namespaces: {matchNames: [a]}}, {name: b, namespaces: {matchNames: [b]}}");
    let at = |hours: u64| Time::from_unix_ms(1_700_000_000_000 + hours * 3_600_000);
    rig.ledger.charge(at(0), &rig.book, &rig.classes);
    rig.hold("b1", "b", 8);
    rig.ledger.charge(at(1), &rig.book, &rig.classes);
    let had = rig.ledger.had_s(rig.queue("b"));
    rig.ledger.set_rules(&queues("{name: new, namespaces: {matchNames: [n]}}, {name: b, namespaces: {matchNames: [b]}}"));
    rig.count();
    assert!(had > 20_000 && rig.ledger.had_s(rig.queue("b")) == had && rig.ledger.had_s(rig.queue("new")) == 0);
    assert_eq!(rig.ledger.held_milli(rig.queue("b"), "nvidia-gpu"), 8000);
}

#[test]
fn a_job_that_is_stopped_and_comes_again_is_the_same_job() {
    let mut rig = Rig::new(ORG);
    let (job, at) = ("job".into(), |seconds: u64| Time::from_unix_ms(1_700_000_000_000 + seconds * 1000));
    let service = &mut rig.ledger.service;
    for (seconds, pod, milli) in [(0, "a", 4000), (10, "b", 4000), (20, "a", 0), (20, "b", 0), (100, "a2", 8000)] {
        service.runs(at(seconds), &pod.into(), &job, milli);
    }
    let run = service.of("job");
    assert_eq!(run.ran(at(105)), Duration::from_secs(25));
    assert_eq!(run.attained_milli_ms(at(105)), 1_000_000 * (40 + 80 + 40));
    assert_eq!(service.of("other").ran(at(105)), Duration::ZERO);
}
