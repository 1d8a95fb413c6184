//! Gangs in the lines of their queues: who is planned next, who may not have more, and who holds nobody up.

use std::time::Duration;

use super::run::{Run, gated};
use crate::engine::Input;
use crate::model::fixtures::pod;
use crate::model::{GangId, GangKind, GangRef, OwnerRef, Pod, PodKey, Reason};

const TWO: &str = "{list: [{name: a, namespaces: {matchNames: [a, a2]}, maximum: [{class: nvidia-gpu, devices: 32}]},
    {name: b, namespaces: {matchNames: [b]}, weight: 3}]}";

/// A gated pod of a namespace.
fn of(namespace: &str, name: &str, gpus: u32) -> Pod {
    gated(Pod { key: PodKey::new(namespace, name), ..pod(name).gpus(gpus) })
}

fn in_order(order: &str) -> String {
    format!("{{list: [{{name: default, order: {order}}}]}}")
}

impl Run {
    /// These pods are there when the planner looks for the first time.
    fn all_at_once(&mut self, pods: Vec<Pod>) {
        self.engine.step(self.now, Input::Desynced);
        pods.into_iter().for_each(|pod| self.create(pod));
        self.step(Input::Synced);
        self.settle();
    }

    /// Those whose gates are off, by name.
    fn released(&self) -> Vec<&str> {
        self.pods.values().filter(|pod| !pod.gated).map(|pod| &*pod.key.name).collect()
    }

    fn reason(&self, name: &str) -> Option<Reason> {
        let uid = super::uid(name);
        self.engine.explain(&uid).and_then(|trace| Some(trace.refusal.as_ref()?.reason.clone()))
    }
}

#[test]
fn devices_go_to_queues_by_their_weights_and_who_does_not_fit_holds_nobody_up() {
    let mut run = Run::with(TWO);
    let mut pods: Vec<Pod> = (0..8).flat_map(|at| [of("a", &format!("a{at}"), 8), of("b", &format!("b{at}"), 8)]).collect();
    pods.push(Pod { priority: 9, ..of("b", "large", 9) });
    run.all_at_once(pods);
    // Six boxes, weights 1 and 3: one for a and three for b, then both are equal and the older goes first, then b has less again.
    assert_eq!(run.released(), ["a0", "a1", "b0", "b1", "b2", "b3"]);
    assert_eq!(run.reason("large"), Some(Reason::InsufficientDevices));
}

#[test]
fn a_maximum_stops_a_queue_and_no_other() {
    let mut run = Run::with(TWO);
    for at in 0..5 {
        run.create(of("a", &format!("a{at}"), 8));
    }
    assert_eq!((run.released().len(), run.reason("a4")), (4, Some(Reason::QueueMaximum("a".into()))));
    run.create(of("b", "b0", 8));
    assert_eq!(run.released().len(), 5);
    run.delete("a1");
    assert!(run.released().contains(&"a4"), "there is room below the maximum again");
    let refusal = {
        run.create(of("a2", "a5", 8));
        run.engine.explain(&super::uid("a5")).unwrap().refusal.clone().unwrap()
    };
    assert_eq!(
        refusal.to_string(),
        "8 of nvidia-gpu; 32 of 32 are held in queue a; wait for jobs of the queue to end, or raise its maximum of nvidia-gpu in the profile"
    );
}

#[test]
fn a_maximum_in_boxes_lets_a_queue_fill_the_boxes_that_it_has() {
    let mut run = Run::with("{list: [{name: a, namespaces: {matchNames: [a]}, maximum: [{class: nvidia-gpu, boxes: 2}]}]}");
    for (at, gpus) in [8, 4, 8, 2].into_iter().enumerate() {
        run.create(of("a", &format!("a{at}"), gpus));
    }
    assert_eq!((run.released().len(), run.reason("a2")), (3, Some(Reason::QueueMaximum("a".into()))));
    run.create(of("a", "a4", 4));
    assert_eq!(run.reason("a4"), Some(Reason::InsufficientDevices), "both boxes have at most two free");
    run.create(of("x", "x0", 8));
    assert_eq!(run.released().len(), 4, "others may use the rest");
}

#[test]
fn a_priority_class_outside_the_list_is_refused_with_and_without_a_gate() {
    let mut run = Run::with("{list: [{name: a, namespaces: {matchNames: [a]}, priorityClasses: [batch]}]}");
    let with = |name: &str, class: Option<&str>| Pod { priority_class: class.map(Into::into), priority: 5, ..of("a", name, 1) };
    run.create(with("fine", Some("batch")));
    run.create(with("high", Some("urgent")));
    run.create(with("none", None));
    let refused = Some(Reason::PriorityClassNotAllowed("a".into()));
    assert_eq!((run.released(), run.reason("high"), run.reason("none")), (vec!["fine"], refused.clone(), refused.clone()));
    run.create(Pod { gated: false, ..with("ungated", Some("urgent")) });
    assert_eq!(run.filter("ungated").err(), refused);
    assert_eq!(run.bind_to("ungated", "r1-a").err(), refused);
}

