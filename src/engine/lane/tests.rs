//! Gangs through news, plans, filter and bind: whole or not at all, with our gate and without it, and over a restart.

mod capacity;
mod ended;
mod guarantees;
mod last_look;
mod line;
mod lost;
mod missing;
mod outlook;
mod preempt;
mod quarantine;
mod queues;
mod refused;
mod repair;
mod reserve;
mod run;
mod shares;
mod shop;
mod unshown;
mod volumes;

use std::time::Duration;

use run::{Run, gated, member, nodes, uid};

use crate::engine::Input;
use crate::model::fixtures::{gpu, pod};
use crate::model::{DeviceRequest, GangId, GangKind, GangRef, GangSpec, OwnerRef, Pod, PodKey, Quota, Reason, TopologyWishes};

#[test]
fn a_gated_gang_is_planned_when_its_last_member_comes_and_released_when_all_are_nominated() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 3, 8)));
    }
    assert!(run.done().is_empty() && run.held().is_empty(), "two of three wait and hold nothing");
    run.create(gated(member("c", 3, 8)));
    let done = run.done();
    let expected = ["GangPlanned", "nominate a r1-a", "nominate b r1-b", "nominate c r1-c", "release a", "release b", "release c"];
    let mut sorted: Vec<&str> = done.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(
        done.iter().rposition(|text| text.starts_with("nominate")) < done.iter().position(|text| text.starts_with("release")),
        "{done:?}"
    );
    for (name, node) in [("c", "r1-c"), ("a", "r1-a"), ("b", "r1-b")] {
        assert_eq!(run.filter_of(name, &[node]), Ok(node));
        run.bind_to(name, node).unwrap();
    }
    assert_eq!(run.bound(), 3);
    assert_eq!(run.engine.rank(&uid("c")), Some(2));
    assert_eq!(run.engine.census().gangs["bound"], 1);
}

#[test]
fn nominations_that_do_not_arrive_hold_nothing_up_for_long() {
    let mut run = Run::new();
    run.deaf = true;
    run.create(gated(member("a", 2, 8)));
    run.create(gated(member("b", 2, 8)));
    run.wait(1);
    assert!(run.pods.values().all(|pod| pod.gated));
    run.wait(3);
    assert!(run.pods.values().all(|pod| !pod.gated));
}

#[test]
fn without_our_gate_early_members_wait_quietly_and_the_first_question_after_the_last_plans_for_all() {
    let mut run = Run::new();
    run.create(member("a", 3, 8));
    assert_eq!(run.filter("a"), Err(Reason::GroupIncomplete));
    run.create(member("b", 3, 8));
    run.create(member("c", 3, 8));
    assert_eq!(run.held(), ["r1-a", "r1-b", "r1-c"], "planned as soon as all are there: kube-scheduler asked about one, so it is ours");
    let done = run.done();
    assert!(done.contains(&"nominate a r1-a".to_owned()), "which wakes the one that was refused: {done:?}");
    run.create(pod("stranger").gpus(8));
    assert_eq!(run.filter("stranger"), Ok("r2-a"), "nobody else gets it meanwhile");
    for name in ["b", "c", "a"] {
        run.bind(name);
    }
    assert_eq!(run.bound(), 3);
}

#[test]
fn a_gang_that_kube_scheduler_never_asks_about_is_not_ours() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(member(name, 2, 8));
    }
    assert!(run.held().is_empty() && run.done().is_empty());
    assert_eq!(run.filter("b"), Ok("r1-b"), "until it asks");
    assert_eq!(run.filter("a"), Ok("r1-a"));
}

#[test]
fn a_gang_that_does_not_fit_holds_nothing_says_why_and_is_planned_when_there_is_room() {
    let mut run = Run::new();
    for name in ["x", "y"] {
        run.create(pod(name).gpus(8));
        run.bind(name);
    }
    run.done();
    for name in ["a", "b", "c", "d"] {
        run.create(gated(member(name, 4, 8)));
    }
    assert_eq!(run.held().len(), 2);
    let expected: Vec<String> = ["a", "b", "c", "d"].iter().map(|name| format!("say {name} no-domain-for-group")).collect();
    assert_eq!(run.done(), [vec!["GangWaiting".to_owned()], expected].concat());
    let trace = run.engine.explain(&uid("c")).unwrap();
    assert_eq!(trace.refusal.as_ref().unwrap().reason, Reason::NoDomainForGroup);
    assert_eq!(run.engine.held_by(&run.pods[&uid("c")]), ["nvidia.com/gpu: ns/x (8), ns/y (8)"]);
    run.delete("d");
    for name in ["a", "b", "c"] {
        run.create(gated(member(name, 3, 8)));
    }
    let places: Vec<&str> = run.held().into_iter().filter(|name| name.starts_with("r2")).collect();
    assert_eq!(places.len(), 3, "{:?} {:?}", run.held(), run.engine.explain(&uid("c")));
}

