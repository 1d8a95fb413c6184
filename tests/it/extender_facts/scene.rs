//! A scheduler with a recording extender, nodes and a namespace, nothing else going on.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::recorder::{Call, Recorder};
use crate::support::{ControlPlane, NodeTemplate, Options, SecondScheduler, apply_yaml, create_kwok_nodes, create_namespace, wait_until};

/// Long enough for a machine that does five other things.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);

/// Every bind and every node anywhere in a cluster wakes the pods that an extender refused, so scenes take turns.
pub(super) static TURN: Mutex<()> = Mutex::const_new(());

pub(super) struct Scene {
    pub(super) control_plane: &'static ControlPlane,
    pub(super) client: Client,
    pub(super) namespace: String,
    /// Names the scheduler in pods.
    pub(super) scheduler_name: String,
    pub(super) recorder: Recorder,
    /// None while a test has none running.
    pub(super) scheduler: Option<SecondScheduler>,
    pub(super) nodes: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// None where there is no control plane to be had.
    pub(super) async fn open(
        test: &str,
        nodes: u32,
        cpu: &str,
        script: impl Fn(&Call) -> Value + Send + Sync + 'static,
    ) -> Result<Option<Self>> {
        static SHARED: OnceLock<Option<ControlPlane>> = OnceLock::new();
        let turn = TURN.lock().await;
        let options = Options { without: vec!["kube-scheduler"], ..Options::default() };
        // A static is never dropped: it ends when the test process does and its pipe closes.
        let Some(control_plane) = SHARED.get_or_init(|| ControlPlane::start_or_skip(test, &options)) else { return Ok(None) };
        let client = control_plane.client().await?;
        clear(&client).await?;
        let namespace = create_namespace(&client, "facts").await?;
        let template = NodeTemplate { name_prefix: namespace.clone(), cpu: cpu.to_owned(), ..NodeTemplate::default() };
        let nodes = create_kwok_nodes(&client, nodes, &template).await?;
        let recorder = Recorder::start(script).await?;
        let scheduler_name = format!("scheduler-of-{namespace}");
        let scheduler = SecondScheduler::start(control_plane, &recorder.scheduler_config(&scheduler_name)).await?;
        Ok(Some(Self { control_plane, client, namespace, scheduler_name, recorder, scheduler: Some(scheduler), nodes, _turn: turn }))
    }

    /// Kills the scheduler and starts another one with the same configuration.
    pub(super) async fn restart_scheduler(&mut self) -> Result<()> {
        if let Some(scheduler) = self.scheduler.take() {
            scheduler.kill()?;
        }
        let config = self.recorder.scheduler_config(&self.scheduler_name);
        self.scheduler = Some(SecondScheduler::start(self.control_plane, &config).await?);
        Ok(())
    }

    /// Creates a pod of this scene's scheduler; `spec` is more of its specification in YAML's flow style.
    pub(super) async fn create_pod(&self, name: &str, cpu: &str, spec: &str) -> Result<()> {
        let comma = if spec.is_empty() { "" } else { ", " };
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{schedulerName: {}{comma}{spec},
               containers: [{{name: main, image: none, resources: {{requests: {{cpu: {cpu}}}}}}}]}}}}",
            self.scheduler_name
        );
        apply_yaml(&self.client, &self.namespace, &pod).await?;
        Ok(())
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until a pod is bound and returns its node.
    pub(super) async fn node_of(&self, pod: &str) -> Result<String> {
        let pods = self.pods();
        wait_until(&format!("{pod} to be bound"), TIMEOUT, async || Ok(pods.get(pod).await?.spec.and_then(|spec| spec.node_name))).await
    }

    /// Waits until the scheduler has written why a pod waits, and returns its words.
    pub(super) async fn reason_of(&self, pod: &str) -> Result<String> {
        let pods = self.pods();
        wait_until(&format!("{pod} to be refused"), TIMEOUT, async || {
            let conditions = pods.get(pod).await?.status.and_then(|status| status.conditions).unwrap_or_default();
            let refusal =
                conditions.into_iter().find(|each| each.type_ == "PodScheduled" && each.reason.as_deref() == Some("Unschedulable"));
            Ok(refusal.map(|condition| condition.message.unwrap_or_default()))
        })
        .await
    }

    pub(super) async fn nominate(&self, pod: &str, node: &str) -> Result<()> {
        let patch = serde_json::json!({"status": {"nominatedNodeName": node}});
        self.pods().patch_status(pod, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Patches a pod's metadata and specification in one request.
    pub(super) async fn patch(&self, pod: &str, patch: Value) -> Result<Pod> {
        Ok(self.pods().patch(pod, &PatchParams::default(), &Patch::Strategic(patch)).await?)
    }

    /// Waits until so many questions came, and then until none has come for `quiet`.
    pub(super) async fn settle(&self, at_least: usize, quiet: Duration) -> Result<Vec<Call>> {
        wait_until(&format!("{at_least} calls"), TIMEOUT, async || Ok((self.recorder.calls().len() >= at_least).then_some(()))).await?;
        loop {
            let before = self.recorder.calls();
            tokio::time::sleep(quiet).await;
            if self.recorder.calls().len() == before.len() {
                return Ok(before);
            }
        }
    }
}

/// Takes away what earlier scenes left.
async fn clear(client: &Client) -> Result<()> {
    let at_once = DeleteParams::default().grace_period(0);
    for namespace in Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await? {
        if namespace.name_any().starts_with("facts-") {
            Api::<Pod>::namespaced(client.clone(), &namespace.name_any()).delete_collection(&at_once, &ListParams::default()).await?;
        }
    }
    Api::<Node>::all(client.clone()).delete_collection(&at_once, &ListParams::default()).await?;
    Ok(())
}

/// Whether the slow tests and those of alpha features are asked for; says so loudly when they are not.
pub(super) fn long_or_skip(test: &str) -> bool {
    let wanted = std::env::var_os("GANGPLANK_LONG").is_some_and(|value| value == "1");
    if !wanted {
        say(&format!("===== SKIPPED {test}: slow, or of an alpha feature; it runs with GANGPLANK_LONG=1 ====="));
    }
    wanted
}

/// Writes past the test harness, which keeps what a passing test prints to itself.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
