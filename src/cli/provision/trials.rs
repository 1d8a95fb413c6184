//! Trials of a sweep in a cluster: which there are, how good each is, and for halving what comes next. What has been done is
//! read off the Jobs, so that whoever drives a sweep may be stopped, and the next one goes on from there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde::Serialize;
use serde_json::{Value, json};

use super::Console;
use super::target::advised;
use crate::cli::console::columns;
use crate::provision::{Cluster, Phase, State, name, state};
use crate::recipe::Spec;
use crate::recipe::sweep::{LOOKED_AT_BYTES_MAX, Metric, Next, Outcome, RUNG, Run, SWEEP, Source, Sweep, TRIAL, best};

/// A trial, and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Trial {
    kind: &'static str,
    pub(super) sweep: String,
    #[serde(rename = "trial")]
    pub(super) number: u32,
    /// With halving: what it may spend, and on which rung that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rung: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<u64>,
    #[serde(flatten)]
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metric: Option<f64>,
    pub(super) best: bool,
    pub(super) parameters: Value,
}

impl Trial {
    /// As halving sees it.
    pub(super) fn run(&self) -> Run {
        let outcome = match (self.state.phase, self.metric) {
            (Phase::Done, Some(metric)) => Outcome::Ended(metric),
            (Phase::Done | Phase::Failed, _) => Outcome::Failed,
            _ => Outcome::Running,
        };
        Run { trial: self.number, rung: self.rung.unwrap_or(0), outcome }
    }
}

/// Trials that have a Job, with what they said. What has ended is not read again if it is `known`.
pub(super) async fn trials(cluster: &mut Cluster, spec: &Spec, sweep: &Sweep, known: &[Trial]) -> anyhow::Result<Vec<Trial>> {
    let mut all =
        if sweep.halving().is_some() { of_halving(cluster, spec, sweep, known).await? } else { of_jobs(cluster, spec, sweep).await? };
    all.sort_by_key(|trial| (trial.number, trial.rung));
    if let Some(metric) = sweep.metric() {
        let runs: Vec<Run> = all.iter().map(Trial::run).collect();
        if let Some(best) = best(metric.goal, &runs) {
            all.iter_mut().for_each(|trial| trial.best = trial.run() == best);
        }
    }
    Ok(all)
}

/// Jobs of halving, by their labels: those of others' names are not among them.
pub(super) async fn jobs(cluster: &mut Cluster, spec: &Spec) -> anyhow::Result<BTreeMap<(u32, usize), Value>> {
    let mut like = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": spec.named.name}});
    if let Some(namespace) = &spec.named.namespace {
        like["metadata"]["namespace"] = json!(namespace);
    }
    let found = cluster.list(&like, &format!("{SWEEP}={}", spec.named.name)).await.map_err(advised)?;
    let number = |job: &Value, label: &str| job["metadata"]["labels"][label].as_str()?.parse::<u32>().ok();
    let place = |job: &Value| {
        let (trial, rung) = (number(job, TRIAL)?, number(job, RUNG)? as usize);
        (name(job) == format!("{}-{trial}-{rung}", spec.named.name)).then_some((trial, rung))
    };
    Ok(found.into_iter().filter_map(|job| Some((place(&job)?, job))).collect())
}

async fn of_halving(cluster: &mut Cluster, spec: &Spec, sweep: &Sweep, known: &[Trial]) -> anyhow::Result<Vec<Trial>> {
    let mut all = Vec::new();
    for ((trial, rung), job) in jobs(cluster, spec).await? {
        // What ended well and could not be read is read again: whoever keeps its logs may have been away.
        let ended = |one: &&Trial| match one.state.phase {
            Phase::Done => one.metric.is_some(),
            Phase::Failed => true,
            _ => false,
        };
        let ended = |one: &&Trial| (one.number, one.rung) == (trial, Some(rung)) && ended(one);
        if let Some(known) = known.iter().find(ended) {
            all.push(Trial { best: false, ..known.clone() });
            continue;
        }
        let (Some(parameters), Some(budget)) = (sweep.trials().get(trial as usize), sweep.halving().and_then(|it| it.budgets.get(rung)))
        else {
            // Of an earlier text of the spec, which had more.
            continue;
        };
        let pods = cluster.pods(&job).await.map_err(advised)?;
        all.push(Trial {
            kind: KIND,
            sweep: spec.named.name.clone(),
            number: trial,
            rung: Some(rung),
            budget: Some(*budget),
            state: state(&job, &pods),
            metric: metric_of(cluster, sweep, &pods, "0").await,
            best: false,
            parameters: parameters.clone(),
        });
    }
    Ok(all)
}

