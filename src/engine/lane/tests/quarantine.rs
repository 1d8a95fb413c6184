//! Nodes that fail pods are given no more of them, for a while.

use std::time::Duration;

use super::run::{NAMES, Run, gated, member, nodes, uid};
use crate::engine::Input;
use crate::model::fixtures::pod;
use crate::model::{Node, NodeFailure, NodeName, OwnerRef, Pod, PodKey, Reason, Time};

const NODE: &str = "r1-a";
const HOUR_S: u64 = 3600;

/// An hour in, so that there is a past.
fn run() -> Run {
    let mut run = Run::new();
    run.now = Time::from_unix_ms(HOUR_S * 1000);
    run
}

/// A pod that the node did not run, so many seconds ago.
fn fails(run: &mut Run, node: &str, name: &str, ago_s: u64) {
    let at = Time::from_unix_ms(run.now.unix_ms().saturating_sub(ago_s * 1000));
    let failure =
        NodeFailure { uid: uid(name), pod: PodKey::new("ns", name), node: node.into(), why: "UnexpectedAdmissionError".into(), at };
    run.step(Input::NodeFailed(failure));
}

fn is_quarantined(run: &Run, node: &str) -> bool {
    let (said, closed) =
        (run.engine.quarantine(&NodeName::from(node)).is_some(), run.engine.book().node(node).is_some_and(|it| it.quarantined));
    assert_eq!(said, closed, "{node}");
    said
}

fn labelled(word: Option<&str>) -> Node {
    let mut node = nodes().into_iter().find(|node| node.name.as_str() == NODE).unwrap();
    node.labels.extend(word.map(|word| ("gangplank.dev/quarantine".into(), word.into())));
    node
}

#[test]
fn it_takes_three_failures_of_different_pods_within_an_hour() {
    for (failures, expected) in [
        (&[("a", 0), ("b", 0)][..], false),
        (&[("a", 0), ("b", 0), ("c", 0)], true),
        (&[("a", 1200), ("b", 600), ("c", 0)], true),
        (&[("a", 0), ("a", 0), ("a", 0), ("b", 0)], false),
        (&[("a", HOUR_S), ("b", 600), ("c", 0)], false),
    ] {
        let mut run = run();
        for (name, ago_s) in failures {
            fails(&mut run, NODE, name, *ago_s);
        }
        assert_eq!(is_quarantined(&run, NODE), expected, "{failures:?}");
        let told = run.done().iter().any(|word| word == "NodeQuarantined r1-a");
        assert_eq!((told, run.engine.census().quarantined), (expected, usize::from(expected)), "{failures:?}");
    }
}

#[test]
fn it_is_given_no_pod_that_asks_for_devices_and_keeps_those_that_it_has() {
    let mut run = run();
    run.create(gated(pod("before").gpus(8)));
    run.bind("before");
    let on = run.engine.book().holder(&uid("before")).unwrap().node.clone();
    for name in ["a", "b", "c"] {
        fails(&mut run, on.as_str(), name, 0);
    }
    assert!(is_quarantined(&run, on.as_str()));
    assert_eq!(run.bound(), 1, "who runs there stays");
    run.delete("before");
    assert_eq!(on.as_str(), NODE);
    run.apply(pod("single").gpus(8));
    assert_eq!(run.filter_of("single", &[NAMES[0]]), Err(Reason::NodeQuarantined));
    for name in ["m0", "m1", "m2"] {
        run.create(gated(member(name, 3, 8)));
    }
    assert_eq!(run.filter("m0"), Ok("r2-a"), "of its rack two are left");
    assert_eq!(run.engine.book().node(NODE).unwrap().fits(&crate::book::Shape::plain(&pod("plain").request)).err(), None);
}