#[test]
fn a_gang_without_a_topology_gets_what_a_finished_pod_leaves() {
    let mut run = Run::new();
    for name in ["u", "v", "w", "x", "y"] {
        run.create(pod(name).gpus(8));
        run.bind(name);
    }
    for name in ["a", "b"] {
        run.create(gated(Pod { topology: TopologyWishes::default(), ..member(name, 2, 8) }));
    }
    assert_eq!(run.bound(), 5);
    assert!(run.pods[&uid("a")].gated);
    run.delete("v");
    assert!(!run.pods[&uid("a")].gated && !run.pods[&uid("b")].gated);
}

#[test]
fn a_node_that_kube_scheduler_refuses_moves_the_member_inside_its_domain() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    assert_eq!(run.filter_of("b", &["r1-b"]), Ok("r1-b"));
    let without = ["r1-a", "r1-c", "r2-a", "r2-b", "r2-c"];
    assert_eq!(run.filter_of("b", &without), Ok("r1-c"), "the same rack");
    assert_eq!(run.bind_to("b", "r1-b"), Err(Reason::PlannedElsewhere), "and nowhere else");
    assert_eq!(run.filter("a"), Ok("r1-a"));
}

#[test]
fn a_member_whose_domain_has_no_other_node_moves_the_whole_gang_until_somebody_is_bound() {
    let mut run = Run::new();
    for name in ["a", "b", "c"] {
        run.create(gated(member(name, 3, 8)));
    }
    let without = ["r1-a", "r1-c", "r2-a", "r2-b", "r2-c"];
    assert_eq!(run.filter_of("b", &without), Ok("r2-b"));
    assert_eq!(run.filter("a"), Ok("r2-a"));
    run.bind_to("a", "r2-a").unwrap();
    assert_eq!(run.filter_of("c", &["r1-a", "r1-b"]), Err(Reason::PlannedElsewhere));
    assert_eq!(run.filter("c"), Ok("r2-c"), "the plan stands");
}

#[test]
fn members_that_are_not_bound_in_time_are_reminded_and_then_everything_is_given_back() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    run.done();
    run.wait(12);
    assert_eq!(run.done(), ["touch a", "touch b"]);
    run.wait(12);
    let done = run.done();
    assert!(done.starts_with(&["nominate a nowhere".to_owned(), "nominate b nowhere".to_owned()]), "{done:?}");
    assert!(done.contains(&"nominate a r1-a".to_owned()), "and planned anew: {done:?}");
    run.bind("a");
    run.bind("b");
    assert_eq!(run.bound(), 2);
}

#[test]
fn a_gang_that_is_bound_in_part_and_cannot_be_whole_is_taken_back_through_its_owner() {
    let mut run = Run::new();
    let id = GangId { kind: GangKind::Owner, key: PodKey::new("ns", "job"), uid: "job-1".into() };
    let owner = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: id.key.clone(), uid: "job-1".into() };
    let spec = GangSpec {
        id: id.clone(),
        size: 2,
        min: 2,
        roles: Vec::new(),
        topology: TopologyWishes::default(),
        suspend: Some(owner.clone()),
        suspended_by_us: false,
    };
    run.step(Input::GangApplied(spec.clone()));
    for name in ["a", "b"] {
        let gang = GangRef { id: id.clone(), size: None, min: None, role: "".into(), rank: None };
        run.create(gated(Pod { gang: Some(gang), controller: Some(owner.clone()), ..pod(name).gpus(8) }));
    }
    run.bind("a");
    run.done();
    run.wait(24);
    assert!(run.done().contains(&"suspend job true".to_owned()));
    assert_eq!(run.filter("b"), Err(Reason::GroupQueued), "it starts with the other or not at all");
    run.step(Input::GangApplied(GangSpec { suspended_by_us: true, ..spec }));
    run.delete("b");
    assert!(!run.done().contains(&"suspend job false".to_owned()), "one is bound still");
    run.delete("a");
    run.wait(1);
    assert!(run.done().contains(&"suspend job false".to_owned()));
    assert!(run.held().is_empty());
}

