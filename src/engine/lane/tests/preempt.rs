//! Room for a gang of higher priority: those who must give way go whole, nobody else does, and what they leave is kept.

use std::time::Duration;

use super::run::{NAMES, Run, gated, uid};
use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, Input, PreemptCandidate, PreemptQuery};
use crate::model::fixtures::pod;
use crate::model::{Budget, GangId, GangKind, GangRef, GangSpec, OwnerRef, Pod, PodKey, Reason};

fn owner(name: &str) -> OwnerRef {
    OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", name), uid: name.into() }
}

/// A gated member of a gang with a name and a priority; its topology is its own business.
fn of(gang: &str, name: &str, size: u32, priority: i32) -> Pod {
    let mut pod = gated(pod(name).gpus(8).priority(priority));
    let id = GangId { kind: GangKind::Annotation, key: PodKey::new("ns", gang), uid: "".into() };
    pod.gang = Some(GangRef { id, size: Some(size), min: None, role: "".into(), rank: None });
    pod.of_job(gang)
}

/// A gang that runs.
fn running(run: &mut Run, gang: &str, members: &[&str], priority: i32) {
    for name in members {
        run.create(of(gang, name, u32::try_from(members.len()).unwrap(), priority));
    }
    members.iter().for_each(|name| run.bind(name));
}

/// Two gangs of two and two pods alone on six nodes: full.
fn full() -> Run {
    let mut run = Run::new();
    running(&mut run, "one", &["a", "b"], 0);
    running(&mut run, "two", &["c", "d"], 0);
    running(&mut run, "three", &["e"], 0);
    running(&mut run, "four", &["f"], 5);
    run.done();
    run
}

fn evicted(done: &[String]) -> Vec<&str> {
    done.iter().filter_map(|text| text.strip_prefix("evict ")).collect()
}

fn node_of(run: &Run, name: &str) -> String {
    run.pods[&uid(name)].node.as_ref().map_or_else(String::new, ToString::to_string)
}

#[test]
fn a_gang_takes_whole_gangs_of_lower_priority_and_no_more_than_it_needs() {
    let mut run = full();
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    let done = run.done();
    assert_eq!(evicted(&done), ["a", "b"], "one gang for two nodes: {done:?}");
    let (nominated, evicting) = (
        done.iter().rposition(|text| text.starts_with("nominate")).unwrap(),
        done.iter().position(|text| text.starts_with("evict")).unwrap(),
    );
    assert!(nominated < evicting, "{done:?}");
    assert_eq!(done.iter().filter(|text| *text == "Preempted").count(), 2);
    assert_eq!(run.engine.census().gangs["preempting"], 1);
    assert!(run.pods[&uid("x")].gated, "not before there is room");
    let room = [node_of(&run, "a"), node_of(&run, "b")];
    run.delete("a");
    run.create(of("greedy", "g", 1, 0));
    assert!(!run.engine.book().holders().any(|holder| holder.uid == uid("g")), "what is free is the preemptor's");
    run.delete("b");
    let mut places = [run.filter("x").unwrap(), run.filter("y").unwrap()];
    places.sort_unstable();
    assert_eq!(places.to_vec(), room);
    ["x", "y"].iter().for_each(|name| run.bind(name));
    assert_eq!(run.engine.census().preemptions["gang"], 1);
    let entry = run.engine.evictions().next().unwrap();
    assert_eq!((entry.victim.as_str(), entry.preemptor.as_str(), entry.pods.len()), ("gang ns/one", "gang ns/high", 2));
    assert_eq!(run.engine.book().holders().count(), 6);
}

#[test]
fn equal_priority_and_a_preemptor_that_never_preempts_take_nobody() {
    let mut run = full();
    for name in ["x", "y"] {
        run.create(of("equal", name, 2, 0));
    }
    for name in ["v", "w"] {
        run.create(Pod { never_preempts: true, ..of("never", name, 2, 9) });
    }
    assert_eq!(evicted(&run.done()), Vec::<&str>::new());
    assert_eq!(run.engine.explain(&uid("x")).unwrap().refusal.as_ref().unwrap().reason, Reason::GroupDoesNotFit);
}

