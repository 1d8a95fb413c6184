//! How far an object is: whether what it stands for runs, waits, failed or ended. Read from the object and its pods; the
//! clock and the cluster are the caller's.

use serde::Serialize;
use serde_json::Value;

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is not there.
    Missing,
    /// It will not get further by itself.
    Failed,
    /// It is on its way.
    Waiting,
    /// It does what it is for.
    Running,
    /// It has done it.
    Done,
}

/// Phase and the words for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// How far.
    pub phase: Phase,
    /// `12 of 16 run`, or why not.
    pub text: String,
}

impl State {
    fn new(phase: Phase, text: impl Into<String>) -> Self {
        Self { phase, text: text.into() }
    }

    /// Of an object that is not there.
    pub fn missing() -> Self {
        Self::new(Phase::Missing, "not there")
    }

    /// Whether nothing better is waited for.
    pub fn is_reached(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Done)
    }
}

/// Of an object as the API server has it. `pods` are its own, where the caller knows them.
pub fn state(object: &Value, pods: &[Value]) -> State {
    match object["kind"].as_str().unwrap_or_default() {
        "Job" => job(object, pods),
        "JobSet" | "TrainJob" => set(object, pods),
        "Deployment" => deployment(object, pods),
        "PersistentVolumeClaim" => match object["status"]["phase"].as_str() {
            Some("Bound") => State::new(Phase::Running, "bound"),
            Some("Lost") => State::new(Phase::Failed, "its volume is lost"),
            // Most classes make a volume when the first pod asks for it.
            _ => State::new(Phase::Running, "bound when it is used"),
        },
        _ => conditions(object),
    }
}

fn job(object: &Value, pods: &[Value]) -> State {
    let (spec, status) = (&object["spec"], &object["status"]);
    if let Some(failed) = condition(status, "Failed").or_else(|| condition(status, "FailureTarget")) {
        return State::new(Phase::Failed, told(failed));
    }
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (wanted, done) = (count(&spec["completions"]).max(1), count(&status["succeeded"]));
    if condition(status, "Complete").is_some() || condition(status, "SuccessCriteriaMet").is_some() {
        return State::new(Phase::Done, format!("{done} of {wanted} ended well"));
    }
    if spec["suspend"] == true {
        return State::new(Phase::Waiting, "suspended");
    }
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count() as u64;
    let at_a_time = count(&spec["parallelism"]).max(1).min(wanted - done.min(wanted));
    let min = spec["template"]["metadata"]["annotations"]["gangplank.dev/gang-min"].as_str().and_then(|min| min.parse().ok());
    let enough = min.unwrap_or(at_a_time).min(at_a_time);
    let text = format!("{running} of {at_a_time} run{}", if done > 0 { format!(", {done} ended well") } else { String::new() });
    if running >= enough {
        return State::new(Phase::Running, text);
    }
    waiting(text, pods)
}

/// Whose Jobs somebody else makes: a JobSet with one, or a TrainJob.
fn set(object: &Value, pods: &[Value]) -> State {
    let (spec, status) = (&object["spec"], &object["status"]);
    if let Some(failed) = condition(status, "Failed") {
        return State::new(Phase::Failed, told(failed));
    }
    if let Some(done) = condition(status, "Completed").or_else(|| condition(status, "Complete")) {
        return State::new(Phase::Done, told(done));
    }
    if spec["suspend"] == true {
        return State::new(Phase::Waiting, "suspended");
    }
    let wanted = spec["trainer"]["numNodes"].as_u64().or_else(|| spec["replicatedJobs"][0]["template"]["spec"]["parallelism"].as_u64());
    let wanted = wanted.unwrap_or(1);
    let min = object["metadata"]["annotations"]["gangplank.dev/gang-min"].as_str().and_then(|min| min.parse().ok());
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count() as u64;
    let text = format!("{running} of {wanted} run");
    if running >= min.unwrap_or(wanted) {
        return State::new(Phase::Running, text);
    }
    waiting(text, pods)
}

fn deployment(object: &Value, pods: &[Value]) -> State {
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    let (updated, available, all) = (count(&status["updatedReplicas"]), count(&status["availableReplicas"]), count(&status["replicas"]));
    let text = format!("{available} of {wanted} answer");
    let seen = count(&status["observedGeneration"]) >= count(&object["metadata"]["generation"]);
    if seen && updated >= wanted && available >= wanted && all <= updated {
        return State::new(Phase::Running, text);
    }
    let stuck = status["conditions"].as_array().into_iter().flatten();
    if let Some(stuck) = { stuck }.find(|it| it["type"] == "Progressing" && it["status"] == "False") {
        return State::new(Phase::Failed, told(stuck));
    }
    waiting(text, pods)
}

/// What holds most of the pods up, in the words of whoever holds them.
fn waiting(text: String, pods: &[Value]) -> State {
    let mut reasons: Vec<(usize, String)> = Vec::new();
    for reason in pods.iter().filter_map(held_by) {
        match reasons.iter_mut().find(|(_, known)| *known == reason) {
            Some((count, _)) => *count += 1,
            None => reasons.push((1, reason)),
        }
    }
    reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    match reasons.first() {
        Some((_, reason)) => State::new(Phase::Waiting, format!("{text}: {reason}")),
        None => State::new(Phase::Waiting, text),
    }
}

