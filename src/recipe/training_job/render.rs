//! The objects of a training job: claims, files, a headless Service, an Indexed Job. One worker is a Job of one. In another
//! form the Job stands in that form's object, which makes the Service, too.

use serde_json::{Value, json};

use super::form::Form;
use super::framework::Group;
use super::{HOST_BYTES_MAX, Restart, TrainingJob};
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::fields::MAIN;
use crate::recipe::names::{EXPECTED_DURATION, GANG, GANG_MIN, GANG_SIZE, JOB_NAME, KUEUE_QUEUE, TOPOLOGY_PREFERRED, TOPOLOGY_REQUIRED};
use crate::recipe::object::Named;
use crate::recipe::pod::{Around, Variable, template};

pub(super) fn render(job: &TrainingJob, of: &Named, form: Option<&Form>) -> Result<Rendered, Mistake> {
    let mut worker = job.worker.clone();
    let mut notes = worker.notes();
    let group = group(job, of, form)?;
    let mut around = Around {
        annotations: annotations(job, of, form),
        env: job.framework.environment(&group),
        ports: if group.is_alone() { Vec::new() } else { job.framework.ports.to_vec() },
        // A JobSet sets it by itself.
        subdomain: (!group.is_alone() && form.is_none()).then(|| of.name.clone()),
        restart_policy: Some("Never"),
        apart: job.own_nodes.then(|| group.hosts.clone()),
        ..Around::default()
    };
    if let Some(launch) = &job.framework.launch {
        worker.storage.add_config(launch.folder, (launch.files)(&group));
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
    let mut template = template(of, &worker, &around);
    if let Some(form) = form {
        if job.restart.is_some() {
            let problem = "is what this form decides by itself: all begin anew, or in an elastic job the one that failed";
            return Err(Mistake::new("spec.restart", problem, "leave it out"));
        }
        (form.check)(job)?;
        template["spec"]["containers"][0]["name"] = json!(form.container);
        objects.extend((form.objects)(job, of, workers(job, &template, form.container)));
        notes.push(form.needs.to_owned());
    } else {
        if !group.is_alone() {
            objects.push(service(job, of));
        }
        if job.restart == Some(Restart::Gang) {
            notes.push(
                "restart: gang needs gangplank-provision run, which starts all again; the Job alone ends with the first that fails".into(),
            );
        }
        objects.push(indexed_job(job, of, &template));
    }
    Ok(Rendered { objects, notes })
}

/// The group, with its hosts as the form calls them.
fn group(job: &TrainingJob, of: &Named, form: Option<&Form>) -> Result<Group, Mistake> {
    let Some(form) = form else { return Ok(job.group.clone()) };
    let hosts = format!("{}-{}-0", of.name, form.role);
    let longest = hosts.len() + format!("-{}", job.group.workers - 1).len();
    if longest > HOST_BYTES_MAX {
        let problem = format!("makes host names of {longest} letters in this form");
        return Err(Mistake::new("metadata.name", problem, "shorten it: a host name has at most 63 letters"));
    }
    Ok(Group { hosts, ..job.group.clone() })
}

/// A Job with as many workers as completions is a gang by itself, known by its UID. One that can start with fewer says so.
/// Pods of a JobSet are of its gang, whatever else they say.
fn annotations(job: &TrainingJob, of: &Named, form: Option<&Form>) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let (min, size) = (job.group.workers_min, job.group.workers);
    if job.group.is_elastic() && form.is_none() {
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
    let mut spec = workers(job, template, MAIN);
    if job.restart == Some(Restart::Gang) {
        as_one(&mut spec);
    }
    if job.suspend {
        spec["suspend"] = json!(true);
    }
    if let Some(time) = job.max_duration {
        spec["activeDeadlineSeconds"] = json!(time.as_secs());
    }
    if let Some(time) = job.keep {
        spec["ttlSecondsAfterFinished"] = json!(time.as_secs());
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
}

/// Of workers that cannot go on without one of them: the first that fails ends the Job, and whoever made it begins anew.
pub(crate) fn as_one(workers: &mut Value) {
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        workers.as_object_mut().map(|fields| fields.remove(field));
    }
    workers["backoffLimit"] = json!(0);
}

/// The specification of the Job, whoever makes it.
fn workers(job: &TrainingJob, template: &Value, container: &str) -> Value {
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
            {"action": "FailJob", "onExitCodes": {"containerName": container, "operator": "In", "values": [126, 127]}},
        ]},
        "template": template,
    });
    if job.framework.launch.is_some() || job.group.is_elastic() {
        // The first worker speaks for all: those that wait, or only serve, never end by themselves.
        spec["successPolicy"] = json!({"rules": [{"succeededIndexes": "0"}]});
    }
    spec
}
