//! A trial on a rung of halving: a Job of its own, which knows its trial, what it may spend and where it left off. Labels
//! say which it is, so that what has been done is read off the cluster.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Halving, Metric, Sweep, config_name};
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::object::Named;

/// Label of the Jobs of a sweep: its name.
pub const SWEEP: &str = "gangplank.dev/sweep";
/// Label of such a Job: which trial.
pub const TRIAL: &str = "gangplank.dev/trial";
/// Label of such a Job: which rung.
pub const RUNG: &str = "gangplank.dev/rung";

/// What a trial learns of the sweep.
pub(super) const OWN: &[&str] = &["TRIAL", "PARAMETERS_FILE", "METRICS_FILE", "BUDGET", "BUDGET_BEFORE", "RUNG"];
/// Where a trial saves its work, if it does.
pub(super) const CHECKPOINT: &str = "CHECKPOINT_DIR";
/// kubelet puts it into the pod's status, as much of it as 4 KiB.
pub(super) const METRICS_FILE: &str = "/dev/termination-log";

impl Sweep {
    /// The number that says how good a trial is.
    pub fn metric(&self) -> Option<&Metric> {
        self.metric.as_ref()
    }

    /// Which budgets there are, if the best go on.
    pub fn halving(&self) -> Option<&Halving> {
        self.halving.as_ref()
    }

    /// The parameters of all trials.
    pub fn trials(&self) -> &[Value] {
        &self.trials
    }

    /// All trials with the least budget: what can be said without anybody who looks at how good they are.
    pub(super) fn first_rung(&self, of: &Named, mut notes: Vec<String>) -> Result<Rendered, Mistake> {
        let mut objects: Vec<Value> = Vec::new();
        for trial in 0..u32::try_from(self.trials.len()).unwrap_or(u32::MAX) {
            for object in self.run(of, trial, 0)? {
                let same = |other: &Value| (&other["kind"], &other["metadata"]["name"]) == (&object["kind"], &object["metadata"]["name"]);
                if !objects.iter().any(same) {
                    objects.push(object);
                }
            }
        }
        notes.push(format!(
            "these are all {} trials with the least budget, at once; gangplank-provision apply --wait keeps `parallel` and lets the best go on",
            self.trials.len()
        ));
        if self.halving.as_ref().is_some_and(|halving| !halving.resumes) {
            notes.push("no checkpoint: a trial that goes on begins anew, and spends again what it had spent".into());
        }
        Ok(Rendered { objects, notes })
    }

    /// A trial on a rung.
    pub(in crate::recipe) fn run(&self, of: &Named, trial: u32, rung: usize) -> Result<Vec<Value>, Mistake> {
        let named = Named { name: format!("{}-{trial}-{rung}", of.name), ..of.clone() };
        let mut objects = self.job.render(&named, None)?.objects;
        for claim in objects.iter_mut().filter(|object| object["kind"] == "PersistentVolumeClaim") {
            // It is the sweep's, and not that of whichever trial was first.
            claim["metadata"] = of.metadata(claim["metadata"]["name"].as_str().unwrap_or_default());
        }
        if let Some(job) = objects.last_mut() {
            let labels = &mut job["metadata"]["labels"];
            (labels[SWEEP], labels[TRIAL], labels[RUNG]) = (json!(of.name), json!(trial.to_string()), json!(rung.to_string()));
            let spent = |rung: Option<usize>| self.halving.as_ref().zip(rung).map_or(0, |(halving, rung)| halving.budgets[rung]);
            let more = vec![
                variable("RUNG", &rung),
                variable("BUDGET", &spent(Some(rung))),
                variable("BUDGET_BEFORE", &spent(rung.checked_sub(1))),
            ];
            self.give(&mut job["spec"]["template"], &config_name(of), variable("TRIAL", &trial), more);
        }
        objects.insert(0, self.config(of));
        Ok(objects)
    }
}

pub(super) fn variable(name: &str, value: &(impl ToString + ?Sized)) -> Value {
    json!({"name": name, "value": value.to_string()})
}

/// Names of the variables of the Job's first container.
pub(super) fn env(objects: &[Value]) -> BTreeSet<&str> {
    let containers = objects.last().map(|job| &job["spec"]["template"]["spec"]["containers"][0]["env"]);
    containers.and_then(Value::as_array).into_iter().flatten().filter_map(|variable| variable["name"].as_str()).collect()
}
