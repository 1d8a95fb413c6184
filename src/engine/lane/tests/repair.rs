//! Nodes that are lost while gangs run on them.

use super::run::{NAMES, Run, gated, member, nodes, uid};
use crate::engine::Input;
use crate::model::fixtures::pod;
use crate::model::{GangId, GangKind, GangRef, GangSpec, Node, OwnerRef, Pod, PodKey, Taint, TaintEffect, TopologyWishes};

fn job() -> OwnerRef {
    OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", "job"), uid: "job-1".into() }
}

/// A member that its controller creates again, of a rank.
fn owned(name: &str, size: u32, min: u32, rank: u32) -> Pod {
    let mut pod = gated(Pod { controller: Some(job()), ..member(name, size, 8) });
    if let Some(gang) = &mut pod.gang {
        (gang.min, gang.rank) = (Some(min), Some(rank));
    }
    pod
}

/// So many run, one a node from the first on.
fn running(size: u32, min: u32) -> Run {
    let mut run = Run::new();
    for rank in 0..size {
        run.create(owned(&format!("m{rank}"), size, min, rank));
    }
    for rank in 0..size {
        run.bind(&format!("m{rank}"));
    }
    run.done();
    run
}

fn node(name: &str) -> Node {
    nodes().into_iter().find(|node| node.name.as_str() == name).unwrap()
}

fn is_ready(run: &mut Run, name: &str, ready: bool) {
    run.step(Input::NodeApplied(Node { ready, ..node(name) }));
}

fn is_told(run: &mut Run, word: &str) -> bool {
    run.done().iter().any(|told| told == word)
}

fn on(run: &Run, name: &str) -> Option<String> {
    run.engine.book().holder(&uid(name)).map(|holder| holder.node.as_str().to_owned())
}

#[test]
fn a_node_that_is_away_for_a_moment_costs_nobody_anything() {
    let mut run = running(2, 2);
    for _ in 0..5 {
        is_ready(&mut run, "r1-b", false);
        run.wait(4);
        is_ready(&mut run, "r1-b", true);
        run.wait(1);
    }
    assert!(run.done().is_empty());
    assert_eq!(run.bound(), 2);
}

#[test]
fn a_member_on_a_lost_node_is_evicted_its_place_is_held_near_the_others_and_its_rank_kept() {
    let mut run = running(2, 2);
    is_ready(&mut run, "r1-b", false);
    run.wait(6);
    let done = run.done();
    assert!(done.contains(&"GangRepaired".to_owned()) && done.contains(&"evict m1".to_owned()), "{done:?}");
    assert_eq!(run.held(), ["r1-c", "r1-a", "r1-b"], "the spare in the rack, and what nobody can be sure of");
    // kubelet does not answer: the pod stays, and its controller makes another.
    run.apply(Pod { deleting: true, ..run.pods[&uid("m1")].clone() });
    run.wait(2);
    assert!(run.done().is_empty(), "it is not asked twice, and never ended by force");
    run.create(owned("m1b", 2, 2, 1));
    assert_eq!(run.filter("m1b"), Ok("r1-c"));
    run.bind("m1b");
    assert_eq!((run.engine.rank(&uid("m1b")), run.engine.census().gangs["bound"]), (Some(1), 1));
    run.wait(120);
    assert_eq!(on(&run, "m1").as_deref(), Some("r1-b"), "its devices are held as long as it is there");
    run.delete("m1");
    assert_eq!(run.held().len(), 2, "nobody is to take its place");
}

#[test]
fn a_pod_is_ended_by_force_only_where_its_node_is_gone_or_out_of_service() {
    for gone in [true, false] {
        let mut run = running(2, 2);
        is_ready(&mut run, "r1-b", false);
        run.wait(6);
        run.apply(Pod { deleting: true, ..run.pods[&uid("m1")].clone() });
        run.wait(30);
        assert!(!is_told(&mut run, "end m1"));
        if gone {
            run.step(Input::NodeDeleted("r1-b".into()));
        } else {
            let taint = Taint { key: "node.kubernetes.io/out-of-service".into(), value: "".into(), effect: TaintEffect::NoExecute };
            run.step(Input::NodeApplied(Node { ready: false, taints: vec![taint], ..node("r1-b") }));
        }
        run.wait(1);
        assert!(is_told(&mut run, "end m1"), "gone: {gone}");
    }
}

