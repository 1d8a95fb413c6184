//! Driving, played: a small cluster in memory does what the API server, the Job controller and a scheduler do, whatever can go
//! wrong goes wrong for a while, and then the spec must come to its end.

mod training_job;
mod world;

use super::{Act, KINDS};

#[test]
fn every_write_has_a_name_of_its_own_and_none_goes_beyond_what_is_looked_at() {
    let mut names: Vec<&str> = KINDS.iter().flat_map(|driver| driver.steps).map(|step| step.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
    for driver in KINDS {
        for step in driver.steps.iter().filter(|step| step.act != Act::Ensure) {
            assert!(
                step.resource == driver.resource || driver.looks.contains(&step.resource),
                "{}: who makes it has to look at it",
                step.name
            );
        }
    }
}
