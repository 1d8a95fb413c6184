//! `gangplank-provision apply`, `status`, `plan` and `delete` on the real control plane, with Gangplank placing what asks for
//! accelerators and KWOK playing the kubelets.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;

use crate::support::installed::managed_namespace;
use crate::support::manifests::volume;
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_namespace, create_nodes, program, wait_until};

const SIXTEEN: &str = "deploy/examples/specs/train-sixteen-by-eight.yaml";
const SERVER: &str = "deploy/examples/specs/autoscale-model-server.yaml";
const MLFLOW: &str = "deploy/examples/specs/mlflow-server.yaml";

/// A command of ours against a cluster and a namespace; it blocks, so that it has a thread of its own.
async fn run(kubeconfig: &Path, namespace: &str, args: &[&str]) -> Result<Output> {
    let mut all: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    all.extend(["--kubeconfig".to_owned(), kubeconfig.display().to_string(), "-n".to_owned(), namespace.to_owned()]);
    Ok(tokio::task::spawn_blocking(move || super::provision(&all.iter().map(String::as_str).collect::<Vec<_>>(), "")).await?)
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The rows of a command with `-o json`, and its exit code.
async fn rows(kubeconfig: &Path, namespace: &str, args: &[&str]) -> Result<(i32, Vec<Value>)> {
    let output = run(kubeconfig, namespace, &[args, &["-o", "json"]].concat()).await?;
    let rows = serde_json::from_slice(&output.stdout).with_context(|| told(&output))?;
    Ok((output.status.code().unwrap_or(-1), rows))
}

/// What is left of anything that a recipe makes.
async fn left(client: &Client, namespace: &str) -> Result<Vec<String>> {
    async fn names<K>(client: &Client, namespace: &str) -> Result<Vec<String>>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(client.clone(), namespace);
        let list = api.list(&ListParams::default()).await?.items;
        Ok(list.iter().filter_map(|object| object.meta().name.clone()).filter(|name| name != "kube-root-ca.crt").collect())
    }
    let mut all = names::<Job>(client, namespace).await?;
    all.extend(names::<Pod>(client, namespace).await?);
    all.extend(names::<Service>(client, namespace).await?);
    all.extend(names::<ConfigMap>(client, namespace).await?);
    all.extend(names::<Deployment>(client, namespace).await?);
    all.extend(names::<HorizontalPodAutoscaler>(client, namespace).await?);
    all.extend(names::<PodDisruptionBudget>(client, namespace).await?);
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_job_a_server_and_mlflow_are_applied_until_they_run_and_deleted_without_a_trace() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("apply and delete", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_nodes(&client, (0..17).map(|index| NodeTemplate::default().named(format!("node-{index:02}"))).collect()).await?;
    let installed = Installed::start(&control_plane, &client).await?;
    let namespace = managed_namespace(&client, "provision").await?;
    for claim in ["training-dataset", "model-checkpoint-store"] {
        apply_yaml(&client, &namespace, &volume(&namespace, claim)).await?;
    }
    let kubeconfig = control_plane.kubeconfig().to_owned();

    let (code, planned) = {
        let output = run(&kubeconfig, &namespace, &["plan", SIXTEEN, "-o", "json"]).await?;
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).with_context(|| told(&output))?)
    };
    ensure!(code == Some(0) && planned["placements"].as_array().map(Vec::len) == Some(16), "{planned}");

    let began = Instant::now();
    let (code, applied) = rows(&kubeconfig, &namespace, &["apply", "--wait", "--timeout", "2m", SIXTEEN]).await?;
    ensure!(code == 0, "{applied:?}\n{}", installed.gangplank.log());
    eprintln!("apply --wait of sixteen by eight: {:.1} s", began.elapsed().as_secs_f32());
    let job = applied.iter().find(|row| row["kind"] == "Job").context("the Job")?;
    ensure!(job["done"] == "created" && job["phase"] == "running" && job["text"] == "16 of 16 run", "{job}");

    // Sixteen of seventeen boxes are taken: what asks for more is told so, and nothing is applied by asking.
    let (code, again) = rows(&kubeconfig, &namespace, &["apply", SIXTEEN]).await?;
    ensure!(code == 0 && again.iter().all(|row| row["done"] == "as it was"), "{again:?}");
    let four = "deploy/examples/specs/train-pytorch.yaml";
    let output = run(&kubeconfig, &namespace, &["plan", four]).await?;
    ensure!(output.status.code() == Some(0), "{}", told(&output));

    for file in [SERVER, MLFLOW] {
        let (code, applied) = rows(&kubeconfig, &namespace, &["apply", "--wait", "--timeout", "2m", file]).await?;
        ensure!(code == 0 && applied.iter().all(|row| row["phase"] == "running"), "{file}: {applied:?}");
    }
    let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), &namespace);
    ensure!(scalers.get("model-server").await?.spec.max_replicas == 10);
    let (_, status) = rows(&kubeconfig, &namespace, &["status", SIXTEEN, SERVER, MLFLOW]).await?;
    ensure!(status.iter().all(|row| row["phase"] == "running"), "{status:?}");

    let (code, deleted) = rows(&kubeconfig, &namespace, &["delete", "--timeout", "2m", SIXTEEN, SERVER, MLFLOW]).await?;
    ensure!(code == 0 && deleted.iter().all(|row| row["done"] == "deleted"), "{deleted:?}");
    let left = left(&client, &namespace).await?;
    ensure!(left.is_empty(), "{left:?}");
    let (code, deleted) = rows(&kubeconfig, &namespace, &["delete", SIXTEEN]).await?;
    ensure!(code == 0 && deleted.iter().all(|row| row["done"] == "not there"), "{deleted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_and_explain_say_when_a_job_starts_that_waits_for_one_that_said_how_long_it_runs() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("when a job starts", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_nodes(&client, vec![NodeTemplate::default().named("node-0")]).await?;
    let installed = Installed::start(&control_plane, &client).await?;
    let namespace = managed_namespace(&client, "when").await?;
    let kubeconfig = control_plane.kubeconfig().to_owned();
    let folder = control_plane.dir();
    let spec = |name: &str, more: &str| -> Result<String> {
        let path = folder.join(format!("{name}.yaml"));
        let text = format!(
            "apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: {name}}}\nspec: {{image: 'a/b:1', accelerators: 'H100:4', workers: 2{more}}}"
        );
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (first, second, third) = (spec("first", ", expectedDuration: 2h")?, spec("second", "")?, spec("third", "")?);
    let start = async |file: &str| -> Result<Value> {
        let output = run(&kubeconfig, &namespace, &["plan", file, "-o", "json"]).await?;
        let planned: Value = serde_json::from_slice(&output.stdout).with_context(|| told(&output))?;
        Ok(planned["starts"][0].clone())
    };
    ensure!(start(&first).await?["when"] == "now");
    let (code, applied) = rows(&kubeconfig, &namespace, &["apply", "--wait", "--timeout", "2m", &first]).await?;
    ensure!(code == 0, "{applied:?}\n{}", installed.gangplank.log());

    let within =
        |start: &Value, until: &str| start["when"] == "expected" && start[until].as_u64().is_some_and(|s| (6900..=7200).contains(&s));
    let planned = start(&second).await?;
    ensure!(within(&planned, "untilSeconds"), "{planned}");
    let (code, applied) = rows(&kubeconfig, &namespace, &["apply", &second]).await?;
    ensure!(code == 0, "{applied:?}");
    // The server says the same of what waits, once it has seen it.
    let server = installed.gangplank.address().to_string();
    let explained = wait_until("an expected start", std::time::Duration::from_secs(30), async || {
        let output =
            tokio::process::Command::new(program()).args(["explain", "second", "-n", &namespace, "--server", &server]).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.contains("\nstart ").then_some(text))
    })
    .await?;
    ensure!(explained.contains("start    expected in 0s to 1h5"), "{explained}");
    ensure!(explained.contains("by what the 2 pods that have to end say of themselves"), "{explained}");
    let planned = start(&third).await?;
    ensure!(planned["when"] == "not-predictable" && planned["basis"] == "another gang waits before it", "{planned}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_made_is_neither_changed_nor_deleted_and_time_runs_out_with_code_4() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("apply beside others") else { return Ok(()) };
    let client = control_plane.client().await?;
    let namespace = create_namespace(&client, "others").await?;
    let kubeconfig = control_plane.kubeconfig().to_owned();
    let theirs = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: gpu-pod}\nspec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: main, image: none}]}}}";
    apply_yaml(&client, &namespace, theirs).await?;
    let spec = "deploy/examples/specs/two-gpus.yaml";
    for command in ["apply", "delete"] {
        let output = run(&kubeconfig, &namespace, &[command, spec]).await?;
        let text = told(&output);
        ensure!(
            output.status.code() == Some(1) && text.contains("Job gpu-pod is there, and was not made by gangplank-provision"),
            "{command}: {text}"
        );
        ensure!(text.contains("hint: "), "{text}");
    }
    Api::<Job>::namespaced(client.clone(), &namespace).get("gpu-pod").await?;

    // Nobody places what asks for Gangplank's scheduler here.
    let waiting = "deploy/examples/specs/tpu-v3.yaml";
    let (code, applied) = rows(&kubeconfig, &namespace, &["apply", "--wait", "--timeout", "3s", waiting]).await?;
    ensure!(code == 4 && applied[0]["phase"] == "waiting", "{applied:?}");
    let (code, dry) = rows(&kubeconfig, &namespace, &["apply", "--dry-run", "deploy/examples/specs/dataset-volumes.yaml"]).await?;
    ensure!(code == 0 && dry.iter().all(|row| row["done"] == "would be created"), "{dry:?}");
    let (code, status) = rows(&kubeconfig, &namespace, &["status", "deploy/examples/specs/dataset-volumes.yaml"]).await?;
    ensure!(code == 0 && status.iter().all(|row| row["phase"] == "missing"), "{status:?}");
    let output = run(&kubeconfig, "nowhere", &["apply", waiting]).await?;
    ensure!(output.status.code() == Some(1) && told(&output).contains("create the namespace first"), "{}", told(&output));
    let output = run(&kubeconfig, &namespace, &["logs", waiting]).await?;
    ensure!(output.status.code() == Some(1) && told(&output).contains("no worker has begun"), "{}", told(&output));
    let (code, _) = rows(&kubeconfig, &namespace, &["delete", waiting]).await?;
    ensure!(code == 0);
    Ok(())
}