/// Starts what comes next until nothing does, and says what ends.
pub(super) async fn drive(cluster: &mut Cluster, spec: &Spec, all: &mut Vec<Trial>, console: Console) -> anyhow::Result<()> {
    let Some((sweep, halving)) = spec.sweep().and_then(|sweep| Some((sweep, sweep.halving()?))) else { return Ok(()) };
    loop {
        let now = trials(cluster, spec, sweep, all).await?;
        for trial in &now {
            let before = all.iter().find(|one| (one.number, one.rung) == (trial.number, trial.rung));
            if before.is_none_or(|before| (before.state.phase, before.metric) != (trial.state.phase, trial.metric)) {
                let metric = trial.metric.map(|metric| format!(", {metric}")).unwrap_or_default();
                let budget = trial.budget.unwrap_or_default();
                console.talk(&format!("{} trial {} of budget {budget}: {}{metric}", trial.sweep, trial.number, trial.state.text));
            }
        }
        *all = now;
        let mut runs: Vec<Run> = all.iter().map(Trial::run).collect();
        loop {
            match halving.next(&runs) {
                Next::Start { trial, rung } => {
                    for object in spec.run(trial, rung)? {
                        cluster.apply(&object, false).await.map_err(advised)?;
                    }
                    runs.push(Run { trial, rung, outcome: Outcome::Running });
                }
                Next::Wait => break,
                Next::Done(_) => return Ok(()),
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The objects of all that was started of sweeps that halve.
pub(super) async fn runs<'a>(cluster: &mut Cluster, specs: impl Iterator<Item = &'a Spec>) -> anyhow::Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    for spec in specs.filter(|spec| is_halving(spec)) {
        for (trial, rung) in jobs(cluster, spec).await?.into_keys() {
            all.extend(spec.run(trial, rung)?);
        }
    }
    Ok(all)
}

/// Whether somebody has to drive it.
pub(super) fn is_halving(spec: &Spec) -> bool {
    spec.sweep().is_some_and(|sweep| sweep.halving().is_some())
}

/// A Job a trial, or an index of one Job.
async fn of_jobs(cluster: &mut Cluster, spec: &Spec, sweep: &Sweep) -> anyhow::Result<Vec<Trial>> {
    let mut rendered: Vec<Value> = spec.render(None)?.objects;
    rendered.retain(|object| object["kind"] == "Job");
    let mut all = Vec::new();
    for (trial, parameters) in (0_u32..).zip(sweep.trials()) {
        // A Job for each of them, or one for all.
        let own = rendered.iter().find(|job| name(job) == format!("{}-{trial}", spec.named.name));
        let Some(job) = own.or(rendered.first()) else { continue };
        let Some(now) = cluster.get(job).await.map_err(advised)? else { continue };
        let pods = cluster.pods(&now).await.map_err(advised)?;
        let index = if own.is_some() { "0".to_owned() } else { trial.to_string() };
        let state = if own.is_some() { state(&now, &pods) } else { of_pod(newest(&pods, &index)) };
        let metric = metric_of(cluster, sweep, &pods, &index).await;
        let parameters = parameters.clone();
        all.push(Trial {
            kind: KIND,
            sweep: spec.named.name.clone(),
            number: trial,
            rung: None,
            budget: None,
            state,
            metric,
            best: false,
            parameters,
        });
    }
    Ok(all)
}

fn of_pod(pod: Option<&Value>) -> State {
    let phase = pod.and_then(|pod| pod["status"]["phase"].as_str());
    let (phase, text) = match phase {
        Some("Succeeded") => (Phase::Done, "ended well"),
        Some("Failed") => (Phase::Failed, "failed"),
        Some("Running") => (Phase::Running, "runs"),
        Some(_) => (Phase::Waiting, "waits"),
        None => (Phase::Waiting, "not begun"),
    };
    State { phase, text: text.to_owned() }
}

/// The pod of this index that says how it went: one that ended well, else the last.
fn newest<'a>(pods: &'a [Value], index: &str) -> Option<&'a Value> {
    let of_it = pods.iter().filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == index);
    of_it.max_by_key(|pod| (pod["status"]["phase"] == "Succeeded", pod["metadata"]["creationTimestamp"].as_str().map(str::to_owned)))
}

/// What a trial says; none where it says nothing, or nothing that can be read.
async fn metric_of(cluster: &Cluster, sweep: &Sweep, pods: &[Value], index: &str) -> Option<f64> {
    let (metric, pod) = (sweep.metric()?, newest(pods, index)?);
    match metric.from {
        Source::File => written(metric, pod),
        Source::Logs => metric.read(&end_of_logs(cluster, pod).await?),
    }
}

/// What stands in the file that kubelet reads when the first container ends.
fn written(metric: &Metric, pod: &Value) -> Option<f64> {
    let container = pod["spec"]["containers"][0]["name"].as_str()?;
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    let ended = &statuses.iter().find(|status| status["name"] == container)?["state"]["terminated"];
    metric.read(ended["message"].as_str()?.as_bytes())
}

