//! Installation on the real API server: everything is accepted, its pods are admitted and run, and a stock kube-scheduler starts
//! with the configuration and the account that are shipped. KWOK plays the kubelets, so no container runs here.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use gangplank::wire::AcceleratorNode;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::deploy::{KIND, SECOND_SCHEDULER, SECOND_SCHEDULER_WEBHOOK, documents, render, text};
use crate::support::{ControlPlane, Options, apply_yaml, create_namespace, free_address, wait_until};

const NAMESPACE: &str = "gangplank-system";
const EXTENDER: &str = "127.0.0.1:10270";
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn second_scheduler_is_accepted_in_a_restricted_namespace_and_schedules() -> Result<()> {
    let Some(plane) = ControlPlane::start_or_skip("the second scheduler is installed", &Options { nodes: 2, ..Options::default() }) else {
        return Ok(());
    };
    let Some(render) = render() else { return Ok(()) };
    let client = plane.client().await?;
    install(&client, render.kustomize(SECOND_SCHEDULER)).await?;

    // Made by the real controllers, admitted by the real Pod Security admission.
    both_replicas_run(&client).await?;
    refuses_a_pod_that_is_not_restricted(&client).await?;
    the_account_may_bind_and_not_read_secrets(&plane).await?;

    let scheduler = Process::kube_scheduler(&plane)?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let holder = wait_until("kube-scheduler to take its lease", TIMEOUT, async || {
        Ok(leases.get_opt("gangplank-scheduler").await?.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()))
    })
    .await?;
    // What `gangplank serve --identity` is compared with.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    assert!(holder.starts_with(&format!("{}_", host.trim())), "{holder}");

    let namespace = create_namespace(&client, "second-scheduler").await?;
    create_pod(&client, &namespace, "plain", "gangplank", json!({})).await?;
    create_pod(&client, &namespace, "accelerated", "gangplank", json!({"nvidia.com/gpu": 1})).await?;
    wait_for_phase(&client, &namespace, "plain", "Running").await?;
    waits_because_the_extender_is_down(&client, &namespace, "accelerated").await?;

    // And then it comes up, with the arguments and the rights of its container.
    let gangplank = Process::gangplank(&plane, &scheduler.extender, host.trim())?;
    wait_for_phase(&client, &namespace, "accelerated", "Running").await?;
    let pod = Api::<Pod>::namespaced(client.clone(), &namespace).get("accelerated").await?;
    assert!(pod.metadata.annotations.unwrap_or_default().contains_key("gangplank.dev/devices"));

    for log in [scheduler.log(), gangplank.log()] {
        assert!(!log.contains("forbidden"), "the account lacks a right:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn second_scheduler_with_a_webhook_is_accepted_in_a_restricted_namespace() -> Result<()> {
    let Some(plane) = ControlPlane::start_or_skip("the webhook is installed", &Options { nodes: 2, ..Options::default() }) else {
        return Ok(());
    };
    let Some(render) = render() else { return Ok(()) };
    let client = plane.client().await?;
    install(&client, render.kustomize(SECOND_SCHEDULER_WEBHOOK)).await?;
    both_replicas_run(&client).await?;
    refuses_a_pod_that_is_not_restricted(&client).await?;
    // The Service leads to them.
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let of_service = ListParams::default().labels("kubernetes.io/service-name=gangplank-admission");
    wait_until("the Service to have both replicas behind it", TIMEOUT, async || {
        let slices = slices.list(&of_service).await?.items;
        let behind = slices.iter().filter(|slice| slice.ports.iter().flatten().any(|port| port.port == Some(10272)));
        Ok((behind.map(|slice| slice.endpoints.iter().flatten().count()).sum::<usize>() == 2).then_some(()))
    })
    .await
}

#[tokio::test]
async fn extended_default_scheduler_places_gangplank_without_asking_it() -> Result<()> {
    if ControlPlane::shared_or_skip("the default scheduler is extended").is_none() {
        return Ok(());
    }
    let scheduler_config_yaml = text("deploy/kind/scheduler-config.yaml")
        .replace("  kubeconfig: /etc/kubernetes/scheduler.conf\n", "")
        .replace(EXTENDER, &free_address()?.to_string());
    let options = Options { scheduler_config_yaml: Some(scheduler_config_yaml), ..Options::default() };
    let Some(plane) = ControlPlane::start_or_skip("the default scheduler is extended", &options) else { return Ok(()) };
    let Some(render) = render() else { return Ok(()) };
    let client = plane.client().await?;
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "control-plane",
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": "control-plane", "node-role.kubernetes.io/control-plane": ""},
        },
        "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "8"},
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "8"},
        },
    });
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    install(&client, render.kustomize(KIND)).await?;

    // The extender is not there yet, and its own pod must not wait for it.
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    wait_until("the extender's pod", TIMEOUT, async || {
        let status = sets.get("gangplank").await?.status.unwrap_or_default();
        Ok((status.desired_number_scheduled == 1 && status.number_available == Some(1)).then_some(()))
    })
    .await?;

    let namespace = create_namespace(&client, "extended").await?;
    for scheduler in ["default-scheduler", "gangplank"] {
        create_pod(&client, &namespace, scheduler, scheduler, json!({"nvidia.com/gpu": 1})).await?;
        waits_because_the_extender_is_down(&client, &namespace, scheduler).await?;
    }
    Ok(())
}

