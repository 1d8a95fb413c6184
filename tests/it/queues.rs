//! Queues on the real control plane: a tenant gets its own, whatever it writes on its pods, and the priority classes that
//! its queue allows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::installed::{managed_namespace, node_of, scheduling_message};
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_kwok_nodes, wait_until};

const TIMEOUT: Duration = Duration::from_mins(1);
/// In which nothing may happen. A pod that can be bound is bound within a tenth of it.
const QUIET: Duration = Duration::from_secs(3);

/// A person who may do in a namespace what Kubernetes' role `edit` allows.
async fn person(control_plane: &ControlPlane, admin: &Client, namespace: &str, user: &str) -> Result<Client> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "edit"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    apply_yaml(admin, namespace, &binding.to_string()).await?;
    let client = control_plane.client_as(user).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    wait_until("the person's rights", TIMEOUT, async || Ok(pods.list(&ListParams::default()).await.ok())).await?;
    Ok(client)
}

/// One GPU, and everything that could be taken for the name of a queue.
fn pod(name: &str, class: Option<&str>, queue: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {"kueue.x-k8s.io/queue-name": queue, "queue": queue},
            "annotations": {"gangplank.dev/queue": queue, "scheduling.volcano.sh/queue-name": queue},
        },
        "spec": {"priorityClassName": class, "terminationGracePeriodSeconds": 0, "containers": [
            {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
    }))?)
}

async fn bound(pods: &Api<Pod>) -> Result<usize> {
    Ok(pods.list(&ListParams::default()).await?.items.iter().filter(|pod| node_of(pod).is_some()).count())
}

async fn refused(pods: &Api<Pod>, name: &str, text: &str) -> Result<()> {
    let what = format!("{name} to be told `{text}`");
    wait_until(&what, TIMEOUT, async || Ok(scheduling_message(&pods.get(name).await?).contains(text).then_some(()))).await
}

fn in_use(queues: &Value, queue: &str) -> Option<u64> {
    let queue = queues["queues"].as_array()?.iter().find(|view| view["queue"] == queue)?;
    queue["classes"].as_array()?.iter().find(|class| class["class"] == "nvidia-gpu")?["inUseMilli"].as_u64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_takes_neither_anothers_queue_nor_a_priority_class_that_it_is_not_given() -> Result<()> {
    let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("queues of tenants", &options) else { return Ok(()) };
    let admin = control_plane.client().await?;
    create_kwok_nodes(&admin, 2, &NodeTemplate::default()).await?;
    let (rich, poor) = (managed_namespace(&admin, "rich").await?, managed_namespace(&admin, "poor").await?);
    for (name, value) in [("urgent", 1000), ("batch", 10)] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
        apply_yaml(&admin, "default", &class.to_string()).await?;
    }
    let profile = control_plane.dir().join("profile.yaml");
    let queues = format!(
        "queues: {{list: [{{name: rich, namespaces: {{matchNames: [{rich}]}}, guaranteed: [{{class: nvidia-gpu, devices: 12}}]}},
        {{name: poor, namespaces: {{matchNames: [{poor}]}}, maximum: [{{class: nvidia-gpu, devices: 4}}], priorityClasses: [batch]}}]}}"
    );
    std::fs::write(&profile, gangplank::policy::Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\n{queues}\naccelerators:")))?;
    let mut installed = Installed::start_with(&control_plane, &admin, &[&format!("--profile={}", profile.display())]).await?;
    let tenant = person(&control_plane, &admin, &poor, "tenant").await?;
    let pods: Api<Pod> = Api::namespaced(tenant.clone(), &poor);

    // In another's namespace it creates nothing, and nothing that it writes on its own pods is read as a queue.
    let elsewhere: Api<Pod> = Api::namespaced(tenant, &rich);
    let denied = elsewhere.create(&PostParams::default(), &pod("intruder", None, "poor")?).await;
    ensure!(matches!(&denied, Err(kube::Error::Api(status)) if status.code == 403), "{denied:?}");
    for index in 0..6 {
        pods.create(&PostParams::default(), &pod(&format!("batch-{index}"), Some("batch"), "rich")?).await?;
    }
    wait_until("four pods to be bound", TIMEOUT, async || Ok((bound(&pods).await? == 4).then_some(())))
        .await
        .with_context(|| installed.gangplank.log())?;
    let waiting = pods.list(&ListParams::default()).await?.items.into_iter().filter(|pod| node_of(pod).is_none());
    for pod in waiting {
        refused(&pods, &pod.metadata.name.unwrap_or_default(), "gangplank: exceeds the maximum of queue poor").await?;
    }

    // A class that the queue does not allow, with the gate and without it, and none at all.
    let told = "gangplank: queue poor does not allow this priority class";
    pods.create(&PostParams::default(), &pod("urgent", Some("urgent"), "rich")?).await?;
    pods.create(&PostParams::default(), &pod("classless", None, "rich")?).await?;
    refused(&pods, "urgent", told).await?;
    refused(&pods, "classless", told).await?;
    let ungated = json!({"spec": {"schedulingGates": null}});
    pods.patch("urgent", &PatchParams::default(), &Patch::Merge(&ungated)).await?;
    refused(&pods, "urgent", told).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(bound(&pods).await? == 4, "nobody else was bound: {}", installed.gangplank.log());

    // The other's queue has what it is guaranteed.
    let others: Api<Pod> = Api::namespaced(admin, &rich);
    for index in 0..12 {
        others.create(&PostParams::default(), &pod(&format!("rich-{index}"), Some("urgent"), "poor")?).await?;
    }
    wait_until("twelve pods to be bound", TIMEOUT, async || Ok((bound(&others).await? == 12).then_some(())))
        .await
        .with_context(|| installed.gangplank.log())?;
    let queues = installed.gangplank.get("/api/v1/queues").await?;
    assert_eq!((in_use(&queues, "poor"), in_use(&queues, "rich")), (Some(4000), Some(12_000)), "{queues}");
    Ok(())
}