#[test]
fn after_a_restart_promises_hold_and_a_gang_bound_in_part_becomes_whole() {
    for bound in 0..=3 {
        let mut run = Run::new();
        for name in ["a", "b", "c"] {
            run.create(gated(member(name, 3, 8)));
        }
        for name in ["b", "a", "c"].into_iter().take(bound) {
            run.bind(name);
        }
        let before: Vec<String> = run.held().into_iter().map(String::from).collect();
        let epoch = run.pods[&uid("c")].planned.as_ref().unwrap().epoch;
        run.restart();
        assert_eq!(run.held(), before, "{bound} bound");
        if bound < 3 {
            assert!(run.pods[&uid("c")].planned.as_ref().unwrap().epoch > epoch, "written anew, so that an old Binding is refused");
        }
        for name in ["b", "a", "c"].into_iter().skip(bound) {
            run.bind(name);
        }
        assert_eq!(run.bound(), 3);
        assert_eq!(run.engine.census().gangs["bound"], 1);
    }
}

#[test]
fn epochs_of_a_leader_that_wrote_no_plan_are_not_used_again() {
    let epoch = |run: &mut Run| {
        for name in ["a", "b"] {
            run.create(gated(member(name, 2, 8)));
        }
        run.pods[&uid("a")].planned.as_ref().unwrap().epoch
    };
    let first = epoch(&mut Run::new());
    let mut later = Run::new();
    later.wait(15);
    later.restart();
    assert!(epoch(&mut later) >= first + 15_000, "as long after as a lease");
}

#[test]
fn after_a_restart_a_promise_whose_devices_somebody_has_is_none() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    let place = run.pods[&uid("a")].planned.as_ref().unwrap().node().clone();
    run.pods.insert(uid("static"), pod("static").gpus(8).on(place.as_str()));
    run.restart();
    let nodes: Vec<&str> = run.held();
    assert_eq!(nodes.iter().filter(|name| **name == place.as_str()).count(), 1, "the static pod's alone: {nodes:?}");
    for name in ["a", "b"] {
        run.bind(name);
    }
}

#[test]
fn a_replica_without_the_voice_follows_and_plans_nothing() {
    let mut run = Run::new();
    run.step(Input::Desynced);
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    assert!(run.done().is_empty() && run.held().is_empty());
    run.step(Input::Synced);
    run.settle();
    assert_eq!(run.held().len(), 2);
}

#[test]
fn a_member_that_replaces_another_takes_its_place() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
        run.create(pod("filler-".to_owned().as_str()).gpus(1));
    }
    run.bind("a");
    run.bind("b");
    run.delete("b");
    assert_eq!(run.held().len(), 2, "its place is kept for a minute");
    run.create(gated(member("b2", 2, 8)));
    assert_eq!(run.filter("b2"), Ok("r1-b"));
    run.bind("b2");
    assert_eq!(run.bound(), 2);
    run.delete("a");
    run.wait(61);
    run.create(pod("stranger").gpus(8));
    assert_eq!(run.filter("stranger"), Ok("r1-a"), "not for ever");
    run.create(gated(member("a2", 2, 8)));
    assert_eq!(run.filter("a2"), Ok("r1-c"), "in the same rack, for the gang requires one");
}

#[test]
fn the_more_urgent_gang_is_planned_first() {
    let mut run = Run::new();
    run.engine.step(run.now, Input::Desynced);
    for (name, priority) in [("low", 0), ("high", 10)] {
        for index in 0..4 {
            let mut pod = gated(Pod { topology: TopologyWishes::default(), priority, ..member(&format!("{name}-{index}"), 4, 8) });
            pod.gang.as_mut().unwrap().id.key = PodKey::new("ns", name);
            run.create(pod);
        }
    }
    run.step(Input::Synced);
    run.settle();
    assert!(!run.pods[&uid("high-0")].gated && run.pods[&uid("low-0")].gated);
}

#[test]
fn an_elastic_gang_starts_with_what_there_is_room_for_and_grows() {
    let mut run = Run::new();
    let elastic = |name: &str| {
        let mut pod = gated(member(name, 3, 8));
        pod.gang.as_mut().unwrap().min = Some(2);
        pod
    };
    for name in ["x", "y"] {
        run.create(pod(name).gpus(8));
        run.filter_of(name, &[if name == "x" { "r1-a" } else { "r2-a" }]).unwrap();
        run.bind_to(name, if name == "x" { "r1-a" } else { "r2-a" }).unwrap();
    }
    for name in ["a", "b", "c"] {
        run.create(elastic(name));
    }
    for name in ["a", "b"] {
        run.bind(name);
    }
    assert!(run.pods[&uid("c")].gated);
    run.delete("x");
    assert_eq!(run.filter("c"), Ok("r1-a"));
    run.bind("c");
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(elastic(name));
    }
    assert!(run.held().is_empty(), "the third may come in a moment");
    run.wait(6);
    assert_eq!(run.held().len(), 2);
}