/// Why a pod does not run.
fn held_by(pod: &Value) -> Option<String> {
    let status = &pod["status"];
    if status["phase"] != "Pending" {
        return None;
    }
    let containers =
        ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|list| status[list].as_array().into_iter().flatten());
    let creating = |reason: &str| matches!(reason, "ContainerCreating" | "PodInitializing");
    let waits = { containers }.find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str().filter(|reason| !creating(reason))?;
        Some(waiting["message"].as_str().map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
    });
    let scheduled =
        status["conditions"].as_array().into_iter().flatten().find(|it| it["type"] == "PodScheduled" && it["status"] == "False");
    waits.or_else(|| scheduled.map(told)).map(|text| text.chars().take(300).collect())
}

/// Of kinds that say it by a condition, and of those that have nothing to say.
fn conditions(object: &Value) -> State {
    let Some(conditions) = object["status"]["conditions"].as_array() else { return State::new(Phase::Running, "there") };
    let Some(ready) = conditions.iter().find(|it| it["type"] == "Ready") else { return State::new(Phase::Running, "there") };
    match ready["status"].as_str() {
        Some("True") => State::new(Phase::Running, "ready"),
        Some("False") => State::new(Phase::Waiting, told(ready)),
        _ => State::new(Phase::Waiting, "not ready yet"),
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|it| it["type"] == kind && it["status"] == "True")
}

fn told(condition: &Value) -> String {
    let texts = [condition["reason"].as_str(), condition["message"].as_str()];
    let texts: Vec<&str> = texts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(running: usize, pending: usize) -> Vec<Value> {
        let told = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "12 of 16 fit"}]);
        let running = (0..running).map(|_| json!({"status": {"phase": "Running"}}));
        running.chain((0..pending).map(|_| json!({"status": {"phase": "Pending", "conditions": told}}))).collect()
    }

    #[test]
    fn a_job_runs_when_all_that_can_run_at_a_time_do() {
        let job = |status: Value| json!({"kind": "Job", "spec": {"completions": 4, "parallelism": 4}, "status": status});
        let told = |status: Value, pods: &[Value]| state(&job(status), pods);
        assert_eq!(told(json!({}), &pods(4, 0)), State::new(Phase::Running, "4 of 4 run"));
        assert_eq!(told(json!({}), &pods(1, 3)), State::new(Phase::Waiting, "1 of 4 run: SchedulingGated: 12 of 16 fit"));
        assert_eq!(told(json!({}), &[]), State::new(Phase::Waiting, "0 of 4 run"));
        assert_eq!(told(json!({"succeeded": 3}), &pods(1, 0)), State::new(Phase::Running, "1 of 1 run, 3 ended well"));
        let complete = json!({"succeeded": 4, "conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(told(complete, &[]), State::new(Phase::Done, "4 of 4 ended well"));
        let failed = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "FailedIndexes", "message": "one"}]});
        assert_eq!(told(failed, &pods(4, 0)), State::new(Phase::Failed, "FailedIndexes: one"));
    }

    #[test]
    fn an_elastic_job_runs_with_the_fewest() {
        let annotations = json!({"gangplank.dev/gang-min": "2"});
        let job =
            json!({"kind": "Job", "spec": {"completions": 4, "parallelism": 4, "template": {"metadata": {"annotations": annotations}}}});
        assert_eq!(state(&job, &pods(2, 2)).phase, Phase::Running);
        assert_eq!(state(&job, &pods(1, 3)).phase, Phase::Waiting);
    }

    #[test]
    fn a_job_set_and_a_train_job_run_when_their_workers_do() {
        let job = json!({"template": {"spec": {"parallelism": 4}}});
        let set = |status: Value| json!({"kind": "JobSet", "spec": {"replicatedJobs": [job]}, "status": status});
        let train = |status: Value| json!({"kind": "TrainJob", "spec": {"trainer": {"numNodes": 4}}, "status": status});
        let ended = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": "R", "message": "m"}]});
        for (object, pods, phase, text) in [
            (set(json!({})), pods(4, 0), Phase::Running, "4 of 4 run"),
            (train(json!({})), pods(1, 3), Phase::Waiting, "1 of 4 run: SchedulingGated: 12 of 16 fit"),
            (set(ended("Completed")), pods(0, 0), Phase::Done, "R: m"),
            (train(ended("Complete")), pods(0, 0), Phase::Done, "R: m"),
            (train(ended("Failed")), pods(4, 0), Phase::Failed, "R: m"),
        ] {
            assert_eq!(state(&object, &pods), State::new(phase, text), "{object}");
        }
    }

    #[test]
    fn a_deployment_runs_when_the_new_replicas_answer_and_the_old_are_gone() {
        let deployment =
            |status: Value| json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status});
        let status = |generation: u32, updated: u32, available: u32, all: u32| json!({"observedGeneration": generation, "updatedReplicas": updated, "availableReplicas": available, "replicas": all});
        for (is, phase) in [
            (status(2, 2, 2, 2), Phase::Running),
            (status(1, 2, 2, 2), Phase::Waiting),
            (status(2, 1, 2, 2), Phase::Waiting),
            (status(2, 2, 2, 3), Phase::Waiting),
            (json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}), Phase::Failed),
        ] {
            assert_eq!(state(&deployment(is.clone()), &[]).phase, phase, "{is}");
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_before_the_scheduler() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        let pod = json!({"status": {"phase": "Pending", "containerStatuses": [{"state": waiting}]}});
        let job = json!({"kind": "Job", "spec": {"completions": 1, "parallelism": 1}});
        assert_eq!(state(&job, &[pod]).text, "0 of 1 run: ImagePullBackOff: no such image");
    }
}
