//! A session: all watches into one book. It decides when the book is thrown away and listed anew (a broken
//! invariant), and which end of a task is the end of the process.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::Api;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::task::JoinSet;

use super::contact::Contact;
use super::follow::{Feed, Take, follow};
use super::foreign::{HYPER_NODES, Names, TOPOLOGIES, TakeForeign};
use super::gangs::{Gangs, TakeFailures, TakeGangs};
use super::intake::{Intake, TakeFailed, TakeNodes, TakePlain, TakePods, TakeReports};
use super::kinds::follow_kinds;
use super::relist;
use super::requests::{Requests, TakeRequests};
use crate::host::{Binder, Host};
use crate::wire::{gang, provisioning};

/// Pods that are not finished: what leaves this selection arrives as a deletion.
pub(super) const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

const PODS: Feed = Feed { name: "pods", fields: Some(UNFINISHED), may_be_missing: false };
const NODES: Feed = Feed { name: "nodes", fields: None, may_be_missing: false };
const REPORTS: Feed = Feed { name: "acceleratornodes", fields: None, may_be_missing: true };
const PRIORITY_CLASSES: Feed = Feed { name: "priorityclasses", fields: None, may_be_missing: false };
const BUDGETS: Feed = Feed { name: "poddisruptionbudgets", fields: None, may_be_missing: false };
const QUOTAS: Feed = Feed { name: "resourcequotas", fields: None, may_be_missing: false };
/// Not among those that readiness waits for: evidence, and no decision.
const FAILURES: Feed = Feed { name: "events", fields: Some("reason=FailedCreate"), may_be_missing: false };
/// Not either: nodes in quarantine are a hint.
const FAILED_PODS: Feed = Feed { name: "failed-pods", fields: Some("status.phase=Failed"), may_be_missing: false };
const VOLUMES: Feed = Feed { name: "persistentvolumes", fields: None, may_be_missing: false };
const FEEDS: &[&str] = &[PODS.name, NODES.name, REPORTS.name, PRIORITY_CLASSES.name, BUDGETS.name, QUOTAS.name, VOLUMES.name];

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Between two comparisons of the book with a fresh list, at most; at least half of it.
    pub relist_period: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { relist_period: Duration::from_mins(5) }
    }
}

/// Why the process must end.
#[derive(Debug, Error)]
pub enum Fatal {
    /// Every call was answered 401 for too long: a new process reads its credential anew.
    #[error("the API server has refused our credential for {0:?}")]
    Unauthorized(Duration),
    /// A watch ended, which none does by itself.
    #[error("a task of the session ended: {0}")]
    TaskEnded(String),
}

/// Feeds one host from one API server.
#[derive(Clone, Debug)]
pub struct Session {
    host: Arc<Host>,
    binder: Arc<Binder>,
    limits: SessionLimits,
}

/// Books thrown away in a row wait this long, doubling: a broken invariant that comes back must not keep the API server listing.
const REBUILD_PAUSE_FIRST: Duration = Duration::from_millis(200);
const REBUILD_PAUSE_MAX: Duration = Duration::from_secs(30);

impl Session {
    /// A session of this host; `binder` writes on its behalf.
    pub fn new(host: Arc<Host>, binder: Arc<Binder>, limits: SessionLimits) -> Self {
        Self { host, binder, limits }
    }

    /// Runs until the process must end; begins anew with an empty book whenever the host wants that.
    pub async fn run(self, client: Client) -> Fatal {
        let mut pause = REBUILD_PAUSE_FIRST;
        loop {
            let started = Instant::now();
            if let Some(fatal) = self.once(&client).await {
                return fatal;
            }
            // Every Binding that the old book ordered has ended: the lists that follow show it, or it was not written.
            self.binder.drain().await;
            if started.elapsed() > REBUILD_PAUSE_MAX {
                pause = REBUILD_PAUSE_FIRST;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REBUILD_PAUSE_MAX);
            self.host.reset();
        }
    }

    /// One book's life. `None`: it is to be thrown away.
    async fn once(&self, client: &Client) -> Option<Fatal> {
        let feeds: Vec<_> = FEEDS
            .iter()
            .copied()
            .chain(gang::KINDS.iter().map(|reader| reader.kind.feed))
            .chain([TOPOLOGIES.feed, HYPER_NODES.feed])
            .collect();
        let contact = Contact::new(self.host.clone(), &feeds);
        let intake = Intake::new(self.host.clone());
        let mut tasks = JoinSet::new();
        self.watch(&mut tasks, Api::all(client.clone()), PODS, TakePods(intake.clone()), &contact);
        self.watch(&mut tasks, Api::all(client.clone()), NODES, TakeNodes(intake.clone()), &contact);
        self.watch(&mut tasks, Api::all(client.clone()), REPORTS, TakeReports(intake.clone()), &contact);
        self.watch(&mut tasks, Api::all(client.clone()), PRIORITY_CLASSES, TakePlain::priority_classes(self.host.clone()), &contact);
        self.watch(&mut tasks, Api::all(client.clone()), BUDGETS, TakePlain::budgets(self.host.clone()), &contact);
        self.watch(&mut tasks, Api::all(client.clone()), QUOTAS, TakePlain::quotas(self.host.clone()), &contact);
        self.watch(&mut tasks, Api::all(client.clone()), VOLUMES, TakePlain::volumes(self.host.clone()), &contact);
        let gangs = Gangs::new(self.host.clone());
        self.watch(&mut tasks, Api::all(client.clone()), FAILURES, TakeFailures(gangs.clone()), &contact);
        let kinds = gang::KINDS.iter().map(|reader| &reader.kind).collect();
        let take = move |kind| TakeGangs { gangs: gangs.clone(), kind };
        self.watch(&mut tasks, Api::all(client.clone()), FAILED_PODS, TakeFailed(self.host.clone()), &contact);
        tasks.spawn(follow_kinds(client.clone(), kinds, take, contact.clone(), self.host.metrics().clone()));
        for kind in [&TOPOLOGIES, &HYPER_NODES] {
            let (host, names) = (self.host.clone(), Names::default());
            let take = move |kind| TakeForeign { host: host.clone(), kind, names: names.clone() };
            tasks.spawn(follow_kinds(client.clone(), vec![kind], take, contact.clone(), self.host.metrics().clone()));
        }
        // Like the Events, nothing that readiness waits for.
        let (host, known) = (self.host.clone(), Requests::default());
        let take = move |_| TakeRequests { host: host.clone(), known: known.clone() };
        tasks.spawn(follow_kinds(client.clone(), vec![&provisioning::KIND], take, contact.clone(), self.host.metrics().clone()));
        let (host, period, comparer) = (self.host.clone(), self.limits.relist_period, client.clone());
        tasks.spawn(async move { relist::compare(comparer, &intake, &host, period).await });
        let fatal = tokio::select! {
            () = self.host.rebuild_wanted() => None,
            () = contact.keep(client) => Some(Fatal::Unauthorized(contact.unauthorized_for().unwrap_or_default())),
            Some(ended) = tasks.join_next() => Some(Fatal::TaskEnded(ended.err().map_or_else(|| "by itself".into(), |error| error.to_string()))),
        };
        tasks.shutdown().await;
        fatal
    }

    fn watch<K>(&self, tasks: &mut JoinSet<()>, api: Api<K>, feed: Feed, take: impl Take<K> + 'static, contact: &Arc<Contact>)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let (contact, metrics) = (contact.clone(), self.host.metrics().clone());
        tasks.spawn(async move { follow(api, feed, take, &contact, &metrics).await });
    }
}
