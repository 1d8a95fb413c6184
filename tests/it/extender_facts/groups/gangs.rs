//! A control plane with the gates of pod groups on, and gangs of three.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::extender_facts::recorder::{Call, Recorder};
use crate::extender_facts::scene::{TIMEOUT, TURN, long_or_skip, say};
use crate::support::{ControlPlane, NodeTemplate, Options, apply_yaml, create_kwok_nodes, wait_until};

pub(super) const FEATURES: &str = "GenericWorkload=true,GangScheduling=true";
pub(super) const ZONE: &str = "example.com/zone";
pub(super) const MEMBERS: usize = 3;
/// In three zones, each node with room for two members.
pub(super) const NODES: usize = 6;
/// More of a member's specification.
pub(super) const GATED: &str = ", schedulingGates: [{name: example.com/gate}]";

const NAMESPACE: &str = "default";

pub(super) struct Gangs {
    client: Client,
    pub(super) recorder: Recorder,
    _control_plane: ControlPlane,
    _turn: MutexGuard<'static, ()>,
}

impl Gangs {
    /// None where the long tests are not asked for, or where there is no control plane to be had.
    pub(super) async fn start_long(
        test: &str,
        gates: &str,
        script: impl Fn(&Call) -> Value + Send + Sync + 'static,
    ) -> Result<Option<Self>> {
        if !long_or_skip(test) {
            return Ok(None);
        }
        let turn = TURN.lock().await;
        let recorder = Recorder::start(script).await?;
        let options = Options {
            scheduler_config_yaml: Some(recorder.scheduler_config("default-scheduler")),
            flags: vec![
                format!("--arg=kube-apiserver=--feature-gates={gates}"),
                "--arg=kube-apiserver=--runtime-config=scheduling.k8s.io/v1alpha2=true".to_owned(),
                format!("--arg=kube-scheduler=--feature-gates={gates}"),
            ],
            ..Options::default()
        };
        let Some(control_plane) = ControlPlane::start_or_skip(test, &options) else { return Ok(None) };
        let client = control_plane.client().await?;
        for zone in ["a", "b", "c"] {
            let labels = [(ZONE.to_owned(), zone.to_owned())].into();
            let template = NodeTemplate { name_prefix: format!("zone-{zone}"), cpu: "8".to_owned(), labels, ..NodeTemplate::default() };
            create_kwok_nodes(&client, 2, &template).await?;
        }
        Ok(Some(Self { client, recorder, _control_plane: control_plane, _turn: turn }))
    }

    /// Creates a gang that wants all its members; more of the group and of each pod in YAML's flow style.
    pub(super) async fn create(&self, gang: &str, of_group: &str, of_pod: &str) -> Result<()> {
        let group = format!(
            "{{apiVersion: scheduling.k8s.io/v1alpha2, kind: PodGroup, metadata: {{name: {gang}}},
               spec: {{schedulingPolicy: {{gang: {{minCount: {MEMBERS}}}}}{of_group}}}}}"
        );
        let member = |member| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {gang}-{member}}}, spec: {{schedulingGroup: {{podGroupName: {gang}}}{of_pod},
                   containers: [{{name: main, image: none, resources: {{requests: {{cpu: 3}}}}}}]}}}}"
            )
        };
        let documents: Vec<_> = std::iter::once(group).chain((0..MEMBERS).map(member)).collect();
        apply_yaml(&self.client, NAMESPACE, &documents.join("\n---\n")).await?;
        Ok(())
    }

    /// Takes most of the CPU of so many nodes, past the scheduler.
    pub(super) async fn fill(&self, spec: &str, nodes: usize) -> Result<()> {
        let mut documents =
            vec!["{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: facts-low}, value: -100}".to_owned()];
        let names = ["a-00000", "a-00001", "b-00000", "b-00001", "c-00000", "c-00001"];
        documents.extend(names.iter().take(nodes).map(|node| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: filler-{node}}}, spec: {{{spec}nodeName: zone-{node},
                   containers: [{{name: main, image: none, resources: {{requests: {{cpu: 6}}}}}}]}}}}"
            )
        }));
        apply_yaml(&self.client, NAMESPACE, &documents.join("\n---\n")).await?;
        // The scheduler must have seen them.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    pub(super) async fn victims_left(&self) -> Result<usize> {
        let pods = self.pods().list(&ListParams::default()).await?;
        let stays = |pod: &&Pod| pod.name_any().starts_with("filler-") && pod.metadata.deletion_timestamp.is_none();
        Ok(pods.iter().filter(stays).count())
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(super) async fn nodes_of(&self, gang: &str) -> Result<Vec<Option<String>>> {
        let mut nodes = Vec::new();
        for member in 0..MEMBERS {
            nodes.push(self.pods().get(&format!("{gang}-{member}")).await?.spec.and_then(|spec| spec.node_name));
        }
        Ok(nodes)
    }

    pub(super) async fn wait_bound(&self, gang: &str) -> Result<Vec<String>> {
        wait_until(&format!("{gang} to be bound"), TIMEOUT, async || Ok(self.nodes_of(gang).await?.into_iter().collect())).await
    }

    pub(super) async fn delete(&self, gang: &str) -> Result<()> {
        for member in 0..MEMBERS {
            self.pods().delete(&format!("{gang}-{member}"), &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }

    pub(super) async fn nominate(&self, pod: &str, node: &str) -> Result<()> {
        let patch = json!({"status": {"nominatedNodeName": node}});
        self.pods().patch_status(pod, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub(super) async fn ungate(&self, pod: &str) -> Result<()> {
        let patch = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": "example.com/gate"}]}});
        self.pods().patch(pod, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// The questions about a gang's members, also on the screen: an alpha feature is best watched.
    pub(super) fn trace(&self, gang: &str) -> Vec<Call> {
        const LINES: usize = 40;
        let calls: Vec<_> = self.recorder.calls().into_iter().filter(|call| call.pod.starts_with(&format!("{gang}-"))).collect();
        say(&format!("{gang}: {} calls", calls.len()));
        for call in calls.iter().take(LINES) {
            say(&format!("  {:7.3} s {:10} {} {:?}", call.at.as_secs_f32(), call.verb, call.pod, call.nodes));
        }
        calls
    }
}

/// How many nodes each question with this verb was about.
pub(super) fn seen(calls: &[Call], verb: &str) -> Vec<usize> {
    calls.iter().filter(|call| call.verb == verb).map(|call| call.nodes.len()).collect()
}
