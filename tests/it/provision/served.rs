//! Renderings before the real API server: taken by strict validation, with the official definitions of other projects.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gangplank::provision::definition::definition;
use gangplank::recipe::{self, KINDS};
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{provision, root, specs};
use crate::support::manifests::seeds;
use crate::support::{ControlPlane, Options, apply_yaml, create_namespace, wait_until};

/// Definitions beside the project; loudly none.
fn definitions() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/crds");
    let folder = std::env::var_os("GANGPLANK_CRDS").map_or(folder, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: {} is not there; kinds of other projects were not tried ====\n", folder.display());
    None
}

/// The file of a definition, and its kind.
const FOREIGN: &[(&str, &str)] = &[
    ("argoproj.io_cronworkflows", "CronWorkflow"),
    ("argoproj.io_workflows", "Workflow"),
    ("cert-manager.io_certificates", "Certificate"),
    ("gateway.networking.k8s.io_backendtlspolicies", "BackendTLSPolicy"),
    ("gateway.networking.k8s.io_httproutes", "HTTPRoute"),
    ("jobset.x-k8s.io_jobsets", "JobSet"),
    ("keda.sh_scaledobjects", "ScaledObject"),
    ("monitoring.coreos.com_prometheusrules", "PrometheusRule"),
    ("monitoring.coreos.com_servicemonitors", "ServiceMonitor"),
    ("serving.knative.dev_services", "Service"),
    ("serving.kserve.io_inferenceservices", "InferenceService"),
    ("trainer.kubeflow.org_trainingruntimes", "TrainingRuntime"),
    ("trainer.kubeflow.org_trainjobs", "TrainJob"),
];

/// Jobs in the forms of other projects.
const LLM: &str = "kind: TrainingJob\nmetadata: {name: m15}\nspec: {framework: mpi, image: 'a/b:1', command: [mpirun, x], workers: 4, accelerators: 'H100:8', memory: 64Gi, queue: q, maxDuration: 2d, ownNodes: true, datasets: {/data: d}, outputs: {/out: o}, checkpoint: {path: /out, every: 5m, grace: 1m}, secretEnv: {T: a/b}, config: {/etc/a: {b.yaml: {c: 1}}}, network: {interface: eth0, rdma: 'rdma/hca:1'}, topology: {preferred: rack}, expectedDuration: 8h}";
const ELASTIC: &str = "kind: TrainingJob\nmetadata: {name: m16}\nspec: {framework: pytorch, image: 'a/b:1', workers: 2..8, gpu: 0.5, containers: [{name: side, image: 'a/b:1'}]}";

