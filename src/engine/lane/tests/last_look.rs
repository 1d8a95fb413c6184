//! Between a plan to evict and the eviction things change: who goes in the end is who must go by then. What the fault simulator
//! found, each as a scenario.

use super::run::{Run, gated, uid};
use crate::engine::{BindQuery, Input};
use crate::model::fixtures::pod;
use crate::model::{Budget, GangId, GangKind, GangRef, Pod, PodKey};

/// A gated member of a gang with a minimum, eight devices each.
fn of(gang: &str, name: &str, (size, min): (u32, u32), priority: i32) -> Pod {
    let mut pod = gated(pod(name).gpus(8).priority(priority));
    let id = GangId { kind: GangKind::Annotation, key: PodKey::new("ns", gang), uid: "".into() };
    pod.gang = Some(GangRef { id, size: Some(size), min: Some(min), role: "".into(), rank: None });
    pod.of_job(gang)
}

fn runs(run: &mut Run, gang: &str, members: &[&str], min: u32, priority: i32) {
    let size = u32::try_from(members.len()).unwrap();
    members.iter().for_each(|name| run.create(of(gang, name, (size, min), priority)));
    members.iter().for_each(|name| run.bind(name));
}

/// Single pods of jobs of their own on all six nodes, of priority 0.
fn full() -> Run {
    let mut run = Run::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        runs(&mut run, name, &[name], 1, 0);
    }
    run.done();
    run
}

fn evicted(run: &mut Run) -> Vec<String> {
    run.done().iter().filter_map(|text| text.strip_prefix("evict ")).map(str::to_owned).collect()
}

fn wants(run: &mut Run, gang: &str, members: &[&str], priority: i32) {
    let size = u32::try_from(members.len()).unwrap();
    members.iter().for_each(|name| run.create(of(gang, name, (size, size), priority)));
}

fn budget(allowed: i32) -> Input<'static> {
    let (namespace, name) = ("ns".into(), "pdb".into());
    Input::BudgetApplied(Budget { namespace, name, selector: Some(Vec::new()), disruptions_allowed: allowed })
}

#[test]
fn a_budget_that_allows_less_by_then_is_kept() {
    let mut run = full();
    run.step(budget(2));
    run.deaf = true;
    wants(&mut run, "high", &["x", "y"], 9);
    assert_eq!(run.engine.census().gangs["preempting"], 1);
    run.step(budget(1));
    run.wait(10);
    assert_eq!(evicted(&mut run), Vec::<String>::new());
    assert_eq!(run.engine.census().gangs["preempting"], 0);
    run.step(budget(2));
    run.wait(10);
    assert_eq!(evicted(&mut run).len(), 2, "it is looked for anew when there is reason to");
}

#[test]
fn of_two_who_were_chosen_one_stays_if_room_came_for_one() {
    let mut run = full();
    run.deaf = true;
    wants(&mut run, "high", &["x", "y"], 9);
    let chosen: Vec<&str> = ["a", "b", "c", "d", "e", "f"].into_iter().filter(|name| run.engine.is_awaited(&uid(name))).collect();
    assert_eq!(chosen.len(), 2);
    let other = ["a", "b", "c", "d", "e", "f"].into_iter().find(|name| !chosen.contains(name)).unwrap();
    run.delete(other);
    run.wait(10);
    assert_eq!(evicted(&mut run).len(), 1);
}

#[test]
fn what_somebody_leaves_for_one_gang_is_not_counted_on_by_another() {
    let mut run = full();
    wants(&mut run, "high", &["x"], 9);
    let first = evicted(&mut run);
    assert_eq!(first.len(), 1);
    run.apply(Pod { deleting: true, ..run.pods[&uid(&first[0])].clone() });
    wants(&mut run, "higher", &["y"], 10);
    let second = evicted(&mut run);
    assert_eq!(second.len(), 1, "it needs room of its own");
    assert_ne!(first, second);
    run.delete(&first[0]);
    assert!(!run.pods[&uid("x")].gated && run.pods[&uid("y")].gated);
}

#[test]
fn a_gang_with_a_member_whose_binding_is_on_its_way_is_not_taken() {
    let mut run = Run::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        run.create(of("low", name, (6, 6), 0));
    }
    ["a", "b", "c", "d", "e"].iter().for_each(|name| run.bind(name));
    let node = run.filter("f").unwrap();
    let query = BindQuery { pod: run.pods[&uid("f")].clone(), node: node.into() };
    run.step(Input::Bind(query));
    assert_eq!(run.engine.census().gangs["bound"], 1);
    wants(&mut run, "high", &["x"], 9);
    assert_eq!(evicted(&mut run), Vec::<String>::new(), "five would go, and the sixth might stay alone");
}

