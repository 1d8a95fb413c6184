//! Writes as API calls: server-side apply under our field manager, status by its subresource, deletion of the object that was seen. It decides
//! what a failure means; the name of a write stands in the User-Agent, and so in the API server's audit log.

use std::fmt;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions, ValidationDirective};
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::Value;

use super::store::{Key, key_of, resources};
use crate::cluster::meaning;
use crate::drive::{Act, Resource, Write, is_of};
use crate::host::WriteError;
use crate::recipe::FIELD_MANAGER;

/// Who owns fields that are held for a while, apart from the rest of the object.
const HOLDER: &str = "gangplank-provision-hold";
/// Less than is left of a lease after the last write began.
const CALL_MAX: Duration = Duration::from_secs(5);
/// What was seen is put right by the watch, which is behind by less.
const STALE_MAX: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Writes to one API server.
pub(super) struct Writer(Client);

/// Why a write was not done, or nobody knows.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was seen is not what is: looked at again.
    Stale(String),
    /// The API server wants us to wait.
    Throttled(Duration),
    /// It will be refused again.
    Refused(String),
    /// Perhaps it was done.
    Unclear(String),
}

impl Failure {
    /// The label of metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Stale(_) => "stale",
            Self::Throttled(_) => "throttled",
            Self::Refused(_) => "refused",
            Self::Unclear(_) => "unclear",
        }
    }

    /// The least and the most that is waited before it is tried again.
    pub(super) fn pause(&self) -> (Duration, Duration) {
        match self {
            Self::Stale(_) => (Duration::ZERO, STALE_MAX),
            Self::Throttled(after) => (*after, PAUSE_MAX.max(*after)),
            Self::Refused(_) | Self::Unclear(_) => (Duration::ZERO, PAUSE_MAX),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(why) | Self::Refused(why) | Self::Unclear(why) => f.write_str(why),
            Self::Throttled(after) => write!(f, "asked to wait for {} s", after.as_secs()),
        }
    }
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self(client)
    }

    /// Writes; the object as it is then, where the server says it. `known` is what is known of objects.
    pub(super) async fn write(&self, write: &Write, known: impl Fn(&Key) -> Option<Value>) -> Result<Option<Value>, Failure> {
        tokio::time::timeout(CALL_MAX, self.try_write(write, known))
            .await
            .unwrap_or_else(|_| Err(Failure::Unclear(format!("no answer within {} s", CALL_MAX.as_secs()))))
    }

    async fn try_write(&self, write: &Write, known: impl Fn(&Key) -> Option<Value>) -> Result<Option<Value>, Failure> {
        match write.step.act {
            Act::Apply => {
                let there = resources().iter().position(|resource| *resource == write.step.resource);
                let there = there.and_then(|at| known(&key_of(at, &write.object)?));
                let owner = write.object["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
                let ours = there.is_some_and(|there| is_of(&there, owner));
                if !ours && let Some(found) = self.get(write).await? {
                    if is_of_an_earlier(&found, &write.object) {
                        return Err(Failure::Stale("what an earlier spec of this name made is still going".into()));
                    }
                    if !is_of(&found, owner) {
                        let what = format!("{} {}", write.step.resource.kind, name(write));
                        return Err(Failure::Refused(format!(
                            "{what} is there, and is not of this spec: give the spec another name, or delete that object"
                        )));
                    }
                    // Ours, and not told yet: what follows is to know it.
                    return Err(Failure::Stale("what was made before is not seen yet".into()));
                }
                // What is ours is ours; what appears between the look and the write is not overridden.
                self.patch(write, FIELD_MANAGER, ours).await
            }
            Act::Ensure => match self.get(write).await? {
                Some(_) => Ok(None),
                None => self.patch(write, FIELD_MANAGER, false).await,
            },
            Act::Hold => self.patch(write, HOLDER, true).await,
            Act::Status => self.patch(write, FIELD_MANAGER, true).await,
            Act::Delete => self.delete(write).await,
        }
    }

    async fn get(&self, write: &Write) -> Result<Option<Value>, Failure> {
        let request = request(write).get(name(write), &kube::api::GetParams::default());
        match self.send(write, request).await {
            Ok(found) => Ok(Some(found)),
            Err(WriteError::NotFound(_)) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn patch(&self, write: &Write, manager: &str, force: bool) -> Result<Option<Value>, Failure> {
        let mut parameters = PatchParams::apply(manager);
        (parameters.force, parameters.field_validation) = (force, Some(ValidationDirective::Strict));
        let patch = Patch::Apply(&write.object);
        let request = match write.step.act {
            Act::Status => request(write).patch_subresource("status", name(write), &parameters, &patch),
            _ => request(write).patch(name(write), &parameters, &patch),
        };
        self.send(write, request).await.map(Some).map_err(failure)
    }

    async fn delete(&self, write: &Write) -> Result<Option<Value>, Failure> {
        let uid = write.object["metadata"]["uid"].as_str().map(str::to_owned);
        // With what it owns, and that first: the next of its name begins when nothing of this one is left.
        let parameters = DeleteParams::foreground().preconditions(Preconditions { uid, resource_version: None });
        match self.send(write, request(write).delete(name(write), &parameters)).await {
            // An object that goes, or the word that it is gone.
            Ok(answered) => Ok((answered["kind"] == write.step.resource.kind).then_some(answered)),
            Err(WriteError::NotFound(_)) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn send(
        &self,
        write: &Write,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, WriteError> {
        let mut request = request.map_err(|error| WriteError::Refused { code: 400, message: error.to_string() })?;
        let agent = format!("gangplank-provision/{} ({})", env!("CARGO_PKG_VERSION"), write.step.name);
        if let Ok(agent) = HeaderValue::from_str(&agent) {
            request.headers_mut().insert(USER_AGENT, agent);
        }
        self.0.request::<Value>(request).await.map_err(meaning)
    }
}

/// Whether it was made of a spec of the same name that is gone: the garbage collector is on its way.
fn is_of_an_earlier(found: &Value, wanted: &Value) -> bool {
    let (found, wanted) = (&found["metadata"]["ownerReferences"][0], &wanted["metadata"]["ownerReferences"][0]);
    found["uid"].is_string() && found["uid"] != wanted["uid"] && found["kind"] == wanted["kind"] && found["name"] == wanted["name"]
}

fn request(write: &Write) -> Request {
    let Resource { group, version, kind, plural } = write.step.resource;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Request::new(DynamicObject::url_path(&resource, write.object["metadata"]["namespace"].as_str()))
}

fn name(write: &Write) -> &str {
    write.object["metadata"]["name"].as_str().unwrap_or_default()
}

fn failure(error: WriteError) -> Failure {
    match error {
        WriteError::Conflict(message) => Failure::Stale(message),
        WriteError::Throttled { after, .. } => Failure::Throttled(after),
        WriteError::Refused { message, .. } | WriteError::NotFound(message) => Failure::Refused(message),
        WriteError::Unclear(message) => Failure::Unclear(message),
    }
}
