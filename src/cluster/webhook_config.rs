//! The webhook's objects in the cluster: the Secret that replicas share, the caBundles that API servers read, and the question whether a
//! user may opt namespaces in.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;

use crate::wire::admission::AccessQuestion;

/// Every API verb that the webhook uses beyond [`super::verbs`], as (group, resource, verb), where policies guard namespaces: otherwise it
/// also asks, by `subjectaccessreviews`. deploy/admission-webhook/rbac.yaml grants these.
pub const WEBHOOK_VERBS: &[(&str, &str, &str)] = &[
    ("", "secrets", "create"),
    ("", "secrets", "get"),
    ("", "secrets", "update"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "get"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "patch"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "get"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "patch"),
];

/// The key of the Secret under which the authorities are kept.
const STATE: &str = "authorities.json";

/// What the objects are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookNames {
    /// Where the Secret is.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// The `MutatingWebhookConfiguration` and the `ValidatingWebhookConfiguration`, which share a name.
    pub configuration: String,
}

impl Default for WebhookNames {
    fn default() -> Self {
        Self { namespace: "gangplank-system".into(), secret: "gangplank-admission-ca".into(), configuration: "gangplank".into() }
    }
}

/// What could not be done in the cluster.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// Reading the Secret.
    #[error("reading Secret {0} failed")]
    ReadSecret(String, #[source] kube::Error),
    /// Writing it; another replica's write is no error but [`Stored::Conflict`].
    #[error("writing Secret {0} failed")]
    WriteSecret(String, #[source] kube::Error),
    /// Telling API servers whom to trust.
    #[error("putting the caBundle into {0} failed")]
    Publish(String, #[source] kube::Error),
    /// Asking for a user's rights.
    #[error("asking what {0} may do failed")]
    Access(String, #[source] kube::Error),
}

/// What is in the Secret, and which version of it that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Nothing if there is no Secret, or nothing in it.
    pub bytes: Option<Vec<u8>>,
    /// Nothing if there is no Secret.
    version: Option<String>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is kept.
    Kept,
    /// Another replica was first: read again.
    Conflict,
}

/// The webhook's objects.
#[derive(Clone)]
pub struct WebhookObjects {
    client: Client,
    names: WebhookNames,
}

impl std::fmt::Debug for WebhookObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookObjects").field("names", &self.names).finish_non_exhaustive()
    }
}

impl WebhookObjects {
    /// The objects of these names.
    pub fn new(client: Client, names: WebhookNames) -> Self {
        Self { client, names }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.names.namespace)
    }

    /// What replicas share.
    ///
    /// # Errors
    /// The API server's.
    pub async fn read(&self) -> Result<State, WebhookError> {
        let failed = |error| WebhookError::ReadSecret(self.names.secret.clone(), error);
        let Some(secret) = self.secrets().get_opt(&self.names.secret).await.map_err(failed)? else { return Ok(State::default()) };
        let bytes = secret.data.and_then(|mut data| data.remove(STATE)).map(|ByteString(bytes)| bytes);
        Ok(State { bytes, version: secret.metadata.resource_version })
    }

    /// Replaces what was read before.
    ///
    /// # Errors
    /// The API server's, other than that it has changed since.
    pub async fn write(&self, before: &State, bytes: Vec<u8>) -> Result<Stored, WebhookError> {
        let mut secret = Secret { type_: Some("Opaque".into()), ..Secret::default() };
        secret.metadata.name = Some(self.names.secret.clone());
        secret.metadata.resource_version.clone_from(&before.version);
        secret.data = Some([(STATE.to_owned(), ByteString(bytes))].into());
        let written = if before.version.is_some() {
            self.secrets().replace(&self.names.secret, &PostParams::default(), &secret).await
        } else {
            self.secrets().create(&PostParams::default(), &secret).await
        };
        match written {
            Ok(_) => Ok(Stored::Kept),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Stored::Conflict),
            Err(error) => Err(WebhookError::WriteSecret(self.names.secret.clone(), error)),
        }
    }

    /// Has API servers trust these authorities: every webhook of both configurations, where it does not say so already.
    ///
    /// # Errors
    /// The API server's; a configuration that is not installed is none.
    pub async fn publish(&self, ca_bundle: &str) -> Result<(), WebhookError> {
        let bundle = ByteString(ca_bundle.as_bytes().to_vec());
        let stale = |name: &str, present: Option<&ByteString>| (present != Some(&bundle)).then(|| name.to_owned());
        self.publish_in::<MutatingWebhookConfiguration>("MutatingWebhookConfiguration", &bundle, |configuration| {
            let webhooks = configuration.webhooks.iter().flatten();
            webhooks.filter_map(|webhook| stale(&webhook.name, webhook.client_config.ca_bundle.as_ref())).collect()
        })
        .await?;
        self.publish_in::<ValidatingWebhookConfiguration>("ValidatingWebhookConfiguration", &bundle, |configuration| {
            let webhooks = configuration.webhooks.iter().flatten();
            webhooks.filter_map(|webhook| stale(&webhook.name, webhook.client_config.ca_bundle.as_ref())).collect()
        })
        .await
    }

    async fn publish_in<K>(&self, kind: &str, bundle: &ByteString, stale: impl Fn(&K) -> Vec<String>) -> Result<(), WebhookError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K: k8s_openapi::Resource,
    {
        let name = &self.names.configuration;
        let failed = |error| WebhookError::Publish(format!("{kind} {name}"), error);
        let api: Api<K> = Api::all(self.client.clone());
        let Some(configuration) = api.get_opt(name).await.map_err(failed)? else {
            tracing::debug!(kind, name, "there is no such webhook configuration to keep");
            return Ok(());
        };
        let webhooks: Vec<_> =
            stale(&configuration).into_iter().map(|webhook| json!({"name": webhook, "clientConfig": {"caBundle": bundle}})).collect();
        if !webhooks.is_empty() {
            // Merged by name: whatever else is in the configuration, known to us or not, stays.
            api.patch(name, &PatchParams::default(), &Patch::Strategic(json!({"webhooks": webhooks}))).await.map_err(failed)?;
            tracing::info!(kind, name, "API servers were told whom to trust");
        }
        Ok(())
    }

    /// Whether the user may `manage` the namespace.
    ///
    /// # Errors
    /// The API server's.
    pub async fn may_manage(&self, question: &AccessQuestion) -> Result<bool, WebhookError> {
        let user_info = &question.user_info;
        let text = |key: &str| user_info.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: text("username"),
                uid: text("uid"),
                groups: user_info.get("groups").and_then(|groups| serde_json::from_value(groups.clone()).ok()),
                extra: user_info.get("extra").and_then(|extra| serde_json::from_value(extra.clone()).ok()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("gangplank.dev".into()),
                    resource: Some("namespaces".into()),
                    name: Some(question.namespace.clone()),
                    verb: Some("manage".into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answered = reviews.create(&PostParams::default(), &review).await;
        let answered = answered.map_err(|error| WebhookError::Access(text("username").unwrap_or_default(), error))?;
        Ok(answered.status.is_some_and(|status| status.allowed))
    }
}
