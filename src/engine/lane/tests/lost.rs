//! Words that are lost, and news that nobody else would bring: each of these was found by the simulator of faults.

use super::run::{NAMES, Run, gated, member, nodes, uid};
use crate::engine::Input;
use crate::model::fixtures::{node, pod};
use crate::model::{GangId, GangKind, GangRef, GangSpec, Node, OwnerRef, PlanRecord, Pod, PodKey, TopologyWishes};

fn anywhere(pod: Pod) -> Pod {
    Pod { topology: TopologyWishes::default(), ..pod }
}

/// Everything as it is, without what `run.pods` has lost.
fn relist(run: &mut Run, nodes: Vec<Node>) {
    let pods = run.pods.values().cloned().collect();
    run.step(Input::Relisted { pods, nodes });
    run.settle();
}

#[test]
fn taking_back_is_asked_for_again_until_it_happens() {
    let mut run = Run::new();
    let id = GangId { kind: GangKind::Owner, key: PodKey::new("ns", "job"), uid: "job-1".into() };
    let owner = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: id.key.clone(), uid: "job-1".into() };
    let suspend = Some(owner.clone());
    let topology = TopologyWishes::default();
    run.step(Input::GangApplied(GangSpec {
        id: id.clone(),
        size: 2,
        min: 2,
        roles: Vec::new(),
        topology,
        suspend,
        suspended_by_us: false,
    }));
    for name in ["a", "b"] {
        let gang = GangRef { id: id.clone(), size: None, min: None, role: "".into(), rank: None };
        run.create(gated(Pod { gang: Some(gang), controller: Some(owner.clone()), ..pod(name).gpus(8) }));
    }
    run.bind("a");
    run.wait(24);
    let asked = |run: &mut Run| run.done().into_iter().filter(|word| word == "suspend job true").count();
    assert_eq!(asked(&mut run), 1);
    run.wait(21);
    assert_eq!(asked(&mut run), 1, "nobody suspended it: the word was lost");
}

#[test]
fn what_nobody_can_take_back_stays_and_is_made_whole_when_there_is_room() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(anywhere(member(name, 2, 8))));
    }
    run.bind("a");
    for node in &NAMES[1..] {
        run.step(Input::NodeDeleted((*node).into()));
    }
    run.wait(60);
    assert_eq!((run.held().len(), run.bound()), (1, 1), "the pod has no controller that would create it again");
    let back = nodes().swap_remove(1);
    run.step(Input::NodeApplied(back));
    run.settle();
    assert_eq!(run.filter("b"), Ok(NAMES[1]));
    run.bind("b");
    assert_eq!(run.bound(), 2);
}

#[test]
fn a_relist_tells_a_gang_that_its_member_is_gone() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(anywhere(member(name, 2, 8))));
        run.wait(1);
    }
    run.bind("a");
    run.bind("b");
    run.wait(40);
    run.pods.clear();
    relist(&mut run, nodes());
    assert!(run.held().is_empty());
    assert_eq!(run.engine.census().gangs.values().sum::<usize>(), 0, "{:?}", run.engine.census().gangs);
}

#[test]
fn a_node_that_only_a_relist_shows_is_planned_on() {
    let mut run = Run::new();
    let (last, others) = (NAMES[5], &NAMES[..5]);
    run.step(Input::NodeDeleted(last.into()));
    for name in others {
        run.create(pod(name).gpus(8));
        run.bind_to(name, name).unwrap();
    }
    run.create(gated(anywhere(member("a", 1, 8))));
    assert_eq!(run.bound(), run.held().len());
    relist(&mut run, nodes());
    assert_eq!(run.held().iter().filter(|node| **node == last).count(), 1, "{:?}", run.held());
}

#[test]
fn a_gated_gang_is_planned_when_a_plain_pod_leaves() {
    let mut run = Run::new();
    for name in &NAMES[1..] {
        run.step(Input::NodeDeleted((*name).into()));
    }
    let bare = nodes().swap_remove(0);
    run.step(Input::NodeApplied(Node { unschedulable: true, ..bare.clone() }));
    run.create(gated(anywhere(Pod { cpu_milli: 100_000, ..member("a", 1, 8) })));
    assert!(run.held().is_empty());
    let plain = Pod { cpu_milli: 100_000, ..pod("plain").on(NAMES[0]) };
    run.create(plain);
    run.step(Input::NodeApplied(bare));
    run.settle();
    assert!(run.held().is_empty(), "its CPU is in use");
    run.delete("plain");
    assert_eq!(run.held(), [NAMES[0]]);
    assert!(!run.pods[&uid("a")].gated);
}

#[test]
fn a_gated_gang_is_planned_when_its_node_is_uncordoned() {
    let mut run = Run::new();
    for name in &NAMES {
        run.step(Input::NodeDeleted((*name).into()));
    }
    run.step(Input::NodeApplied(Node { unschedulable: true, ..node("n", 8) }));
    run.create(gated(anywhere(member("a", 1, 8))));
    assert!(run.held().is_empty());
    run.step(Input::NodeApplied(node("n", 8)));
    run.settle();
    assert_eq!(run.held(), ["n"]);
}

#[test]
fn a_member_that_comes_and_goes_puts_off_the_undo_of_the_others_by_a_minute_at_most() {
    let mut run = Run::new();
    let owned = |name: &str| {
        let owner = OwnerRef { api_version: "v1".into(), kind: "Set".into(), key: PodKey::new("ns", "set"), uid: "set".into() };
        gated(Pod { controller: Some(owner), ..member(name, 2, 8) })
    };
    run.create(owned("a"));
    run.create(owned("b-0"));
    run.bind("a");
    let mut seconds = 0;
    for index in 0..12 {
        run.wait(10);
        seconds += 10;
        if run.done().contains(&"evict a".to_owned()) {
            break;
        }
        run.delete(&format!("b-{index}"));
        run.create(owned(&format!("b-{}", index + 1)));
        assert_eq!(run.held().len(), 2, "it takes the place of the one before");
    }
    assert_eq!(seconds, 60);
}

#[test]
fn who_joins_a_gang_that_runs_puts_nothing_off_and_has_a_minute_of_its_own() {
    let mut run = Run::new();
    let elastic = |name: &str| {
        let mut pod = gated(anywhere(member(name, 3, 8)));
        pod.gang.as_mut().unwrap().min = Some(1);
        pod
    };
    for name in ["a", "b-0", "c"] {
        run.create(elastic(name));
    }
    run.bind("a");
    run.bind("c");
    for index in 0..8 {
        run.wait(10);
        run.delete(&format!("b-{index}"));
        run.create(elastic(&format!("b-{}", index + 1)));
    }
    assert!(!run.done().iter().any(|word| word.starts_with("evict") || word.ends_with("nowhere")), "its places are its own");
    run.bind("b-8");
    assert_eq!(run.bound(), 3);
}

#[test]
fn what_a_replica_without_the_voice_wrote_takes_nothing_from_anybody() {
    let mut run = Run::new();
    run.create(gated(pod("a").gpus(8)));
    run.bind("a");
    let grant = run.pods[&uid("a")].recorded.clone().unwrap();
    let plan = PlanRecord { epoch: u64::MAX / 2, grant, rank: None };
    run.create(Pod { planned: Some(plan), ..pod("b").gpus(8) });
    assert_eq!(run.held(), ["r1-a", "r1-b"], "it is planned anew, elsewhere");
}
