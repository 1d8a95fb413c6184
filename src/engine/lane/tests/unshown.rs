//! Members that only questions were about: they are planned with, and forgotten when no watch shows them.

use super::run::{NAMES, Run, member, uid};
use crate::engine::{FilterQuery, Input};

#[test]
fn members_that_were_gone_when_kube_scheduler_asked_about_them_keep_no_room() {
    let mut run = Run::without_nominations();
    run.apply(member("a", 2, 8));
    // The API server has no such pod any more: nothing that is written on it arrives.
    run.step(Input::Filter(FilterQuery { pod: &member("b", 2, 8), names: &NAMES }));
    run.settle();
    assert_eq!(run.held().len(), 2, "the question may be sooner than the watch");
    run.wait(29);
    assert_eq!(run.held().len(), 2);
    run.wait(3);
    assert!(run.engine.explain(&uid("b")).is_none() && run.engine.explain(&uid("a")).is_some());
    assert_eq!(run.held().len(), 0, "a waits for a whole gang");
}
