//! Gangs that lack nodes, and autoscalers that are told of them.

use super::run::{Run, gated, member, uid};
use crate::engine::Input;
use crate::model::fixtures::{node, pod};
use crate::model::{OwnerRef, Pod, PodKey, ProvisioningRequest, ProvisioningState, Quota, Reason, TopologyWishes};

fn run(autoscaling: &str) -> Run {
    Run::with_autoscaling(autoscaling)
}

fn job() -> OwnerRef {
    OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", "train"), uid: "job".into() }
}

/// Eight members where six fit.
fn eight(run: &mut Run) {
    for index in 0..8 {
        let pod = Pod { topology: TopologyWishes::default(), controller: Some(job()), ..member(&format!("m{index}"), 8, 8) };
        run.create(gated(pod));
    }
    run.done();
}

fn two_more_nodes(run: &mut Run) {
    for name in ["r3-a", "r3-b"] {
        run.step(Input::NodeApplied(node(name, 8)));
    }
    run.settle();
}

/// The autoscaler's word on what was ordered last.
fn answer(run: &mut Run, state: ProvisioningState, message: &str) -> PodKey {
    let order = run.ordered.clone().unwrap();
    let counts = order.sets.iter().map(|(_, count)| *count).collect();
    let (key, gang, class) = (order.key.clone(), order.gang, order.class);
    let request = ProvisioningRequest { key: key.clone(), uid: "r".into(), gang, class, counts, state, message: message.into() };
    run.step(Input::ProvisioningApplied(request));
    key
}

#[test]
fn by_default_nobody_is_told_and_the_gates_stay() {
    let mut run = Run::new();
    run.step(Input::ProvisioningServed(Some("v1".into())));
    eight(&mut run);
    run.wait(600);
    assert!(run.done().is_empty() && run.pods.values().all(|pod| pod.gated));
    assert_eq!(run.engine.nodes_asked_for(&uid("m0")), None);
}

#[test]
fn a_gang_that_lacks_nodes_is_let_go_is_refused_in_constant_words_and_boards_whole_when_they_are_there() {
    let mut run = run("{mode: release, afterSeconds: 30}");
    eight(&mut run);
    run.wait(29);
    assert!(run.done().is_empty() && run.pods.values().all(|pod| pod.gated), "it may be a matter of seconds");
    run.wait(3);
    let done = run.done();
    assert_eq!(done.iter().filter(|text| text.ends_with("freely")).count(), 8, "{done:?}");
    assert!(run.pods.values().all(|pod| !pod.gated) && run.held().is_empty());
    for name in ["m3", "m0", "m3"] {
        assert_eq!(run.filter(name), Err(Reason::GroupDoesNotFit));
    }
    assert!(run.engine.nodes_asked_for(&uid("m0")).unwrap().contains("let go"));
    run.wait(60);
    run.step(Input::NodeApplied(node("r3-a", 8)));
    run.settle();
    assert_eq!(run.filter("m1"), Err(Reason::GroupDoesNotFit), "seven of eight are not enough");
    run.step(Input::NodeApplied(node("r3-b", 8)));
    run.settle();
    assert_eq!(run.held().len(), 8, "kube-scheduler did not have to ask again");
    let places: Vec<(String, String)> =
        run.engine.book().holders().map(|holder| (holder.key.name.to_string(), holder.node.to_string())).collect();
    for (name, node) in &places {
        run.bind_to(name, node).unwrap();
    }
    assert_eq!(run.bound(), 8);
}

#[test]
fn a_pod_without_company_is_let_go_as_well_and_filter_decides_it() {
    let mut run = run("{mode: release, afterSeconds: 5}");
    run.create(gated(pod("big").gpus(16)));
    run.done();
    run.wait(7);
    assert_eq!(run.done(), ["release big freely"]);
    assert_eq!(run.filter("big"), Err(Reason::InsufficientDevices));
    run.step(Input::NodeApplied(node("dgx", 16)));
    assert_eq!(run.filter_of("big", &["dgx"]), Ok("dgx"));
}

#[test]
fn a_quota_is_no_lack_of_nodes() {
    for mode in ["release", "provisioning-request"] {
        let mut run = run(&format!("{{mode: {mode}, afterSeconds: 5}}"));
        run.step(Input::ProvisioningServed(Some("v1".into())));
        run.step(Input::QuotaApplied(Quota { namespace: "ns".into(), name: "q".into(), hard: vec![("nvidia.com/gpu".into(), 8)] }));
        eight(&mut run);
        run.wait(60);
        assert!(run.done().is_empty() && run.pods.values().all(|pod| pod.gated));
    }
}