/// More renderings than the examples have: every framework, every form.
const MORE: &[(&str, Option<&str>)] = &[
    (
        "kind: Sweep\nmetadata: {name: m13}\nspec: {search: grid, parallel: 2, parameters: {lr: {values: [1, 2, 3]}}, job: {image: 'a/b:1', gpu: 1}}",
        None,
    ),
    (
        "kind: Sweep\nmetadata: {name: m14}\nspec: {search: random, trials: 2, parameters: {lr: {min: 0, max: 1}}, job: {framework: jax, image: 'a/b:1', workers: 2}}",
        None,
    ),
    (
        "kind: TrainingJob\nmetadata: {name: m1}\nspec: {framework: mpi, image: 'a/b:1', command: [mpirun, x], workers: 4, accelerators: 'H100:8'}",
        None,
    ),
    (
        "kind: TrainingJob\nmetadata: {name: m2}\nspec: {framework: pytorch, image: 'a/b:1', workers: 2..8, accelerators: '24GB..80GB:2', queue: q}",
        None,
    ),
    (
        "kind: TrainingJob\nmetadata: {name: m3}\nspec: {framework: jax, image: 'a/b:1', accelerators: 'tpu-v5e:4x4', topology: {required: block}}",
        None,
    ),
    (
        "kind: TrainingJob\nmetadata: {name: m4}\nspec: {framework: tensorflow, image: 'a/b:1', workers: 3, gpu: 1, keep: 1d, maxDuration: 2d}",
        None,
    ),
    (
        "kind: ModelServer\nmetadata: {name: m5}\nspec: {runtime: triton, model: claim/repository, gpu: 0.5, cpu: 2, memory: 8Gi, replicas: 2..4}",
        None,
    ),
    (
        "kind: ModelServer\nmetadata: {name: m6}\nspec: {runtime: vllm, model: 'hf://org/model', accelerators: 'H100:4', replicas: 2, monitoring: {latencySeconds: 2}}",
        None,
    ),
    (
        "kind: ModelServer\nmetadata: {name: m7}\nspec: {image: 'a/b:1', cpu: 1, replicas: 2..9, route: {gateway: g, hosts: [h.example.com]}, canary: {image: 'a/b:2', weight: 5, headers: {x-a: b}}}",
        Some("httproute"),
    ),
    (
        "kind: ModelServer\nmetadata: {name: m8}\nspec: {image: 'a/b:1', cpu: 1, replicas: 0..9, autoscale: {prometheus: {server: 'http://p:9090', query: 'sum(x)', threshold: 5}}}",
        Some("keda"),
    ),
    ("kind: ModelServer\nmetadata: {name: m9}\nspec: {runtime: vllm, model: 'hf://org/model', gpu: 1, replicas: 0..3}", Some("kserve")),
    (
        "kind: Pipeline\nmetadata: {name: m19}\nspec: {schedule: 0 3 * * *, timeZone: Europe/Berlin, steps: [{name: a, image: 'a/b:1', gpu: 1}, {name: b, image: 'a/b:1', after: [a]}]}",
        Some("argo"),
    ),
    (
        "kind: ModelServer\nmetadata: {name: m20}\nspec: {runtime: triton, model: claim/repository, gpu: 1, cpu: 2, memory: 8Gi, replicas: 2..4, monitoring: {}, tls: {issuer: i, ca: c}}",
        None,
    ),
    (
        "kind: ModelServer\nmetadata: {name: m21}\nspec: {runtime: vllm, model: 'hf://org/model', gpu: 1, replicas: 2, monitoring: {}, route: {gateway: g}, canary: {image: 'a/b:2', weight: 5}, tls: {clusterIssuer: i, hosts: [h.example.com]}}",
        Some("httproute"),
    ),
    (
        "kind: Pipeline\nmetadata: {name: m10}\nspec: {schedule: 0 3 * * *, timeZone: Europe/Berlin, steps: [{name: a, image: 'a/b:1', gpu: 1}]}",
        None,
    ),
    (
        "kind: Pipeline\nmetadata: {name: m11}\nspec: {parallel: 2, steps: [{name: a, image: 'a/b:1', retries: 2, config: {/etc/a: {b.yaml: {c: 1}}}}, {name: b, image: 'a/b:1', after: [a], onlyIf: {step: a, file: /o, is: go}}]}",
        Some("argo"),
    ),
    (
        "kind: Sweep\nmetadata: {name: m17}\nspec: {search: halving, trials: 3, parallel: 2, budget: {min: 1, max: 3}, metric: {name: l, goal: minimize, from: file}, parameters: {lr: {min: 0, max: 1}}, job: {image: 'a/b:1', workers: 2, outputs: {/o: c}, checkpoint: {path: /o}}}",
        None,
    ),
    (
        "kind: Pipeline\nmetadata: {name: m18}\nspec: {steps: [{name: a, image: 'a/b:1'}, {name: b, after: [a], retries: 2, onlyIf: {step: a, file: /o, is: go}, deploy: {name: m18, server: {image: 'a/b:1', cpu: 1, replicas: 2..9}}}]}",
        Some("argo"),
    ),
    (LLM, Some("jobset")),
    (LLM, Some("trainjob")),
    (ELASTIC, Some("jobset")),
    (ELASTIC, Some("trainjob")),
    ("kind: BatchJob\nmetadata: {name: m12}\nspec: {image: 'a/b:1', chunks: 1000, parallel: 50, failedChunks: 10, gpu: 0.25}", None),
];

