//! The webhook of a `gangplank serve` that runs as a process, with the rights that people install.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::DeleteParams;
use kube::{Api, Client};
use serde_json::Value;

use super::table::Table;
use super::webhook::with_urls;
use super::{hold, take_effect};
use crate::deploy::{Render, SECOND_SCHEDULER_WEBHOOK, documents, text};
use crate::support::{ControlPlane, Gangplank, apply_yaml, free_address};

const NAMESPACE: &str = "gangplank-system";

/// Both configurations, and no policy: the webhook alone.
pub(super) async fn alone(plane: &ControlPlane, client: &Client) -> Result<()> {
    let address = free_address()?;
    for file in ["deploy/base/rbac.yaml", "deploy/admission-webhook/rbac.yaml"] {
        apply_yaml(client, NAMESPACE, &text(file)).await?;
    }
    apply_yaml(client, "", &with_urls(documents(&text("deploy/admission-webhook/webhooks.yaml")), [address; 2])).await?;
    let gangplank = start(plane, address)?;
    take_effect(client, &Table::read("served-probe").cases).await.with_context(|| gangplank.log())?;
    let some = Table::read("served");
    let some: Vec<_> = some.cases.iter().filter(|case| case.for_webhook && case.namespace == "team").step_by(5).collect();
    ensure!(some.len() >= 30, "{} cases", some.len());
    hold(client, some.iter().copied()).await.with_context(|| gangplank.log())?;
    end(gangplank)
}

/// What deploy/second-scheduler-webhook makes of it: guards by policy, and no right that only they would need.
pub(super) async fn as_installed(plane: &ControlPlane, client: &Client, render: &Render) -> Result<()> {
    let address = free_address()?;
    Api::<MutatingWebhookConfiguration>::all(client.clone()).delete("gangplank", &DeleteParams::default()).await?;
    Api::<ValidatingWebhookConfiguration>::all(client.clone()).delete("gangplank", &DeleteParams::default()).await?;
    let (webhooks, others): (Vec<Value>, Vec<Value>) = render
        .kustomize(SECOND_SCHEDULER_WEBHOOK)
        .into_iter()
        .filter(|object| {
            let kind = object["kind"].as_str().unwrap_or_default();
            ["Admission", "Webhook", "ClusterRole"].iter().any(|word| kind.contains(word))
        })
        .partition(|object| object["kind"].as_str().is_some_and(|kind| kind.contains("Webhook")));
    for object in others {
        apply_yaml(client, NAMESPACE, &object.to_string()).await?;
    }
    apply_yaml(client, "", &with_urls(webhooks, [address; 2])).await?;
    let gangplank = start(plane, address)?;
    take_effect(client, &Table::read("installed-probe").cases).await.with_context(|| gangplank.log())?;
    let all = Table::read("installed");
    hold(client, all.cases.iter().filter(|case| case.for_webhook)).await.with_context(|| gangplank.log())?;
    end(gangplank)
}

fn start(plane: &ControlPlane, address: SocketAddr) -> Result<Gangplank> {
    let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "gangplank")?;
    // By its address: nothing here resolves a Service.
    Gangplank::start(plane, &kubeconfig, &[&format!("--admission-listen={address}"), "--admission-name=127.0.0.1"])
}

fn end(gangplank: Gangplank) -> Result<()> {
    let log = gangplank.log();
    ensure!(log.contains("answers admission reviews"), "{log}");
    ensure!(!log.contains("forbidden"), "the account lacks a right: {log}");
    ensure!(gangplank.terminate()?, "it did not end well");
    Ok(())
}
