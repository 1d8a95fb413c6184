//! `Pipeline`: steps, each after others, once or by a schedule. Decides whether the order makes sense; `argo.rs` makes a
//! Workflow of it. One step alone is a Job or a CronJob; several need something that keeps their order, which plain
//! Kubernetes does not have.

mod argo;
mod deploy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::begin;
use super::fields::{Worker, workload};
use super::object::{Named, SpecOf};
use super::pod::{Around, Variable, template};
use super::{Recipe, Rendered, text};
use crate::policy::Mistake;
use deploy::{Deploy, DeployFile};

/// Steps, each after others, once or by a schedule.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PipelineSpec {
    /// What is done. A step begins when all that it comes after have ended well.
    steps: Vec<StepSpec>,
    /// When it runs, as cron has it: `0 3 * * *`. Once, at once, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    /// The time zone of the schedule, such as Europe/Berlin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// How many steps run at a time; as many as can if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
}

workload! {
    /// One step of a pipeline.
    StepSpec {
        /// Its name.
        name: String,
        /// The image, with a tag or a digest; a step that deploys has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// Steps that must have ended well before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        after: Vec<String>,
        /// How often it is tried again.
        #[serde(default)]
        retries: u32,
        /// Whether it is done at all: what an earlier step wrote decides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only_if: Option<OnlyIf>,
        /// Instead of a program: the server that it puts into service, with --as argo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deploy: Option<DeployFile>,
    }
}

/// What an earlier step must have written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OnlyIf {
    /// Which step; one that this comes after.
    step: String,
    /// The file in its container.
    file: String,
    /// What must stand in it, and nothing else.
    is: String,
}

/// A checked pipeline.
#[derive(Debug)]
struct Pipeline {
    steps: Vec<Step>,
    schedule: Option<String>,
    time_zone: Option<String>,
    parallel: Option<u32>,
}

/// A checked step.
#[derive(Debug)]
struct Step {
    name: String,
    work: Work,
    after: Vec<String>,
    retries: u32,
    only_if: Option<OnlyIf>,
}

/// What a step does.
#[derive(Debug)]
enum Work {
    /// A program in a pod.
    Program(Box<Worker>),
    /// A server that it puts into service.
    Deploy(Deploy),
}

impl SpecOf for PipelineSpec {
    const KIND: &'static str = "Pipeline";
    const ABOUT: &'static str = "Steps, each after others, once or by a schedule";
    const PLURAL: Option<&'static str> = Some("pipelines");
    const COLUMNS: &'static [(&'static str, &'static str)] = &[("Schedule", ".spec.schedule")];
    const RULES: &'static [(&'static str, &'static str)] = &[];
    const FORMS: &'static [&'static str] = &["argo"];
    const BEGIN: &'static begin::Begin = &begin::PIPELINE;

    fn check(self, of: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        if !(1..=STEPS_MAX).contains(&self.steps.len()) {
            return Err(Mistake::range("steps", self.steps.len(), "1..=100"));
        }
        let names: Vec<String> = self.steps.iter().map(|step| step.name.clone()).collect();
        let mut steps = Vec::with_capacity(names.len());
        for (at, step) in self.steps.into_iter().enumerate() {
            steps.push(step.check(of, &names, at).map_err(|mistake| mistake.at(at).within("steps"))?);
        }
        in_order(&steps)?;
        for (at, step) in steps.iter().enumerate() {
            if let Some(only_if) = &step.only_if {
                let before = before(&steps, &step.name);
                if !before.contains(&only_if.step) {
                    let problem = format!("names `{}`, which need not have ended before", only_if.step);
                    let mistake = Mistake::new("onlyIf.step", problem, "add that step to `after`");
                    return Err(mistake.at(at).within("steps"));
                }
            }
        }
        if let Some(schedule) = &self.schedule {
            cron(schedule)?;
        }
        if let Some(zone) = &self.time_zone {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/+".contains(&byte);
            if self.schedule.is_none() || zone.is_empty() || zone.len() > 64 || !zone.bytes().all(fine) {
                return Err(Mistake::new("timeZone", "is no time zone of a schedule", "write such as Europe/Berlin beside `schedule`"));
            }
        }
        if self.parallel == Some(0) {
            return Err(Mistake::new("parallel", "is 0: nothing would run", "write at least 1, or leave it out"));
        }
        Ok(Box::new(Pipeline { steps, schedule: self.schedule, time_zone: self.time_zone, parallel: self.parallel }))
    }
}

