//! `gangplank-provision run`: live specs, driven. What a spec needs next is decided in `drive`; here is decided what is watched, when a
//! spec is looked at, and what becomes of a write that fails.
//!
//! ```text
//! watches --> Store --> Queue --> drive::next --> Writer --> API server
//!               ^                                   |
//!               +------- what was answered ---------+      so that nobody acts on what was before its own write
//! ```

mod queue;
mod store;
mod watch;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::{Lead, jittered};
use crate::drive::{self, Next, Rules, Seen};
use crate::host::Clock;
use crate::telemetry::Metrics;
use queue::Queue;
use store::{Key, Store};
use writer::{Failure, Writer};

/// API verbs for what people are told.
pub const EVENT_VERBS: &[(&str, &str, &str)] = &[("events.k8s.io", "events", "create"), ("events.k8s.io", "events", "patch")];

/// Specs that are looked at side by side.
const PARALLEL_MAX: usize = 8;
/// News of one spec within this time are one.
const GATHER: Duration = Duration::from_millis(100);
/// Every spec is looked at about this often, whatever was missed.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// A write ends before this.
const DRAIN_MAX: Duration = Duration::from_secs(6);
const TICK: Duration = Duration::from_secs(1);
/// What one Event may take: none of them holds up a spec.
const EVENT_MAX: Duration = Duration::from_secs(5);

