//! The bind flow: take the pod as the watch told it last, ask the engine, write the Binding, tell the engine what became of it.
//!
//! It decides when to try again and when nobody knows; not where a pod goes. A flow is a task of its own, so a client
//! that hangs up changes nothing. There is at most one flow a pod UID: whoever asks for the same node meanwhile gets
//! the first one's answer, whoever asks for another node is refused. "No answer" is not "no": the pod is read back,
//! and if that does not decide, the hold stays until the watch or its deadline does. A pod that changed since it was told
//! or read refuses the write; then it is read afresh and the engine asked anew.
//!
//! ```text
//! what the watch told last, else read -> gone, other UID, bound elsewhere: refused      -> bound there already: yes, again
//!      ^    -> ask engine -> refused
//!      |                  -> write (UID and resourceVersion as preconditions) -> bound
//!      |                       ^   |   throttled, no clear answer                -> read again
//!      +--- conflict: read ----|---+                                                |
//!                              +--------------- still the same unbound pod <--------+
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{BindWrite, Host, PodRead, WriteError, Writer};
use crate::engine::{BindAnswer, BindOrder, BindOutcome};
use crate::model::{NodeName, PodKey, PodUid};
use crate::telemetry::Writes;
use crate::wire::extender::BindRequest;

/// How long and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindLimits {
    /// One binding from request to answer; must stay below the extender's `httpTimeout` (5 s in deploy/).
    pub deadline: Duration,
    /// One call to the API server.
    pub call: Duration,
    /// How long after becoming ready nothing is bound: a Binding that a process before this one, or the replica that had
    /// the voice, sent in its last moment lands and is seen first. At most half of `deadline`.
    pub settle: Duration,
    /// Bindings at once. The API server answers no faster for being asked by more: what it cannot take is better kept here
    /// than in its queues, where it would be given up and asked for again.
    pub parallel_max: usize,
    /// Bindings at once or waiting; beyond it callers are refused at once.
    pub waiting_max: usize,
}

impl Default for BindLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(4500),
            call: Duration::from_secs(2),
            settle: Duration::ZERO,
            parallel_max: 32,
            waiting_max: 1024,
        }
    }
}

/// Why a pod was not bound; the text goes into the protocol's `Error`, and kube-scheduler tries again.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BindFailure {
    /// Not ready, or without the voice.
    #[error("gangplank is not ready: it {0}")]
    NotReady(String),
    /// The pod is not what the request says.
    #[error("gangplank: {0}")]
    Stale(String),
    /// The engine refused.
    #[error("{0}")]
    Refused(String),
    /// The API server refused.
    #[error("gangplank: the Binding was not written: {0}")]
    Write(WriteError),
    /// Nobody knows yet.
    #[error("gangplank: no clear answer from the API server in time; the devices stay held: {0}")]
    Unknown(String),
    /// Too many at once.
    #[error("gangplank: too many bindings at once")]
    Busy,
}

type Reply = Result<(), BindFailure>;

/// Runs bind flows.
pub struct Binder {
    host: Arc<Host>,
    writer: Arc<dyn Writer>,
    limits: BindLimits,
    permits: Semaphore,
    under_way: Mutex<HashMap<PodUid, (NodeName, watch::Receiver<Option<Reply>>)>>,
}

impl Binder {
    /// A binder that writes through `writer`.
    pub fn new(host: Arc<Host>, writer: Arc<dyn Writer>, limits: BindLimits) -> Arc<Self> {
        Arc::new(Self { host, writer, limits, permits: Semaphore::new(limits.parallel_max), under_way: Mutex::default() })
    }