#[test]
fn pods_of_a_controller_start_together_only_if_it_says_so() {
    let id = GangId { kind: GangKind::Owner, key: PodKey::new("ns", "job"), uid: "job-1".into() };
    let of_job = |name: &str| {
        let gang = GangRef { id: id.clone(), size: None, min: None, role: "".into(), rank: None };
        gated(Pod { gang: Some(gang), ..pod(name).gpus(1) })
    };
    let spec = |size| GangSpec {
        id: id.clone(),
        size,
        min: size,
        roles: Vec::new(),
        topology: TopologyWishes::default(),
        suspend: None,
        suspended_by_us: false,
    };
    let mut run = Run::new();
    run.create(of_job("a"));
    assert!(run.held().is_empty(), "its object may say so yet");
    run.step(Input::GangApplied(spec(1)));
    run.settle();
    assert_eq!(run.held().len(), 1, "it does not");
    let mut run = Run::new();
    run.create(of_job("a"));
    run.step(Input::GangApplied(spec(2)));
    run.settle();
    assert!(run.held().is_empty());
    run.create(of_job("b"));
    assert_eq!(run.held().len(), 2);
    let mut run = Run::new();
    run.create(of_job("a"));
    run.wait(11);
    assert_eq!(run.held().len(), 1, "nobody says anything: it is not held up for ever");
}

#[test]
fn a_single_pod_takes_the_same_lane() {
    let mut run = Run::new();
    run.create(gated(pod("one").gpus(2)));
    assert_eq!(run.done(), ["nominate one r1-a", "release one"]);
    assert_eq!(run.filter_of("one", &["r1-a"]), Ok("r1-a"));
    assert_eq!(run.filter_of("one", &["r2-b"]), Ok("r2-b"), "refused there by kube-scheduler, filter decides afresh");
    run.bind_to("one", "r2-b").unwrap();
    run.create(gated(Pod { has_preferences: true, ..pod("soft").gpus(2) }));
    assert_eq!(run.done(), ["release soft freely"], "whose in-tree preferences matter is decided by filter and scores");
    run.create(gated(Pod { gated_by_others: true, ..pod("kueue").gpus(2) }));
    assert!(run.done().is_empty(), "somebody else's gate is heard");
}

#[test]
fn in_a_small_cluster_nobody_is_nominated_before_the_release() {
    let mut run = Run::without_nominations();
    for name in ["a", "b", "c"] {
        run.create(gated(member(name, 3, 8)));
    }
    run.create(gated(pod("one").gpus(2)));
    let expected = ["GangPlanned", "release a", "release b", "release c", "release one"];
    assert_eq!(run.done(), expected, "and none is waited for");
    assert_eq!(run.filter("b"), Ok("r1-b"), "kube-scheduler shows every node that passes its own filters");
}

#[test]
fn a_member_whose_place_was_not_shown_is_nominated_there_before_another_is_looked_for() {
    let mut run = Run::without_nominations();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    run.done();
    assert_eq!(run.filter_of("a", &["r1-c"]), Err(Reason::PlannedElsewhere));
    assert_eq!(run.done(), ["nominate a r1-a"], "it may have been a sample");
    assert_eq!(run.filter_of("a", &["r1-a"]), Ok("r1-a"));
    assert_eq!(run.filter_of("b", &["r1-c"]), Err(Reason::PlannedElsewhere));
    run.done();
    assert_eq!(run.filter_of("b", &["r1-c"]), Ok("r1-c"), "nominated, and still not shown: the node was refused");
}

#[test]
fn a_quota_that_holds_part_of_a_gang_refuses_all_of_it() {
    let mut run = Run::new();
    let hard = [(gpu(), 16)].into_iter().collect();
    run.step(Input::QuotaApplied(Quota { namespace: "ns".into(), name: "q".into(), hard }));
    for name in ["a", "b", "c"] {
        run.create(gated(member(name, 3, 8)));
    }
    assert!(run.held().is_empty());
    assert_eq!(run.engine.explain(&uid("a")).unwrap().refusal.as_ref().unwrap().reason, Reason::QuotaExceeded("q".into()));
    run.step(Input::QuotaDeleted { namespace: "ns".into(), name: "q".into() });
    run.settle();
    assert_eq!(run.held().len(), 3);
}