#[test]
fn a_disruption_budget_and_a_pod_without_an_owner_are_respected() {
    let mut run = Run::new();
    for (name, owned) in [("a", true), ("b", true), ("c", false), ("d", false), ("e", false), ("f", false)] {
        let pod = of(name, name, 1, 0);
        run.create(Pod { controller: pod.controller.clone().filter(|_| owned), ..pod });
        run.bind(name);
    }
    let budget = |allowed| Budget { namespace: "ns".into(), name: "pdb".into(), selector: Some(Vec::new()), disruptions_allowed: allowed };
    run.step(Input::BudgetApplied(budget(1)));
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    assert_eq!(evicted(&run.done()), Vec::<&str>::new(), "two have an owner, and one of them may go");
    run.step(Input::BudgetApplied(budget(2)));
    run.delete("y");
    run.create(of("high", "y", 2, 9));
    assert_eq!(evicted(&run.done()), ["a", "b"]);
}

#[test]
fn a_victim_that_does_not_go_costs_nobody_else_their_place_and_what_is_free_is_kept() {
    let mut run = full();
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    assert_eq!(evicted(&run.done()), ["a", "b"]);
    let stuck = Pod { deleting: true, ..run.pods[&uid("b")].clone() };
    run.apply(stuck);
    run.delete("a");
    run.wait(120 + 30);
    assert_eq!(evicted(&run.done()), Vec::<&str>::new(), "asked again only what is not going yet");
    assert_eq!(run.engine.census().gangs["preempting"], 0);
    run.create(of("greedy", "g", 1, 8));
    run.wait(30);
    assert!(!run.engine.book().holders().any(|holder| holder.uid == uid("g")));
    assert!(evicted(&run.done()).iter().all(|name| *name == "e"), "which takes what is cheapest, and not what is kept for another");
    // Room elsewhere: what was kept and what came are enough.
    run.delete("c");
    run.delete("d");
    assert!(!run.pods[&uid("x")].gated && !run.pods[&uid("y")].gated, "{:?}", run.engine.explain(&uid("x")));
}

#[test]
fn a_plan_that_is_void_before_the_first_eviction_evicts_nobody() {
    let mut run = full();
    run.deaf = true;
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    assert_eq!(run.engine.census().gangs["preempting"], 1);
    run.delete("y");
    run.wait(10);
    assert_eq!(evicted(&run.done()), Vec::<&str>::new(), "a member went");
    run.create(of("high", "y", 2, 9));
    for name in ["c", "d"] {
        run.delete(name);
    }
    run.wait(10);
    assert_eq!(evicted(&run.done()), Vec::<&str>::new(), "room appeared");
    assert!(!run.pods[&uid("x")].gated);
}

#[test]
fn an_owner_all_of_whose_pods_go_is_suspended_and_goes_on_when_they_are_gone() {
    let mut run = full();
    let spec = |suspended_by_us| GangSpec {
        id: GangId { kind: GangKind::Owner, key: PodKey::new("ns", "one"), uid: "one".into() },
        size: 1,
        min: 1,
        roles: Vec::new(),
        topology: crate::model::TopologyWishes::default(),
        suspend: Some(owner("one")),
        suspended_by_us,
    };
    run.step(Input::GangApplied(spec(false)));
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    let done = run.done();
    assert_eq!(evicted(&done), Vec::<&str>::new());
    assert!(done.contains(&"suspend one true".to_owned()), "{done:?}");
    run.step(Input::GangApplied(spec(true)));
    run.wait(2);
    run.delete("a");
    run.wait(2);
    assert!(!run.done().contains(&"suspend one false".to_owned()), "b is not gone");
    run.delete("b");
    run.wait(2);
    assert!(run.done().contains(&"suspend one false".to_owned()));
    assert!(!run.pods[&uid("x")].gated);
}

