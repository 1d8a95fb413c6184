//! A training job, driven: a Job at a time, which is started again as a whole where its workers cannot do without each other.
//!
//! ```text
//!           +-- Queued <--> Suspended          devices are free while it is suspended
//!  spec --> |     |             ^
//!           +-- Running --------+
//!                 |  a worker fails, or is lost and replaced
//!                 v
//!             Restarting --> (the Job is gone, and the pause over) --> Queued, one attempt more
//!                 |
//!             Succeeded, Failed --> deleted when `keep` is over
//! ```
//!
//! What has to survive a crash is `status.attempt` (how often it was started before) and `status.failures` (how often it failed since it last
//! saved its work). They are written before the Job of the attempt before is deleted; the Job says of which attempt it is in a place that
//! cannot change (ATTEMPT in its template), so that nobody who is late can turn one attempt into another.

use std::time::Duration;

use serde_json::{Value, json};

use super::object::{adopt, condition, find, has_digest, is_going, name, number, time, told, uid};
use super::status::Status;
use super::step::{Act, CLAIMS, CONFIG_MAPS, JOBS, PODS, Resource, SERVICES, Step};
use super::{Driver, Event, Field, Next, Rules, Seen, Write, digest, is_of, safe, when};
use crate::model::Time;
use crate::recipe::{Training, as_one, live};

const RESOURCE: Resource = Resource::ours("TrainingJob", "trainingjobs");

pub(super) const DRIVER: Driver = Driver {
    kind: RESOURCE.kind,
    resource: RESOURCE,
    steps: &[&CLAIM, &FILES, &SERVICE, &START, &HALT, &RESUME, &REPLACE, &RESTART, &STATUS, &REMOVE],
    looks: &[JOBS, SERVICES, CONFIG_MAPS, PODS],
    status: &[
        ("attempt", Field::Count, "How often all workers were started before; the program finds it in ATTEMPT."),
        ("failures", Field::Count, "How often it failed since it last saved its work; `retries` counts these."),
        ("disruptions", Field::Count, "How often all were started again because a worker was lost."),
        ("workers", Field::Count, "Of an elastic job, how many work."),
        ("startTime", Field::Time, "When all workers, or the fewest that it needs, worked first."),
        ("completionTime", Field::Time, "When it was over; `keep` counts from then."),
        ("restartTime", Field::Time, "Before this it is not started again."),
        ("newestWorkerTime", Field::Time, "When the last worker of this attempt was made; later ones take the place of lost ones."),
        ("lastCheckpoint", Field::Time, "When it had saved its work, as of the last failure."),
    ],
    columns: &[("Phase", ".status.phase"), ("Attempt", ".status.attempt")],
    next,
};

static CLAIM: Step = Step::new("training-job-claim", Act::Ensure, CLAIMS);
static FILES: Step = Step::new("training-job-files", Act::Apply, CONFIG_MAPS);
static SERVICE: Step = Step::new("training-job-service", Act::Apply, SERVICES);
static START: Step = Step::new("training-job-start", Act::Apply, JOBS);
static HALT: Step = Step::new("training-job-halt", Act::Hold, JOBS);
static RESUME: Step = Step::new("training-job-resume", Act::Hold, JOBS);
static REPLACE: Step = Step::new("training-job-replace", Act::Delete, JOBS);
static RESTART: Step = Step::new("training-job-restart", Act::Delete, JOBS);
static STATUS: Step = Step::new("training-job-status", Act::Status, RESOURCE);
static REMOVE: Step = Step::new("training-job-remove", Act::Delete, RESOURCE);

/// The pause before it is started again, doubled with each failure since it last saved its work.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// When the program saved its work last: of its pods, or of the spec itself.
const LAST_CHECKPOINT: &str = "gangplank.dev/last-checkpoint";
/// How often it was started before, as its program finds it.
const ATTEMPT: &str = "ATTEMPT";
/// On a Job that is suspended because its spec is.
const HALTED: &str = "gangplank.dev/suspended-by-spec";
/// Fields whose change does not make another Job; the last one only where all begin anew, for else it is the Job's.
const LIVE_FIELDS: &[&str] = &["suspend", "keep", "retries"];