async fn dry_run(client: &Client, namespace: &str, object: &Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.clone().context("types")?;
    let (resource, _) =
        kube::discovery::pinned_kind(client, &GroupVersionKind::try_from(&types)?).await.with_context(|| format!("{types:?}"))?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let name = object.metadata.name.clone().context("a name")?;
    let mut parameters = PatchParams::apply("gangplank-provision").dry_run();
    parameters.field_validation = Some(ValidationDirective::Strict);
    let taken = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
    taken.map(drop).with_context(|| format!("{} {name}: {}", types.kind, serde_json::to_string_pretty(&object).unwrap_or_default()))
}

fn foreign(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
    group.contains('.') && !group.ends_with(".k8s.io") || group == "gateway.networking.k8s.io"
}

/// Whether the API server knows its kind.
fn is_tried(object: &Value, there: &[&str]) -> bool {
    !foreign(object) || object["kind"].as_str().is_some_and(|kind| there.contains(&kind))
}

/// An API server with those of the official definitions that are there, and their kinds.
async fn served(test: &str) -> Result<Option<(ControlPlane, Client, Vec<&'static str>)>> {
    let options = Options { without: vec!["kube-scheduler", "kube-controller-manager", "kwok"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip(test, &options) else { return Ok(None) };
    let client = control_plane.client().await?;
    let mut there = Vec::new();
    if let Some(folder) = definitions() {
        for (name, kind) in FOREIGN {
            let path = folder.join(format!("{name}.yaml"));
            if !path.is_file() {
                let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: {} is not there; {kind} was not tried ====\n", path.display());
                continue;
            }
            apply_yaml(&client, "default", &fs::read_to_string(&path)?).await.with_context(|| path.display().to_string())?;
            there.push(*kind);
        }
    }
    Ok(Some((control_plane, client, there)))
}

/// The object is taken in the one namespace of all of them; its kind.
async fn taken(client: &Client, mut object: Value) -> Result<String> {
    object["metadata"]["namespace"] = json!("default");
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    wait_until(&format!("{kind} to be taken"), Duration::from_secs(60), async || match dry_run(client, "default", &object).await {
        Ok(()) => Ok(Some(())),
        // A definition takes seconds to be served.
        Err(error) if error.downcast_ref::<kube::Error>().is_some_and(is_unserved) => Ok(None),
        Err(error) => Err(error),
    })
    .await?;
    Ok(kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_takes_every_rendering_by_strict_validation() -> Result<()> {
    let Some((_control_plane, client, there)) = served("renderings are taken").await? else { return Ok(()) };
    let mut objects: Vec<Value> = specs::all().flat_map(|(name, form)| specs::rendered(name, form)).collect();
    for (body, form) in MORE {
        let text = format!("apiVersion: gangplank.dev/v1alpha1\n{body}\n");
        let spec = recipe::read(&text).map_err(|error| anyhow::anyhow!("{body}: {error}"))?;
        objects.extend(spec[0].render(*form).map_err(|error| anyhow::anyhow!("{body}: {error}"))?.objects);
    }
    let (mut count, mut kinds) = (0, std::collections::BTreeSet::new());
    for object in objects.into_iter().filter(|object| is_tried(object, &there)) {
        kinds.insert(taken(&client, object).await?);
        count += 1;
    }
    // A Service is one by name, be it Knative's or not.
    let wanted = 13 + there.iter().filter(|kind| **kind != "Service").count();
    ensure!(count >= 50 && kinds.len() >= wanted, "{count} objects of {kinds:?}");
    eprintln!("{count} objects of {} kinds were taken", kinds.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_check_fix_writes_passes_check_and_is_taken_by_strict_validation() -> Result<()> {
    let Some(seeds) = seeds() else { return Ok(()) };
    let Some((_control_plane, client, there)) = served("fixed manifests are taken").await? else { return Ok(()) };
    // The controller that makes it does not run here, and without it no pod is taken.
    apply_yaml(&client, "default", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}").await?;
    let mut files: Vec<PathBuf> = fs::read_dir(seeds)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    let (mut changed, mut count, mut refused_before) = (0, 0, 0);
    for path in files {
        let (name, text) = (path.display().to_string(), fs::read_to_string(&path)?);
        let fixed = provision(&["check", "--fix", "-"], &text);
        ensure!(fixed.status.success(), "{name}: {fixed:?}");
        let fixed = String::from_utf8(fixed.stdout)?;
        changed += usize::from(fixed != text);
        let again = provision(&["check", "-o", "json", "-"], &fixed);
        ensure!(again.status.success(), "{name}: {again:?}");
        let left: Vec<Value> = serde_json::from_slice(&again.stdout)?;
        ensure!(left.iter().all(|finding| finding["level"] != "error" && finding["fixable"] == false), "{name}: {left:?}");
        for object in serde_saphyr::from_multiple::<Value>(&text)?.into_iter().filter(|object| !foreign(object)) {
            refused_before += usize::from(dry_run(&client, "default", &object).await.is_err());
        }
        let objects: Vec<Value> = serde_saphyr::from_multiple(&fixed)?;
        for mut object in objects.into_iter().filter(|object| !object.is_null() && is_tried(object, &there)) {
            if let Some(prefix) = object["metadata"]["generateName"].take().as_str() {
                object["metadata"] = json!({"name": format!("{prefix}0")});
            }
            taken(&client, object).await.with_context(|| name.clone())?;
            count += 1;
        }
    }
    // Half a device, without the fix.
    ensure!(refused_before >= 1, "nothing was refused before");
    ensure!(changed >= 10 && count >= 15, "{changed} files were changed, {count} objects taken");
    Ok(())
}

fn is_unserved(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Discovery(_)) || matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_takes_our_definitions_and_refuses_what_their_rules_refuse() -> Result<()> {
    let Some(control_plane) = ControlPlane::shared_or_skip("definitions of specs") else { return Ok(()) };
    let client = control_plane.client().await?;
    let namespace = create_namespace(&client, "specs").await?;
    for made in KINDS.iter().filter_map(definition) {
        apply_yaml(&client, "default", &serde_json::to_string(&made)?).await?;
    }
    let text = fs::read_to_string(root().join("tests/golden/provision/train.yaml"))?.replace("namespace: research, ", "");
    apply_yaml(&client, &namespace, &text).await.context("a spec with most of what there is to say")?;
    let refused = |more: &str| {
        format!("apiVersion: gangplank.dev/v1alpha1\nkind: TrainingJob\nmetadata: {{name: refused}}\nspec: {{image: 'a/b:1', {more}}}")
    };
    for (more, said) in [
        ("accelerators: 'H100:8', gpu: 8", "keep one of accelerators and gpu"),
        ("products: [A100]", "products need gpu"),
        ("user: 0", "nothing runs as root"),
        ("framework: caffe", "Unsupported value"),
        ("retries: 101", "should be less than or equal to 100"),
    ] {
        let Err(error) = apply_yaml(&client, &namespace, &refused(more)).await else { panic!("{more} was taken") };
        ensure!(format!("{error:?}").contains(said), "{more}: {error:?}");
    }
    let server = |tls: &str| refused(&format!("tls: {tls}")).replace("TrainingJob", "ModelServer");
    let Err(error) = apply_yaml(&client, &namespace, &server("{secret: a, issuer: b}")).await else {
        panic!("two certificates were taken")
    };
    ensure!(format!("{error:?}").contains("tls names one of secret, issuer and clusterIssuer"), "{error:?}");
    apply_yaml(&client, &namespace, &server("{secret: a}")).await.context("one certificate")?;
    Ok(())
}