    /// Binds, or says why not. Dropping the future does not stop what it started.
    ///
    /// # Errors
    /// Why the pod is not bound, or not known to be.
    pub async fn bind(self: &Arc<Self>, request: BindRequest) -> Reply {
        if let Err(waiting) = self.host.ready() {
            return Err(BindFailure::NotReady(waiting.to_string()));
        }
        let mut reply = self.join(request)?;
        let answered = reply.wait_for(Option::is_some).await;
        // The sender is dropped unanswered only if the flow panicked.
        answered.ok().and_then(|reply| reply.clone()).unwrap_or_else(|| Err(BindFailure::Unknown("internal error".into())))
    }

    /// Waits until no flow is under way, at most until its deadline would have passed anyway.
    pub async fn drain(&self) {
        let until = Instant::now() + self.limits.deadline + self.limits.call;
        while Instant::now() < until && !self.flows().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the flow of this pod, or joins the one under way.
    fn join(self: &Arc<Self>, request: BindRequest) -> Result<watch::Receiver<Option<Reply>>, BindFailure> {
        let mut flows = self.flows();
        if let Some((node, reply)) = flows.get(&request.uid) {
            if *node == request.node {
                return Ok(reply.clone());
            }
            return Err(BindFailure::Stale(format!("a binding of this pod to node {node} is under way")));
        }
        if flows.len() >= self.limits.waiting_max {
            return Err(BindFailure::Busy);
        }
        let (sender, receiver) = watch::channel(None);
        flows.insert(request.uid.clone(), (request.node.clone(), receiver.clone()));
        self.host.metrics().bindings_in_flight.inc();
        let guard = FlowGuard { binder: self.clone(), uid: request.uid.clone() };
        tokio::spawn(async move {
            let started = Instant::now();
            let reply = guard.binder.run(&request).await;
            guard.binder.host.metrics().binding_duration.observe(started.elapsed().as_secs_f64());
            // Leaves the table before it answers: a retry that follows the answer must start a flow of its own.
            drop(guard);
            sender.send_replace(Some(reply));
        });
        Ok(receiver)
    }

    fn flows(&self) -> std::sync::MutexGuard<'_, HashMap<PodUid, (NodeName, watch::Receiver<Option<Reply>>)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, request: &BindRequest) -> Reply {
        let deadline = Instant::now() + self.limits.deadline;
        if let Some(since) = self.host.ready_since() {
            sleep_until((since + self.limits.settle).min(deadline - self.limits.deadline / 2)).await;
        }
        let Ok(Ok(_permit)) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(BindFailure::Busy);
        };
        // What the watch told last serves as a read: the write carries its resourceVersion, and changes nothing if it is old.
        let mut told = self.host.told(&request.key, &request.uid);
        loop {
            let read = match told.take() {
                Some(told) => Some(told),
                None => self.read(&request.key, deadline).await.map_err(BindFailure::Write)?,
            };
            let read = match self.standing(request, read)? {
                Standing::Unbound(read) => read,
                Standing::BoundThere => {
                    self.count(Writes::AlreadyBound);
                    return Ok(());
                }
            };
            let order = match self.host.may_bind(read.object, &request.node).map_err(|error| BindFailure::Stale(error.to_string()))? {
                None => {
                    let waiting = self.host.ready().err().map_or_else(|| "lost its book".into(), |waiting| waiting.to_string());
                    return Err(BindFailure::NotReady(waiting));
                }
                Some(BindAnswer::AlreadyBound) => {
                    self.count(Writes::AlreadyBound);
                    return Ok(());
                }
                Some(BindAnswer::Refused(refusal)) => {
                    self.count(Writes::Refused);
                    tracing::info!(pod = %request.key, node = %request.node, reason = %refusal.reason, needed = refusal.needed, there = refusal.there, "bind refused");
                    return Err(BindFailure::Refused(refusal.reason.to_string()));
                }
                Some(BindAnswer::Write(order)) => order,
            };
            let mut ending = Ending::new(&self.host, &order);
            match self.write(request, order, read.resource_version, deadline).await {
                Written::Ended(outcome, reply) => {
                    ending.outcome = outcome;
                    return reply;
                }
                // Nothing was written. What changed may be the plan, or who has the voice: it is decided anew.
                Written::Changed => ending.outcome = BindOutcome::Refused,
            }
        }
    }

    /// Writes until it is written, refused, or the time is up.
    async fn write(&self, request: &BindRequest, order: BindOrder, resource_version: String, deadline: Instant) -> Written {
        let mut write = BindWrite { order, resource_version };
        let mut unclear = false;
        for attempt in 0_u32.. {
            // This process may have stood still since it was asked, and another have the voice by now.
            if let Err(waiting) = self.host.ready() {
                let outcome = if unclear { BindOutcome::Unknown } else { BindOutcome::Refused };
                return Written::Ended(outcome, Err(BindFailure::NotReady(waiting.to_string())));
            }
            let error = match timeout_at(self.call_end(deadline), self.writer.bind(&write)).await {
                Ok(Ok(())) => {
                    self.count(Writes::Bound);
                    return Written::Ended(BindOutcome::Bound, Ok(()));
                }
                Ok(Err(error)) => error,
                Err(_) => WriteError::Unclear("no answer in time".into()),
            };
            tracing::debug!(pod = %request.key, node = %request.node, %error, attempt, "binding not confirmed");
            let pause = match &error {
                WriteError::Refused { .. } | WriteError::NotFound(_) if !unclear => {
                    self.count(Writes::Refused);
                    return Written::Ended(BindOutcome::Refused, Err(BindFailure::Write(error)));
                }
                WriteError::Throttled { after, .. } => *after,
                WriteError::Unclear(_) => {
                    unclear = true;
                    backoff(attempt)
                }
                WriteError::Conflict(_) | WriteError::Refused { .. } | WriteError::NotFound(_) => Duration::ZERO,
            };
            if matches!(error, WriteError::Conflict(_)) && !unclear && Instant::now() + self.limits.call / 4 < deadline {
                return Written::Changed;
            }
            // Time is kept for the read that decides what became of the write.
            if Instant::now() + pause + self.limits.call / 4 >= deadline || attempt >= ATTEMPTS_MAX {
                let (outcome, reply) = self.read_back(request, unclear, error).await;
                return Written::Ended(outcome, reply);
            }
            sleep_until(Instant::now() + pause).await;
            match self.read(&request.key, deadline).await.map(|read| self.standing(request, read)) {
                // Any write of ours that is still on its way carries the older resourceVersion: it and the next one cannot both land.
                Ok(Ok(Standing::Unbound(read))) => write.resource_version = read.resource_version,
                Ok(Ok(Standing::BoundThere)) => {
                    self.count(Writes::Bound);
                    return Written::Ended(BindOutcome::Bound, Ok(()));
                }
                Ok(Err(stale)) => {
                    self.count(Writes::Refused);
                    return Written::Ended(BindOutcome::Refused, Err(stale));
                }
                Err(error) => tracing::debug!(pod = %request.key, %error, "not read back"),
            }
        }
        Written::Ended(BindOutcome::Unknown, Err(BindFailure::Unknown("attempts used up".into())))
    }

    /// The last look, after the last attempt.
    async fn read_back(&self, request: &BindRequest, unclear: bool, error: WriteError) -> (BindOutcome, Reply) {
        let read = self.read(&request.key, Instant::now() + self.limits.call / 4).await;
        match read.map(|read| self.standing(request, read)) {
            Ok(Ok(Standing::BoundThere)) => {
                self.count(Writes::Bound);
                (BindOutcome::Bound, Ok(()))
            }
            Ok(Err(stale)) => {
                self.count(Writes::Refused);
                (BindOutcome::Refused, Err(stale))
            }
            Ok(Ok(Standing::Unbound(_))) if !unclear => {
                self.count(Writes::Refused);
                (BindOutcome::Refused, Err(BindFailure::Write(error)))
            }
            // Unbound now, but a write of ours may still be on its way.
            Ok(Ok(Standing::Unbound(_))) | Err(_) => {
                self.count(Writes::Unknown);
                tracing::warn!(pod = %request.key, node = %request.node, %error, "nobody knows whether this pod was bound: its devices stay held");
                (BindOutcome::Unknown, Err(BindFailure::Unknown(error.to_string())))
            }
        }
    }

    /// Reads the pod, with retries until the deadline.
    async fn read(&self, key: &PodKey, deadline: Instant) -> Result<Option<PodRead>, WriteError> {
        for attempt in 0_u32.. {
            let error = match timeout_at(self.call_end(deadline), self.writer.read_pod(key)).await {
                Ok(Ok(read)) => return Ok(read),
                Ok(Err(error)) => error,
                Err(_) => WriteError::Unclear("no answer in time".into()),
            };
            let pause = match &error {
                WriteError::Throttled { after, .. } => *after,
                WriteError::Unclear(_) => backoff(attempt),
                WriteError::Conflict(_) | WriteError::NotFound(_) | WriteError::Refused { .. } => return Err(error),
            };
            if Instant::now() + pause >= deadline || attempt >= ATTEMPTS_MAX {
                return Err(error);
            }
            sleep_until(Instant::now() + pause).await;
        }
        Err(WriteError::Unclear("attempts used up".into()))
    }

    /// What the read says about the request.
    fn standing(&self, request: &BindRequest, read: Option<PodRead>) -> Result<Standing, BindFailure> {
        let Some(read) = read else {
            self.host.pod_gone(&request.key, &request.uid);
            return Err(BindFailure::Stale("there is no such pod any more".into()));
        };
        let pod = read.object.to_model(self.host.classes()).map_err(|error| BindFailure::Stale(error.to_string()))?;
        if pod.uid != request.uid {
            self.host.pod_gone(&request.key, &request.uid);
            return Err(BindFailure::Stale("a pod of this name was created anew: the request's UID is not its UID".into()));
        }
        match &pod.node {
            Some(node) if *node == request.node => Ok(Standing::BoundThere),
            Some(node) => Err(BindFailure::Stale(format!("the pod is bound to node {node} already"))),
            None if pod.deleting => Err(BindFailure::Stale("the pod is being deleted".into())),
            None => Ok(Standing::Unbound(read)),
        }
    }

    fn call_end(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.limits.call)
    }

    fn count(&self, outcome: Writes) {
        self.host.metrics().bindings.with_label_values(&[outcome.label()]).inc();
    }
}