impl StepSpec {
    fn check(self, of: &Named, names: &[String], at: usize) -> Result<Step, Mistake> {
        crate::policy::text::name("name", &self.name)?;
        if names[..at].contains(&self.name) {
            return Err(Mistake::new("name", format!("`{}` is taken", self.name), "give each step a name of its own"));
        }
        if of.name.len() + self.name.len() > NAMES_BYTES_MAX {
            let problem = format!("makes a name of {} letters with the pipeline's", of.name.len() + self.name.len() + 1);
            return Err(Mistake::new("name", problem, format!("keep both within {NAMES_BYTES_MAX} letters")));
        }
        let work = if let Some(deploy) = &self.deploy {
            self.only_deploys()?;
            Work::Deploy(deploy.clone().check(of).map_err(|mistake| mistake.within("deploy"))?)
        } else {
            let image = self.image.clone();
            let image = image.ok_or_else(|| Mistake::new("image", "is missing", "write what is run, or `deploy` for a server"))?;
            Work::Program(Box::new(self.common(image).check()?))
        };
        if let Work::Program(worker) = &work
            && worker.accelerators.as_ref().and_then(|accelerators| accelerators.slice).is_some_and(|slice| slice.hosts > 1)
        {
            return Err(Mistake::new("accelerators", "is a slice of several hosts", "train in a TrainingJob of its own"));
        }
        for (at, step) in self.after.iter().enumerate() {
            if !names.contains(step) {
                return Err(Mistake::unknown(format!("after[{at}]"), "step", &text::cut(step), names));
            }
        }
        if self.retries > 100 {
            return Err(Mistake::range("retries", self.retries, "0..=100"));
        }
        if let Some(only_if) = &self.only_if {
            if !names.contains(&only_if.step) {
                return Err(Mistake::unknown("onlyIf.step", "step", &text::cut(&only_if.step), names));
            }
            if !only_if.file.starts_with('/') || only_if.file.split('/').any(|part| part == "..") || only_if.file.len() > 255 {
                return Err(Mistake::new("onlyIf.file", "is no file of the container", "write such as /output/decision"));
            }
            text::label_value("onlyIf.is", &only_if.is)?;
            if only_if.is.is_empty() {
                return Err(Mistake::new("onlyIf.is", "is empty", "write the word that says yes"));
            }
        }
        Ok(Step { name: self.name, work, after: self.after, retries: self.retries, only_if: self.only_if })
    }
}

impl StepSpec {
    /// Refuses what a program would have in a step that has none.
    fn only_deploys(&self) -> Result<(), Mistake> {
        let written = serde_json::to_value(self).unwrap_or_default();
        let of_deploy = ["name", "after", "retries", "onlyIf", "deploy"];
        let nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        let more = written.as_object().into_iter().flatten().find(|(field, value)| !of_deploy.contains(&field.as_str()) && !nothing(value));
        let Some((field, _)) = more else { return Ok(()) };
        Err(Mistake::new(field.clone(), "stands in a step that deploys", "write it in `deploy.server`, or make two steps of it"))
    }
}

