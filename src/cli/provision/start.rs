//! When what was planned would start: at once, once those have gone that go for it, within a range that rests on what is known of those
//! who run, or nobody can tell.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::explain::{self, start_line};
use crate::cli::http::Client;
use crate::cli::simulate::Simulated;
use crate::engine::{Outlook, Search};
use crate::model::Time;
use crate::wire::api::StartView;

/// When one starts, and who says so.
#[derive(Debug, Serialize)]
pub(super) struct Start {
    #[serde(flatten)]
    view: Value,
    /// `estimate`, or `server` of what it has seen waiting.
    by: &'static str,
}

impl Start {
    pub(super) fn estimated(view: &StartView) -> Self {
        Self { view: json!(view), by: "estimate" }
    }
}

/// The same, but of those that a running server has seen waiting, what it says.
pub(super) fn asked(server: &str, starts: impl Iterator<Item = Start>) -> anyhow::Result<Vec<Start>> {
    let mut client = Client::new(server);
    let mut told = |start: Start| {
        let Some((namespace, name)) = start.view["gang"].as_str().and_then(|gang| gang.split_once('/')) else { return Ok(start) };
        let known = explain::starts(&mut client, namespace, name)?;
        let same = known.as_array().into_iter().flatten().find(|known| known["gang"] == start.view["gang"]).cloned();
        Ok(same.map_or(start, |view| Start { view, by: "server" }))
    };
    starts.map(&mut told).collect()
}

/// What an estimate does not know, where that may matter.
pub(super) fn left_out(starts: &[Start]) -> Option<&'static str> {
    let waits = |start: &&Start| start.by == "estimate" && start.view["when"] != "now";
    starts.iter().find(waits).map(|_| {
        "START is an estimate: durations learnt from earlier runs and room that Gangplank keeps for others are not in it; of what was \
         applied, --server knows both"
    })
}

/// TrainJobs as the JobSets that Trainer makes of them: of the template of the runtime that was rendered with each.
pub(super) fn as_trainer_does(objects: Vec<Value>) -> Vec<Value> {
    let (runtimes, mut rest): (Vec<Value>, Vec<Value>) = objects.into_iter().partition(|object| object["kind"] == "TrainingRuntime");
    for job in rest.iter_mut().filter(|object| object["kind"] == "TrainJob") {
        let named = |runtime: &&Value| runtime["metadata"]["name"] == job["spec"]["runtimeRef"]["name"];
        let Some(template) = runtimes.iter().find(named).map(|runtime| &runtime["spec"]["template"]) else { continue };
        let mut metadata = job["metadata"].clone();
        for (key, value) in template["metadata"]["annotations"].as_object().into_iter().flatten() {
            metadata["annotations"][key] = value.clone();
        }
        *job = json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata, "spec": template["spec"]});
    }
    rest
}

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
pub(super) fn table(starts: &[Start]) -> String {
    let by = |start: &Start| if start.by == "server" { ", says the server" } else { "" };
    let gang = |start: &Start| start.view["gang"].as_str().unwrap_or_default().to_owned();
    let line = |start: &Start| format!("  {}  {}{}\n", gang(start), start_line(&start.view), by(start));
    format!("\nSTART\n{}", starts.iter().map(line).collect::<String>())
}
