//! Effects, taken off the host's queue and written with bounds. It decides how many at once, how many a second, and which
//! repeat another of a moment ago. What carries a plan out (nominations, gates, evictions, suspensions) goes at once and
//! side by side; touches and Events wait behind each other. None of them is worth stopping for: a lost touch costs a pod
//! some waiting, a lost Event costs a reader a line, and what a plan needs is asked for again at its next deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::engine::Effect;
use crate::host::{Host, Writer};
use crate::model::PodUid;
use crate::telemetry::{Effects, Metrics};

/// Writes of plans at once: at 10 ms each, 3,200 a second. More of them only wait in the API server, beside the Bindings.
const PLANS_PARALLEL_MAX: usize = 32;
/// Touches and Events at once.
const PARALLEL_MAX: usize = 8;
/// Touches and Events a second, above which they wait.
const PER_SECOND: u32 = 100;
/// Touches and Events that wait, at most; what comes beyond is dropped and counted.
const WAITING_MAX: usize = 4096;
/// One write.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// A touch shortly after another wakes nobody who is not awake.
const TOUCH_AGAIN: Duration = Duration::from_secs(1);
/// An Event of the same pod and reason; kube-scheduler's retries would repeat it every few seconds.
const EVENT_AGAIN: Duration = Duration::from_secs(30);
/// Remembered effects, beyond which old ones are forgotten.
const REMEMBERED_MAX: usize = 8192;

/// Carries effects out until the queue closes. What was asked for is told to the host, which the queue is of.
pub async fn carry_out(mut queue: mpsc::Receiver<Effect>, writer: Arc<dyn Writer>, metrics: Arc<Metrics>, host: Weak<Host>) {
    let (later, waiting) = mpsc::channel(WAITING_MAX);
    let talk = tokio::spawn(carry_out_later(waiting, writer.clone(), metrics.clone()));
    let permits = Arc::new(Semaphore::new(PLANS_PARALLEL_MAX));
    while let Some(effect) = queue.recv().await {
        match effect {
            Effect::Touch(_) | Effect::Event(_) | Effect::NodeEvent(_) | Effect::Condition { .. } => {
                let kind = effect.kind();
                if later.try_send(effect).is_err() {
                    metrics.effects.with_label_values(&[kind, Effects::Dropped.label()]).inc();
                }
            }
            Effect::ListEnded { namespace } => {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                tokio::spawn(list_ended(namespace, writer.clone(), (host.clone(), metrics.clone()), permit));
            }
            Effect::Nominate { .. }
            | Effect::Release { .. }
            | Effect::Notice { .. }
            | Effect::Evict { .. }
            | Effect::Suspend { .. }
            | Effect::Provision(_)
            | Effect::Unprovision { .. }
            | Effect::Consume { .. } => {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                tokio::spawn(write(effect, writer.clone(), metrics.clone(), permit));
            }
        }
    }
    drop(later);
    let _ = talk.await;
}

/// Touches and Events.
async fn carry_out_later(mut queue: mpsc::Receiver<Effect>, writer: Arc<dyn Writer>, metrics: Arc<Metrics>) {
    let (permits, mut lately) = (Arc::new(Semaphore::new(PARALLEL_MAX)), Lately::default());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while let Some(effect) = queue.recv().await {
        let kind = effect.kind();
        if lately.repeats(&effect, Instant::now()) {
            metrics.effects.with_label_values(&[kind, Effects::Merged.label()]).inc();
            continue;
        }
        pace.tick().await;
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        tokio::spawn(write(effect, writer.clone(), metrics.clone(), permit));
    }
}

/// Reads who ended, and tells the host.
async fn list_ended(
    namespace: Arc<str>,
    writer: Arc<dyn Writer>,
    (host, metrics): (Weak<Host>, Arc<Metrics>),
    _permit: OwnedSemaphorePermit,
) {
    let listed = timeout(WRITE_MAX, writer.list_ended(&namespace)).await;
    let outcome = if matches!(listed, Ok(Ok(_))) { Effects::Done } else { Effects::Failed };
    metrics.effects.with_label_values(&["list-ended", outcome.label()]).inc();
    match listed {
        Ok(Ok(pods)) => {
            if let Some(host) = host.upgrade() {
                host.ended_listed(namespace, pods);
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "pods that ended were not listed"),
        Err(_) => tracing::debug!("pods that ended were not listed in time"),
    }
}

async fn write(effect: Effect, writer: Arc<dyn Writer>, metrics: Arc<Metrics>, _permit: OwnedSemaphorePermit) {
    let kind = effect.kind();
    let written = timeout(WRITE_MAX, writer.carry_out(&effect)).await;
    let outcome = if matches!(written, Ok(Ok(()))) { Effects::Done } else { Effects::Failed };
    if let Ok(Err(error)) = &written {
        tracing::debug!(kind, ?effect, %error, "an effect was not carried out");
    }
    metrics.effects.with_label_values(&[kind, outcome.label()]).inc();
}

/// What was done a moment ago, by pod and by what it was.
#[derive(Debug, Default)]
struct Lately(BTreeMap<(PodUid, &'static str), Instant>);

impl Lately {
    fn repeats(&mut self, effect: &Effect, now: Instant) -> bool {
        let (key, again) = match effect {
            Effect::Touch(pod) => ((pod.uid.clone(), "touch"), TOUCH_AGAIN),
            Effect::Event(event) => ((event.pod.uid.clone(), event.reason), EVENT_AGAIN),
            // The engine repeats these only where it must.
            Effect::Nominate { .. }
            | Effect::Release { .. }
            | Effect::Condition { .. }
            | Effect::NodeEvent(_)
            | Effect::ListEnded { .. }
            | Effect::Notice { .. }
            | Effect::Evict { .. }
            | Effect::Suspend { .. }
            | Effect::Provision(_)
            | Effect::Unprovision { .. }
            | Effect::Consume { .. } => return false,
        };
        if self.0.get(&key).is_some_and(|done| now.saturating_duration_since(*done) < again) {
            return true;
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, done| now.saturating_duration_since(*done) < EVENT_AGAIN);
            if self.0.len() >= REMEMBERED_MAX {
                self.0.clear();
            }
        }
        self.0.insert(key, now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Event, PodRef};
    use crate::model::PodKey;

    fn pod(uid: &str) -> PodRef {
        PodRef { key: PodKey::new("default", uid), uid: uid.into() }
    }

    fn event(uid: &str, reason: &'static str) -> Effect {
        Effect::Event(Event { pod: pod(uid), reason, note: String::new(), warning: false })
    }

    #[test]
    fn an_effect_that_repeats_one_of_a_moment_ago_is_merged_into_it() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert!(!lately.repeats(&Effect::Touch(pod("a")), start));
        assert!(lately.repeats(&Effect::Touch(pod("a")), after(999)));
        assert!(!lately.repeats(&Effect::Touch(pod("a")), after(1000)));
        assert!(!lately.repeats(&Effect::Touch(pod("b")), after(1000)));
        assert!(!lately.repeats(&event("a", "Waiting"), after(1000)));
        assert!(lately.repeats(&event("a", "Waiting"), after(2000)));
        assert!(!lately.repeats(&event("a", "Placed"), after(2000)));
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        for index in 0..3 * REMEMBERED_MAX {
            assert!(!lately.repeats(&Effect::Touch(pod(&index.to_string())), start));
            assert!(lately.0.len() <= REMEMBERED_MAX);
        }
    }
}
