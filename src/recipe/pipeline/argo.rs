//! A pipeline as an Argo Workflow, or a CronWorkflow where there is a schedule.

use serde_json::{Map, Value, json};

use super::{Pipeline, Step, Work, deploy, environment, has_braces};
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::fields::Worker;
use crate::recipe::object::Named;
use crate::recipe::pod::{Around, template};

pub(super) fn render(pipeline: &Pipeline, of: &Named) -> Result<Rendered, Mistake> {
    let mut objects = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    let mut templates = Vec::new();
    let mut tasks = Vec::new();
    let mut deployed: Vec<Value> = Vec::new();
    let account = format!("{}-deploy", of.name);
    for (at, step) in pipeline.steps.iter().enumerate() {
        // Names of ConfigMaps are made of it: steps have files of their own.
        let named = Named { name: format!("{}-{}", of.name, step.name), ..of.clone() };
        let (made, said) = match &step.work {
            Work::Program(worker) => {
                objects.extend(worker.storage.objects(&named));
                (vec![step_template(pipeline, step, worker, &named)], worker.notes())
            }
            Work::Deploy(server) => {
                let within = |mistake: Mistake| mistake.within("deploy").at(at).within("steps").within("spec");
                let rendered = server.render(of).map_err(within)?;
                let made = deploy::templates(&step.name, step.retries, &account, &rendered.objects);
                deployed.extend(rendered.objects);
                (made, rendered.notes)
            }
        };
        if made.iter().any(has_braces) {
            let mistake = Mistake::new("", "has `{{` in a text, which Argo reads as its own", "pass such a text by a file or a Secret");
            return Err(mistake.at(at).within("steps").within("spec"));
        }
        let mut task = json!({"name": step.name, "template": step.name});
        if !step.after.is_empty() {
            task["dependencies"] = json!(step.after);
        }
        if let Some(only_if) = &step.only_if {
            task["when"] = json!(format!("{{{{tasks.{}.outputs.parameters.for-{}}}}} == {}", only_if.step, step.name, only_if.is));
        }
        notes.extend(said.into_iter().map(|note| format!("step {}: {note}", step.name)));
        templates.extend(made);
        tasks.push(task);
    }
    if !deployed.is_empty() {
        objects.extend(deploy::rights(of, &account, &deployed));
        notes.push(format!(
            "ServiceAccount {account} may create what the server is made of, and so pods by any account of the namespace; the step ends when \
             its objects are applied, and `delete` leaves them"
        ));
    }
    templates.insert(0, json!({"name": ENTRY, "dag": {"tasks": tasks}}));
    let mut workflow = json!({
        "entrypoint": ENTRY,
        "templates": templates,
        // What is done is kept for a day for people to look at.
        "ttlStrategy": {"secondsAfterCompletion": 86_400},
        "podGC": {"strategy": "OnPodSuccess"},
    });
    if let Some(parallel) = pipeline.parallel {
        workflow["parallelism"] = json!(parallel);
    }
    let (kind, spec) = match &pipeline.schedule {
        None => ("Workflow", workflow),
        Some(schedule) => {
            let mut spec = json!({"schedules": [schedule], "concurrencyPolicy": "Forbid", "workflowSpec": workflow});
            if let Some(zone) = &pipeline.time_zone {
                spec["timezone"] = json!(zone);
            }
            ("CronWorkflow", spec)
        }
    };
    objects.push(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": of.metadata(&of.name), "spec": spec}));
    notes.push(
        "Argo's own container in each pod reports by the pod's ServiceAccount, which needs the right to create workflowtaskresults".into(),
    );
    notes.extend(pipeline.schedule.is_none().then(|| "a Workflow runs once: delete it, or give the next run another name".to_owned()));
    Ok(Rendered { objects, notes })
}

fn step_template(pipeline: &Pipeline, step: &Step, worker: &Worker, named: &Named) -> Value {
    let around = Around { env: environment(), ..Around::default() };
    let made = template(named, worker, &around);
    let pod = &made["spec"];
    let mut all = Map::new();
    all.insert("name".to_owned(), json!(step.name));
    all.insert("metadata".to_owned(), made["metadata"].clone());
    let mut containers = pod["containers"].as_array().cloned().unwrap_or_default();
    if !containers.is_empty() {
        all.insert("container".to_owned(), containers.remove(0));
    }
    if !containers.is_empty() {
        all.insert("sidecars".to_owned(), json!(containers));
    }
    for field in FIELDS {
        if let Some(value) = pod.get(field) {
            all.insert((*field).to_owned(), value.clone());
        }
    }
    if step.retries > 0 {
        all.insert("retryStrategy".to_owned(), json!({"limit": step.retries.to_string(), "retryPolicy": "Always"}));
    }
    let asked: Vec<Value> = pipeline
        .steps
        .iter()
        .filter_map(|other| Some((other, other.only_if.as_ref()?)))
        .filter(|(_, only_if)| only_if.step == step.name)
        .map(|(other, only_if)| json!({"name": format!("for-{}", other.name), "valueFrom": {"path": only_if.file, "default": ""}}))
        .collect();
    if !asked.is_empty() {
        all.insert("outputs".to_owned(), json!({"parameters": asked}));
    }
    Value::Object(all)
}

const ENTRY: &str = "pipeline";
/// Fields of a pod that a template of Argo's has, too. The account's token is Argo's to mount: it reports by it.
const FIELDS: &[&str] =
    &["volumes", "nodeSelector", "affinity", "tolerations", "schedulerName", "priorityClassName", "serviceAccountName", "securityContext"];
