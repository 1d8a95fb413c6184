//! A TrainJob of Kubeflow Trainer v2, and the TrainingRuntime that it refers to. The runtimes that Trainer brings
//! (torch-distributed and its like) know nothing of volumes, shared memory, the scheduler or the security context, and a
//! TrainJob cannot say them: so it gets a runtime of its own, in its namespace, that does.

use serde_json::{Value, json};

use super::{Form, fewest, set};
use crate::policy::Mistake;
use crate::recipe::names::KUEUE_QUEUE;
use crate::recipe::object::Named;
use crate::recipe::training_job::TrainingJob;

pub(super) const TRAINJOB: Form = Form {
    name: "trainjob",
    role: "node",
    // Trainer looks for the container by this name.
    container: "node",
    check,
    objects,
    needs: "Kubeflow Trainer v2 (trainer.kubeflow.org/v1alpha1) and JobSet have to be installed; the TrainJob refers to the TrainingRuntime that stands before it, and to none of the cluster's",
};

fn check(job: &TrainingJob) -> Result<(), Mistake> {
    if job.keep.is_some() {
        let problem = "cannot be said in a TrainJob: it is kept until somebody deletes it";
        return Err(Mistake::new("spec.keep", problem, "leave it out, or render --as jobset"));
    }
    if let Some(at) = job.worker.beside.iter().position(|beside| beside.name == TRAINJOB.container) {
        let problem = "is what Trainer calls the first container";
        return Err(Mistake::new(format!("spec.containers[{at}].name"), problem, "give it another name"));
    }
    Ok(())
}

fn objects(job: &TrainingJob, of: &Named, workers: Value) -> Vec<Value> {
    let mut labels = of.labels();
    labels["trainer.kubeflow.org/trainjob-ancestor-step"] = json!("trainer");
    let mut template = json!({"metadata": {"labels": of.labels()}, "spec": set(job, TRAINJOB.role, &labels, workers)});
    fewest(job, &mut template["metadata"]);
    // Of no framework: ours sets the environment, and two would set it twice.
    let runtime = json!({
        "apiVersion": API,
        "kind": "TrainingRuntime",
        "metadata": of.metadata(&of.name),
        "spec": {"mlPolicy": {"numNodes": job.group.workers}, "template": template},
    });
    let mut metadata = of.metadata(&of.name);
    if let Some(queue) = &job.worker.queue {
        metadata["labels"][KUEUE_QUEUE] = json!(queue);
    }
    let mut spec = json!({
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": of.name},
        "trainer": {"numNodes": job.group.workers},
    });
    if job.suspend {
        spec["suspend"] = json!(true);
    }
    if let Some(time) = job.max_duration {
        spec["activeDeadlineSeconds"] = json!(time.as_secs());
    }
    vec![runtime, json!({"apiVersion": API, "kind": "TrainJob", "metadata": metadata, "spec": spec})]
}

const API: &str = "trainer.kubeflow.org/v1alpha1";