#[tokio::test]
async fn accelerator_nodes_are_bounded_and_consistent() -> Result<()> {
    let Some(plane) = ControlPlane::shared_or_skip("AcceleratorNodes are checked") else { return Ok(()) };
    let client = plane.client().await?;
    apply_yaml(&client, "default", &text("deploy/crd/acceleratornodes.yaml")).await?;
    let device = |index: usize| json!({"id": format!("GPU-{index}"), "index": index, "resource": "nvidia.com/gpu", "health": "Healthy"});
    let node = |name: &str, spec: Value| json!({"apiVersion": "gangplank.dev/v1alpha1", "kind": "AcceleratorNode", "metadata": {"name": name}, "spec": spec});
    let full = json!({
        "servedByAgent": true,
        "driverVersion": "550.107.02",
        "cudaVersion": "12.4",
        "fabric": {"clusterUUID": "0c0ffee0-0000-0000-0000-000000000000", "cliqueID": "1"},
        "devices": (0..64).map(device).collect::<Vec<_>>(),
        "links": (0..64).flat_map(|a| (a + 1..64).map(move |b| json!({"a": a, "b": b, "type": "NV", "count": 18}))).collect::<Vec<_>>(),
        "allocations": [{"podUID": "0b5", "container": "main", "deviceIDs": ["GPU-0", "GPU-1"]}],
    });
    apply_yaml(&client, "default", &node("full", full).to_string()).await.context("the largest node that is allowed")?;

    for (reason, spec) in [
        (
            "same index",
            json!({"servedByAgent": true, "devices": [{"id": "a", "index": 0, "resource": "nvidia.com/gpu", "health": "Healthy"}, device(0)]}),
        ),
        ("64 items", json!({"servedByAgent": true, "devices": (0..65).map(device).collect::<Vec<_>>()})),
        ("lower index first", json!({"servedByAgent": true, "devices": [], "links": [{"a": 1, "b": 0, "type": "SYS"}]})),
        ("Unsupported value", json!({"servedByAgent": true, "devices": [], "links": [{"a": 0, "b": 1, "type": "NVLINK"}]})),
        (
            "Unsupported value",
            json!({"servedByAgent": true, "devices": [{"id": "a", "index": 0, "resource": "nvidia.com/gpu", "health": "Sick"}]}),
        ),
        ("should match", json!({"servedByAgent": true, "devices": [{"id": "a", "index": 0, "resource": "cpu/", "health": "Healthy"}]})),
        ("Required value", json!({"devices": [{"id": "a"}]})),
        ("field not declared", json!({"servedByAgent": true, "devices": [], "typo": 1})),
    ] {
        let error = apply_yaml(&client, "default", &node("broken", spec.clone()).to_string()).await.expect_err(reason);
        assert!(format!("{error:?}").contains(reason), "{spec}: {error:?}");
    }
    Ok(())
}

/// What `gangplank-agent discover` prints on each described machine (tests/agent.rs) is an object that a cluster takes, every field of
/// it, and takes a second time without a write.
#[tokio::test]
async fn what_the_agent_discovers_is_accepted_and_written_once() -> Result<()> {
    let Some(plane) = ControlPlane::shared_or_skip("discovered AcceleratorNodes are applied") else { return Ok(()) };
    let client = plane.client().await?;
    apply_yaml(&client, "default", &text("deploy/crd/acceleratornodes.yaml")).await?;
    let nodes = wait_until("AcceleratorNodes to be served", TIMEOUT, async || {
        let nodes: Api<AcceleratorNode> = Api::all(client.clone());
        Ok(nodes.list(&ListParams::default()).await.is_ok().then_some(nodes))
    })
    .await?;
    let mut count = 0;
    for file in fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/agent"))? {
        let path = file?.path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let printed = fs::read_to_string(&path)?;
        let discovered: AcceleratorNode = serde_saphyr::from_str(&printed)?;
        let name = discovered.metadata.name.context("a name")?;
        apply_yaml(&client, "default", &printed).await.with_context(|| name.clone())?;
        let kept = nodes.get(&name).await?;
        assert_eq!(kept.spec, discovered.spec, "{name}");
        apply_yaml(&client, "default", &printed).await?;
        assert_eq!(nodes.get(&name).await?.metadata.resource_version, kept.metadata.resource_version, "{name} was written again");
        count += 1;
    }
    assert!(count >= 7, "{count} machines");
    Ok(())
}

/// Namespaces and CRDs first, as kustomize orders them and as an empty cluster needs them.
async fn install(client: &Client, mut objects: Vec<Value>) -> Result<()> {
    objects.sort_by_key(|object| object["kind"] != "Namespace" && object["kind"] != "CustomResourceDefinition");
    for object in &objects {
        apply_yaml(client, NAMESPACE, &object.to_string()).await?;
    }
    Ok(())
}