#[test]
fn a_process_that_begins_anew_takes_what_is_going_and_nobody_else() {
    let mut run = full();
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    assert_eq!(evicted(&run.done()), ["a", "b"]);
    for name in ["a", "b"] {
        let going = Pod { deleting: true, ..run.pods[&uid(name)].clone() };
        run.apply(going);
    }
    run.restart();
    run.wait(5);
    assert_eq!(evicted(&run.done()), Vec::<&str>::new());
    for name in ["a", "b"] {
        run.delete(name);
    }
    assert!(!run.pods[&uid("x")].gated);
}

#[test]
fn a_pod_alone_takes_a_pod_alone() {
    let mut run = full();
    run.create(Pod { gang: None, ..of("-", "x", 1, 9) });
    assert_eq!(evicted(&run.done()), ["e"], "the lowest priority, and not one of a gang of two");
    run.delete("e");
    assert!(NAMES.contains(&run.filter("x").unwrap()));
}

#[test]
fn kube_scheduler_may_not_take_one_member_of_a_gang_not_even_for_a_pod_that_asks_for_no_device() {
    let mut run = full();
    let plain = pod("plain").priority(9);
    let mut passes = |preemptor: &Pod, victims: &[&str]| {
        let node = "r1-a";
        let candidates = [PreemptCandidate { node, victims: victims.iter().map(|name| uid(name)).collect(), pdb_violations: 0 }];
        match run.step(Input::Preempt(PreemptQuery { pod: preemptor, candidates: &candidates })) {
            Answer::Preempt(choices) => !choices.is_empty(),
            other => panic!("{other:?}"),
        }
    };
    assert!(!passes(&plain, &["a"]));
    assert!(passes(&plain, &["a", "b"]), "both");
    assert!(passes(&plain, &["e"]), "a gang of one");
    assert!(!passes(&plain.clone().priority(0), &["e"]));
    assert!(!passes(&plain, &["a", "e"]));
    run.step(Input::BudgetApplied(Budget {
        namespace: "ns".into(),
        name: "pdb".into(),
        selector: Some(Vec::new()),
        disruptions_allowed: 0,
    }));
    let candidates = [PreemptCandidate { node: "r1-a", victims: vec![uid("e")], pdb_violations: 1 }];
    let answer = run.step(Input::Preempt(PreemptQuery { pod: &plain, candidates: &candidates }));
    assert!(matches!(answer, Answer::Preempt(choices) if choices.is_empty()), "a budget is kept");
}

#[test]
fn elastic_gangs_shrink_before_anyone_goes_and_grow_again_into_what_is_idle() {
    let mut run = Run::new();
    let elastic = |name: &str| {
        let mut pod = of("elastic", name, 4, 0);
        pod.gang.as_mut().unwrap().min = Some(2);
        pod
    };
    for name in ["a", "b", "c", "d"] {
        run.create(elastic(name));
    }
    ["a", "b", "c", "d"].iter().for_each(|name| run.bind(name));
    run.wait(600);
    // They have done next to nothing yet: by what is lost alone they would go first.
    running(&mut run, "young", &["e"], 0);
    running(&mut run, "younger", &["f"], 0);
    run.done();
    for name in ["x", "y"] {
        run.create(of("high", name, 2, 9));
    }
    let done = run.done();
    let gone: Vec<String> = evicted(&done).into_iter().map(str::to_owned).collect();
    assert_eq!(gone.len(), 2, "{done:?}");
    assert!(gone.iter().all(|name| ["a", "b", "c", "d"].contains(&name.as_str())), "what is above the minimum: {done:?}");
    assert_eq!(run.engine.census().preemptions["surplus"], 2);
    gone.iter().for_each(|name| run.delete(name));
    for name in &gone {
        run.create(elastic(&format!("{name}2")));
    }
    ["x", "y"].iter().for_each(|name| run.bind(name));
    assert_eq!(run.bound(), 6, "the minimum runs on");
    ["x", "y"].iter().for_each(|name| run.delete(name));
    run.wait(6);
    gone.iter().for_each(|name| run.bind(&format!("{name}2")));
    assert_eq!((run.bound(), run.engine.census().gangs["bound"]), (6, 1 + 2));
}