#[test]
fn two_that_are_lost_at_once_come_back_with_their_own_ranks_in_whatever_order() {
    let mut run = running(3, 3);
    // The gang is to go anywhere: two racks of three, and it fills one.
    run.wait(1);
    for name in ["r1-b", "r1-c"] {
        run.step(Input::NodeDeleted(name.into()));
    }
    run.wait(6);
    let done = run.done();
    assert!(done.contains(&"GangLost".to_owned()), "its rack has no spare: {done:?}");

    let anywhere = |name: &str, rank: u32| Pod { topology: TopologyWishes::default(), ..owned(name, 3, 3, rank) };
    let mut run = Run::new();
    for rank in 0..3 {
        run.create(anywhere(&format!("m{rank}"), rank));
    }
    for rank in 0..3 {
        run.bind(&format!("m{rank}"));
    }
    let lost: Vec<String> = ["m1", "m2"].iter().filter_map(|name| on(&run, name)).collect();
    for name in NAMES.iter().filter(|name| lost.contains(&(**name).to_owned())) {
        run.step(Input::NodeDeleted((*name).into()));
    }
    run.wait(6);
    let places: Vec<(String, String)> = run
        .engine
        .book()
        .holders()
        .filter(|holder| holder.uid.as_str().starts_with("gang:"))
        .map(|holder| (holder.uid.to_string(), holder.node.to_string()))
        .collect();
    assert_eq!(places.len(), 2, "{places:?}");
    run.delete("m1");
    run.delete("m2");
    run.create(anywhere("m2b", 2));
    run.create(anywhere("m1b", 1));
    for (name, rank) in [("m2b", 2), ("m1b", 1)] {
        run.bind(name);
        assert_eq!(run.engine.rank(&uid(name)), Some(rank));
        let before = places.iter().find(|(held, _)| *held == format!("gang:{}", uid(&format!("m{rank}")))).unwrap();
        assert_eq!(on(&run, name).as_ref(), Some(&before.1), "the place that was held for its rank");
    }
}

#[test]
fn where_the_domain_has_no_spare_the_gang_goes_back_whole_through_its_owner() {
    let mut run = Run::new();
    let id = GangId { kind: GangKind::Owner, key: PodKey::new("ns", "job"), uid: "job-1".into() };
    let topology = member("x", 3, 8).topology;
    let spec = GangSpec { id: id.clone(), size: 3, min: 3, roles: Vec::new(), topology, suspend: Some(job()), suspended_by_us: false };
    run.step(Input::GangApplied(spec.clone()));
    for rank in 0..3 {
        let gang = GangRef { id: id.clone(), size: None, min: None, role: "".into(), rank: Some(rank) };
        run.create(Pod { gang: Some(gang), ..owned(&format!("m{rank}"), 3, 3, rank) });
    }
    for rank in 0..3 {
        run.bind(&format!("m{rank}"));
    }
    run.done();
    is_ready(&mut run, "r1-b", false);
    run.wait(6);
    let done = run.done();
    assert!(done.contains(&"suspend job true".to_owned()), "{done:?}");
    assert!(!done.iter().any(|word| word.starts_with("evict")), "no pod counts as failed: {done:?}");
    run.step(Input::GangApplied(GangSpec { suspended_by_us: true, ..spec }));
    run.delete("m0");
    run.delete("m2");
    // The third stays with its node, and keeps nobody from going on.
    run.apply(Pod { deleting: true, ..run.pods[&uid("m1")].clone() });
    run.wait(1);
    assert!(is_told(&mut run, "suspend job false"));
    assert_eq!(run.held(), ["r1-b"]);
}

#[test]
fn several_members_of_a_job_that_are_lost_at_once_take_the_gang_back_whole_for_the_job_would_put_off_their_successors() {
    let mut run = Run::new();
    let id = GangId { kind: GangKind::Owner, key: PodKey::new("ns", "job"), uid: "job-1".into() };
    let topology = TopologyWishes::default();
    let spec = GangSpec { id: id.clone(), size: 3, min: 3, roles: Vec::new(), topology, suspend: Some(job()), suspended_by_us: false };
    run.step(Input::GangApplied(spec.clone()));
    let of_job = |name: &str, rank: u32| {
        let gang = GangRef { id: id.clone(), size: None, min: None, role: "".into(), rank: Some(rank) };
        Pod { gang: Some(gang), topology: TopologyWishes::default(), ..owned(name, 3, 3, rank) }
    };
    for rank in 0..3 {
        run.create(of_job(&format!("m{rank}"), rank));
    }
    for rank in 0..3 {
        run.bind(&format!("m{rank}"));
    }
    run.done();
    let lost: Vec<String> = ["m1", "m2"].iter().filter_map(|name| on(&run, name)).collect();
    lost.iter().for_each(|node| is_ready(&mut run, node, false));
    run.wait(6);
    let done = run.done();
    assert!(done.contains(&"suspend job true".to_owned()) && !done.iter().any(|word| word.starts_with("evict")), "{done:?}");
    run.step(Input::GangApplied(GangSpec { suspended_by_us: true, ..spec }));
    for name in ["m0", "m1", "m2"] {
        run.delete(name);
    }
    run.wait(1);
    assert!(is_told(&mut run, "suspend job false"));
    for name in lost {
        run.step(Input::NodeDeleted(name.as_str().into()));
    }
    for rank in 0..3 {
        run.create(of_job(&format!("n{rank}"), rank));
    }
    for rank in 0..3 {
        run.bind(&format!("n{rank}"));
        assert_eq!(run.engine.rank(&uid(&format!("n{rank}"))), Some(rank), "ranks are as they were");
    }
}

