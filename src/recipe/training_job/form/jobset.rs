//! A JobSet of the Kubernetes project of that name: where one worker fails, all begin anew at once.

use serde_json::{Value, json};

use super::{Form, fewest, set};
use crate::recipe::fields::MAIN;
use crate::recipe::names::KUEUE_QUEUE;
use crate::recipe::object::Named;
use crate::recipe::training_job::TrainingJob;

pub(super) const JOBSET: Form = Form {
    name: "jobset",
    role: "workers",
    container: MAIN,
    check: |_| Ok(()),
    objects,
    needs: "JobSet (jobset.x-k8s.io/v1alpha2) has to be installed; where a worker fails all begin anew, `retries` times, and maxDuration counts anew with them",
};

fn objects(job: &TrainingJob, of: &Named, workers: Value) -> Vec<Value> {
    let mut metadata = of.metadata(&of.name);
    if let Some(queue) = &job.worker.queue {
        metadata["labels"][KUEUE_QUEUE] = json!(queue);
    }
    fewest(job, &mut metadata);
    let mut spec = set(job, JOBSET.role, &of.labels(), workers);
    if job.suspend {
        spec["suspend"] = json!(true);
    }
    if let Some(time) = job.max_duration {
        spec["replicatedJobs"][0]["template"]["spec"]["activeDeadlineSeconds"] = json!(time.as_secs());
    }
    if let Some(time) = job.keep {
        spec["ttlSecondsAfterFinished"] = json!(time.as_secs());
    }
    vec![json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata, "spec": spec})]
}