#[test]
fn of_equal_priority_the_namespace_goes_first_that_has_less() {
    let mut run = Run::with("{list: [{name: default}]}");
    run.create(of("one", "held", 8));
    let pods = [of("one", "one", 40), of("two", "two", 40), Pod { priority: 1, ..of("one", "urgent", 41) }];
    run.all_at_once(pods.to_vec());
    assert_eq!(run.released(), ["held"], "none fits on one node");
    let told: Vec<String> = run.done();
    let place = |name: &str| told.iter().position(|text| *text == format!("say {name} insufficient-devices")).unwrap();
    assert!(place("urgent") < place("two") && place("two") < place("one"), "{told:?}");
}

#[test]
fn an_order_decides_who_of_equal_priority_goes_first() {
    let job = |name: &str, gpus: u32, seconds: u64| Pod { expected: Some(Duration::from_secs(seconds)), ..of("ns", name, gpus) };
    for (order, first) in [("priority", "long"), ("srtf", "short"), ("srsf", "small")] {
        let mut run = Run::with(&in_order(order));
        for at in 0..5 {
            run.create(of("ns", &format!("held{at}"), 8));
        }
        run.all_at_once(vec![job("long", 8, 9000), job("short", 8, 100), job("small", 5, 120)]);
        assert_eq!(run.released()[5..], [first], "{order}");
    }
}

#[test]
fn under_las_a_job_that_ran_comes_after_one_that_did_not() {
    let mut run = Run::with(&in_order("las"));
    let of_job = |name: &str, job: &str| {
        let owner = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", job), uid: job.into() };
        Pod { controller: Some(owner), ..of("ns", name, 8) }
    };
    run.create(of_job("old", "job"));
    run.bind("old");
    run.now = run.now + Duration::from_secs(3600);
    run.delete("old");
    for at in 0..5 {
        run.create(of("ns", &format!("held{at}"), 8));
    }
    run.all_at_once(vec![of_job("again", "job"), of_job("fresh", "other")]);
    assert_eq!(run.released()[..1], ["fresh"], "its owner is another Job, created later");
}

/// Six boxes: queue b has all of them, and is guaranteed so many devices; so is a.
fn lent(guaranteed: [u32; 2]) -> Run {
    let [a, b] = guaranteed;
    let mut run = Run::with(&format!(
        "{{list: [{{name: a, namespaces: {{matchNames: [a]}}, guaranteed: [{{class: nvidia-gpu, devices: {a}}}]}},
        {{name: b, namespaces: {{matchNames: [b]}}, guaranteed: [{{class: nvidia-gpu, devices: {b}}}]}}]}}"
    ));
    for at in 0..6 {
        let name = format!("b{at}");
        run.create(of("b", &name, 8).of_job(&name).priority(5));
        run.bind(&name);
    }
    run.done();
    run
}

fn evicted(run: &mut Run) -> usize {
    run.done().iter().filter(|text| text.starts_with("evict")).count()
}

/// Pods of a gang of a namespace, a box each.
fn gang(run: &mut Run, namespace: &str, name: &str, members: u32, priority: i32) {
    for at in 0..members {
        let mut pod = of(namespace, &format!("{name}-{at}"), 8).of_job(name).priority(priority);
        let id = GangId { kind: GangKind::Annotation, key: PodKey::new(namespace, name), uid: "".into() };
        pod.gang = Some(GangRef { id, size: Some(members), min: None, role: "".into(), rank: None });
        run.create(pod);
    }
}

/// Pods that carry out what they are told end at once.
fn let_go(run: &mut Run) -> Vec<String> {
    let mut told: Vec<String> = run.done().iter().filter_map(|text| text.strip_prefix("evict ").map(String::from)).collect();
    told.dedup();
    told.iter().for_each(|name| run.delete(name));
    told
}

#[test]
fn a_queue_takes_back_what_it_lent_whatever_the_priority_and_no_more() {
    let mut run = lent([16, 16]);
    gang(&mut run, "a", "mine", 2, 0);
    assert_eq!(let_go(&mut run).len(), 2, "two boxes of the four that b borrows");
    ["mine-0", "mine-1"].iter().for_each(|name| run.bind(name));
    gang(&mut run, "a", "more", 1, 0);
    assert_eq!(evicted(&mut run), 0, "a has what it is guaranteed, and its next job is not more urgent than those of b");
    gang(&mut run, "a", "urgent", 1, 9);
    assert_eq!(let_go(&mut run), ["mine-0", "mine-1"], "lower priority of its own first: what b has is more urgent than that");
}