/// The end of what the first container said. More is read than is kept, and not without end.
async fn end_of_logs(cluster: &Cluster, pod: &Value) -> Option<Vec<u8>> {
    let (namespace, pod_name) = (pod["metadata"]["namespace"].as_str()?, pod["metadata"]["name"].as_str()?);
    let container = pod["spec"]["containers"][0]["name"].as_str()?.to_owned();
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let parameters = LogParams { container: Some(container), tail_lines: Some(TAIL_LINES), ..LogParams::default() };
    end_of(std::pin::pin!(api.log_stream(pod_name, &parameters).await.ok()?)).await
}

async fn end_of(mut stream: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let (mut kept, mut read, mut part) = (Vec::new(), 0, vec![0; 64 << 10]);
    while read < READ_BYTES_MAX {
        let count = stream.read(&mut part).await.ok()?;
        if count == 0 {
            break;
        }
        read += count;
        kept.extend_from_slice(&part[..count]);
        let over = kept.len().saturating_sub(LOOKED_AT_BYTES_MAX);
        kept.drain(..over);
    }
    Some(kept)
}

/// A line a trial, the best with a star.
pub(super) fn table(trials: &[Trial]) -> String {
    let head = ["SWEEP", "TRIAL", "BUDGET", "METRIC", "STATE", "PARAMETERS"].map(String::from);
    let row = |trial: &Trial| {
        let metric = trial.metric.map_or_else(|| "-".to_owned(), |metric| metric.to_string());
        let star = if trial.best { " *" } else { "" };
        let parameters = trial.parameters.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
        let budget = trial.budget.map_or_else(|| "-".to_owned(), |budget| budget.to_string());
        let phase = format!("{:?}", trial.state.phase).to_lowercase();
        [trial.sweep.clone(), trial.number.to_string(), budget, metric + star, phase, parameters.collect::<Vec<_>>().join(" ")]
    };
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(trials.iter().map(row)).collect();
    columns(&lines).join("\n")
}

/// Programs that say their metric say it near the end.
const TAIL_LINES: i64 = 5000;
const READ_BYTES_MAX: usize = 16 << 20;
const LOOK_AGAIN: Duration = Duration::from_millis(700);
const KIND: &str = "Trial";

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, index: &str, phase: &str, made: &str, message: Option<&str>) -> Value {
        let labels = json!({"batch.kubernetes.io/job-completion-index": index});
        let ended = json!([{"name": "side", "state": {}}, {"name": "main", "state": {"terminated": {"message": message}}}]);
        json!({
            "metadata": {"name": name, "labels": labels, "creationTimestamp": made},
            "spec": {"containers": [{"name": "main"}, {"name": "side"}]},
            "status": {"phase": phase, "containerStatuses": ended},
        })
    }

    #[test]
    fn a_trial_is_told_by_the_pod_that_ended_well_else_by_its_last_one() {
        let pods = [
            pod("a", "0", "Failed", "2026-01-01T00:00:03Z", None),
            pod("b", "0", "Succeeded", "2026-01-01T00:00:02Z", None),
            pod("c", "1", "Failed", "2026-01-01T00:00:01Z", None),
            pod("d", "1", "Running", "2026-01-01T00:00:02Z", None),
        ];
        let name = |index: &str| newest(&pods, index).map(|pod| name(pod).to_owned());
        assert_eq!((name("0").as_deref(), name("1").as_deref(), name("2")), (Some("b"), Some("d"), None));
        assert_eq!(of_pod(newest(&pods, "0")).phase, Phase::Done);
        assert_eq!(of_pod(None).phase, Phase::Waiting);
    }

    #[test]
    fn the_file_that_kubelet_read_is_that_of_the_first_container() {
        let text = "apiVersion: gangplank.dev/v1alpha1\nkind: Sweep\nmetadata: {name: s}\nspec: {search: grid, metric: {name: acc, goal: maximize, from: file}, parameters: {lr: {values: [1]}}, job: {image: 'a/b:1'}}\n";
        let spec = crate::recipe::read(text).unwrap().remove(0);
        let metric = spec.sweep().unwrap().metric().unwrap();
        assert_eq!(written(metric, &pod("a", "0", "Succeeded", "", Some(r#"{"acc": 0.75}"#))), Some(0.75));
        assert_eq!(written(metric, &pod("a", "0", "Succeeded", "", None)), None);
        assert_eq!(written(metric, &json!({})), None);
    }

    #[tokio::test]
    async fn of_logs_without_end_the_end_is_kept_and_reading_stops() {
        let long = [vec![b'x'; 1 << 20], b"loss=1".to_vec()].concat();
        let kept = end_of(long.as_slice()).await.unwrap();
        assert!(kept.len() == LOOKED_AT_BYTES_MAX && kept.ends_with(b"loss=1"));
        let endless = end_of(futures::io::repeat(b'x')).await.unwrap();
        assert_eq!(endless.len(), LOOKED_AT_BYTES_MAX);
    }
}
