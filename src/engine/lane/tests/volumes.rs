//! Members whose volumes lie somewhere: the gang is planned there from the start.

use std::sync::Arc;

use super::run::{Run, gated, member, uid};
use crate::engine::Input;
use crate::model::fixtures::pod;
use crate::model::{Operator, Pod, PodKey, Reason, Requirement, TopologyWishes, Volume};

fn volume(name: &str, claim: &str, rack: &str) -> Volume {
    let requirement = Requirement { key: "rack".into(), field: false, operator: Operator::In, values: vec![rack.into()] };
    Volume { name: name.into(), claim: Some(PodKey::new("ns", claim)), reachable: Some(vec![vec![requirement]]) }
}

fn with_claims(pod: Pod, claims: &[&str]) -> Pod {
    Pod { claims: claims.iter().map(|claim| Arc::from(*claim)).collect(), ..pod }
}

/// Three of eight each, of which the last one has the claim.
fn create(run: &mut Run, gang: &str, claims: &[&str]) {
    for (name, claims) in [("a", &[][..]), ("b", &[]), ("c", claims)] {
        let mut pod = with_claims(gated(member(&format!("{gang}{name}"), 3, 8)), claims);
        pod.gang.as_mut().unwrap().id.key = PodKey::new("ns", gang);
        run.create(pod);
    }
}

#[test]
fn a_gang_is_planned_where_the_volume_of_one_member_is_before_anybody_is_bound() {
    let mut run = Run::new();
    run.step(Input::VolumeApplied(volume("pv", "data", "r2")));
    create(&mut run, "x", &["data"]);
    assert_eq!(run.held(), ["r2-a", "r2-b", "r2-c"]);
    // One of the same name elsewhere, one that everybody reaches and one that nothing is known of close nothing.
    let mut run = Run::new();
    run.step(Input::VolumeApplied(Volume { claim: Some(PodKey::new("other", "data")), ..volume("pv", "", "r2") }));
    run.step(Input::VolumeApplied(Volume { reachable: None, ..volume("pv-2", "free", "r2") }));
    create(&mut run, "x", &["data", "free", "unknown"]);
    assert_eq!(run.held(), ["r1-a", "r1-b", "r1-c"]);
}

#[test]
fn volumes_that_no_rack_unites_are_told_and_the_gang_is_planned_once_one_is_elsewhere() {
    let mut run = Run::new();
    run.step(Input::VolumeApplied(volume("pv-1", "one", "r1")));
    run.step(Input::VolumeApplied(volume("pv-2", "two", "r2")));
    create(&mut run, "x", &["one", "two"]);
    assert!(run.held().is_empty());
    assert_eq!(run.engine.explain(&uid("xc")).unwrap().refusal.as_ref().unwrap().reason, Reason::NoDomainForGroup);
    create(&mut run, "y", &[]);
    assert_eq!(run.held(), ["r1-a", "r1-b", "r1-c"], "what holds one gang back says nothing of one without volumes");
    run.step(Input::VolumeDeleted("pv-1".into()));
    run.settle();
    assert_eq!(run.held().len(), 6);
    assert!(!run.pods[&uid("xc")].gated);
}

#[test]
fn of_two_volumes_of_a_claim_neither_is_believed_until_one_is_gone() {
    let mut run = Run::new();
    run.step(Input::VolumeApplied(volume("old", "data", "r1")));
    run.step(Input::VolumeApplied(volume("new", "data", "r2")));
    run.step(Input::VolumeApplied(Volume { claim: None, ..volume("old", "", "r1") }));
    create(&mut run, "x", &["data"]);
    assert_eq!(run.held(), ["r2-a", "r2-b", "r2-c"]);
}

#[test]
fn a_pod_without_company_goes_where_its_volume_is() {
    let mut run = Run::new();
    run.step(Input::VolumeApplied(volume("pv", "data", "r2")));
    run.create(with_claims(gated(Pod { topology: TopologyWishes::default(), ..pod("one").gpus(8) }), &["data"]));
    assert_eq!(run.held(), ["r2-a"]);
    for name in ["p", "q"] {
        run.create(with_claims(gated(pod(name).gpus(8)), &["data"]));
    }
    run.create(with_claims(gated(pod("late").gpus(8)), &["data"]));
    let refusal = run.engine.explain(&uid("late")).unwrap().refusal.clone().unwrap();
    assert_eq!(
        (refusal.reason, refusal.there.as_str()),
        (Reason::NodesClosed, "nodes that have them free: 3 from which its volume cannot be reached",)
    );
}