#[test]
fn taking_back_leaves_a_queue_what_it_is_guaranteed() {
    let mut run = lent([24, 32]);
    gang(&mut run, "a", "large", 3, 9);
    assert_eq!(evicted(&mut run), 0, "three boxes would leave b 24 of its 32, and so would any priority");
    gang(&mut run, "a", "small", 2, -9);
    assert_eq!(let_go(&mut run).len(), 2);
    ["small-0", "small-1"].iter().for_each(|name| run.bind(name));
    gang(&mut run, "a", "next", 1, 9);
    assert_eq!(let_go(&mut run), ["small-0", "small-1"], "b has no more than its 32");
}

#[test]
fn what_was_lent_while_somebody_was_refused_comes_back_as_soon_as_it_has_arrived() {
    let mut run = Run::with(
        "{list: [{name: a, namespaces: {matchNames: [a]}, guaranteed: [{class: nvidia-gpu, devices: 16}]},
        {name: b, namespaces: {matchNames: [b]}, guaranteed: [{class: nvidia-gpu, devices: 32}]}]}",
    );
    for name in ["one", "two"] {
        gang(&mut run, "b", name, 2, 0);
        (0..2).for_each(|at| run.bind(&format!("{name}-{at}")));
    }
    run.create(of("a", "a0", 8).of_job("a0"));
    run.bind("a0");
    run.create(of("b", "late", 8).of_job("late"));
    run.create(of("a", "a1", 8).of_job("a1"));
    assert_eq!(evicted(&mut run), 0, "without a gang b has 24 of its 32, and the other is on its way");
    run.bind("late");
    run.settle();
    assert_eq!(let_go(&mut run), ["late"]);
}

#[test]
fn two_claims_of_one_queue_add_up() {
    let mut run = lent([8, 16]);
    gang(&mut run, "a", "first", 1, 0);
    gang(&mut run, "a", "second", 1, 0);
    assert_eq!(evicted(&mut run), 1, "the first has the guarantee as soon as its victim is gone");
}

#[test]
fn jobs_of_a_queue_take_turns_by_its_order_and_none_takes_back_what_it_gave() {
    let mut run = Run::with(&in_order("srtf"));
    let job = |name: &str, job: &str, seconds: u64| Pod { expected: Some(Duration::from_secs(seconds)), ..of("ns", name, 8).of_job(job) };
    for at in 0..6 {
        let name = format!("long{at}");
        run.create(job(&name, &name, 9000 + at));
        run.bind(&name);
    }
    run.create(job("short", "short", 600));
    assert_eq!(evicted(&mut run), 0, "nobody is stopped as soon as it started");
    run.now = run.now + Duration::from_secs(300);
    run.wait(31);
    assert_eq!(let_go(&mut run), ["long5"], "all lose as much, and it is the last of the order");
    run.bind("short");
    run.create(job("again", "long5", 9000));
    run.now = run.now + Duration::from_secs(300);
    run.wait(31);
    assert_eq!(evicted(&mut run), 0);
}

#[test]
fn who_gave_way_to_a_job_takes_back_what_its_queue_only_borrows_by_now() {
    let mut run = Run::with(
        "{list: [{name: a, namespaces: {matchNames: [a]}, guaranteed: [{class: nvidia-gpu, devices: 16}]},
        {name: b, namespaces: {matchNames: [b]}, guaranteed: [{class: nvidia-gpu, devices: 32}]}]}",
    );
    for name in ["a0", "a1", "a2"] {
        run.create(of("a", name, 8).of_job(name));
        run.bind(name);
    }
    gang(&mut run, "b", "three", 3, 0);
    (0..3).for_each(|at| run.bind(&format!("three-{at}")));
    run.create(of("b", "fourth", 8).of_job("fourth"));
    let gave_way = let_go(&mut run);
    run.bind("fourth");
    // a has less than its guarantee, and b borrows with a pod that nobody would create again.
    let others: Vec<&str> = ["a0", "a1", "a2"].into_iter().filter(|name| gave_way != [*name]).collect();
    run.delete(others[0]);
    run.create(of("b", "stays", 8));
    run.bind("stays");
    run.create(of("a", "again", 8).of_job(&gave_way[0]));
    assert_eq!(let_go(&mut run), ["fourth"], "of what b has nobody else can be taken");
}
