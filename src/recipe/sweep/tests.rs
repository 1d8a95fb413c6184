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

const HALVING: &str = "search: halving\ntrials: 9\nparallel: 3\nbudget: {min: 1, max: 9}\nmetric: {name: val_loss, goal: minimize, from: file}\nparameters: {lr: {min: 0.001, max: 0.1, log: true}}\njob: {framework: pytorch, image: 'a/b:1', gpu: 1, outputs: {/out: results}, checkpoint: {path: /out/saved}, claims: {results: {size: 1Gi}}}";

fn env<'a>(job: &'a Value, name: &str) -> &'a Value {
    let all = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let found: Vec<&Value> = all.iter().filter(|entry| entry["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name}: {all:?}");
    &found[0]["value"]
}

#[test]
fn a_sweep_that_halves_renders_all_trials_with_the_least_budget_and_says_who_goes_on() {
    let made = tried(HALVING).unwrap();
    let kinds: Vec<&str> = made.objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["ConfigMap", "PersistentVolumeClaim", "Job"], "one of each, and a Job a trial");
    assert_eq!(kinds.len(), 2 + 9);
    assert_eq!(made.objects[1]["metadata"]["labels"]["app.kubernetes.io/name"], "s", "the claim is the sweep's");
    let job = &made.objects[4];
    assert_eq!(job["metadata"]["name"], "s-2-0");
    let labels = &job["metadata"]["labels"];
    assert_eq!(
        (&labels["gangplank.dev/sweep"], &labels["gangplank.dev/trial"], &labels["gangplank.dev/rung"]),
        (&json!("s"), &json!("2"), &json!("0"))
    );
    assert_eq!((env(job, "TRIAL"), env(job, "BUDGET"), env(job, "BUDGET_BEFORE")), (&json!("2"), &json!("1"), &json!("0")));
    assert!(made.notes.iter().any(|note| note.contains("apply --wait keeps `parallel` and lets the best go on")), "{:?}", made.notes);
}

#[test]
fn a_trial_that_goes_on_finds_its_parameters_its_budget_and_its_checkpoint() {
    let text =
        format!("apiVersion: gangplank.dev/v1alpha1\nkind: Sweep\nmetadata: {{name: s}}\nspec:\n  {}\n", HALVING.replace('\n', "\n  "));
    let spec = read(&text).unwrap().remove(0);
    let objects = spec.run(7, 2).unwrap();
    let job = objects.last().unwrap();
    assert_eq!(job["metadata"]["name"], "s-7-2");
    assert_eq!((env(job, "BUDGET"), env(job, "BUDGET_BEFORE"), env(job, "RUNG")), (&json!("9"), &json!("3"), &json!("2")));
    assert_eq!(
        (env(job, "CHECKPOINT_DIR"), env(job, "METRICS_FILE")),
        (&json!("/out/saved/trial-$(TRIAL)"), &json!("/dev/termination-log"))
    );
    assert_eq!(env(job, "PARAMETERS_FILE"), "/etc/sweep/$(TRIAL).json");
    let first = &job["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(first["name"], "TRIAL", "those that name it come after it");
    assert_eq!(parameters(&objects[0], 7), spec.sweep().unwrap().trials()[7]);
    assert!(spec.sweep().unwrap().halving().unwrap().resumes);
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
        (format!("search: grid\nbudget: {{min: 1, max: 9}}\nparameters: {{lr: {{values: [1]}}}}\n{JOB}"), "spec.budget: is for halving"),
        (HALVING.replace("budget: {min: 1, max: 9}", "seed: 1"), "spec.budget: is missing"),
        (HALVING.replace("max: 9}", "max: 10}"), "spec.budget.max: of 10 is reached by one of 27 trials, and there are 9"),
        (HALVING.replace("max: 9}", "max: 1}"), "spec.budget.max: is 1, with a least of 1"),
        (HALVING.replace("max: 9}", "max: 9, factor: 1}"), "spec.budget.factor: 1 is not within 2..=10"),
        (HALVING.replace("max: 9}", "max: 9, total: 8}"), "spec.budget.total: is 8: no trial reaches 9"),
        (HALVING.replace("min: 1,", "min: 0,"), "spec.budget.min: 0 is not within"),
        (HALVING.replace("metric: {name: val_loss, goal: minimize, from: file}", "seed: 1"), "spec.metric: is missing"),
        (HALVING.replace("from: file", "pattern: x"), "spec.metric.pattern: has no group"),
        (HALVING.replace("gpu: 1,", "gpu: 1, env: {BUDGET: 3},"), "spec.job.env.BUDGET: is what a trial learns of the sweep"),
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
