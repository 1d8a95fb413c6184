//! What tenants may write on their pods, and what it gets them: not another namespace's gang, not a plan, not a device
//! out of turn.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::bound;
use crate::support::installed::{is_running, managed_namespace, node_of, scheduling_message};
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, apply_yaml, create_kwok_nodes, wait_until};

/// Sixteen GPUs.
const NODES: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(30);
/// In which nothing may happen. A pod that can be bound is bound within a tenth of it.
const QUIET: Duration = Duration::from_secs(3);

/// A namespace, and a person who may do in it what Kubernetes' role `edit` allows.
struct Team {
    /// As the person.
    pods: Api<Pod>,
    namespace: String,
}

impl Team {
    async fn create(control_plane: &ControlPlane, admin: &Client, namespace: &str, user: &str) -> Result<Self> {
        let namespace = managed_namespace(admin, namespace).await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "edit"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        apply_yaml(admin, &namespace, &binding.to_string()).await?;
        let pods: Api<Pod> = Api::namespaced(control_plane.client_as(user).await?, &namespace);
        wait_until("the person's rights", TIMEOUT, async || Ok(pods.list(&ListParams::default()).await.ok())).await?;
        Ok(Self { pods, namespace })
    }

    async fn add(&self, name: &str, gang: Option<(&str, u32)>) -> Result<()> {
        self.pods.create(&PostParams::default(), &pod(name, gang)).await?;
        Ok(())
    }

    async fn bound(&self) -> Result<usize> {
        Ok(bound(&self.pods.list(&ListParams::default()).await?.items).values().sum())
    }

    async fn wait_running(&self, count: usize) -> Result<()> {
        wait_until(&format!("{count} pods of {} to run", self.namespace), TIMEOUT, async || {
            let pods = self.pods.list(&ListParams::default()).await?.items;
            Ok((pods.iter().filter(|pod| is_running(pod)).count() == count).then_some(()))
        })
        .await
    }

    async fn stays_at(&self, count: usize, why: &str) -> Result<()> {
        tokio::time::sleep(QUIET).await;
        let bound = self.bound().await?;
        ensure!(bound == count, "{}: {bound} pods are bound, not {count}: {why}", self.namespace);
        Ok(())
    }

    async fn merge(&self, name: &str, patch: Value) -> kube::Result<Pod> {
        self.pods.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }
}

/// A pod with one GPU, of a gang with a name and a size.
fn pod(name: &str, gang: Option<(&str, u32)>) -> Pod {
    let annotations =
        gang.map_or(json!({}), |(gang, size)| json!({"gangplank.dev/gang": gang, "gangplank.dev/gang-size": size.to_string()}));
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
    }))
    .expect("a pod")
}