#[test]
fn an_elastic_gang_goes_on_with_fewer_where_there_is_no_spare_and_grows_again() {
    let mut run = running(3, 2);
    is_ready(&mut run, "r1-b", false);
    run.wait(6);
    let done = run.done();
    assert!(done.contains(&"GangShrunk".to_owned()) && done.contains(&"evict m1".to_owned()), "{done:?}");
    run.delete("m1");
    run.create(owned("m1b", 3, 2, 1));
    run.step(Input::NodeDeleted("r1-b".into()));
    run.wait(5);
    assert_eq!(run.bound(), 2);
    is_ready(&mut run, "r1-b", true);
    run.settle();
    run.bind("m1b");
    assert_eq!((run.bound(), run.engine.rank(&uid("m1b"))), (3, Some(1)));
}

#[test]
fn pods_that_nobody_would_create_again_stay() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    run.bind("a");
    run.bind("b");
    run.done();
    is_ready(&mut run, "r1-b", false);
    run.wait(60);
    assert!(run.done().is_empty());
    assert_eq!(run.bound(), 2);
}

#[test]
fn a_node_that_comes_back_before_its_member_went_has_its_member_again() {
    let mut run = running(2, 2);
    is_ready(&mut run, "r1-b", false);
    run.wait(6);
    assert_eq!(run.held().len(), 3);
    is_ready(&mut run, "r1-b", true);
    run.wait(1);
    assert_eq!((run.held().len(), run.engine.rank(&uid("m1"))), (2, Some(1)), "a disruption budget kept it");
    assert_eq!(run.engine.census().gangs["bound"], 1);
}

#[test]
fn a_gang_that_is_whole_again_before_anybody_went_is_not_told_to_go_back_again() {
    let mut run = Run::new();
    let id = GangId { kind: GangKind::Owner, key: PodKey::new("ns", "job"), uid: "job-1".into() };
    let topology = member("x", 3, 8).topology;
    let spec = GangSpec { id: id.clone(), size: 3, min: 3, roles: Vec::new(), topology, suspend: Some(job()), suspended_by_us: false };
    run.step(Input::GangApplied(spec));
    for rank in 0..3 {
        let gang = GangRef { id: id.clone(), size: None, min: None, role: "".into(), rank: Some(rank) };
        run.create(Pod { gang: Some(gang), ..owned(&format!("m{rank}"), 3, 3, rank) });
    }
    for rank in 0..3 {
        run.bind(&format!("m{rank}"));
    }
    is_ready(&mut run, "r1-b", false);
    run.wait(6);
    assert!(is_told(&mut run, "suspend job true"), "its rack has no spare");
    // The word is lost, and the node comes back.
    is_ready(&mut run, "r1-b", true);
    run.wait(60);
    assert_eq!((run.done(), run.bound(), run.engine.census().gangs["bound"]), (Vec::new(), 3, 1));
}

#[test]
fn after_a_restart_members_on_nodes_that_are_gone_are_seen_to() {
    let mut run = running(2, 2);
    run.pods.entry(uid("m1")).and_modify(|pod| {
        let there = pod.node.replace("r9-x".into());
        assert!(there.is_some());
        if let Some(grant) = &mut pod.recorded {
            grant.node = "r9-x".into();
        }
    });
    run.restart();
    run.wait(6);
    let done = run.done();
    assert!(done.contains(&"evict m1".to_owned()), "{done:?}");
}

#[test]
fn a_gang_in_part_whose_missing_member_gets_no_place_for_a_minute_goes_back_whole() {
    let mut run = running(2, 2);
    for at in 0..4 {
        let name = format!("other{at}");
        run.create(gated(pod(&name).gpus(8)));
        run.bind(&name);
    }
    run.delete("m1");
    run.wait(61);
    run.create(gated(pod("last").gpus(8)));
    run.bind("last");
    run.create(owned("m1b", 2, 2, 1));
    run.done();
    run.wait(58);
    assert!(!is_told(&mut run, "evict m0"));
    run.wait(3);
    assert!(is_told(&mut run, "evict m0"), "its place was given away after a minute");
}
