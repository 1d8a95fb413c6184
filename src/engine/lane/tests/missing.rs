//! Members that their owner cannot create.

use std::time::Duration;

use super::run::{Run, gated, member, uid};
use crate::engine::Input;
use crate::model::{CreationFailure, OwnerRef, Pod, PodKey, Reason, Refusal, Time};

const QUOTA: &str = "Error creating: pods \"train-x\" is forbidden: exceeded quota: five";

fn job() -> OwnerRef {
    OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", "train"), uid: "job".into() }
}

fn failure(at: Time, message: &str) -> Input<'static> {
    Input::CreationFailed(CreationFailure { owner: job(), above: Vec::new(), message: message.into(), at })
}

/// Two of three, made by a Job.
fn two_of_three() -> Run {
    let mut run = Run::new();
    run.now = Time::from_unix_ms(100_000);
    for name in ["a", "b"] {
        run.create(gated(Pod { controller: Some(job()), created_at: run.now, ..member(name, 3, 8) }));
    }
    run
}

fn told(run: &Run) -> Refusal {
    run.engine.explain(&uid("a")).unwrap().refusal.clone().unwrap()
}

#[test]
fn a_gang_whose_members_cannot_be_created_says_who_cannot_and_why_in_constant_words_on_the_pod() {
    let mut run = two_of_three();
    run.wait(6);
    assert_eq!(told(&run).reason, Reason::GroupIncomplete);
    run.done();
    run.step(failure(run.now, QUOTA));
    assert_eq!(run.done(), ["GangWaiting", "say a members-not-created", "say b members-not-created"]);
    let refusal = told(&run);
    assert_eq!(refusal.needed, "3 members of gang ns/train");
    assert_eq!(refusal.there, format!("2 of them; Job ns/train cannot create the other 1: {QUOTA}"));
    assert!(refusal.remedy.starts_with("raise that ResourceQuota"), "{}", refusal.remedy);
    // Each attempt names another pod.
    run.step(failure(run.now, &QUOTA.replace("train-x", "train-y")));
    assert!(told(&run).there.contains("train-y"));
    run.wait(3);
    assert!(run.done().is_empty(), "more of the same is no news on the pod");
    assert_eq!(run.engine.queue()[0].refusal.as_ref().unwrap().reason, Reason::MembersNotCreated);
    run.create(gated(member("c", 3, 8)));
    assert_eq!(run.held().len(), 3, "and when the last one comes it is planned");
}

#[test]
fn the_failures_of_a_part_count_for_the_whole_and_those_of_strangers_do_not() {
    for (owner, above, counts) in [("job", vec![], true), ("part", vec!["job".into()], true), ("other", vec![], false)] {
        let mut run = two_of_three();
        run.wait(6);
        let owner = OwnerRef { uid: owner.into(), ..job() };
        run.step(Input::CreationFailed(CreationFailure { owner, above, message: QUOTA.into(), at: run.now }));
        assert_eq!(told(&run).reason == Reason::MembersNotCreated, counts);
    }
    let mut run = two_of_three();
    run.wait(6);
    let elsewhere = OwnerRef { key: PodKey::new("other", "train"), ..job() };
    run.step(Input::CreationFailed(CreationFailure { owner: elsewhere, above: Vec::new(), message: QUOTA.into(), at: run.now }));
    assert_eq!(told(&run).reason, Reason::GroupIncomplete, "whoever writes Events in one namespace says nothing about another");
}

#[test]
fn a_failure_before_the_last_member_was_created_or_of_an_hour_ago_explains_nothing() {
    let mut run = two_of_three();
    run.step(failure(Time::from_unix_ms(run.now.unix_ms() - 30_000), QUOTA));
    run.wait(6);
    assert_eq!(told(&run).reason, Reason::GroupIncomplete);
    run.step(failure(run.now, "violates PodSecurity \"restricted:latest\""));
    assert!(told(&run).remedy.contains("pod security"));
    run.now = run.now + Duration::from_hours(1);
    run.wait(1);
    assert_eq!(told(&run).reason, Reason::GroupIncomplete);
}

#[test]
fn what_owners_said_is_remembered_with_bounds_the_newest_of_each() {
    let mut run = two_of_three();
    for index in 0..3000_u64 {
        let owner = OwnerRef { uid: index.to_string().into(), ..job() };
        let at = Time::from_unix_ms(run.now.unix_ms() + index);
        run.step(Input::CreationFailed(CreationFailure { owner, above: Vec::new(), message: QUOTA.into(), at }));
    }
    run.step(failure(Time::from_unix_ms(run.now.unix_ms() + 9000), "new"));
    run.step(failure(run.now, "old"));
    run.wait(6);
    assert!(told(&run).there.ends_with(": new"));
    assert_eq!(run.engine.lane.failures.len(), 1024);
}