fn next(seen: &Seen<'_>, rules: &Rules, now: Time) -> Next {
    let mut turn = Turn { seen, now, status: Status::of(seen.object, now), writes: Vec::new(), events: Vec::new(), wake: None };
    let spec = live(seen.object).map_err(|error| told(&error));
    if let Some(over) = time(turn.status.get("completionTime")) {
        let keep = spec.ok().and_then(|spec| spec.training()).and_then(|training| training.keep);
        turn.kept(over, keep);
        return turn.next();
    }
    let spec = spec.and_then(|spec| {
        let training = spec.training().ok_or("it is no training job")?;
        let rendered = spec.render(None).map_err(|error| told(&error))?.objects;
        let namespace = seen.object["metadata"]["namespace"].as_str().unwrap_or_default();
        safe::refusal(&rendered, namespace, rules).map_or(Ok((training, rendered)), Err)
    });
    match (&spec, seen.refused) {
        (Err(why), _) => turn.status.say("Accepted", false, "Invalid", why),
        (Ok(_), Some(why)) => turn.status.say("Accepted", false, "Refused", why),
        (Ok(_), None) => turn.status.say("Accepted", true, "Valid", ""),
    }
    let job = find(seen.owned, "Job", name(seen.object));
    match (job, spec) {
        (Some(job), _) if is_going(job) => {}
        (Some(job), spec) => turn.with_job(job, spec.ok().map(|(training, _)| training)),
        (None, Ok((training, rendered))) => turn.without_job(training, rendered),
        (None, Err(_)) => turn.phase("Invalid"),
    }
    turn.next()
}

/// One call.
struct Turn<'a> {
    seen: &'a Seen<'a>,
    now: Time,
    status: Status<'a>,
    writes: Vec<Write>,
    events: Vec<Event>,
    wake: Option<Time>,
}