#[test]
fn members_that_are_going_are_not_above_the_minimum() {
    let mut run = Run::new();
    runs(&mut run, "low", &["a", "b", "c", "d", "e", "f"], 5, 0);
    run.apply(Pod { deleting: true, ..run.pods[&uid("a")].clone() });
    run.step(budget(2));
    wants(&mut run, "high", &["x", "y"], 9);
    assert_eq!(evicted(&mut run), Vec::<String>::new(), "one goes already, and four would be left of five");
}

#[test]
fn who_went_for_a_job_does_not_come_back_by_force_under_another_name() {
    let queues = "{list: [{name: qa, namespaces: {matchNames: [ns]}, guaranteed: [{class: nvidia-gpu, devices: 8}]}]}";
    let mut run = Run::with(queues);
    let named = |name: &str, namespace: &str, priority: i32| {
        let pod = of(name, name, (1, 1), priority);
        let controller = pod.controller.clone().map(|owner| crate::model::OwnerRef { key: PodKey::new(namespace, "job"), ..owner });
        Pod { gang: None, key: PodKey::new(namespace, name), controller, ..pod }
    };
    for name in ["a", "b", "c", "d", "e", "f"] {
        run.create(named(name, "other", 5));
        run.bind(name);
    }
    run.create(named("x", "ns", 0));
    let gone = evicted(&mut run);
    assert_eq!(gone.len(), 1, "what is guaranteed comes back whatever the priority");
    run.delete(&gone[0]);
    run.bind("x");
    run.create(named("y", "ns", 0));
    run.done();
    run.delete("y");
    let back = Pod { controller: named(&gone[0], "other", 5).controller, ..named("back", "other", 5) };
    run.create(back);
    assert_eq!(evicted(&mut run), Vec::<String>::new());
}

#[test]
fn members_that_a_budget_keeps_are_joined_by_the_others_where_there_is_room() {
    let mut run = Run::new();
    for name in ["a", "b", "c"] {
        run.create(of("train", name, (3, 3), 0));
    }
    run.bind("a");
    run.wait(70);
    assert!(run.done().contains(&"evict a".to_owned()), "the others are not bound in time");
    run.wait(25);
    assert!(
        run.done().iter().any(|done| done.starts_with("release") || done.starts_with("nominate")),
        "it does not go: they are tried again"
    );
    run.bind("b");
    run.bind("c");
    assert_eq!(run.engine.census().gangs["bound"], 1);
}

#[test]
fn an_elastic_gang_that_passes_its_queues_maximum_as_a_whole_starts_with_its_minimum() {
    let queues = "{list: [{name: qa, namespaces: {matchNames: [ns]}, maximum: [{class: nvidia-gpu, devices: 16}]}]}";
    let mut run = Run::with(queues);
    for name in ["a", "b", "c"] {
        run.create(of("train", name, (3, 2), 0));
    }
    assert_eq!(run.held().len(), 2);
}

#[test]
fn a_nomination_that_nothing_stands_behind_is_taken_back() {
    let mut run = full();
    let pod = Pod { nominated: Some("r1-a".into()), ..of("late", "x", (1, 1), 0) };
    run.create(pod);
    assert_eq!(run.pods[&uid("x")].nominated, None, "kube-scheduler would keep its room, and not look at it");
}

#[test]
fn nobody_goes_for_room_that_somebody_more_urgent_gives_up_at_that_moment() {
    let mut run = Run::new();
    run.create(Pod { gang: None, key: PodKey::new("other", "e"), ..of("-", "e", (1, 1), 0) });
    run.bind("e");
    // It has the most to lose, so that it goes only where a budget keeps the others.
    run.wait(600);
    for name in ["a", "b", "c", "d"] {
        runs(&mut run, name, &[name], 1, 0);
    }
    run.step(budget(2));
    run.deaf = true;
    run.done();
    wants(&mut run, "urgent", &["x", "y", "z"], 9);
    wants(&mut run, "early", &["w"], 5);
    assert_eq!(run.engine.census().gangs["preempting"], 2);
    assert!(run.engine.is_awaited(&uid("e")), "what is free is kept for the urgent one");
    run.step(budget(1));
    run.wait(12);
    assert_eq!(evicted(&mut run), Vec::<String>::new());
    assert!(!run.pods[&uid("w")].gated);
}
