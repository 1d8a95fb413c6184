//! `gangplank uninstall`: takes our admission out of a cluster and hands waiting work back. Deployments, roles and the
//! CRD are whoever installed them's to delete; nothing that runs is touched.
//!
//! Bindings go before policies: a policy without a binding is inert, a binding without a policy refuses requests.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::json;

use super::{Console, Exit, Run};
use crate::cluster::connect;
use crate::model::{SHARE_MEMORY_MIB, SHARE_MILLI};
use crate::wire::PodObject;

/// Arguments of `uninstall`.
#[derive(Args, Debug)]
pub(super) struct UninstallArgs {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Which cluster; without it $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Run for UninstallArgs {
    const NAME: &'static str = "uninstall";
    const ABOUT: &'static str = "Take Gangplank's admission out of a cluster and hand waiting pods back";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
        let done = runtime.block_on(async {
            let client = connect(self.kubeconfig.as_deref()).await?;
            uninstall(client, self.dry_run).await
        })?;
        console.data(&done, Done::table)?;
        Ok(Exit::Ok)
    }
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    dry_run: bool,
    /// `Kind name`.
    removed: Vec<String>,
    /// Pods whose gate was removed, `namespace/name`.
    ungated: Vec<String>,
    /// Pods that only Gangplank's scheduler places.
    waiting: Vec<Waiting>,
}

/// A pod that waits for a scheduler that is about to go.
#[derive(Debug, Serialize)]
struct Waiting {
    pod: String,
    /// Who makes a new one when it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    remedy: &'static str,
}

async fn uninstall(client: Client, dry_run: bool) -> anyhow::Result<Done> {
    let mut done = Done { dry_run, ..Done::default() };
    for kind in KINDS {
        remove_all(&client, kind, &mut done).await.with_context(|| format!("cannot remove objects of kind {kind}"))?;
    }
    let pods: Api<PodObject> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE_LEN);
    loop {
        let list = pods.list(&page).await.context("cannot list pods")?;
        for pod in &list.items {
            hand_back(&client, pod, &mut done).await?;
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(done),
        }
    }
}

/// Deletes what is ours of one kind; a kind that the API server does not serve has nothing of ours.
async fn remove_all(client: &Client, kind: &str, done: &mut Done) -> anyhow::Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    // A handful of objects in any cluster: one page.
    let ours = match api.list(&ListParams::default()).await {
        Ok(all) => all.items.into_iter().filter(is_ours),
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for object in ours {
        let name = object.name_any();
        if !done.dry_run {
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error.into()),
            }
        }
        done.removed.push(format!("{kind} {name}"));
    }
    Ok(())
}

/// By label, or by the names of the manifests that we ship, which carry none.
fn is_ours(object: &DynamicObject) -> bool {
    object.labels().get(PART_OF).is_some_and(|whole| whole == "gangplank") || SHIPPED.contains(&object.name_any().as_str())
}

async fn hand_back(client: &Client, pod: &PodObject, done: &mut Done) -> anyhow::Result<()> {
    let finished = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if pod.spec.node_name.is_some() || finished || pod.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let namespace = pod.namespace().unwrap_or_default();
    let name = format!("{namespace}/{}", pod.name_any());
    if pod.spec.scheduling_gates.iter().any(|gate| gate.name == GATE) {
        if !done.dry_run {
            ungate(client, &namespace, &pod.name_any()).await.with_context(|| format!("cannot remove the gate of pod {name}"))?;
        }
        done.ungated.push(name.clone());
    }
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let has_shares = { containers }.any(|container| {
        let names = container.resources.limits.keys().chain(container.resources.requests.keys());
        { names }.any(|name| name == SHARE_MILLI || name == SHARE_MEMORY_MIB)
    });
    if pod.spec.scheduler_name.as_deref() == Some(SCHEDULER) || has_shares {
        let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let remedy = match (has_shares, owner) {
            (true, _) => "asks for a share of a device, which only Gangplank grants: write whole devices into its manifest",
            (false, Some(_)) => "delete it: its controller makes a new one for the default scheduler",
            (false, None) => "delete it and create it again without `schedulerName: gangplank`",
        };
        done.waiting.push(Waiting { pod: name, owner: owner.map(|owner| format!("{} {}", owner.kind, owner.name)), remedy });
    }
    Ok(())
}

/// A strategic merge by the gate's name: other gates stay, and doing it twice does nothing.
async fn ungate(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let patch = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}});
    let pods: Api<PodObject> = Api::namespaced(client.clone(), namespace);
    match pods.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Done {
    fn table(&self) -> String {
        let verb = |done: &str, would: &str| if self.dry_run { format!("would {would}") } else { done.to_owned() };
        let mut lines: Vec<String> = self.removed.iter().map(|object| format!("{} {object}", verb("removed", "remove"))).collect();
        lines.extend(self.ungated.iter().map(|pod| format!("{} the gate of pod {pod}", verb("removed", "remove"))));
        for waiting in &self.waiting {
            let owner = waiting.owner.as_ref().map(|owner| format!(" (of {owner})")).unwrap_or_default();
            lines.push(format!("pod {}{owner} waits for Gangplank's scheduler: {}", waiting.pod, waiting.remedy));
        }
        if lines.is_empty() {
            lines.push("nothing of Gangplank's is in the way: no admission, no gates, no waiting pods".into());
        }
        lines.join("\n")
    }
}

/// In the order of removal.
const KINDS: &[&str] = &[
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "ValidatingAdmissionPolicy",
];
const PART_OF: &str = "app.kubernetes.io/part-of";
/// Policies and bindings of deploy/admission.
const SHIPPED: &[&str] = &["gangplank-annotations", "gangplank-namespaces", "gangplank-pods", "gangplank-templates", "gangplank-amounts"];
const GATE: &str = "gangplank.dev/gang";
const SCHEDULER: &str = "gangplank";
const PAGE_LEN: u32 = 500;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A policy that is added to deploy/admission and not here would outlive us.
    #[test]
    fn every_shipped_policy_is_known_by_name() {
        let files = [
            include_str!("../../deploy/admission/guard-annotations.yaml"),
            include_str!("../../deploy/admission/guard-namespaces.yaml"),
            include_str!("../../deploy/admission/mutate-pods.yaml"),
            include_str!("../../deploy/admission/mutate-templates.yaml"),
            include_str!("../../deploy/admission/validate-amounts.yaml"),
        ];
        let kustomization = include_str!("../../deploy/admission/kustomization.yaml");
        assert_eq!(
            kustomization.lines().filter(|line| line.starts_with("- ")).count(),
            files.len(),
            "a file of deploy/admission is not read here"
        );
        let documents = files.iter().flat_map(|text| crate::wire::manifest::read("admission", text).unwrap());
        let policies = documents.filter(|document| document.object["kind"].as_str().unwrap().contains("AdmissionPolicy"));
        let names: BTreeSet<String> = policies.map(|document| document.object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, SHIPPED.iter().map(|name| (*name).to_owned()).collect());
    }
}