#[test]
fn who_was_refused_while_lower_priority_was_on_its_way_takes_its_room_when_it_has_arrived() {
    // The watch can be sooner than the answer to the Binding.
    for watch_first in [false, true] {
        let mut run = Run::new();
        for name in ["a", "b", "c", "d", "e"] {
            running(&mut run, name, &[name], 9);
        }
        let alone = |name: &str, priority: i32| Pod { gang: None, ..of("-", name, 1, priority) };
        run.create(alone("low", 0));
        run.create(alone("x", 5));
        assert_eq!(evicted(&run.done()), Vec::<&str>::new(), "who is on the way is let arrive");
        let node = run.filter("low").unwrap();
        let pod = run.pods[&uid("low")].clone();
        let Answer::Bind(BindAnswer::Write(order)) = run.step(Input::Bind(BindQuery { pod: pod.clone(), node: node.into() })) else {
            panic!("no order")
        };
        run.settle();
        let outcome = Input::BindOutcome { uid: uid("low"), node: node.into(), outcome: BindOutcome::Bound };
        let told = Pod { recorded: Some(order.grant), nominated: None, ..pod.on(node) };
        if watch_first {
            run.apply(told);
            run.step(outcome);
        } else {
            run.step(outcome);
            run.apply(told);
        }
        run.settle();
        assert_eq!(evicted(&run.done()), ["low"], "the watch first: {watch_first}");
    }
}

#[test]
fn a_victim_is_told_for_whom_it_went_and_when_it_is_expected_back() {
    let mut run = Run::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        running(&mut run, name, &[name], 0);
    }
    let told = |run: &Run, name: &str| run.engine.made_room("ns", name).map(|entry| run.engine.comes_back(run.now, entry));
    assert_eq!(told(&run, "a"), None);
    let wants = |name: &str, expected: Option<u64>| Pod { expected: expected.map(Duration::from_secs), ..of(name, name, 1, 9) };
    run.create(wants("x", Some(600)));
    let gone = evicted(&run.done())[0].to_owned();
    assert_eq!(run.engine.made_room("ns", &gone).unwrap().preemptor, "gang ns/x");
    assert_eq!(
        told(&run, &gone).unwrap(),
        "0 to 600 s after gang ns/x has started, by what it says of itself; sooner where there is other room"
    );
    run.delete(&gone);
    run.bind("x");
    run.wait(100);
    let left = told(&run, &gone).unwrap();
    assert!(left.starts_with("in 0 to 499 s, when gang ns/x ends, by what it says of itself"), "{left}");
    run.wait(500);
    assert!(told(&run, &gone).unwrap().contains("was expected to end by now"));
    // The one that its controller makes is the same job.
    run.create(Pod { controller: of(&gone, &gone, 1, 0).controller, ..of(&gone, "again", 1, 0) });
    assert!(told(&run, "again").is_some());
    run.delete("x");
    assert_eq!(told(&run, "again").unwrap(), "as soon as there is room: gang ns/x is gone");
    run.bind("again");
    assert_eq!(told(&run, "again").unwrap(), "it runs again");
    run.done();
    run.create(wants("y", None));
    let gone = evicted(&run.done())[0].to_owned();
    assert!(told(&run, &gone).unwrap().contains("not predictable: nobody says how long gang ns/y runs"));
}

#[test]
fn nobody_more_is_told_to_go_for_a_pod_that_found_room_in_time() {
    let mut run = full();
    run.create(gated(pod("urgent").gpus(8).priority(9).of_job("urgent")));
    assert_eq!(evicted(&run.done()), ["e"]);
    // Another one ends by itself, and somebody takes our gate off.
    run.delete("f");
    run.apply(Pod { gated: false, ..run.pods[&uid("urgent")].clone() });
    let node = run.filter("urgent").unwrap();
    run.wait(25);
    assert_eq!(evicted(&run.done()), Vec::<&str>::new(), "it has a place, for now");
    run.bind_to("urgent", node).unwrap();
    run.wait(60);
    assert_eq!((evicted(&run.done()), run.engine.census().gangs["preempting"]), (Vec::new(), 0));
    assert!(!run.engine.is_awaited(&uid("e")));
}