/// What the API server says against it.
fn forbidden<T>(what: &str, outcome: kube::Result<T>) -> Result<String> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(status.message),
        Err(error) => Err(error).context(what.to_owned()),
        Ok(_) => bail!("{what}: allowed"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_neither_joins_anothers_gang_nor_forges_a_plan_nor_gains_by_gates() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("what tenants may write", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_kwok_nodes(&client, NODES, &NodeTemplate::default()).await?;
    let _installed = Installed::start(&control_plane, &client).await?;
    let ours = Team::create(&control_plane, &client, "ours", "tenant").await?;
    let theirs = Team::create(&control_plane, &client, "theirs", "other-tenant").await?;

    one_name_in_two_namespaces_is_two_gangs(&control_plane, &ours, &theirs).await?;
    what_gangplank_writes_nobody_else_does(&client, &ours).await?;
    a_gate_taken_off_is_no_way_out_of_a_gang(&ours).await?;
    a_gate_of_ones_own_is_no_way_past_the_queue(&ours, &theirs).await
}

async fn one_name_in_two_namespaces_is_two_gangs(control_plane: &ControlPlane, ours: &Team, theirs: &Team) -> Result<()> {
    for member in 0..3 {
        ours.add(&format!("train-{member}"), Some(("train", 4))).await?;
    }
    theirs.add("train-3", Some(("train", 4))).await?;
    ours.stays_at(0, "three of four are there").await?;
    theirs.stays_at(0, "one of four is there").await?;
    let stranger: Api<Pod> = Api::namespaced(control_plane.client_as("other-tenant").await?, &ours.namespace);
    let created = stranger.create(&PostParams::default(), &pod("train-3", Some(("train", 4)))).await;
    forbidden("a pod in another's namespace", created)?;
    ours.add("train-3", Some(("train", 4))).await?;
    ours.wait_running(4).await?;
    theirs.stays_at(0, "the others' gang is not its own").await
}

async fn what_gangplank_writes_nobody_else_does(admin: &Client, ours: &Team) -> Result<()> {
    let granted = ours.pods.get("train-0").await?.metadata.annotations.unwrap_or_default();
    let plan = granted.get("gangplank.dev/plan").context("a plan to copy")?;
    let devices = granted.get("gangplank.dev/devices").context("devices to copy")?;
    ours.add("waiting-0", Some(("waiting", 2))).await?;
    for (key, value) in [("plan", plan.as_str()), ("devices", devices.as_str()), ("rank", "0"), ("touched", "now")] {
        let key = format!("gangplank.dev/{key}");
        let annotations = json!({"metadata": {"annotations": {key.clone(): value}}});
        let text = forbidden(&format!("{key} by patch"), ours.merge("waiting-0", annotations.clone()).await)?;
        ensure!(text.contains("only Gangplank writes it"), "{key}: {text}");
        let mut forged = pod("forged", None);
        forged.metadata.annotations = Some([(key.clone(), value.to_owned())].into());
        forbidden(&format!("{key} at creation"), ours.pods.create(&PostParams::default(), &forged).await)?;
        if granted.contains_key(&key) {
            let none = json!({"metadata": {"annotations": {key.clone(): null}}});
            forbidden(&format!("{key} taken off"), ours.merge("train-0", none).await)?;
        }
    }
    // Who may write Bindings, which `edit` does not allow, still may not say in them what was granted.
    let bind = async |annotations: Value| {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": "node-00000"});
        let binding = json!({"metadata": {"name": "waiting-0", "annotations": annotations}, "target": target});
        ours.pods.create_subresource::<Value, Value>("binding", "waiting-0", &PostParams::default(), &binding).await
    };
    let refused = forbidden("a Binding", bind(json!({})).await)?;
    ensure!(refused.contains("pods/binding"), "{refused}");
    let rights = json!([
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "binder"},
         "rules": [{"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "binder"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "binder"},
         "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}]},
    ]);
    for object in rights.as_array().context("two objects")? {
        apply_yaml(admin, &ours.namespace, &object.to_string()).await?;
    }
    let policy = wait_until("the right to bind", TIMEOUT, async || {
        let refused = forbidden("a Binding with devices", bind(json!({"gangplank.dev/devices": devices})).await)?;
        Ok((!refused.contains("pods/binding")).then_some(refused))
    });
    let refused = policy.await?;
    ensure!(refused.contains("only Gangplank writes it"), "{refused}");
    ours.stays_at(4, "nothing that was forged got anywhere").await
}

async fn a_gate_taken_off_is_no_way_out_of_a_gang(ours: &Team) -> Result<()> {
    ours.merge("waiting-0", json!({"spec": {"schedulingGates": []}})).await.context("whoever may edit pods may take gates off")?;
    let message = wait_until("a word why it waits", TIMEOUT, async || {
        let message = scheduling_message(&ours.pods.get("waiting-0").await?);
        Ok((!message.is_empty() && !message.contains("gated")).then_some(message))
    })
    .await?;
    ours.stays_at(4, &message).await?;
    ours.add("waiting-1", Some(("waiting", 2))).await?;
    ours.wait_running(6).await
}

/// Sixteen devices, six in use. Ten more pods take the rest; then two wait, and the one that came later brought the gate.
async fn a_gate_of_ones_own_is_no_way_past_the_queue(ours: &Team, theirs: &Team) -> Result<()> {
    for index in 0..10 {
        theirs.add(&format!("rest-{index}"), None).await?;
    }
    theirs.wait_running(10).await?;
    theirs.add("first-0", None).await?;
    // Seniority is counted in whole seconds, as the API server writes them.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut second = pod("second-0", None);
    let gates = serde_json::from_value(json!([{"name": "gangplank.dev/gang"}]))?;
    second.spec.as_mut().context("a spec")?.scheduling_gates = Some(gates);
    let second = ours.pods.create(&PostParams::default(), &second).await?;
    let gates = second.spec.and_then(|spec| spec.scheduling_gates).unwrap_or_default();
    ensure!(gates.len() == 1, "{gates:?}");
    ours.stays_at(6, "there is no room").await?;
    theirs.pods.delete("rest-0", &kube::api::DeleteParams::default()).await?;
    wait_until("the one that came first to run", TIMEOUT, async || Ok(is_running(&theirs.pods.get("first-0").await?).then_some(())))
        .await?;
    ensure!(node_of(&ours.pods.get("second-0").await?).is_none(), "the second one was bound as well");
    Ok(())
}
