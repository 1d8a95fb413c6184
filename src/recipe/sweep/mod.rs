//! `Sweep`: a training job again and again, with other parameters each time. Decides which parameters each trial has: all
//! combinations, or so many at random from a seed. A trial finds its own in the file that PARAMETERS_FILE names.
//! `halving.rs` decides which of them get more, `metric.rs` how good a trial is, `runs.rs` what one becomes.
//!
//! Trials of one worker are one Indexed Job, so that only so many run at a time. Trials of several workers are a Job each:
//! plain Kubernetes does not count them, whoever places them does.

mod halving;
#[cfg(test)]
mod halving_tests;
mod metric;
mod runs;
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
pub use halving::{Halving, Next, Outcome, Run, best};
use metric::MetricFile;
pub use metric::{Goal, LOOKED_AT_BYTES_MAX, Metric, Source};
pub use runs::{RUNG, SWEEP, TRIAL};
use values::ParameterFile;

/// A training job again and again, with other parameters each time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SweepSpec {
    /// grid: all combinations. random: so many as `trials` says, each drawn from the ranges. halving: as many, and the best of
    /// them go on with more of `budget`.
    search: Search,
    /// What differs, by name: values to try, or a range.
    parameters: BTreeMap<String, ParameterFile>,
    /// How many trials a random search and halving have; the most that a grid may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trials: Option<u32>,
    /// Where randomness comes from: the same seed draws the same parameters.
    #[serde(default)]
    seed: u64,
    /// How many trials run at a time; all of them if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    /// The number that says how good a trial is. Halving needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metric: Option<MetricFile>,
    /// What trials of halving may spend, in whatever the program counts: epochs, steps, seconds. It finds it in BUDGET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetFile>,
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
    /// Drawn at random, and the best go on.
    Halving,
}

/// What trials of halving may spend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BudgetFile {
    /// What each trial gets.
    #[cfg_attr(feature = "io", schemars(range(min = 1)))]
    min: u64,
    /// What the best get, counted from their beginning.
    #[cfg_attr(feature = "io", schemars(range(min = 1)))]
    max: u64,
    /// One of so many goes on, and gets so many times as much.
    #[serde(default = "factor_default")]
    #[cfg_attr(feature = "io", schemars(range(min = 2, max = 10)))]
    factor: u64,
    /// What all of them may spend together; without it, what they need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

fn factor_default() -> u64 {
    3
}

/// A checked sweep.
#[derive(Debug)]
pub struct Sweep {
    trials: Vec<Value>,
    parallel: Option<u32>,
    metric: Option<Metric>,
    halving: Option<Halving>,
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
            Search::Random | Search::Halving => {
                let Some(trials) = self.trials else {
                    return Err(Mistake::new("trials", "is missing: a random search has no end", "write how many: `trials: 20`"));
                };
                values::random(&self.parameters, trials, self.seed)
            }
        };
        if self.parallel == Some(0) {
            return Err(Mistake::new("parallel", "is 0: nothing would run", "write at least 1, or leave it out"));
        }
        let metric = self.metric.map(MetricFile::check).transpose().map_err(|mistake| mistake.within("metric"))?;
        let mut halving = match (self.search, self.budget, &metric) {
            (Search::Halving, Some(budget), Some(metric)) => {
                Some(budget.check(&trials, self.parallel, metric.goal).map_err(|mistake| mistake.within("budget"))?)
            }
            (Search::Halving, None, _) => {
                return Err(Mistake::new("budget", "is missing", "write what trials get: `budget: {min: 1, max: 27}`"));
            }
            (Search::Halving, _, None) => {
                return Err(Mistake::new(
                    "metric",
                    "is missing: nobody knows which trials are the best",
                    "write `metric: {name: val_loss, goal: minimize}`",
                ));
            }
            (_, Some(_), _) => return Err(Mistake::new("budget", "is for halving", "write `search: halving`, or leave it out")),
            _ => None,
        };
        // Names of trials have a number more, those of halving two.
        let rung = halving.as_ref().map(|halving| format!("-{}", halving.budgets.len())).unwrap_or_default();
        let longest = Named { name: format!("{}-{}{rung}", of.name, trials.len()), ..of.clone() };
        let job = self.job.check(&longest).map_err(|mistake| mistake.within("job"))?;
        let made = job.render(&longest, None)?;
        let env = runs::env(&made.objects);
        if let Some(name) = runs::OWN.iter().find(|own| env.contains(*own)) {
            let mistake = Mistake::new(format!("env.{name}"), "is what a trial learns of the sweep", "give it another name");
            return Err(mistake.within("job"));
        }
        if let Some(halving) = &mut halving {
            halving.resumes = env.contains(&runs::CHECKPOINT);
        }
        Ok(Box::new(Sweep { trials, parallel: self.parallel, metric, halving, job }))
    }
}

