//! One watch, for as long as the process lives: list, follow, and after a break list or follow again. It decides how
//! to list (streamed by the server where it can, paged where not) and how long to wait after an error; what an object
//! means is the intake's.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Config, Error, Event, InitialListStrategy};
use kube::{Resource, core::Status};
use serde::de::DeserializeOwned;

use super::contact::Contact;
use super::jittered;
use crate::telemetry::Metrics;

/// What becomes of the objects of one watch.
pub(super) trait Take<K>: Send {
    /// A list begins: what it does not name is gone.
    fn listing(&mut self);
    /// An object is there.
    fn applied(&mut self, object: K);
    /// An object is gone.
    fn deleted(&mut self, object: K);
    /// The list is complete.
    fn listed(&mut self);
    /// A kind that may not be installed is served in this version, or is not.
    fn served(&mut self, _version: Option<&str>) {}
}

/// A watch's name for people and metrics, what it selects, and whether its kind may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed {
    /// The resource, plural.
    pub(super) name: &'static str,
    /// A field selector.
    pub(super) fields: Option<&'static str>,
    /// The kind is one of ours and may not be installed: that counts as an empty list.
    pub(super) may_be_missing: bool,
}

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The server ends a watch after this long, so that a dead connection is noticed soon after.
const WATCH_SECONDS: u32 = 60;
const PAGE: u32 = 500;

/// Follows one kind. Never ends by itself.
pub(super) async fn follow<K>(api: Api<K>, feed: Feed, mut take: impl Take<K>, contact: &Contact, metrics: &Metrics)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut strategy = InitialListStrategy::StreamingList;
    'strategies: loop {
        let mut config = Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        config.initial_list_strategy = strategy.clone();
        config.field_selector = feed.fields.map(Into::into);
        let mut events = watcher::watcher(api.clone(), config).boxed();
        let mut pause = PAUSE_FIRST;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    pause = PAUSE_FIRST;
                    hand_over(event, feed, &mut take, contact, metrics);
                }
                Err(error) => {
                    if strategy == InitialListStrategy::StreamingList
                        && status_of(&error).is_some_and(|status| matches!(status.code, 400 | 422))
                    {
                        tracing::info!(feed = feed.name, "the server does not stream lists: they are paged");
                        strategy = InitialListStrategy::ListWatch;
                        continue 'strategies;
                    }
                    broke(&error, feed, &mut take, contact, metrics);
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

fn hand_over<K>(event: Event<K>, feed: Feed, take: &mut impl Take<K>, contact: &Contact, metrics: &Metrics) {
    let count = |kind| metrics.watch_events.with_label_values(&[feed.name, kind]).inc();
    match event {
        Event::Init => {
            count("list");
            contact.listing(feed.name);
            take.listing();
        }
        Event::InitApply(object) => {
            count("listed");
            take.applied(object);
        }
        Event::InitDone => {
            take.listed();
            contact.listed(feed.name);
        }
        Event::Apply(object) => {
            count("applied");
            take.applied(object);
            contact.heard(feed.name);
        }
        Event::Delete(object) => {
            count("deleted");
            take.deleted(object);
            contact.heard(feed.name);
        }
    }
}

fn broke<K>(error: &Error, feed: Feed, take: &mut impl Take<K>, contact: &Contact, metrics: &Metrics) {
    let status = status_of(error);
    metrics.watch_events.with_label_values(&[feed.name, "error"]).inc();
    if feed.may_be_missing && status.is_some_and(|status| status.code == 404) {
        // Its objects went with the kind.
        take.listing();
        take.listed();
        contact.listed(feed.name);
        tracing::debug!(feed = feed.name, "this kind is not installed; tried again");
        return;
    }
    // Chains are printed once, here: kube's own text repeats its source.
    let text = status.map_or_else(|| error.to_string(), |status| format!("{} {}", status.code, status.message));
    tracing::warn!(feed = feed.name, error = text, "a watch broke; tried again");
    contact.failed(feed.name, text);
}

fn status_of(error: &Error) -> Option<&Status> {
    match error {
        Error::WatchError(status)
        | Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}