/// Tries of one call, beside its deadline.
const ATTEMPTS_MAX: u32 = 8;

/// 20 ms doubling to 320 ms.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(20 << attempt.min(4))
}

/// What became of an order.
enum Written {
    Ended(BindOutcome, Reply),
    /// The pod is not what the order was made from; nothing was written.
    Changed,
}

enum Standing {
    Unbound(PodRead),
    BoundThere,
}

/// Tells the engine how an ordered binding ended, whatever happens to the flow: Unknown unless somebody knows better.
struct Ending<'a> {
    host: &'a Host,
    uid: PodUid,
    node: NodeName,
    outcome: BindOutcome,
}

impl<'a> Ending<'a> {
    fn new(host: &'a Host, order: &BindOrder) -> Self {
        Self { host, uid: order.pod.uid.clone(), node: order.grant.node.clone(), outcome: BindOutcome::Unknown }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.host.bind_ended(&self.uid, &self.node, self.outcome);
    }
}

struct FlowGuard {
    binder: Arc<Binder>,
    uid: PodUid,
}

impl Drop for FlowGuard {
    fn drop(&mut self) {
        self.binder.flows().remove(&self.uid);
        self.binder.host.metrics().bindings_in_flight.dec();
    }
}

impl fmt::Debug for Binder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binder({} under way)", self.flows().len())
    }
}
