//! When what was planned would start: at once, once those have gone that go for it, within a range that rests on what is known of those
//! who run, or nobody can tell.

use std::collections::BTreeMap;

use crate::cli::explain::start_line;
use crate::cli::simulate::Simulated;
use crate::engine::{Outlook, Search};
use crate::model::Time;
use crate::wire::api::StartView;

/// Of all that the specs ask for, in the order of names: a gang, or a pod without company. Beside what `/api/v1/starts` says of those who
/// wait there is `now` and `after-evictions`.
pub(super) fn starts(outcome: &Simulated, now: Time) -> Vec<StartView> {
    let mut starts: BTreeMap<String, StartView> = BTreeMap::new();
    for placed in outcome.report.placements.iter().filter(|placed| outcome.is_asked(&placed.pod)) {
        let gang = gang(outcome, &placed.pod);
        let is_for_it = |preemptor: &str| preemptor.split_once(' ').is_some_and(|(_, name)| name == gang);
        let (when, until, basis) = match outcome.report.evictions.iter().filter(|went| is_for_it(&went.preemptor)).count() {
            0 => ("now", Some(0), None),
            1 => ("after-evictions", None, Some("as soon as the pod is gone that had to go for it".to_owned())),
            pods => ("after-evictions", None, Some(format!("as soon as the {pods} pods are gone that had to go for it"))),
        };
        starts.insert(gang.clone(), StartView { gang, when, from_seconds: Some(0), until_seconds: until, basis });
    }
    // Of an elastic gang that starts with some of its members the others join later.
    for pending in outcome.report.pending.iter().filter(|pending| outcome.is_asked(&pending.pod)) {
        let gang = gang(outcome, &pending.pod);
        starts.entry(gang.clone()).or_insert_with(|| StartView::of(gang, outlook(outcome, now, &pending.pod)));
    }
    starts.into_values().collect()
}

fn outlook(outcome: &Simulated, now: Time, pod: &str) -> Outlook {
    let search = find(outcome, pod).and_then(|pod| outcome.engine().search_for_start(now, outcome.engine().gang_of(&pod.uid)?));
    let unknown = || Outlook::NotPredictable { why: "it does not wait for accelerators; what it waits for stands above".to_owned() };
    search.map_or_else(unknown, Search::outlook)
}

fn find<'a>(outcome: &'a Simulated, pod: &str) -> Option<&'a crate::model::Pod> {
    let (namespace, name) = pod.split_once('/')?;
    outcome.engine().pod(namespace, name)
}

/// The gang that a pod is in; its own name where it is in none.
fn gang(outcome: &Simulated, pod: &str) -> String {
    let gang = find(outcome, pod).and_then(|pod| outcome.engine().gang_of(&pod.uid));
    gang.map_or_else(|| pod.to_owned(), ToString::to_string)
}

/// For people.
pub(super) fn table(starts: &[StartView]) -> String {
    let line = |start: &StartView| format!("  {}  {}\n", start.gang, start_line(&serde_json::json!(start)));
    format!("\nSTART\n{}", starts.iter().map(line).collect::<String>())
}
