//! `Sweep`: a training job again and again, with other parameters each time. Decides which parameters each trial has: all
//! combinations, or so many at random from a seed. A trial finds its own in the file that PARAMETERS_FILE names.
//!
//! Trials of one worker are one Indexed Job, so that only so many run at a time. Trials of several workers are a Job each:
//! plain Kubernetes does not count them, whoever places them does.

#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::begin;
use super::names::GANG_SIZE;
use super::object::{Named, SpecOf};
use super::training_job::TrainingJobSpec;
use super::{Recipe, Rendered};
use crate::policy::Mistake;
use values::ParameterFile;

/// A training job again and again, with other parameters each time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SweepSpec {
    /// grid: all combinations. random: so many as `trials` says, each drawn from the ranges.
    search: Search,
    /// What differs, by name: values to try, or a range.
    parameters: BTreeMap<String, ParameterFile>,
    /// How many trials a random search has; the most that a grid may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trials: Option<u32>,
    /// Where randomness comes from: the same seed draws the same parameters.
    #[serde(default)]
    seed: u64,
    /// How many trials run at a time; all of them if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    /// What is trained, as in the spec of a TrainingJob.
    job: TrainingJobSpec,
}

/// How parameters are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Search {
    /// All combinations.
    Grid,
    /// Drawn at random.
    Random,
}

/// A checked sweep.
#[derive(Debug)]
struct Sweep {
    trials: Vec<Value>,
    parallel: Option<u32>,
    job: Box<dyn Recipe>,
}

impl SpecOf for SweepSpec {
    const KIND: &'static str = "Sweep";
    const ABOUT: &'static str = "A training job again and again, with other parameters each time";
    const PLURAL: Option<&'static str> = Some("sweeps");
    const COLUMNS: &'static [(&'static str, &'static str)] = &[("Search", ".spec.search"), ("Trials", ".spec.trials")];
    const RULES: &'static [(&'static str, &'static str)] = &[];
    const FORMS: &'static [&'static str] = &[];
    const BEGIN: &'static begin::Begin = &begin::SWEEP;

    fn check(self, of: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        if !(1..=PARAMETERS_MAX).contains(&self.parameters.len()) {
            return Err(Mistake::range("parameters", self.parameters.len(), "1..=32"));
        }
        for (name, parameter) in &self.parameters {
            super::text::variable(&format!("parameters.{name}"), name)?;
            parameter.check().map_err(|mistake| mistake.within(&format!("parameters.{name}")))?;
        }
        if self.trials.is_some_and(|trials| !(1..=TRIALS_MAX).contains(&trials)) {
            return Err(Mistake::range("trials", self.trials.unwrap_or_default(), "1..=1000"));
        }
        let trials = match self.search {
            Search::Grid => values::grid(&self.parameters, self.trials.unwrap_or(TRIALS_MAX))?,
            Search::Random => {
                let Some(trials) = self.trials else {
                    return Err(Mistake::new("trials", "is missing: a random search has no end", "write how many: `trials: 20`"));
                };
                values::random(&self.parameters, trials, self.seed)
            }
        };
        if self.parallel == Some(0) {
            return Err(Mistake::new("parallel", "is 0: nothing would run", "write at least 1, or leave it out"));
        }
        // Names of trials of several workers have a number more.
        let longest = Named { name: format!("{}-{}", of.name, trials.len()), ..of.clone() };
        let job = self.job.check(&longest).map_err(|mistake| mistake.within("job"))?;
        Ok(Box::new(Sweep { trials, parallel: self.parallel, job }))
    }
}

impl Recipe for Sweep {
    fn render(&self, of: &Named, _: Option<&str>) -> Result<Rendered, Mistake> {
        let made = self.job.render(of, None)?;
        let alone = made.objects.last().is_some_and(|job| job["spec"]["completions"] == 1);
        if alone { Ok(self.one_job(of, made)) } else { self.jobs(of, made.notes) }
    }
}

impl Sweep {
    /// Trials of one worker: an index each.
    fn one_job(&self, of: &Named, made: Rendered) -> Rendered {
        let Rendered { mut objects, mut notes } = made;
        let files: Map<String, Value> =
            self.trials.iter().enumerate().map(|(at, trial)| (format!("{at}.json"), json!(trial.to_string()))).collect();
        if let Some(job) = objects.last_mut() {
            let count = u32::try_from(self.trials.len()).unwrap_or(u32::MAX);
            job["spec"]["completions"] = json!(count);
            job["spec"]["parallelism"] = json!(self.parallel.unwrap_or(count).min(count));
            // A trial that fails is an answer, too.
            job["spec"]["maxFailedIndexes"] = json!(count);
            let template = &mut job["spec"]["template"];
            template["metadata"]["annotations"][GANG_SIZE] = json!("1");
            let index = json!({"name": "TRIAL", "valueFrom": {"fieldRef": {"fieldPath": super::pod::index_path()}}});
            give(template, &config_name(of), vec![index, json!({"name": "PARAMETERS_FILE", "value": format!("{FOLDER}/$(TRIAL).json")})]);
        }
        objects.insert(0, config(of, &files));
        notes.push(format!("{} trials; each finds its parameters in the file that PARAMETERS_FILE names", self.trials.len()));
        Rendered { objects, notes }
    }

    /// Trials of several workers: a Job each.
    fn jobs(&self, of: &Named, mut notes: Vec<String>) -> Result<Rendered, Mistake> {
        if self.parallel.is_some() {
            let problem = "is not kept where a trial has several workers: each is a Job of its own";
            return Err(Mistake::new("spec.parallel", problem, "leave it out: a quota or a queue of Gangplank's keeps it"));
        }
        let mut objects = Vec::new();
        for (at, trial) in self.trials.iter().enumerate() {
            let named = Named { name: format!("{}-{at}", of.name), ..of.clone() };
            let mut made = self.job.render(&named, None)?.objects;
            if let Some(job) = made.last_mut() {
                let env = [("TRIAL", at.to_string()), ("PARAMETERS_FILE", format!("{FOLDER}/{at}.json"))];
                let env = env.map(|(name, value)| json!({"name": name, "value": value})).to_vec();
                give(&mut job["spec"]["template"], &config_name(&named), env);
            }
            objects.push(config(&named, &Map::from_iter([(format!("{at}.json"), json!(trial.to_string()))])));
            objects.extend(made);
        }
        notes.push(format!("{} Jobs of several workers: whoever places them decides how many run at a time", self.trials.len()));
        Ok(Rendered { objects, notes })
    }
}

/// Mounts the parameters, and says where they are.
fn give(template: &mut Value, config: &str, env: Vec<Value>) {
    let push = |list: &mut Value, items: Vec<Value>| match list {
        Value::Array(list) => list.extend(items),
        list => *list = Value::Array(items),
    };
    let pod = &mut template["spec"];
    push(&mut pod["volumes"], vec![json!({"name": "parameters", "configMap": {"name": config}})]);
    push(&mut pod["containers"][0]["volumeMounts"], vec![json!({"name": "parameters", "mountPath": FOLDER, "readOnly": true})]);
    push(&mut pod["containers"][0]["env"], env);
}

fn config(of: &Named, files: &Map<String, Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": of.metadata(&config_name(of)), "data": files})
}

fn config_name(of: &Named) -> String {
    format!("{}-parameters", of.name)
}

const FOLDER: &str = "/etc/sweep";
const PARAMETERS_MAX: usize = 32;
/// Their files are one ConfigMap.
const TRIALS_MAX: u32 = 1000;
