//! One kind, followed for as long as the process lives. Of what is made of specs only what carries our label.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event};

use super::Controller;
use super::store::{key_of, resources, version};
use crate::drive::KINDS;
use crate::recipe::{FIELD_MANAGER, MANAGED_BY};

/// The server ends a watch after this long, so that a dead connection is noticed soon after.
const WATCH_SECONDS: u32 = 60;

/// Follows one of [`resources`]. Never ends by itself.
pub(super) async fn follow(controller: Arc<Controller>, at: usize) {
    let resource = resources()[at];
    let kind = GroupVersionKind::gvk(resource.group, resource.version, resource.kind);
    let served = ApiResource::from_gvk_with_plural(&kind, resource.plural);
    let api: Api<DynamicObject> = match &controller.namespace {
        Some(namespace) => Api::namespaced_with(controller.client.clone(), namespace, &served),
        None => Api::all_with(controller.client.clone(), &served),
    };
    let mut config = Config::default().timeout(WATCH_SECONDS);
    if at >= KINDS.len() {
        config = config.labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
    }
    let mut events = watcher::watcher(api, config).default_backoff().boxed();
    let (mut named, mut latest) = (BTreeSet::new(), 0);
    let count = |kind: &str| controller.metrics.watch_events.with_label_values(&[resource.plural, kind]).inc();
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(Event::Init) => {
                count("list");
                (named, latest) = (BTreeSet::new(), 0);
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                count("listed");
                let Ok(object) = serde_json::to_value(object) else { continue };
                latest = latest.max(version(&object));
                named.extend(key_of(at, &object));
                controller.lock().put(resource, object)
            }
            Ok(Event::InitDone) => controller.lock().listed(at, &named, latest),
            Ok(Event::Apply(object)) => {
                count("applied");
                let Ok(object) = serde_json::to_value(object) else { continue };
                controller.lock().put(resource, object)
            }
            Ok(Event::Delete(object)) => {
                count("deleted");
                let Ok(object) = serde_json::to_value(object) else { continue };
                controller.lock().gone(at, &object)
            }
            Err(error) => {
                count("error");
                tracing::warn!(feed = resource.plural, %error, "a watch broke; tried again");
                continue;
            }
        };
        controller.news(news);
    }
}
