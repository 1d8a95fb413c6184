//! `gangplank defrag` on the real control plane: a running server is asked which moves open a box, and nothing moves.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::support::installed::{managed_namespace, node_of};
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_kwok_nodes, wait_until};

const TIMEOUT: Duration = Duration::from_mins(1);

/// A Job of one pod, and the pod once it is bound.
async fn run_job(client: &Client, namespace: &str, name: &str, gpus: u32) -> Result<Pod> {
    let container = json!({"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": gpus}}});
    let template = json!({"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}});
    apply_yaml(client, namespace, &job.to_string()).await?;
    bound(client, namespace, &format!("job-name={name}")).await
}

async fn bound(client: &Client, namespace: &str, selector: &str) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_it = ListParams::default().labels(selector);
    wait_until(&format!("{selector} to be bound"), TIMEOUT, async || {
        Ok(pods.list(&of_it).await?.items.into_iter().find(|pod| node_of(pod).is_some()))
    })
    .await
}

async fn defrag(server: String, args: &[&str]) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    command.args(["defrag", "--dry-run", "-o", "json", "--server", &server]).args(args);
    let output: Output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), serde_json::from_slice(&output.stdout).with_context(said)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_says_which_moves_open_a_box_and_moves_nobody() -> Result<()> {
    let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("a plan that opens a box", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, 2, &NodeTemplate::default()).await?;
    let namespace = managed_namespace(&client, "scattered").await?;
    let mut installed = Installed::start_with(&control_plane, &client, &[]).await?;

    // Six and four do not share a box of eight; two fill the first; then the six end.
    let first = run_job(&client, &namespace, "six", 6).await?;
    let four = run_job(&client, &namespace, "four", 4).await?;
    let two = run_job(&client, &namespace, "two", 2).await?;
    let (loose, dense) = (node_of(&two).context("no node")?.to_owned(), node_of(&four).context("no node")?.to_owned());
    ensure!(node_of(&first) == Some(&loose) && loose != dense, "packed otherwise: {loose} {dense}");
    let jobs: Api<k8s_openapi::api::batch::v1::Job> = Api::namespaced(client.clone(), &namespace);
    let with_pods = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    jobs.delete("six", &with_pods).await?;
    let server = installed.gangplank.address().to_string();
    let held = async |installed: &mut Installed| -> Result<usize> {
        Ok(installed.gangplank.get("/api/v1/book").await?["holders"].as_array().map_or(0, Vec::len))
    };
    wait_until("the six to be gone", TIMEOUT, async || Ok((held(&mut installed).await? == 2).then_some(()))).await?;
    let before = installed.gangplank.get("/api/v1/digest").await?;

    // Two move for less than four.
    let (code, view) = defrag(server.clone(), &["--open", "node"]).await?;
    let plan = &view["plan"];
    assert_eq!(code, Some(0), "{view}");
    assert_eq!((&plan["nodes"], &plan["movesOnly"], &plan["proven"]), (&json!([loose]), &json!(true), &json!(true)), "{view}");
    assert_eq!((&plan["pods"], &plan["acceleratorsMilli"]), (&json!(1), &json!(2000)), "{view}");
    assert_eq!(plan["moves"][0]["pods"], json!([format!("{namespace}/{}", two.name_any())]), "{view}");
    assert_eq!((&plan["moves"][0]["from"], &plan["moves"][0]["to"]), (&json!([loose]), &json!([dense])), "{view}");

    // A pod that nobody would create again keeps its box shut, and both boxes are not to be had at once.
    let notebook = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "notebook", "labels": {"app": "notebook"}}, "spec": {
        "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": 1}}}]}});
    apply_yaml(&client, &namespace, &notebook.to_string()).await?;
    let shut = node_of(&bound(&client, &namespace, "app=notebook").await?).context("no node")?.to_owned();
    wait_until("the notebook to be in the book", TIMEOUT, async || Ok((held(&mut installed).await? == 3).then_some(()))).await?;
    let (code, view) = defrag(server.clone(), &["--open", &format!("node={shut}")]).await?;
    assert_eq!((code, &view["plan"]), (Some(3), &Value::Null), "{view}");
    assert_eq!(view["stays"][0]["who"], json!(format!("pod {namespace}/notebook")), "{view}");
    assert_eq!(view["stays"][0]["why"], json!("it has no controller: nobody would create it again"), "{view}");

    // Nobody moved for any of it.
    Api::<Pod>::namespaced(client.clone(), &namespace).delete("notebook", &DeleteParams::default().grace_period(0)).await?;
    wait_until("the notebook to be gone", TIMEOUT, async || Ok((held(&mut installed).await? == 2).then_some(()))).await?;
    assert_eq!(installed.gangplank.get("/api/v1/digest").await?, before);
    let (code, view) = defrag(server, &["--open", "node", "--nodes", "2"]).await?;
    assert_eq!((code, &view["plan"]["movesOnly"]), (Some(3), &json!(false)), "there is no room for anybody: {view}");
    Ok(())
}