/// A Job of so many pods with four GPUs each.
fn job(name: &str, members: u32) -> Result<Job> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"parallelism": members, "completions": members, "template": {"spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]}}},
    }))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_takes_back_what_it_lent_and_leaves_the_other_its_guarantee() -> Result<()> {
    let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip("queues that take back", &options) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, 2, &NodeTemplate::default()).await?;
    let (lender, borrower) = (managed_namespace(&client, "lender").await?, managed_namespace(&client, "borrower").await?);
    let profile = control_plane.dir().join("profile.yaml");
    let queue = |name: &str, namespace: &str| {
        format!("{{name: {name}, namespaces: {{matchNames: [{namespace}]}}, guaranteed: [{{class: nvidia-gpu, devices: 8}}]}}")
    };
    let queues = format!("queues: {{list: [{}, {}]}}", queue("lender", &lender), queue("borrower", &borrower));
    std::fs::write(&profile, gangplank::policy::Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\n{queues}\naccelerators:")))?;
    let mut installed = Installed::start_with(&control_plane, &client, &[&format!("--profile={}", profile.display())]).await?;
    let of = |namespace: &str| (Api::<Job>::namespaced(client.clone(), namespace), Api::<Pod>::namespaced(client.clone(), namespace));
    let ((lent, lent_pods), (mine, my_pods)) = (of(&borrower), of(&lender));
    for index in 0..4 {
        lent.create(&PostParams::default(), &job(&format!("borrowed-{index}"), 1)?).await?;
    }
    wait_until("the borrower to fill the cluster", TIMEOUT, async || Ok((bound(&lent_pods).await? == 4).then_some(())))
        .await
        .with_context(|| installed.gangplank.log())?;
    mine.create(&PostParams::default(), &job("mine", 2)?).await?;
    wait_until("the lender to have its guarantee", TIMEOUT, async || Ok((bound(&my_pods).await? == 2).then_some(())))
        .await
        .with_context(|| installed.gangplank.log())?;
    // Another one of each would need more than there is, or than either is guaranteed.
    mine.create(&PostParams::default(), &job("more", 1)?).await?;
    tokio::time::sleep(QUIET).await;
    ensure!((bound(&my_pods).await?, bound(&lent_pods).await?) == (2, 2), "{}", installed.gangplank.log());
    let queues = installed.gangplank.get("/api/v1/queues").await?;
    assert_eq!((in_use(&queues, "lender"), in_use(&queues, "borrower")), (Some(8000), Some(8000)), "{queues}");
    let preemptions = installed.gangplank.get("/api/v1/preemptions").await?;
    let went: Vec<&Value> = preemptions["preemptions"].as_array().into_iter().flatten().collect();
    let why = |entry: &&Value| entry["why"].as_str().is_some_and(|why| why.starts_with("borrowed from its queue"));
    ensure!(went.len() == 2 && went.iter().all(why), "{preemptions}");
    Ok(())
}
