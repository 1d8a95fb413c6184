//! Kinds that may be installed, or later, or never: each is followed while the API server serves it, in the best version
//! that it serves. It decides when to look, and that what is not installed is an empty list and no error.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, GroupVersionKind};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinSet};

use super::contact::Contact;
use super::follow::{Feed, Take, follow};
use super::jittered;
use crate::telemetry::Metrics;
use crate::wire::Kind;

/// A kind that is installed is followed within a minute.
const LOOK_AGAIN: Duration = Duration::from_secs(40);
/// Before the first look has succeeded nothing is ready.
const LOOK_AGAIN_AT_FIRST: Duration = Duration::from_secs(1);

/// Follows those of `kinds` that are served. `take` makes the taker of a kind anew whenever its version changes: what
/// takers know of their objects has to outlive them. Ends only when one of its tasks does, which none does by itself.
pub(super) async fn follow_kinds<K, T>(
    client: Client,
    kinds: Vec<&'static Kind>,
    take: impl Fn(&'static Kind) -> T,
    contact: Arc<Contact>,
    metrics: Arc<Metrics>,
) where
    K: Resource<DynamicType = ApiResource> + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Take<K> + 'static,
{
    let mut tasks = JoinSet::new();
    // Absent: never looked. None: not served.
    let mut followed: BTreeMap<&'static str, Option<(ApiResource, AbortHandle)>> = BTreeMap::new();
    loop {
        let served = served(&client, &kinds).await.unwrap_or_else(|error| {
            tracing::warn!(error = error.to_string(), "what kinds the API server serves cannot be read; tried again");
            for kind in kinds.iter().filter(|kind| !followed.contains_key(kind.feed)) {
                contact.failed(kind.feed, error.to_string());
            }
            Vec::new()
        });
        for (kind, resource) in kinds.iter().copied().zip(served) {
            let before = followed.get(kind.feed);
            if before.is_some_and(|before| before.as_ref().map(|(resource, _)| resource) == resource.as_ref()) {
                continue;
            }
            if let Some(Some((_, task))) = before {
                task.abort();
                // Its last word is said before the next taker speaks.
                if tasks.join_next().await.is_some_and(|ended| ended.err().is_none_or(|error| !error.is_cancelled())) {
                    return;
                }
            }
            let mut taker = take(kind);
            taker.served(resource.as_ref().map(|resource| resource.version.as_str()));
            let Some(resource) = resource else {
                taker.listing();
                taker.listed();
                contact.listed(kind.feed);
                followed.insert(kind.feed, None);
                continue;
            };
            tracing::info!(feed = kind.feed, version = resource.version, "following a kind that is installed");
            let (api, contact, metrics) = (Api::all_with(client.clone(), &resource), contact.clone(), metrics.clone());
            let feed = Feed { name: kind.feed, fields: None, may_be_missing: true };
            let task = tasks.spawn(async move { follow(api, feed, taker, &contact, &metrics).await });
            followed.insert(kind.feed, Some((resource, task)));
        }
        let pause = jittered(if followed.is_empty() { LOOK_AGAIN_AT_FIRST } else { LOOK_AGAIN });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Some(_) = tasks.join_next() => return,
        }
    }
}

/// For each kind how the server serves it, if it does.
async fn served(client: &Client, kinds: &[&'static Kind]) -> Result<Vec<Option<ApiResource>>, kube::Error> {
    let groups = client.list_api_groups().await?.groups;
    let mut plurals: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut served = Vec::new();
    for kind in kinds {
        let group = groups.iter().find(|group| group.name == kind.group);
        let has = |version: &&&str| group.is_some_and(|group| group.versions.iter().any(|served| served.version == **version));
        let mut found = None;
        for version in kind.versions.iter().filter(has) {
            let api_version = format!("{}/{version}", kind.group);
            if !plurals.contains_key(&api_version) {
                let resources = client.list_api_group_resources(&api_version).await?.resources;
                plurals.insert(api_version.clone(), resources.into_iter().map(|resource| resource.name).collect());
            }
            if plurals.get(&api_version).is_some_and(|plurals| plurals.iter().any(|plural| plural == kind.plural)) {
                let named = GroupVersionKind::gvk(kind.group, version, kind.kind);
                found = Some(ApiResource::from_gvk_with_plural(&named, kind.plural));
                break;
            }
        }
        served.push(found);
    }
    Ok(served)
}