async fn both_replicas_run(client: &Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    wait_until("both replicas", TIMEOUT, async || {
        let status = deployments.get("gangplank").await?.status.unwrap_or_default();
        Ok((status.available_replicas == Some(2)).then_some(()))
    })
    .await
}

async fn refuses_a_pod_that_is_not_restricted(client: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = json!({"metadata": {"name": "careless"}, "spec": {"containers": [{"name": "main", "image": "none"}]}});
    let error =
        pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &serde_json::from_value(pod)?).await.expect_err("refused");
    assert!(error.to_string().contains("violates PodSecurity \"restricted"), "{error}");
    Ok(())
}

async fn the_account_may_bind_and_not_read_secrets(plane: &ControlPlane) -> Result<()> {
    let account = plane.client_as_service_account(NAMESPACE, "gangplank").await?;
    Api::<Pod>::all(account.clone()).list(&ListParams::default().limit(1)).await?;
    let refused = Api::<Secret>::namespaced(account.clone(), NAMESPACE).list(&ListParams::default()).await.expect_err("no right");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    // Past authorization, and then there is no such pod.
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "nobody"}, "target": {"kind": "Node", "name": "nowhere"}});
    let bound: kube::Result<Value> =
        Api::<Pod>::namespaced(account, NAMESPACE).create_subresource("binding", "nobody", &PostParams::default(), &binding).await;
    let error = bound.expect_err("no such pod");
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 404), "{error}");
    Ok(())
}

async fn create_pod(client: &Client, namespace: &str, name: &str, scheduler: &str, limits: Value) -> Result<()> {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "schedulerName": scheduler,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
        },
    });
    Api::<Pod>::namespaced(client.clone(), namespace).create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}

async fn wait_for_phase(client: &Client, namespace: &str, name: &str, phase: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    wait_until(&format!("pod {name} to be {phase}"), TIMEOUT, async || {
        Ok(pods.get(name).await?.status.is_some_and(|status| status.phase.as_deref() == Some(phase)).then_some(()))
    })
    .await
}

/// As docs/runbook.md says: the pod waits behind our gate, and without it says what for.
async fn waits_because_the_extender_is_down(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = pods.get(name).await?;
    if pod.spec.is_some_and(|spec| spec.scheduling_gates.is_some_and(|gates| !gates.is_empty())) {
        let ungated = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
        pods.patch(name, &PatchParams::default(), &ungated).await?;
    }
    let message = wait_until(&format!("pod {name} to be refused"), TIMEOUT, async || {
        let conditions = pods.get(name).await?.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions
            .into_iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.reason.as_deref() != Some("SchedulingGated"))
            .and_then(|it| it.message))
    })
    .await?;
    assert!(message.contains("/scheduler/filter") && message.contains("connection refused"), "{message}");
    Ok(())
}

/// One container of the second-scheduler shape, run with the rights of its account.
struct Process {
    extender: String,
    log: PathBuf,
    _child: tokio::process::Child,
}

impl Process {
    fn kube_scheduler(plane: &ControlPlane) -> Result<Self> {
        let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "gangplank")?;
        let extender = free_address()?.to_string();
        let config = plane.dir().join("installed-scheduler.yaml");
        let shipped = text("deploy/second-scheduler/scheduler-config.yaml");
        let connection = format!("clientConnection:\n  kubeconfig: {}\n", kubeconfig.display());
        fs::write(&config, shipped.replace("clientConnection:\n", &connection).replace(EXTENDER, &extender))?;
        let port = free_address()?.port();
        let mut command = tokio::process::Command::new(plane.binary());
        command
            .arg("kube-scheduler")
            .arg(format!("--config={}", config.display()))
            .arg(format!("--authentication-kubeconfig={}", kubeconfig.display()))
            .arg(format!("--authorization-kubeconfig={}", kubeconfig.display()))
            .args([format!("--secure-port={port}"), "--bind-address=127.0.0.1".into(), "--v=2".into()])
            .env("CONTROL_PLANE_UNTIL_STDIN_CLOSES", "1");
        Self::spawn(command, extender, plane.log_path("installed-scheduler"))
    }

    /// The container's own arguments, at other addresses.
    fn gangplank(plane: &ControlPlane, extender: &str, host: &str) -> Result<Self> {
        let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "gangplank")?;
        let deployment = documents(&text("deploy/second-scheduler/deployment.yaml")).remove(0);
        let arguments = deployment.pointer("/spec/template/spec/initContainers/0/args").and_then(Value::as_array).context("arguments")?;
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_gangplank"));
        for argument in arguments.iter().filter_map(Value::as_str) {
            command.arg(argument.replace(EXTENDER, extender).replace("0.0.0.0:10271", "127.0.0.1:0").replace("$(POD_NAME)", host));
        }
        command.env("KUBECONFIG", &kubeconfig);
        Self::spawn(command, extender.to_owned(), plane.log_path("installed-gangplank"))
    }

    fn spawn(mut command: tokio::process::Command, extender: String, log: PathBuf) -> Result<Self> {
        let file = File::create(&log)?;
        let child = command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true).spawn()?;
        Ok(Self { extender, log, _child: child })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
