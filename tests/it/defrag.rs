//! `gangplank defrag` on the real control plane: a running server is asked which moves open a box, and nothing moves; and the moves are
//! made, while nothing new starts on the box.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
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
    run_defrag(server, &[&["--dry-run"], args].concat()).await
}

async fn run_defrag(server: String, args: &[&str]) -> Result<(Option<i32>, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    command.args(["defrag", "-o", "json", "--server", &server]).args(args);
    let output: Output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), serde_json::from_slice(&output.stdout).with_context(said)?))
}

async fn delete_job(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let with_pods = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    Api::<Job>::namespaced(client.clone(), namespace).delete(name, &with_pods).await?;
    Ok(())
}

async fn held(installed: &mut Installed) -> Result<usize> {
    Ok(installed.gangplank.get("/api/v1/book").await?["holders"].as_array().map_or(0, Vec::len))
}

/// Keys of the taints of a node.
async fn taints(client: &Client, node: &str) -> Result<Vec<String>> {
    let node = Api::<Node>::all(client.clone()).get(node).await?;
    Ok(node.spec.and_then(|spec| spec.taints).into_iter().flatten().map(|taint| taint.key).collect())
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
    delete_job(&client, &namespace, "six").await?;
    let server = installed.gangplank.address().to_string();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_are_made_one_after_the_other_and_nothing_new_starts_on_the_box_meanwhile() -> Result<()> {
    let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("moves that open a box", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, 2, &NodeTemplate::default()).await?;
    let namespace = managed_namespace(&client, "moved").await?;
    let mut installed = Installed::start_with(&control_plane, &client, &[]).await?;
    // Six fill one box with two others; four and one the other. When the six and the one have ended, the two jobs of one can go to the four.
    run_job(&client, &namespace, "six", 6).await?;
    let four = run_job(&client, &namespace, "four", 4).await?;
    let ones = [run_job(&client, &namespace, "first", 1).await?, run_job(&client, &namespace, "second", 1).await?];
    let (loose, dense) = (node_of(&ones[0]).context("no node")?.to_owned(), node_of(&four).context("no node")?.to_owned());
    ensure!(node_of(&ones[1]) == Some(&loose) && loose != dense, "packed otherwise: {loose} {dense}");
    delete_job(&client, &namespace, "six").await?;
    wait_until("the six to be gone", TIMEOUT, async || Ok((held(&mut installed).await? == 3).then_some(()))).await?;
    let server = installed.gangplank.address().to_string();
    let kubeconfig = control_plane.kubeconfig().to_str().context("a path")?.to_owned();
    let node = format!("node={loose}");
    let execute = ["--execute", "--kubeconfig", &kubeconfig, "--patience-seconds", "60"];

    // Somebody who may not change nodes moves nobody.
    let tenant = control_plane.user_kubeconfig("tenant")?.to_str().context("a path")?.to_owned();
    let (code, view) = run_defrag(server.clone(), &["--execute", "--kubeconfig", &tenant, "--open", &node]).await?;
    assert_eq!((code, &view["moved"], &view["open"]), (Some(3), &json!([]), &json!(false)), "{view}");
    assert!(view["stopped"].as_str().is_some_and(|why| why.contains("forbidden")), "{view}");

    let (code, view) = run_defrag(server.clone(), &[&execute[..], &["--open", &node, "--keep-closed"]].concat()).await?;
    assert_eq!((code, &view["open"], &view["stopped"]), (Some(0), &json!(true), &Value::Null), "{view}");
    let moved = view["moved"].as_array().context("no moves")?;
    assert_eq!(moved.len(), 2, "{view}");
    assert!(moved.iter().all(|one| one["from"] == json!([loose]) && one["to"] == json!([dense])), "{view}");
    for name in ["first", "second"] {
        let job = Api::<Job>::namespaced(client.clone(), &namespace).get(name).await?;
        assert_eq!(job.status.and_then(|status| status.failed).unwrap_or(0), 0, "{name} was suspended, and no pod of it failed");
        assert_ne!(job.spec.and_then(|spec| spec.suspend), Some(true), "{name} goes on");
    }
    // Three do not fit beside the six that are there: they wait for as long as the box is closed.
    assert_eq!(taints(&client, &loose).await?, ["gangplank.dev/defrag"]);
    let container = json!({"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": 3}}});
    let template = json!({"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "three"}, "spec": {"template": template}});
    apply_yaml(&client, &namespace, &job.to_string()).await?;
    let waits = async || Ok(installed.gangplank.get("/api/v1/gangs").await?.to_string().contains("three").then_some(()));
    wait_until("the three to wait", TIMEOUT, waits).await?;
    let (code, view) = run_defrag(server.clone(), &[&execute[..], &["--open", &node]].concat()).await?;
    assert_eq!((code, &view["moved"]), (Some(3), &json!([])), "it is closed by the one before: {view}");
    assert!(view["stopped"].as_str().is_some_and(|why| why.contains("somebody else")), "{view}");
    let open = json!({"spec": {"taints": null}});
    Api::<Node>::all(client.clone()).patch(&loose, &PatchParams::default(), &Patch::Merge(open)).await?;
    assert_eq!(node_of(&bound(&client, &namespace, "job-name=three").await?), Some(loose.as_str()));

    // Nobody has a place to go: nothing moves, and nothing stays closed.
    let (code, view) = run_defrag(server, &[&execute[..], &["--open", "node", "--nodes", "2"]].concat()).await?;
    assert_eq!((code, &view["plan"]["movesOnly"]), (Some(3), &json!(false)), "{view}");
    assert_eq!(taints(&client, &loose).await?, Vec::<String>::new());
    assert_eq!(held(&mut installed).await?, 4);
    Ok(())
}