/// Refuses steps that wait for each other, naming the ring.
fn in_order(steps: &[Step]) -> Result<(), Mistake> {
    let after: BTreeMap<&str, &[String]> = steps.iter().map(|step| (step.name.as_str(), step.after.as_slice())).collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let ready: Vec<&str> = after
            .iter()
            .filter(|(name, before)| !done.contains(*name) && before.iter().all(|step| done.contains(step.as_str())))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            break;
        }
        done.extend(ready);
    }
    let Some((at, stuck)) = steps.iter().enumerate().find(|(_, step)| !done.contains(step.name.as_str())) else { return Ok(()) };
    // From one that waits, along those that wait: they come round.
    let mut ring = vec![stuck.name.as_str()];
    while let Some(next) = after.get(ring[ring.len() - 1]).and_then(|before| before.iter().find(|step| !done.contains(step.as_str()))) {
        let begin = ring.iter().position(|step| step == next);
        ring.push(next);
        if let Some(begin) = begin {
            ring.drain(..begin);
            break;
        }
    }
    let problem = format!("goes in a ring: {}", ring.join(" after "));
    Err(Mistake::new("after", problem, "take one of these out").at(at).within("steps"))
}

/// Every step that has ended before this one begins.
fn before(steps: &[Step], name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        for step in steps.iter().filter(|step| step.name == name).flat_map(|step| &step.after) {
            if found.insert(step.clone()) {
                open.push(step.clone());
            }
        }
    }
    found
}

/// Five fields of digits, names and the signs between them, or a word such as @daily.
fn cron(schedule: &str) -> Result<(), Mistake> {
    let word = ["@yearly", "@monthly", "@weekly", "@daily", "@hourly"].contains(&schedule);
    let fields: Vec<&str> = schedule.split(' ').collect();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"*,-/?".contains(&byte);
    let fields = fields.len() == 5 && fields.iter().all(|field| !field.is_empty() && field.len() <= 32 && field.bytes().all(fine));
    if word || fields {
        return Ok(());
    }
    Err(Mistake::new(
        "schedule",
        format!("`{}` is no schedule", text::cut(schedule)),
        "write minute, hour, day, month and weekday: `0 3 * * *`",
    ))
}

impl Recipe for Pipeline {
    fn render(&self, of: &Named, form: Option<&str>) -> Result<Rendered, Mistake> {
        match (form, self.steps.as_slice()) {
            (Some(_), _) => argo::render(self, of),
            (None, [Step { work: Work::Program(worker), retries, .. }]) => Ok(self.alone(of, worker, *retries)),
            (None, [_]) => {
                let problem = "puts a server into service, which nobody does without Argo";
                Err(Mistake::new("deploy", problem, "render --as argo").at(0).within("steps").within("spec"))
            }
            (None, _) => {
                let problem = format!("are {}, and plain Kubernetes keeps no order", self.steps.len());
                Err(Mistake::new("spec.steps", problem, "render --as argo"))
            }
        }
    }
}

impl Pipeline {
    /// One step: a Job, or a CronJob.
    fn alone(&self, of: &Named, worker: &Worker, retries: u32) -> Rendered {
        let around = Around { env: environment(), restart_policy: Some("Never"), ..Around::default() };
        let job = json!({"backoffLimit": retries, "template": template(of, worker, &around)});
        let (version, kind, spec) = match &self.schedule {
            None => ("batch/v1", "Job", job),
            Some(schedule) => {
                let mut spec = json!({
                    "schedule": schedule,
                    // A run that takes longer than the time between two is not overtaken.
                    "concurrencyPolicy": "Forbid",
                    "startingDeadlineSeconds": 3600,
                    "jobTemplate": {"metadata": {"labels": of.labels()}, "spec": job},
                });
                if let Some(zone) = &self.time_zone {
                    spec["timeZone"] = json!(zone);
                }
                ("batch/v1", "CronJob", spec)
            }
        };
        let mut objects = worker.storage.objects(of);
        objects.push(json!({"apiVersion": version, "kind": kind, "metadata": of.metadata(&of.name), "spec": spec}));
        Rendered { objects, notes: worker.notes() }
    }
}

fn environment() -> Vec<Variable> {
    vec![Variable::text("PYTHONUNBUFFERED", "1")]
}

/// Whether a `{{` stands in any text of a value: Argo would put something in its place.
fn has_braces(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_braces),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains("{{") || has_braces(value)),
        _ => false,
    }
}

const STEPS_MAX: usize = 100;
const NAMES_BYTES_MAX: usize = 50;