impl BudgetFile {
    fn check(&self, trials: &[Value], parallel: Option<u32>, goal: Goal) -> Result<Halving, Mistake> {
        if !(1..=BUDGET_MAX).contains(&self.min) {
            return Err(Mistake::range("min", self.min, "1..=1000000000"));
        }
        if self.max <= self.min || self.max > BUDGET_MAX {
            let problem = format!("is {}, with a least of {}", self.max, self.min);
            return Err(Mistake::new("max", problem, "write a most above the least, within 1000000000"));
        }
        if !(2..=10).contains(&self.factor) {
            return Err(Mistake::range("factor", self.factor, "2..=10"));
        }
        let budgets = Halving::budgets(self.min, self.max, self.factor);
        let needed = u32::try_from(budgets.len() - 1).ok().and_then(|rungs| self.factor.checked_pow(rungs)).unwrap_or(u64::MAX);
        if needed > trials.len() as u64 {
            let problem = format!("of {} is reached by one of {needed} trials, and there are {}", self.max, trials.len());
            return Err(Mistake::new("max", problem, "raise `trials` or `min`, or lower `max`"));
        }
        if let Some(total) = self.total.filter(|total| *total < self.max) {
            return Err(Mistake::new("total", format!("is {total}: no trial reaches {}", self.max), "raise it, or lower `max`"));
        }
        let count = u32::try_from(trials.len()).unwrap_or(u32::MAX);
        let parallel = parallel.unwrap_or(count).min(count);
        Ok(Halving { budgets, factor: self.factor, trials: count, parallel, total: self.total, goal, resumes: false })
    }
}

impl Recipe for Sweep {
    fn sweep(&self) -> Option<&Sweep> {
        Some(self)
    }

    fn render(&self, of: &Named, _: Option<&str>) -> Result<Rendered, Mistake> {
        let made = self.job.render(of, None)?;
        if self.halving.is_some() {
            return self.first_rung(of, made.notes);
        }
        let alone = made.objects.last().is_some_and(|job| job["spec"]["completions"] == 1);
        if alone { Ok(self.one_job(of, made)) } else { self.jobs(of, made.notes) }
    }
}

impl Sweep {
    /// Trials of one worker: an index each.
    fn one_job(&self, of: &Named, made: Rendered) -> Rendered {
        let Rendered { mut objects, mut notes } = made;
        if let Some(job) = objects.last_mut() {
            let count = u32::try_from(self.trials.len()).unwrap_or(u32::MAX);
            job["spec"]["completions"] = json!(count);
            job["spec"]["parallelism"] = json!(self.parallel.unwrap_or(count).min(count));
            // A trial that fails is an answer, too.
            job["spec"]["maxFailedIndexes"] = json!(count);
            let template = &mut job["spec"]["template"];
            template["metadata"]["annotations"][GANG_SIZE] = json!("1");
            let index = json!({"name": "TRIAL", "valueFrom": {"fieldRef": {"fieldPath": super::pod::index_path()}}});
            self.give(template, &config_name(of), index, Vec::new());
        }
        objects.insert(0, self.config(of));
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
                self.give(&mut job["spec"]["template"], &config_name(&named), runs::variable("TRIAL", &at), Vec::new());
            }
            objects.push(config(&named, &Map::from_iter([(format!("{at}.json"), json!(trial.to_string()))])));
            objects.extend(made);
        }
        notes.push(format!("{} Jobs of several workers: whoever places them decides how many run at a time", self.trials.len()));
        Ok(Rendered { objects, notes })
    }

    /// The parameters of all trials.
    fn config(&self, of: &Named) -> Value {
        let file = |(at, trial): (usize, &Value)| (format!("{at}.json"), json!(trial.to_string()));
        config(of, &self.trials.iter().enumerate().map(file).collect())
    }

    /// Mounts the parameters, and says where they are and what else a trial has to know.
    fn give(&self, template: &mut Value, config: &str, trial: Value, more: Vec<Value>) {
        let push = |list: &mut Value, items: Vec<Value>| match list {
            Value::Array(list) => list.extend(items),
            list => *list = Value::Array(items),
        };
        let pod = &mut template["spec"];
        push(&mut pod["volumes"], vec![json!({"name": "parameters", "configMap": {"name": config}})]);
        let container = &mut pod["containers"][0];
        push(&mut container["volumeMounts"], vec![json!({"name": "parameters", "mountPath": FOLDER, "readOnly": true})]);
        let mut env = vec![trial];
        env.extend(container["env"].as_array_mut().map(std::mem::take).unwrap_or_default());
        for checkpoint in env.iter_mut().filter(|variable| variable["name"] == runs::CHECKPOINT && variable["value"].is_string()) {
            // Trials beside each other do not overwrite each other's work.
            let folder = checkpoint["value"].as_str().unwrap_or_default().trim_end_matches('/');
            checkpoint["value"] = json!(format!("{folder}/trial-$(TRIAL)"));
        }
        env.push(json!({"name": "PARAMETERS_FILE", "value": format!("{FOLDER}/$(TRIAL).json")}));
        if self.metric.as_ref().is_some_and(|metric| metric.from == Source::File) {
            env.push(runs::variable("METRICS_FILE", runs::METRICS_FILE));
        }
        env.extend(more);
        container["env"] = Value::Array(env);
    }
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
const BUDGET_MAX: u64 = 1_000_000_000;