impl Turn<'_> {
    /// What is remembered is written before what follows from it, and what the API server refused is told before it is tried again;
    /// else the status tells of what was done.
    fn next(self) -> Next {
        let Self { seen, status, mut writes, events, wake, .. } = self;
        let first = writes.first().is_some_and(|write| write.step.act == Act::Delete) || seen.refused.is_some();
        if let Some(status) = status.written() {
            let at = if first { 0 } else { writes.len() };
            writes.insert(at, STATUS.write(status));
        }
        Next { writes, events, wake }
    }

    /// It is over: it stays as long as its author wants.
    fn kept(&mut self, over: Time, keep: Option<Duration>) {
        let Some(keep) = keep else { return };
        if self.now >= over + keep {
            self.writes.push(REMOVE.of(self.seen.object));
        } else {
            self.wake = Some(over + keep);
        }
    }

    /// Before the first start, after an attempt is gone, or after somebody deleted the Job.
    fn without_job(&mut self, training: Training, rendered: Vec<Value>) {
        if let Some(pause) = time(self.status.get("restartTime"))
            && self.now < pause
        {
            self.wake = Some(pause);
            return;
        }
        let attempt = number(self.status.get("attempt"));
        self.status.set("attempt", attempt);
        self.queued(training.suspend);
        if training.suspend {
            return;
        }
        self.objects(training, rendered, attempt);
        self.events.push(normal("Started", format!("attempt {attempt}: the Job is there, and waits for devices")));
    }

    /// While there is one.
    fn with_job(&mut self, job: &Value, training: Option<Training>) {
        let attempt = attempt(job);
        if attempt < number(self.status.get("attempt")) {
            self.writes.push(RESTART.of(job));
            return;
        }
        self.status.set("attempt", attempt);
        let pods: Vec<&Value> = self.seen.pods.iter().copied().filter(|pod| is_of(pod, uid(job))).collect();
        if condition(&job["status"], "Complete").is_some() {
            self.status.say("Running", false, "Complete", "");
            self.over("Succeeded", "Complete", "AllWorkersEnded", "");
            self.events.push(normal("Succeeded", format!("attempt {attempt} ended well")));
            return;
        }
        let Some(training) = training else { return };
        if let Some(failed) = condition(&job["status"], "Failed") {
            self.failed(job, &pods, failed, training);
        } else if let Some(lost) = self.lost(job, &pods, training) {
            self.status.set("disruptions", number(self.status.get("disruptions")) + 1);
            self.again(job, attempt, self.now, "WorkerLost", &format!("{lost}, and the others cannot go on without it"));
        } else {
            self.goes_on(job, &pods, training);
        }
    }

    /// Neither done nor failed: it is as the spec wants it, or becomes so.
    fn goes_on(&mut self, job: &Value, pods: &[&Value], training: Training) {
        let is_suspended = job["spec"]["suspend"] == true;
        let current = has_digest(job, &self.digest(training));
        if !current && pods.iter().all(|pod| !pod["spec"]["nodeName"].is_string()) && !self.status.holds("Running") {
            // Nobody works yet, so that nothing is lost: in the queue it is another one.
            self.status.say("Current", true, "Replaced", "");
            self.queued(training.suspend);
            self.writes.push(REPLACE.of(job));
            return;
        }
        if !current || self.status.says("Current") {
            self.status.say("Current", current, if current { "Current" } else { "Runs" }, if current { "" } else { STALE });
        }
        if training.suspend && !is_suspended {
            let mut halt = HALT.of(job);
            halt.object["metadata"]["annotations"] = json!({HALTED: "true"});
            halt.object["spec"] = json!({"suspend": true});
            self.writes.push(halt);
            self.events.push(normal("Suspended", "its devices go back".to_owned()));
            self.queued(true);
        } else if is_halted_by_us(job) && !training.suspend {
            self.writes.push(RESUME.of(job));
            self.events.push(normal("Resumed", "it waits for devices".to_owned()));
            self.queued(false);
        } else if is_suspended || training.suspend {
            self.queued(training.suspend);
        } else {
            self.runs(pods, training);
        }
    }

    /// How many work, and whether these are enough.
    fn runs(&mut self, pods: &[&Value], training: Training) {
        let working = pods.iter().filter(|pod| !is_going(pod) && (is_ready(pod) || pod["status"]["phase"] == "Succeeded")).count();
        let working = u32::try_from(working).unwrap_or(u32::MAX);
        self.status.say("Suspended", false, "Resumed", "");
        if !self.status.holds("Running") {
            if working < training.workers_min {
                self.phase("Queued");
                return;
            }
            let newest = pods.iter().filter_map(|pod| time(&pod["metadata"]["creationTimestamp"])).max();
            self.status.set("newestWorkerTime", newest.map(when::text));
            self.status.set("restartTime", Value::Null);
            if self.status.get("startTime").is_null() {
                self.status.set("startTime", when::text(self.now));
            }
            self.status.say("Running", true, "WorkersReady", "");
            self.phase("Running");
            self.events.push(normal("Running", format!("{working} of {} workers work", training.workers)));
        }
        if training.workers_min < training.workers {
            self.status.set("workers", working);
        }
    }

    /// A worker that is taken away while all work, or that came after all were there, in the place of one that is gone: the others wait for
    /// it in vain. Whom the Job itself ends is not taken away: it would say so by no such condition.
    fn lost(&self, job: &Value, pods: &[&Value], training: Training) -> Option<String> {
        if !training.as_one || job["spec"]["suspend"] == true || !self.status.holds("Running") {
            return None;
        }
        if let Some(taken) = pods.iter().find(|pod| condition(&pod["status"], "DisruptionTarget").is_some()) {
            return Some(format!("{} is taken away", name(taken)));
        }
        let newest = time(self.status.get("newestWorkerTime"))?;
        // The Job as a whole was taken back and began anew: all of them are new.
        if time(&job["status"]["startTime"]).is_some_and(|began| began > newest) {
            return None;
        }
        let late = |pod: &&&Value| time(&pod["metadata"]["creationTimestamp"]).is_some_and(|made| made > newest);
        pods.iter().find(late).map(|pod| format!("{} took the place of one that is lost", name(pod)))
    }

    /// The Job has failed: it is over, or all begin anew.
    fn failed(&mut self, job: &Value, pods: &[&Value], failed: &Value, training: Training) {
        let reason = failed["reason"].as_str().unwrap_or("Failed").to_owned();
        let why = format!("{reason}: {}", failed["message"].as_str().unwrap_or_default());
        let saved =
            pods.iter().copied().chain([self.seen.object]).filter_map(|one| time(&one["metadata"]["annotations"][LAST_CHECKPOINT])).max();
        let began = time(&job["status"]["startTime"]);
        let progress = saved.zip(began).is_some_and(|(saved, began)| saved > began);
        if let Some(saved) = saved {
            self.status.set("lastCheckpoint", when::text(saved));
        }
        let lost = pods.iter().any(|pod| condition(&pod["status"], "DisruptionTarget").is_some());
        let failures = match (progress, number(self.status.get("failures"))) {
            // Who lost a worker did not fail by itself.
            (false, before) if lost => before,
            (true, _) if lost => 0,
            (true, _) => 1,
            (false, before) => before + 1,
        };
        let for_good = FOR_GOOD.contains(&reason.as_str());
        self.status.set("failures", failures);
        if for_good || !training.as_one || failures > training.retries {
            let why =
                if training.as_one && !for_good { format!("{failures} times since it last saved its work; the last: {why}") } else { why };
            self.status.say("Running", false, "Failed", "");
            self.over("Failed", "Failed", &reason, &why);
            self.events.push(Event { warning: true, reason: "Failed", note: why });
            return;
        }
        let doubled = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX);
        self.again(job, attempt(job), self.now + if lost { Duration::ZERO } else { doubled }, &reason, &why);
    }

    /// All begin anew: remembered first, then the Job goes, with all of its pods.
    fn again(&mut self, job: &Value, attempt: u32, at: Time, reason: &str, why: &str) {
        self.status.set("attempt", attempt + 1);
        self.status.set("restartTime", when::text(at));
        self.status.set("newestWorkerTime", Value::Null);
        self.status.say("Running", false, reason, why);
        self.phase("Restarting");
        self.wake = Some(at);
        self.writes.push(RESTART.of(job));
        self.events.push(Event { warning: true, reason: "Restarting", note: format!("attempt {}: {why}", attempt + 1) });
    }

    fn over(&mut self, phase: &str, kind: &str, reason: &str, message: &str) {
        self.status.say(kind, true, reason, message);
        self.status.set("completionTime", when::text(self.now));
        self.status.set("restartTime", Value::Null);
        self.phase(phase);
    }

    /// It waits, or is to stand still.
    fn queued(&mut self, suspended: bool) {
        self.status.say("Running", false, if suspended { "Suspended" } else { "Queued" }, "");
        self.status.say("Suspended", suspended, if suspended { "BySpec" } else { "Resumed" }, "");
        self.status.set("newestWorkerTime", Value::Null);
        self.status.set("workers", Value::Null);
        self.phase(if suspended { "Suspended" } else { "Queued" });
    }

    fn phase(&mut self, phase: &str) {
        self.status.set("phase", phase);
    }

    fn digest(&self, training: Training) -> String {
        let live = if training.as_one { LIVE_FIELDS } else { &LIVE_FIELDS[..2] };
        let labels = &self.seen.object["metadata"]["labels"];
        digest(&json!({"labels": labels, "spec": digest(&self.seen.object["spec"], live)}), &[])
    }

    /// The objects of an attempt; those that are there as they should be are left out.
    fn objects(&mut self, training: Training, rendered: Vec<Value>, attempt: u32) {
        let digest = self.digest(training);
        for mut object in rendered {
            let step = match object["kind"].as_str() {
                // The data outlives whoever asked for it.
                Some("PersistentVolumeClaim") => {
                    object["metadata"]["namespace"] = self.seen.object["metadata"]["namespace"].clone();
                    self.writes.push(CLAIM.write(object));
                    continue;
                }
                Some("ConfigMap") => &FILES,
                Some("Service") => &SERVICE,
                _ => &START,
            };
            adopt(&mut object, self.seen.object, &digest);
            let there = find(self.seen.owned, object["kind"].as_str().unwrap_or_default(), name(&object));
            if object["kind"] == "Job" {
                made(&mut object, training, attempt);
            } else if there.is_some_and(|there| has_digest(there, &digest)) {
                continue;
            }
            self.writes.push(step.write(object));
        }
    }
}

