//! The objects of a training job: claims, files, a headless Service, an Indexed Job. One worker is a Job of one.

use serde_json::{Value, json};

use super::TrainingJob;
use crate::recipe::Rendered;
use crate::recipe::names::{EXPECTED_DURATION, GANG, GANG_MIN, GANG_SIZE, JOB_NAME, KUEUE_QUEUE, TOPOLOGY_PREFERRED, TOPOLOGY_REQUIRED};
use crate::recipe::object::Named;
use crate::recipe::pod::{Around, Variable, template};

pub(super) fn render(job: &TrainingJob, of: &Named) -> Rendered {
    let mut worker = job.worker.clone();
    let mut notes = worker.notes();
    let mut around = Around {
        annotations: annotations(job, of),
        env: job.framework.environment(&job.group),
        ports: if job.group.is_alone() { Vec::new() } else { job.framework.ports.to_vec() },
        subdomain: (!job.group.is_alone()).then(|| of.name.clone()),
        restart_policy: Some("Never"),
        apart: job.own_nodes,
        ..Around::default()
    };
    if let Some(launch) = &job.framework.launch {
        worker.storage.add_config(launch.folder, (launch.files)(&job.group));
        worker.storage.add_secret(launch.secret_folder, &(launch.secret)(&of.name));
        around.command = Some(launch.command.iter().map(|word| (*word).to_owned()).chain(worker.command.clone()).collect());
        notes.push((launch.note)(&of.name));
    }
    if let Some(checkpoint) = &job.checkpoint {
        around.env.push(Variable::text("CHECKPOINT_DIR", &checkpoint.path));
        around.env.extend(checkpoint.every.map(|every| Variable::text("CHECKPOINT_INTERVAL_SECONDS", &every.as_secs())));
        if let Some(grace) = checkpoint.grace {
            around.pod.insert("terminationGracePeriodSeconds".to_owned(), json!(grace.as_secs()));
        }
    } else if job.group.workers > 1 {
        notes.push("no checkpoint: whatever stops a worker costs all the work since the start".into());
    }
    let mut objects = worker.storage.objects(of);
    if !job.group.is_alone() {
        objects.push(service(job, of));
    }
    objects.push(indexed_job(job, of, &template(of, &worker, &around)));
    Rendered { objects, notes }
}

/// A Job with as many workers as completions is a gang by itself, known by its UID. One that can start with fewer says so.
fn annotations(job: &TrainingJob, of: &Named) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let (min, size) = (job.group.workers_min, job.group.workers);
    if min < size {
        all.extend([(GANG, of.name.clone()), (GANG_SIZE, size.to_string()), (GANG_MIN, min.to_string())]);
    }
    let topology = [(TOPOLOGY_REQUIRED, &job.topology.required), (TOPOLOGY_PREFERRED, &job.topology.preferred)];
    all.extend(topology.into_iter().filter_map(|(key, wish)| Some((key, wish.clone()?))));
    all.extend(job.expected_duration.map(|time| (EXPECTED_DURATION, format!("{}s", time.as_secs()))));
    all
}

/// Gives each worker the name NAME-INDEX.NAME. Before they are ready, too: they become ready by finding each other.
fn service(job: &TrainingJob, of: &Named) -> Value {
    let ports: Vec<Value> = job.framework.ports.iter().map(|(name, port)| json!({"name": name, "port": port})).collect();
    let mut spec = json!({"clusterIP": "None", "publishNotReadyAddresses": true, "selector": {JOB_NAME: of.name}});
    if !ports.is_empty() {
        spec["ports"] = json!(ports);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": of.metadata(&of.name), "spec": spec})
}

fn indexed_job(job: &TrainingJob, of: &Named, template: &Value) -> Value {
    let mut metadata = of.metadata(&of.name);
    if let Some(queue) = &job.worker.queue {
        metadata["labels"][KUEUE_QUEUE] = json!(queue);
    }
    let mut spec = json!({
        "completionMode": "Indexed",
        "parallelism": job.group.workers,
        "completions": job.group.workers,
        // When one worker fails the others fail with it: counted together, sixteen failures would be one accident.
        "backoffLimitPerIndex": job.retries,
        "maxFailedIndexes": 0,
        "podFailurePolicy": {"rules": [
            // Evicted or preempted: not the program's fault.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            // Not found, or not executable: the next try ends the same way.
            {"action": "FailJob", "onExitCodes": {"containerName": super::super::fields::MAIN, "operator": "In", "values": [126, 127]}},
        ]},
        "template": template,
    });
    if job.framework.launch.is_some() || job.group.workers_min < job.group.workers {
        // The first worker speaks for all: those that wait, or only serve, never end by themselves.
        spec["successPolicy"] = json!({"rules": [{"succeededIndexes": "0"}]});
    }
    if let Some(time) = job.max_duration {
        spec["activeDeadlineSeconds"] = json!(time.as_secs());
    }
    if let Some(time) = job.keep {
        spec["ttlSecondsAfterFinished"] = json!(time.as_secs());
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
}
