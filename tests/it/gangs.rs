//! Objects that stand for gangs, on the real API server: kinds that are installed, installed later, served in another
//! version, and taken away again.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::Value;

use crate::support::installed::install_account;
use crate::support::{ControlPlane, Gangplank, Options, apply_yaml, create_namespace, wait_until};

/// A kind that is installed is followed within a minute; what follows has to be seen as well.
const FOLLOWED: Duration = Duration::from_secs(75);

fn definition(group: &str, kind: &str, served: &str, not_served: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = "schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
    let other = if not_served.is_empty() {
        String::new()
    } else {
        format!("  - {{name: {not_served}, served: false, storage: false, {schema}}}\n")
    };
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}, annotations: {{api-approved.kubernetes.io: unapproved}}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}}}
  versions:
  - {{name: {served}, served: true, storage: true, {schema}}}
{other}"
    )
}

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  parallelism: 4
  completions: 4
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: registry.example/main:1, resources: {limits: {nvidia.com/gpu: 8}}}]}}
";

const MPI_JOB: &str = "
apiVersion: kubeflow.org/v1
kind: MPIJob
metadata: {name: hpl}
spec: {mpiReplicaSpecs: {Launcher: {replicas: 1}, Worker: {replicas: 4}}}
";

const JOB_SET: &str = "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: slices}
spec: {replicatedJobs: [{name: slice, replicas: 2, template: {spec: {parallelism: 4, completions: 4}}}]}
";

/// `+Kind name` and `-convention name`, in order, as the journal has them.
async fn news(gangplank: &mut Gangplank) -> Result<Vec<String>> {
    let journal = gangplank.get("/api/v1/journal?count=10000").await?;
    let line = |entry: &Value| {
        let input = &entry["input"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match input["kind"].as_str() {
            Some("gang-applied") => Some(format!("+{} {}", text(&input["object"]["kind"]), text(&input["object"]["metadata"]["name"]))),
            Some("gang-deleted") => Some(format!("-{} {}", text(&input["gang"]), text(&input["name"]))),
            _ => None,
        }
    };
    Ok(journal["entries"].as_array().into_iter().flatten().filter_map(line).collect())
}

async fn told(gangplank: &mut Gangplank, line: &str) -> Result<()> {
    wait_until(line, FOLLOWED, async || Ok(news(gangplank).await?.iter().any(|told| told == line).then_some(()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_that_stand_for_gangs_are_followed_while_they_are_installed() -> Result<()> {
    let options = Options { nodes: 1, without: vec!["kube-scheduler", "kwok"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("kinds that stand for gangs", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    let kubeconfig = install_account(&control_plane, &client).await?;
    let namespace = create_namespace(&client, "gangs").await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    apply_yaml(&client, &namespace, JOB).await?;
    apply_yaml(&client, &namespace, &definition("kubeflow.org", "MPIJob", "v1", "")).await?;
    let applied = async |yaml: &str| {
        wait_until("the kind to be served", FOLLOWED, async || Ok(apply_yaml(&client, &namespace, yaml).await.ok().map(drop))).await
    };
    applied(MPI_JOB).await?;

    let mut gangplank = Gangplank::start(&control_plane, &kubeconfig, &[])?;
    gangplank.wait_ready().await?;
    told(&mut gangplank, "+Job train").await?;
    told(&mut gangplank, "+MPIJob hpl").await?;

    apply_yaml(&client, &namespace, &definition("jobset.x-k8s.io", "JobSet", "v1alpha2", "")).await?;
    applied(JOB_SET).await?;
    apply_yaml(&client, &namespace, &definition("kubeflow.org", "MPIJob", "v2beta1", "v1")).await?;
    told(&mut gangplank, "+JobSet slices").await?;
    applied(&MPI_JOB.replace("/v1", "/v2beta1").replace("hpl", "later")).await?;
    told(&mut gangplank, "+MPIJob later").await?;

    definitions.delete("jobsets.jobset.x-k8s.io", &DeleteParams::default()).await?;
    told(&mut gangplank, "-job-set slices").await?;
    gangplank.wait_ready().await?;
    let all = news(&mut gangplank).await?;
    assert!(!all.contains(&"-kubeflow hpl".to_owned()) || all.iter().filter(|line| *line == "+MPIJob hpl").count() == 2, "{all:?}");
    assert!(gangplank.terminate()?, "ended well on SIGTERM");
    Ok(())
}
