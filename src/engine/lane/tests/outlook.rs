//! When a gang could start: a range with its basis, or why nobody knows.

use std::time::Duration;

use super::run::{NAMES, Run, gated, member, uid};
use crate::engine::Outlook;
use crate::model::fixtures::pod;
use crate::model::{GangId, Pod};

/// A pod on each of six nodes that takes all of it and says that it runs for so many hours, and a gang of three whole nodes of one rack.
fn full(hours: [Option<u64>; 6]) -> Run {
    let mut run = Run::new();
    for (at, hours) in hours.into_iter().enumerate() {
        let name = format!("runs-{at}");
        let expected = hours.map(|hours| Duration::from_secs(3600 * hours));
        run.apply(Pod { expected, created_at: run.now, ..pod(&name).gpus(8).on(NAMES[at]) });
    }
    gang(&mut run, 8);
    run
}

fn gang(run: &mut Run, gpus: u32) {
    for name in ["a", "b", "c"] {
        run.create(gated(Pod { created_at: run.now, ..member(name, 3, gpus) }));
    }
}

fn outlook(run: &Run, name: &str) -> Outlook {
    let id: GangId = run.engine.gang_of(&uid(name)).unwrap().clone();
    run.engine.search_for_start(run.now, &id).unwrap().outlook()
}

#[test]
fn it_starts_when_those_have_ended_that_are_in_its_way_and_no_others() {
    // The rack of the first three is free after four hours, that of the others after nine.
    let run = full([Some(1), Some(4), Some(2), Some(9), Some(1), Some(1)]);
    let Outlook::Expected { from, until, basis } = outlook(&run, "a") else { panic!("{:?}", outlook(&run, "a")) };
    assert_eq!((from.as_secs(), until.as_secs().div_ceil(60)), (0, 240));
    assert_eq!(basis, "what the 3 pods that have to end say of themselves");
}

#[test]
fn where_one_of_them_does_not_say_how_long_it_runs_nobody_can_tell() {
    let run = full([Some(1), None, Some(2), None, None, Some(1)]);
    let Outlook::NotPredictable { why } = outlook(&run, "a") else { panic!("{:?}", outlook(&run, "a")) };
    assert!(why.ends_with("of the 3 pods that have to end do not say how long they run"), "{why}");
}

#[test]
fn who_comes_later_cannot_tell_as_long_as_another_waits_before_it() {
    let mut run = full([Some(1), Some(4), Some(2), Some(9), Some(1), Some(1)]);
    run.create(gated(Pod { created_at: run.now, ..pod("late").gpus(8) }));
    assert_eq!(outlook(&run, "late"), Outlook::NotPredictable { why: "another gang waits before it".into() });
    assert!(matches!(outlook(&run, "a"), Outlook::Expected { .. }), "the later one does not concern it");
}

#[test]
fn what_never_fits_is_told_and_a_gang_that_runs_is_not_asked_about() {
    let mut run = Run::new();
    run.create(gated(Pod { created_at: run.now, ..pod("runs").gpus(8) }));
    run.bind("runs");
    let key = pod("runs").key;
    assert!(run.engine.searches_for_start(run.now, &key.namespace, &key.name).is_empty());
    // Four whole nodes are in no rack.
    for name in ["a", "b", "c", "d"] {
        run.create(gated(Pod { created_at: run.now, ..member(name, 4, 8) }));
    }
    assert_eq!(outlook(&run, "a"), Outlook::Never);
}