/// Drives every live spec that it sees.
pub struct Controller {
    client: Client,
    namespace: Option<String>,
    rules: Rules,
    lead: Arc<Lead>,
    metrics: Arc<Metrics>,
    store: Mutex<Store>,
    queue: Queue,
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
    /// What the API server had against the last write of a spec, when it said so twice.
    refused: Mutex<BTreeMap<Key, String>>,
    /// One for each spec that is being looked at.
    permits: Arc<Semaphore>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("namespace", &self.namespace).field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Controller {
    /// Of all namespaces, or of one.
    pub fn new(
        client: Client,
        namespace: Option<String>,
        rules: Rules,
        lead: Arc<Lead>,
        identity: &str,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let reporter = Reporter { controller: "gangplank-provision".into(), instance: Some(identity.to_owned()) };
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), reporter),
            writer: Writer::new(client.clone()),
            store: Mutex::new(Store::new()),
            queue: Queue::default(),
            clock: Clock::system(),
            refused: Mutex::default(),
            permits: Arc::new(Semaphore::new(PARALLEL_MAX)),
            client,
            namespace,
            rules,
            lead,
            metrics,
        })
    }

    /// Whether every list is in; what it waits for otherwise.
    ///
    /// # Errors
    /// The first kind whose list is not.
    pub fn ready(&self) -> Result<(), String> {
        self.lock().unlisted().map_or(Ok(()), |plural| Err(format!("the list of {plural}")))
    }

    /// Whether it may write.
    pub fn leads(&self) -> bool {
        self.lead.may_write()
    }

    /// Looks at every spec anew: it leads since now.
    pub fn look_at_all(&self) {
        for key in self.lock().specs() {
            self.queue.add(key, Instant::now());
        }
    }

    /// Runs until one of its parts ends, which none does by itself; which one it was.
    pub async fn run(self: Arc<Self>) -> String {
        let mut tasks = JoinSet::new();
        for at in 0..store::resources().len() {
            tasks.spawn(watch::follow(self.clone(), at));
        }
        tasks.spawn(self.clone().work());
        tasks.spawn(self.clone().tick());
        let ended = tasks.join_next().await;
        format!("{ended:?}")
    }

    /// Waits until what is being written is written, when nothing new is begun.
    pub async fn drain(&self) {
        let all = self.permits.acquire_many(u32::try_from(PARALLEL_MAX).unwrap_or(u32::MAX));
        let _ = tokio::time::timeout(DRAIN_MAX, all).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of these specs is another.
    fn news(&self, of: impl IntoIterator<Item = Key>) {
        let at = Instant::now() + GATHER;
        of.into_iter().for_each(|key| self.queue.add(key, at));
    }

    /// Measures, and looks at everything every now and then.
    async fn tick(self: Arc<Self>) {
        let mut again = Instant::now() + jittered(LOOK_AGAIN);
        loop {
            tokio::time::sleep(TICK).await;
            self.metrics.provision_waiting.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
            self.metrics.provision_leads.set(i64::from(self.leads()));
            self.metrics.provision_specs.reset();
            for ((kind, phase), count) in self.lock().phases() {
                self.metrics.provision_specs.with_label_values(&[kind, phase.as_str()]).set(count);
            }
            if Instant::now() >= again {
                again = Instant::now() + jittered(LOOK_AGAIN);
                self.look_at_all();
            }
        }
    }

    /// Looks at what is due, one spec never twice at a time.
    async fn work(self: Arc<Self>) {
        loop {
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            let key = self.queue.take().await;
            let this = self.clone();
            tokio::spawn(async move {
                this.look(&key).await;
                this.queue.done(&key);
                drop(permit);
            });
        }
    }

    async fn look(&self, key: &Key) {
        if !self.leads() {
            // Everything is looked at when it leads.
            return;
        }
        if self.ready().is_err() {
            self.queue.add(key.clone(), Instant::now() + TICK);
            return;
        }
        let Some((object, next)) = self.next(key) else {
            self.refused().remove(key);
            self.queue.forget(key);
            return;
        };
        if let Some(wake) = next.wake {
            self.queue.add(key.clone(), Instant::now() + (wake - self.clock.read()).max(GATHER));
        }
        let names: Vec<&str> = next.writes.iter().map(|write| write.step.name).collect();
        tracing::debug!(spec = %key, writes = ?names, "looked at");
        for write in &next.writes {
            if !self.leads() {
                return;
            }
            let before = self.lock().version(write.step.resource, &write.object);
            let written = self.writer.write(write, |key| self.lock().get(key).cloned()).await;
            let outcome = written.as_ref().map_or_else(Failure::outcome, |_| "done");
            self.metrics.provision_writes.with_label_values(&[write.step.name, outcome]).inc();
            match written {
                Ok(Some(answered)) => {
                    if before != Some(store::version(&answered)) {
                        // It gets on: what fails behind this fails for the first time.
                        self.queue.went_well(key);
                    }
                    let news = self.lock().answered(write.step.resource, answered);
                    self.news(news);
                }
                Ok(None) => {}
                Err(failure) => return self.failed(key, write.step.name, &failure),
            }
        }
        self.queue.went_well(key);
        self.refused().remove(key);
        for event in &next.events {
            self.tell(&object, event).await;
        }
    }

    fn next(&self, key: &Key) -> Option<(Value, Next)> {
        let store = self.lock();
        let driver = drive::KINDS.get(key.resource)?;
        let object = store.get(key)?;
        let (owned, pods) = store.made_of(object);
        let refused = self.refused().get(key).cloned();
        let seen = Seen { object, owned: &owned, pods: &pods, refused: refused.as_deref() };
        let next = driver.next(&seen, &self.rules, self.clock.read());
        Some((object.clone(), next))
    }

    fn failed(&self, key: &Key, step: &str, failure: &Failure) {
        tracing::warn!(spec = %key, write = step, error = %failure, "a write failed; tried again");
        let tries = self.queue.went_wrong(key, failure.pause());
        if let Failure::Refused(why) = failure
            && tries >= 2
        {
            // Once may have been a look at what was: twice is told.
            self.refused().insert(key.clone(), why.clone());
        }
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An Event on the spec. One that is lost costs a reader a line.
    async fn tell(&self, of: &Value, event: &drive::Event) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let reference = ObjectReference {
            api_version: text(&of["apiVersion"]),
            kind: text(&of["kind"]),
            name: text(&of["metadata"]["name"]),
            namespace: text(&of["metadata"]["namespace"]),
            uid: text(&of["metadata"]["uid"]),
            ..ObjectReference::default()
        };
        let told = Event {
            type_: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.to_owned(),
            note: Some(event.note.chars().take(900).collect()),
            action: event.reason.to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(EVENT_MAX, self.recorder.publish(&told, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, reason = event.reason, "an Event was not written"),
            Err(_) => tracing::debug!(reason = event.reason, "an Event was not written in time"),
        }
    }
}
