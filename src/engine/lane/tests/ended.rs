//! Members that ended: the watch tells it as a deletion, and what became of them is asked for.

use super::run::{Run, gated, member, uid};
use crate::model::{OwnerRef, Pod, PodKey, PodPhase};

fn owned(name: &str, controller: &str) -> Pod {
    let owner = OwnerRef { api_version: "v1".into(), kind: "Set".into(), key: PodKey::new("ns", controller), uid: controller.into() };
    gated(Pod { controller: Some(owner), ..member(name, 3, 8) })
}

/// Three of three run.
fn running(controller: &str) -> Run {
    let mut run = Run::new();
    for name in ["a", "b", "c"] {
        run.create(owned(name, controller));
    }
    for name in ["a", "b", "c"] {
        run.bind(name);
    }
    run
}

/// The pod is there still, and the watch shows it no more.
fn end(run: &mut Run, name: &str, phase: PodPhase) {
    let pod = Pod { phase, ..run.pods[&uid(name)].clone() };
    run.apply(pod);
    run.settle();
}

#[test]
fn a_place_is_not_kept_for_a_member_that_ended_well_once_that_is_known() {
    let mut run = running("set");
    end(&mut run, "a", PodPhase::Succeeded);
    assert_eq!(run.held().len(), 3, "it may be one that is replaced");
    run.wait(2);
    assert_eq!(run.held().len(), 2);
    end(&mut run, "b", PodPhase::Failed);
    run.wait(2);
    assert_eq!(run.held().len(), 2, "this one is replaced");
    run.create(owned("b2", "set"));
    assert_eq!(run.filter("b2"), Ok("r1-b"), "in the place of the one that failed");
}

#[test]
fn where_nobody_runs_any_more_those_that_replace_others_do_not_wait_for_those_that_ended_well() {
    for restarted in [false, true] {
        let mut run = running("set");
        end(&mut run, "a", PodPhase::Succeeded);
        for name in ["b", "c"] {
            end(&mut run, name, PodPhase::Failed);
        }
        run.create(owned("b2", "set"));
        run.create(owned("c2", "set"));
        if restarted {
            run.restart();
        }
        run.wait(6);
        for name in ["b2", "c2"] {
            run.bind(name);
        }
        assert_eq!((run.bound(), run.engine.census().gangs["bound"]), (2, 1), "restarted: {restarted}");
    }
}

#[test]
fn what_an_earlier_gang_of_the_name_left_does_not_count() {
    let mut run = running("set-1");
    for name in ["a", "b", "c"] {
        end(&mut run, name, PodPhase::Succeeded);
    }
    run.wait(20);
    assert_eq!(run.engine.census().gangs.values().sum::<usize>(), 0, "it is over");
    run.create(owned("d", "set-2"));
    run.wait(20);
    assert!(run.held().is_empty(), "it waits for two more");
}

#[test]
fn a_gang_that_is_released_is_not_undone_because_a_member_is_done_before_the_last_is_bound() {
    let mut run = Run::new();
    for name in ["a", "b", "c"] {
        run.create(owned(name, "set"));
    }
    for name in ["a", "b"] {
        run.bind(name);
    }
    end(&mut run, "a", PodPhase::Succeeded);
    run.wait(3);
    run.bind("c");
    assert_eq!(run.engine.census().gangs["bound"], 1);
    run.wait(30);
    assert!(!run.done().iter().any(|word| word.starts_with("evict")));
}

#[test]
fn a_pod_that_ended_and_is_deleted_counts_no_more_once_somebody_looks() {
    let mut run = running("set");
    end(&mut run, "a", PodPhase::Succeeded);
    run.wait(3);
    run.pods.remove(&uid("a"));
    for name in ["b", "c"] {
        end(&mut run, name, PodPhase::Failed);
    }
    run.create(owned("b2", "set"));
    run.create(owned("c2", "set"));
    run.wait(30);
    assert!(run.held().is_empty(), "nobody says that the third was ever there");
}
