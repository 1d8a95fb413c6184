//! Released pods to which kube-scheduler has not come yet.

use super::*;

/// Single pods, all let go; the first of them is what kube-scheduler is busy with.
fn let_go(names: &[&str]) -> Run {
    let mut run = Run::without_nominations();
    names.iter().for_each(|name| run.create(gated(pod(name).gpus(1))));
    run.done();
    run
}

/// Seconds in which kube-scheduler asks about one pod again and again.
fn busy(run: &mut Run, with: &str, seconds: u64) {
    for _ in 0..seconds {
        run.wait(1);
        run.filter(with).unwrap();
    }
}

#[test]
fn who_stands_in_line_while_kube_scheduler_asks_about_others_is_left_alone() {
    let mut run = let_go(&["a", "b"]);
    busy(&mut run, "a", 180);
    let done = run.done();
    assert!(done.iter().all(|effect| !effect.ends_with(" b") && !effect.contains(" b ")), "{done:?}");
    assert_eq!(run.filter("b"), Ok("r1-a"), "its plan stands");
    run.bind("b");
    assert_eq!(run.bound(), 1);
}

#[test]
fn when_nothing_is_heard_of_kube_scheduler_those_in_line_are_reminded() {
    let mut run = let_go(&["a", "b"]);
    busy(&mut run, "a", 5);
    run.wait(8);
    let done = run.done();
    assert!(done.iter().any(|effect| effect.starts_with("nominate b ")), "{done:?}");
}

#[test]
fn a_pod_that_was_found_unschedulable_stands_in_no_line() {
    let mut run = let_go(&["a", "b"]);
    let found = Pod { unschedulable: true, ..run.pods[&uid("b")].clone() };
    run.apply(found);
    busy(&mut run, "a", 13);
    let done = run.done();
    assert!(done.iter().any(|effect| effect.starts_with("nominate b ")), "{done:?}");
}

#[test]
fn a_pod_whose_gate_is_still_there_stands_in_no_line() {
    let mut run = let_go(&["a", "b"]);
    // The write that takes it off was lost.
    let lost = Pod { gated: true, planned: None, ..run.pods[&uid("b")].clone() };
    run.apply(lost);
    busy(&mut run, "a", 13);
    let done = run.done();
    assert!(done.contains(&"release b".to_owned()), "{done:?}");
}