/// The Job as it is driven: who drives it decides what is tried again, and how long it stays.
fn made(job: &mut Value, training: Training, attempt: u32) {
    let spec = &mut job["spec"];
    if training.as_one {
        as_one(spec);
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("ttlSecondsAfterFinished");
    }
    let containers = spec["template"]["spec"]["containers"].as_array_mut().into_iter().flatten();
    for container in containers.take(1) {
        if let Some(env) = container["env"].as_array_mut() {
            env.retain(|variable| variable["name"] != ATTEMPT);
            env.push(json!({"name": ATTEMPT, "value": attempt.to_string()}));
        }
    }
}

/// Of which attempt a Job is.
fn attempt(job: &Value) -> u32 {
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
    let value = { env }.find(|variable| variable["name"] == ATTEMPT).and_then(|variable| variable["value"].as_str());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Whether `suspend` of a Job is ours: Gangplank suspends a Job whose devices it takes, and Kueue one that waits.
fn is_halted_by_us(job: &Value) -> bool {
    job["metadata"]["annotations"][HALTED] == "true"
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && condition(&pod["status"], "Ready").is_some()
}

fn normal(reason: &'static str, note: String) -> Event {
    Event { warning: false, reason, note }
}

/// Reasons of a failed Job that are there the next time, too: a command that does not exist, a time that is over.
const FOR_GOOD: &[&str] = &["PodFailurePolicy", "DeadlineExceeded"];
const STALE: &str = "the spec has changed; what runs goes on as it began, until it is started again";