#[test]
fn a_gang_that_lacks_nodes_asks_for_them_once_says_how_far_that_is_and_gives_the_request_up_when_it_runs() {
    let mut run = run("{mode: provisioning-request, afterSeconds: 10, provisioningClass: check-capacity.autoscaling.x-k8s.io}");
    run.step(Input::ProvisioningServed(Some("v1".into())));
    eight(&mut run);
    run.wait(12);
    assert_eq!(run.done(), ["provision check-capacity.autoscaling.x-k8s.io for Job/train: 8xm0"]);
    let key = answer(&mut run, ProvisioningState::Pending, "");
    assert!(key.name.starts_with("train-"), "{key}");
    run.wait(100);
    let done = run.done();
    assert_eq!(done.iter().filter(|text| text.starts_with("consume")).count(), 8, "each member once, and nothing else: {done:?}");
    assert_eq!(done.len(), 8);
    assert!(run.pods.values().all(|pod| pod.gated), "nothing is let go");
    answer(&mut run, ProvisioningState::Accepted, "");
    answer(&mut run, ProvisioningState::Provisioned, "found");
    assert_eq!(run.done(), ["GangNodes"]);
    let told = run.engine.nodes_asked_for(&uid("m0")).unwrap();
    assert!(told.ends_with("(check-capacity.autoscaling.x-k8s.io): the nodes are provisioned: found"), "{told}");
    assert_eq!(run.engine.queue()[0].nodes_asked, Some(told));
    two_more_nodes(&mut run);
    assert_eq!(run.held().len(), 8);
    run.wait(1);
    assert!(!run.done().iter().any(|text| text.starts_with("unprovision")), "some are not bound yet");
    let places: Vec<(String, String)> =
        run.engine.book().holders().map(|holder| (holder.key.name.to_string(), holder.node.to_string())).collect();
    for (name, node) in &places {
        run.bind_to(name, node).unwrap();
    }
    run.wait(3);
    assert_eq!(run.done(), [format!("unprovision {}", key.name)]);
    run.step(Input::ProvisioningDeleted(key));
    run.wait(60);
    assert!(run.done().is_empty());
}

#[test]
fn a_request_that_failed_stands_for_five_minutes_and_one_whose_nodes_were_taken_away_is_made_anew_at_once() {
    for (state, stands_s) in
        [(ProvisioningState::Failed, 290), (ProvisioningState::CapacityRevoked, 0), (ProvisioningState::BookingExpired, 0)]
    {
        let mut run = run("{mode: provisioning-request, afterSeconds: 10}");
        run.step(Input::ProvisioningServed(Some("v1".into())));
        eight(&mut run);
        run.wait(12);
        let key = answer(&mut run, state, "no quota in the zone");
        run.wait(stands_s);
        assert!(!run.done().iter().any(|text| text.starts_with("unprovision")), "{state:?}");
        run.wait(15);
        assert!(run.done().contains(&format!("unprovision {}", key.name)), "{state:?}");
        run.step(Input::ProvisioningDeleted(key));
        run.wait(12);
        assert!(run.done().iter().any(|text| text.starts_with("provision ")), "{state:?}");
    }
}

#[test]
fn what_was_not_seen_is_ordered_again_and_where_nobody_serves_the_kind_nothing_is() {
    let mut run = run("{mode: provisioning-request, afterSeconds: 10}");
    eight(&mut run);
    run.wait(60);
    assert!(run.done().is_empty());
    assert!(run.engine.nodes_asked_for(&uid("m0")).unwrap().contains("serves no ProvisioningRequest"));
    run.step(Input::ProvisioningServed(Some("v1beta1".into())));
    run.wait(65);
    assert_eq!(run.done().len(), 3, "now, and twice again");
    assert_eq!(&*run.ordered.as_ref().unwrap().version, "v1beta1");
    // Another process finds it and makes no second one.
    answer(&mut run, ProvisioningState::Pending, "");
    run.wait(60);
    assert!(!run.done().iter().any(|text| text.starts_with("provision ")));
}

#[test]
fn a_request_whose_gang_is_gone_or_has_other_members_goes() {
    let mut run = run("{mode: provisioning-request, afterSeconds: 10}");
    run.step(Input::ProvisioningServed(Some("v1".into())));
    eight(&mut run);
    run.wait(12);
    let key = answer(&mut run, ProvisioningState::Pending, "");
    run.ordered.as_mut().unwrap().sets[0].1 = 7;
    answer(&mut run, ProvisioningState::Pending, "");
    run.done();
    run.wait(2);
    assert_eq!(run.done(), [format!("unprovision {}", key.name)], "for seven of eight");
    run.step(Input::ProvisioningDeleted(key));
    run.wait(12);
    let key = answer(&mut run, ProvisioningState::Pending, "");
    run.wait(2);
    run.done();
    for index in 0..8 {
        run.delete(&format!("m{index}"));
    }
    run.wait(2);
    assert_eq!(run.done(), [format!("unprovision {}", key.name)]);
}

#[test]
fn a_replica_without_the_voice_asks_for_nothing() {
    for mode in ["release", "provisioning-request"] {
        let mut run = run(&format!("{{mode: {mode}, afterSeconds: 10}}"));
        run.step(Input::ProvisioningServed(Some("v1".into())));
        eight(&mut run);
        run.step(Input::Desynced);
        run.done();
        run.wait(60);
        assert!(run.done().is_empty());
    }
}
