//! Sweeps: which trials there are, and how they run.

use serde_json::{Value, json};

use crate::recipe::{Rendered, SpecError, read};

fn tried(body: &str) -> Result<Rendered, SpecError> {
    let body = body.replace('\n', "\n  ");
    let text = format!("apiVersion: gangplank.dev/v1alpha1\nkind: Sweep\nmetadata: {{name: s}}\nspec:\n  {body}\n");
    read(&text)?[0].render(None)
}

fn rendered(body: &str) -> Vec<Value> {
    tried(body).unwrap_or_else(|error| panic!("{body}: {error}")).objects
}

fn parameters(config: &Value, trial: usize) -> Value {
    serde_json::from_str(config["data"][format!("{trial}.json")].as_str().unwrap()).unwrap()
}

const JOB: &str = "job: {framework: pytorch, image: 'a/b:1', gpu: 1}";

#[test]
fn a_grid_has_all_combinations_and_runs_so_many_at_a_time() {
    let objects = rendered(&format!(
        "search: grid\nparameters: {{lr: {{values: [0.1, 0.01]}}, layers: {{min: 2, max: 6, step: 2}}}}\nparallel: 2\n{JOB}"
    ));
    let [config, job] = objects.as_slice() else { panic!("{objects:?}") };
    let all: Vec<Value> = (0..6).map(|trial| parameters(config, trial)).collect();
    assert_eq!(all[0], json!({"layers": 2, "lr": 0.1}));
    assert_eq!(all[5], json!({"layers": 6, "lr": 0.01}));
    assert!(all.iter().enumerate().all(|(at, one)| !all[..at].contains(one)), "{all:?}");
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["maxFailedIndexes"]), (&json!(6), &json!(2), &json!(6)));
    assert_eq!(spec["template"]["metadata"]["annotations"]["gangplank.dev/gang-size"], "1", "trials do not wait for each other");
    let env = spec["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let of = |name: &str| env.iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(of("PARAMETERS_FILE")["value"], "/etc/sweep/$(TRIAL).json");
    assert_eq!(of("RANK")["value"], "0", "each trial is a group of one, whichever its index is");
}

#[test]
fn a_random_search_draws_within_its_ranges_and_the_same_from_the_same_seed() {
    let body = |seed: u32| {
        format!(
            "search: random\ntrials: 50\nseed: {seed}\nparameters: {{lr: {{min: 0.00001, max: 0.1, log: true}}, depth: {{min: 1, max: 8, step: 1}}}}\n{JOB}"
        )
    };
    let config = rendered(&body(1)).remove(0);
    let rates: Vec<f64> = (0..50).map(|trial| parameters(&config, trial)["lr"].as_f64().unwrap()).collect();
    assert!(rates.iter().all(|rate| (0.000_01..=0.1).contains(rate)), "{rates:?}");
    let small = rates.iter().filter(|rate| **rate < 0.001).count();
    assert!((10..=40).contains(&small), "half of the range in powers of ten is below 0.001: {small} of 50");
    assert!((0..50).all(|trial| parameters(&config, trial)["depth"].is_i64()));
    assert_eq!(config, rendered(&body(1))[0]);
    assert_ne!(config, rendered(&body(2))[0]);
}

#[test]
fn trials_of_several_workers_are_a_job_each() {
    let objects =
        rendered("search: grid\nparameters: {lr: {values: [1, 2]}}\njob: {framework: pytorch, image: 'a/b:1', workers: 2, gpu: 8}");
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "Service", "Job", "ConfigMap", "Service", "Job"]);
    let names: Vec<&str> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["s-0-parameters", "s-0", "s-0", "s-1-parameters", "s-1", "s-1"]);
}

#[test]
fn mistakes_name_line_field_and_remedy() {
    for (body, message) in [
        (format!("search: grid\nparameters: {{}}\n{JOB}"), "spec.parameters: 0 is not within 1..=32"),
        (
            format!("search: grid\nparameters: {{lr: {{min: 0, max: 1}}}}\n{JOB}"),
            "line 6: spec.parameters.lr.step: is missing: a grid has no end without it",
        ),
        (format!("search: random\nparameters: {{lr: {{min: 0, max: 1}}}}\n{JOB}"), "spec.trials: is missing"),
        (format!("search: random\ntrials: 1001\nparameters: {{lr: {{min: 0, max: 1}}}}\n{JOB}"), "1001 is not within 1..=1000"),
        (format!("search: grid\nparameters: {{lr: {{min: 0, max: 1, step: 0.0001}}}}\n{JOB}"), "make more than 1000 combinations"),
        (
            format!("search: grid\nparameters: {{lr: {{min: 1, max: 0, step: 1}}}}\n{JOB}"),
            "spec.parameters.lr.max: is 0, with a least of 1",
        ),
        (format!("search: random\ntrials: 1\nparameters: {{lr: {{min: 0, max: 1, log: true}}}}\n{JOB}"), "goes with a least above 0"),
        (format!("search: grid\nparameters: {{lr: {{}}}}\n{JOB}"), "spec.parameters.lr: has no values"),
        (format!("search: grid\nparameters: {{lr: {{values: [[1]]}}}}\n{JOB}"), "spec.parameters.lr.values[0]: is no single value"),
        (format!("search: asha\nparameters: {{lr: {{values: [1]}}}}\n{JOB}"), "spec.search: `asha` is none of its values"),
        (
            "search: grid\nparameters: {lr: {values: [1]}}\njob: {framework: caffe, image: 'a/b:1'}".into(),
            "spec.job.framework: there is no framework `caffe`",
        ),
        (
            "search: grid\nparallel: 2\nparameters: {lr: {values: [1]}}\njob: {image: 'a/b:1', workers: 2}".into(),
            "spec.parallel: is not kept where a trial has several workers",
        ),
    ] {
        let error = tried(&body).map(|made| format!("{made:?}")).unwrap_err().to_string();
        assert!(error.contains(message), "{body}: {error}");
    }
}