#[test]
fn the_same_name_elsewhere_or_created_anew_is_another_gang() {
    let mut run = Run::new();
    let id = |uid: &str| GangId { kind: GangKind::SchedulerPlugins, key: PodKey::new("ns", "train"), uid: uid.into() };
    let spec = |uid: &str| GangSpec {
        id: id(uid),
        size: 2,
        min: 2,
        roles: Vec::new(),
        topology: TopologyWishes::default(),
        suspend: None,
        suspended_by_us: false,
    };
    let named = |name: &str, namespace: &str| {
        let mut id = id("");
        id.key.namespace = namespace.into();
        gated(Pod { gang: Some(GangRef { id, size: None, min: None, role: "".into(), rank: None }), ..pod(name).gpus(8) })
    };
    run.step(Input::GangApplied(spec("first")));
    run.create(named("a", "ns"));
    run.create(named("b", "other"));
    assert!(run.held().is_empty(), "elsewhere is another");
    run.step(Input::GangDeleted(id("first")));
    run.step(Input::GangApplied(spec("second")));
    run.create(named("c", "ns"));
    assert!(run.held().is_empty(), "the first one's member is not the second one's");
    run.create(named("d", "ns"));
    assert_eq!(run.held().len(), 2);
}

#[test]
fn a_relist_leaves_plans_and_kept_places_alone() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        run.create(gated(member(name, 2, 8)));
    }
    run.bind("a");
    run.now = run.now + Duration::from_secs(5);
    run.wait(1);
    let pods: Vec<Pod> = run.pods.values().cloned().collect();
    run.now = run.now + Duration::from_secs(60);
    run.step(Input::Relisted { pods, nodes: nodes() });
    assert_eq!(run.held().len(), 2);
}

#[test]
fn a_member_without_devices_counts_and_needs_no_place() {
    let mut run = Run::new();
    for name in ["worker-0", "worker-1"] {
        run.create(gated(member(name, 3, 8)));
    }
    assert!(run.held().is_empty(), "the launcher is missing");
    run.create(Pod { request: DeviceRequest::default(), ..member("launcher", 3, 1) });
    assert_eq!(run.held().len(), 2);
    run.bind("worker-0");
    run.bind("worker-1");
    assert_eq!(run.engine.census().gangs["bound"], 1);
    let mut run = Run::new();
    run.create(Pod { request: DeviceRequest::default(), ..member("launcher", 2, 1) });
    run.delete("launcher");
    run.create(gated(member("worker-0", 2, 8)));
    assert!(run.held().is_empty(), "it is gone");
}

#[test]
fn members_that_must_not_meet_get_a_node_each_and_a_replacement_another() {
    let apart = |name: &str, size| {
        let mut pod = gated(Pod { topology: TopologyWishes::default(), ..member(name, size, 2) });
        pod.constraints.apart = true;
        pod
    };
    let mut run = Run::new();
    for name in ["a", "b", "c"] {
        run.create(apart(name, 3));
    }
    let mut nodes: Vec<String> = run.held().into_iter().map(String::from).collect();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    for name in ["a", "b", "c"] {
        run.bind(name);
    }
    run.delete("b");
    run.wait(61);
    run.create(apart("d", 3));
    let place = run.filter("d").unwrap();
    assert_eq!(run.held().into_iter().filter(|name| *name == place).count(), 1);
    let mut run = Run::new();
    for index in 0..7 {
        run.create(apart(&format!("m{index}"), 7));
    }
    assert!(run.held().is_empty(), "seven on six nodes");
}

#[test]
fn a_gang_that_was_taken_back_is_planned_where_its_most_bound_member_can_go() {
    let mut run = Run::new();
    for name in ["a", "b"] {
        let owner = OwnerRef { api_version: "v1".into(), kind: "Set".into(), key: PodKey::new("ns", "set"), uid: "set".into() };
        run.create(gated(Pod { controller: Some(owner), ..member(name, 2, 8) }));
    }
    run.bind("a");
    // Its volume lies in the other rack, and the first one is bound already.
    assert_eq!(run.filter_of("b", &["r2-a", "r2-b"]), Err(Reason::PlannedElsewhere));
    run.wait(23);
    run.delete("a");
    run.create(gated(member("a2", 2, 8)));
    let places: Vec<&str> = run.held();
    assert!(places.len() == 2 && places.iter().all(|name| name.starts_with("r2")), "{places:?}");
}
