//! Who was evicted, as the API server alone tells: pods that had a node, had not ended, and were told to go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use super::scene::holds_devices;

/// Follows all pods from its start on, until it is dropped.
pub(super) struct Witness {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// Pods, as `namespace/name`: controllers give no name twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Those that were told to go while they ran, and when.
    pub(super) evicted: BTreeMap<String, Option<Timestamp>>,
    /// Those that ended well by themselves, or that their owner had no use for any more.
    pub(super) ended: BTreeSet<String>,
}

impl Witness {
    /// `scales_down` says of a pod that goes whether its owner gives it up.
    pub(super) fn start(pods: Api<Pod>, scales_down: fn(&Pod) -> bool) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            // Without a pause between errors it would never yield, and never end.
            let mut news = Box::pin(watcher::watcher(pods, watcher::Config::default()).default_backoff());
            while let Some(event) = news.next().await {
                let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                        note(&mut seen, &pod, pod.metadata.deletion_timestamp.is_some(), scales_down);
                    }
                    Ok(Event::Delete(pod)) => note(&mut seen, &pod, true, scales_down),
                    // It goes on from where it was.
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { seen, task }
    }

    /// What it saw so far.
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(seen: &mut Seen, pod: &Pod, goes: bool, scales_down: fn(&Pod) -> bool) {
    let key = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let succeeded = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
    if succeeded || (goes && scales_down(pod)) {
        seen.ended.insert(key);
    } else if goes && holds_devices(pod) {
        let told_at = told_to_go(pod);
        let entry = seen.evicted.entry(key).or_default();
        *entry = entry.or(told_at);
    }
}

/// When a pod that goes was told to: its deletion lies its grace period behind that.
fn told_to_go(pod: &Pod) -> Option<Timestamp> {
    let grace_s = pod.metadata.deletion_grace_period_seconds?;
    Some(pod.metadata.deletion_timestamp.as_ref()?.0 - SignedDuration::from_secs(grace_s))
}

/// It goes because somebody else's work came first.
pub(super) fn is_disrupted(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
}

/// The Job or ReplicaSet that a pod, or a gang, in words is of: `gang blue/job7`, `pod blue/job7-0-abcde`, `blue/job7-0-abcde`. Its own name
/// has no dash.
pub(super) fn work_of(title: &str) -> String {
    let name = title.rsplit(['/', ' ']).next().unwrap_or_default();
    name.split('-').next().unwrap_or_default().to_owned()
}
