//! The webhook as `gangplank serve` runs it, on loopback: two replicas that share authorities, with the rights of the shipped roles.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use gangplank::api::certs::Lifetimes;
use gangplank::api::webhook::{Webhook, WebhookOptions};
use gangplank::policy::Profile;
use gangplank::wire::admission::Rules;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{ControlPlane, apply_yaml};

/// A year, for tests.
const LIFETIMES: Lifetimes = Lifetimes {
    authority: Duration::from_secs(14),
    authority_renewal: Duration::from_secs(8),
    settle: Duration::from_secs(3),
    serving: Duration::from_secs(6),
    serving_renewal: Duration::from_secs(4),
};

/// The running replicas.
pub(super) struct Replicas {
    client: Client,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Replicas {
    /// Installs the shipped objects, with addresses in place of the Service, and serves them: the first replica what mutates, the
    /// second what validates.
    pub(super) async fn start(control_plane: &ControlPlane, client: &Client) -> Result<Self> {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("gangplank".into());
        Api::namespaced(client.clone(), "gangplank-system").create(&PostParams::default(), &account).await?;
        apply_yaml(client, "gangplank-system", &shipped("rbac.yaml")?).await?;
        let mut replicas = Self { client: client.clone(), stop: watch::channel(false).0, tasks: JoinSet::new() };
        let own = control_plane.client_as_service_account("gangplank-system", "gangplank").await?;
        let addresses = [replicas.replica(&own).await?, replicas.replica(&own).await?];
        apply_yaml(client, "", &configurations(addresses)?).await?;
        Ok(replicas)
    }

    async fn replica(&mut self, client: &Client) -> Result<SocketAddr> {
        let rules = Rules::shipped(Profile::shipped().classes);
        let mut options = WebhookOptions::shipped(([127, 0, 0, 1], 0).into(), rules);
        options.called = vec!["127.0.0.1".into()];
        options.lifetimes = LIFETIMES;
        let replica = Webhook::bind(client.clone(), options).await?;
        let address = replica.address()?;
        self.tasks.spawn(replica.run(self.stop.subscribe(), SystemTime::now));
        Ok(address)
    }

    /// What API servers are told to trust.
    pub(super) async fn ca_bundle(&self) -> Result<String> {
        let mutating: MutatingWebhookConfiguration = Api::all(self.client.clone()).get("gangplank").await?;
        let validating: ValidatingWebhookConfiguration = Api::all(self.client.clone()).get("gangplank").await?;
        let bundles = mutating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle);
        let more = validating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle);
        let mut texts: Vec<_> = bundles.chain(more).flatten().map(|bundle| String::from_utf8(bundle.0)).collect::<Result<_, _>>()?;
        texts.dedup();
        Ok(texts.pop().unwrap_or_default())
    }

    /// Ends both replicas; whatever they are needed for is refused from here on.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

fn shipped(file: &str) -> Result<String> {
    Ok(std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/admission-webhook").join(file))?)
}

fn configurations(addresses: [SocketAddr; 2]) -> Result<String> {
    Ok(with_urls(serde_saphyr::from_multiple(&shipped("webhooks.yaml")?)?, addresses))
}

/// Webhook configurations with addresses in place of the Service: where what mutates is asked, and where what validates.
pub(super) fn with_urls(mut documents: Vec<Value>, addresses: [SocketAddr; 2]) -> String {
    for webhook in documents.iter_mut().filter_map(|document| document.get_mut("webhooks")?.as_array_mut()).flatten() {
        let path = webhook.pointer("/clientConfig/service/path").and_then(Value::as_str).unwrap_or_default().to_owned();
        let address = addresses[usize::from(path.ends_with("validate"))];
        webhook["clientConfig"] = json!({"url": format!("https://{address}{path}")});
    }
    // JSON is YAML.
    documents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n")
}
