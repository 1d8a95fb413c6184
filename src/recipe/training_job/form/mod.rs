//! Other forms of a training job than a Job: one file a form, one line each in [`ALL`]. The workers' Job is the same in all
//! of them; a form says what stands around it, and what hosts are called there.

mod jobset;
#[cfg(test)]
mod tests;
mod trainjob;

use serde_json::{Value, json};

use super::TrainingJob;
use super::render::as_one;
use crate::policy::Mistake;
use crate::recipe::names::GANG_MIN;
use crate::recipe::object::Named;

/// A form.
pub(super) struct Form {
    name: &'static str,
    /// What the Job is called within the object that makes it; hosts are NAME-ROLE-0-INDEX.NAME then.
    pub(super) role: &'static str,
    /// What the container is called in which the program runs.
    pub(super) container: &'static str,
    /// What the job says that this form cannot.
    pub(super) check: fn(&TrainingJob) -> Result<(), Mistake>,
    /// The objects around the specification of the workers' Job.
    pub(super) objects: fn(&TrainingJob, &Named, Value) -> Vec<Value>,
    /// What has to be in the cluster.
    pub(super) needs: &'static str,
}

const ALL: &[Form] = &[jobset::JOBSET, trainjob::TRAINJOB];

/// What `--as` takes.
pub(super) const NAMES: &[&str] = &[ALL[0].name, ALL[1].name];

/// The form of this name.
pub(super) fn named(name: &str) -> Option<&'static Form> {
    ALL.iter().find(|form| form.name == name)
}

/// The specification of a JobSet with one Job. It makes the headless Service, by its own name.
fn set(job: &TrainingJob, role: &str, labels: &Value, mut workers: Value) -> Value {
    let mut policy = json!({"maxRestarts": job.retries, "rules": [
        // A command that does not exist, and a job whose time is over, are so the next time, too.
        {"name": "commandMissing", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
        {"name": "timeOver", "action": "FailJobSet", "onJobFailureReasons": ["DeadlineExceeded"]},
    ]});
    if job.group.is_elastic() {
        // The others go on without a worker: it alone is started again, by the Job.
        policy["maxRestarts"] = json!(0);
    } else {
        // The others cannot go on without a worker: all of them begin anew, at once.
        as_one(&mut workers);
    }
    json!({
        "network": {"enableDNSHostnames": true, "publishNotReadyAddresses": true},
        "failurePolicy": policy,
        "replicatedJobs": [{"name": role, "replicas": 1, "template": {"metadata": {"labels": labels}, "spec": workers}}],
    })
}

/// Gangplank reads the least of a JobSet's workers there: pods say that they are of the JobSet, and no more.
fn fewest(job: &TrainingJob, metadata: &mut Value) {
    if job.group.is_elastic() {
        metadata["annotations"][GANG_MIN] = json!(job.group.workers_min.to_string());
    }
}