#[test]
fn it_ends_by_itself_and_what_failed_before_does_not_count_again() {
    let mut run = run();
    for (name, ago_s) in [("a", 300), ("b", 200), ("c", 100)] {
        fails(&mut run, NODE, name, ago_s);
    }
    run.now = run.now + Duration::from_secs(HOUR_S - 110);
    run.wait(1);
    assert!(is_quarantined(&run, NODE), "it counts from the last failure");
    run.wait(10);
    assert!(!is_quarantined(&run, NODE) && run.done().contains(&"NodeQuarantineEnded r1-a".to_owned()));
    for (name, ago_s) in [("a", 300), ("b", 200), ("c", 100)] {
        // A watch that is listed anew tells of old pods again.
        fails(&mut run, NODE, name, ago_s + HOUR_S - 110 + 11);
    }
    for name in ["d", "e"] {
        fails(&mut run, NODE, name, 0);
    }
    assert!(!is_quarantined(&run, NODE), "two of them are new");
    fails(&mut run, NODE, "f", 0);
    assert!(is_quarantined(&run, NODE));
}

#[test]
fn after_a_restart_pods_that_failed_say_it_again_and_it_ends_when_it_would_have() {
    let mut run = run();
    for (name, ago_s) in [("a", 2000), ("b", 1900), ("c", 1800)] {
        fails(&mut run, NODE, name, ago_s);
    }
    let until = run.engine.quarantine(&NODE.into()).unwrap().until;
    assert_eq!(until.unix_ms() / 1000, run.now.unix_ms() / 1000 + 1800);
}

#[test]
fn an_operators_label_ends_it_and_keeps_the_node_out_of_it() {
    let mut run = run();
    for name in ["a", "b", "c"] {
        fails(&mut run, NODE, name, 0);
    }
    run.step(Input::NodeApplied(labelled(Some("off"))));
    assert!(!is_quarantined(&run, NODE));
    for name in ["d", "e", "f", "g"] {
        fails(&mut run, NODE, name, 0);
    }
    assert!(!is_quarantined(&run, NODE));
    run.step(Input::NodeApplied(labelled(None)));
    fails(&mut run, NODE, "h", 0);
    assert!(!is_quarantined(&run, NODE), "what failed meanwhile does not count");
}

#[test]
fn what_fails_many_nodes_at_once_leaves_most_of_them_open() {
    let mut run = run();
    for node in NAMES {
        for name in ["a", "b", "c"] {
            fails(&mut run, node, &format!("{node}-{name}"), 0);
        }
    }
    assert_eq!(run.engine.census().quarantined, 1, "of six");
}

#[test]
fn a_node_that_goes_away_again_and_again_under_its_pods_is_held_to_it_unless_it_is_cordoned() {
    for cordoned in [false, true] {
        let mut run = run();
        let job = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", "job"), uid: "job-1".into() };
        run.create(gated(Pod { controller: Some(job), ..pod("single").gpus(8) }));
        run.bind("single");
        let on = run.engine.book().holder(&uid("single")).unwrap().node.clone();
        let node = nodes().into_iter().find(|node| node.name == on).unwrap();
        for time in 0..3 {
            assert!(!is_quarantined(&run, on.as_str()), "after {time}");
            run.step(Input::NodeApplied(Node { ready: false, unschedulable: cordoned, ..node.clone() }));
            run.wait(20);
            run.step(Input::NodeApplied(Node { unschedulable: cordoned, ..node.clone() }));
            run.wait(20);
        }
        assert_eq!(is_quarantined(&run, on.as_str()), !cordoned, "cordoned: {cordoned}");
    }
}

#[test]
fn no_place_is_kept_on_it_for_the_successor_of_a_member() {
    let mut run = run();
    let job = OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: PodKey::new("ns", "job"), uid: "job-1".into() };
    for name in ["m0", "m1"] {
        run.create(gated(Pod { controller: Some(job.clone()), ..member(name, 2, 8) }));
    }
    for name in ["m0", "m1"] {
        run.bind(name);
    }
    let on = run.engine.book().holder(&uid("m0")).unwrap().node.clone();
    run.delete("m0");
    assert_eq!(run.held().len(), 2, "its place is kept");
    for name in ["a", "b", "c"] {
        fails(&mut run, on.as_str(), name, 0);
    }
    assert_eq!(run.held().len(), 1);
    run.create(gated(Pod { controller: Some(job), ..member("m0b", 2, 8) }));
    let now_on = run.filter("m0b").unwrap();
    assert!(now_on != on.as_str() && now_on.starts_with("r1"), "{now_on}");
}
