//! Intake of objects that stand for gangs. It decides when the host hears of one (when what it says of its gangs has
//! changed, which the status of a Job rarely does), and who is the top-most owner that can be suspended: for that it
//! remembers who owns whom, whichever of them is seen first.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::follow::Take;
use super::intake::{Known, unreadable};
use crate::host::Host;
use crate::model::{GangId, GangSpec};
use crate::wire::gang::{OWNERS_MAX, Standing, Suspends, reader_of, specs, topmost};
use crate::wire::{EventObject, GangObject, Kind};

/// The feed of Jobs.
const JOBS: &str = "jobs.batch";
/// Owners of which such an Event is remembered; beyond it all are forgotten, and told anew as they fail again.
const FAILURES_MAX: usize = 1024;

/// What is remembered of all objects. There may be tens of thousands of Jobs: little of each.
#[derive(Debug)]
pub(super) struct Gangs {
    host: Arc<Host>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<&'static str, Known<Arc<str>>>,
    entries: BTreeMap<Arc<str>, Entry>,
    /// By the UID of an owner whose word counts for their gangs: the UIDs of what it owns.
    owned: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The newest Event about a pod that an owner could not create, by the owner's UID.
    failures: BTreeMap<Arc<str>, Arc<EventObject>>,
}

#[derive(Debug)]
struct Entry {
    namespace: Arc<str>,
    /// Itself, as one that can be suspended.
    suspends: Option<Box<Suspends>>,
    owner: Option<Arc<str>>,
    /// The gangs that the host was told of, and what of each, as a hash.
    told: Vec<(GangId, u64)>,
    /// Where the owner's word counts: to be told anew when that changes.
    object: Option<Arc<GangObject>>,
}

impl Gangs {
    pub(super) fn new(host: Arc<Host>) -> Arc<Self> {
        Arc::new(Self { host, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn applied(&mut self, host: &Host, feed: &'static str, object: GangObject) {
        let uid: Arc<str> = object.uid().into();
        self.known.entry(feed).or_default().applied(uid.clone());
        // Most Jobs ask for no devices, and nothing is kept of them but that they are there.
        if object.is_finished() || object.kind == "Job" && !object.asks_for_devices() {
            return self.gone(host, &uid);
        }
        let owner = object.controller().filter(|owner| reader_of(&owner.api_version, &owner.kind).is_some());
        let owner: Option<Arc<str>> = owner.map(|owner| owner.uid.as_str().into());
        let suspends = Suspends::of(&object).map(Box::new);
        let before = self.entries.remove(&uid);
        let same = before.as_ref().is_some_and(|before| before.suspends == suspends && before.owner == owner);
        if let Some(owner) = &owner {
            self.owned.entry(owner.clone()).or_default().insert(uid.clone());
        }
        let namespace = object.namespace().into();
        let object = Arc::new(object);
        let told = before.map(|before| before.told).unwrap_or_default();
        let kept = owner.is_some().then(|| object.clone());
        self.entries.insert(uid.clone(), Entry { namespace, suspends, owner, told, object: kept });
        self.tell(host, &uid, &object);
        if !same {
            self.tell_owned(host, &uid, OWNERS_MAX);
            // Who its owners are was not known when the Event came, perhaps.
            self.tell_failure(host, &uid);
        }
    }

    /// An Event about a pod that an owner could not create.
    fn failed(&mut self, host: &Host, event: EventObject) {
        let Some(uid) = event.creation_failure().map(|failure| failure.owner.uid) else { return };
        // Most Jobs ask for no devices.
        let plain = || self.known.get(JOBS).is_some_and(|jobs| jobs.is_there(&uid));
        if !self.entries.contains_key(&uid) && (plain() || !may_own_members(&event)) {
            return;
        }
        if self.failures.len() >= FAILURES_MAX && !self.failures.contains_key(&uid) {
            self.failures.clear();
        }
        self.failures.insert(uid.clone(), Arc::new(event));
        self.tell_failure(host, &uid);
    }

    fn tell_failure(&self, host: &Host, uid: &Arc<str>) {
        let Some(event) = self.failures.get(uid) else { return };
        let mut above = Vec::new();
        let mut at = self.entries.get(uid).and_then(|entry| entry.owner.clone());
        while let Some(owner) = at.filter(|_| above.len() < OWNERS_MAX) {
            at = self.entries.get(&owner).and_then(|entry| entry.owner.clone());
            above.push(owner);
        }
        host.creation_failed(event, above);
    }

    fn gone(&mut self, host: &Host, uid: &Arc<str>) {
        self.failures.remove(uid);
        let Some(entry) = self.entries.remove(uid) else { return };
        if let Some(owner) = &entry.owner
            && let Some(owned) = self.owned.get_mut(owner)
        {
            owned.remove(uid);
            if owned.is_empty() {
                self.owned.remove(owner);
            }
        }
        for (id, _) in &entry.told {
            host.gang_deleted(id);
        }
        self.tell_owned(host, uid, OWNERS_MAX);
    }

    fn suspends(&self, uid: &Arc<str>) -> Option<Suspends> {
        let standing = |uid| {
            let entry: &Entry = self.entries.get(uid)?;
            Some(Standing { namespace: &entry.namespace, suspends: entry.suspends.as_deref(), owner: entry.owner.as_deref() })
        };
        topmost(uid, standing).cloned()
    }

    fn tell(&mut self, host: &Host, uid: &Arc<str>, object: &Arc<GangObject>) {
        let suspends = self.suspends(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let before = std::mem::take(&mut entry.told);
        let with_hash = |spec: GangSpec| {
            let hash = hash(&spec);
            (spec, hash)
        };
        let now: Vec<(GangSpec, u64)> = specs(object, suspends.as_ref()).into_iter().map(with_hash).collect();
        let known: BTreeMap<&GangId, u64> = before.iter().map(|(id, hash)| (id, *hash)).collect();
        let current: BTreeSet<&GangId> = now.iter().map(|(spec, _)| &spec.id).collect();
        for (id, _) in before.iter().filter(|(id, _)| !current.contains(id)) {
            host.gang_deleted(id);
        }
        for (place, (spec, hash)) in (0_u32..).zip(&now) {
            if known.get(&spec.id) != Some(hash) {
                host.gang_applied(spec.clone(), object, place, suspends.as_ref());
            }
        }
        entry.told = now.into_iter().map(|(spec, hash)| (spec.id, hash)).collect();
    }

    /// What an owner is has changed: what it owns, and so on, is told anew.
    fn tell_owned(&mut self, host: &Host, owner: &Arc<str>, depth: usize) {
        let parts = self.owned.get(owner).filter(|_| depth > 0).cloned().unwrap_or_default();
        for uid in parts {
            if let Some(object) = self.entries.get(&uid).and_then(|entry| entry.object.clone()) {
                self.tell(host, &uid, &object);
            }
            self.tell_owned(host, &uid, depth - 1);
        }
    }
}

/// Whether an Event is about an object of a kind whose pods may be members.
fn may_own_members(event: &EventObject) -> bool {
    let (api_version, kind) = (event.involved_object.api_version.as_deref(), event.involved_object.kind.as_deref());
    let (api_version, kind) = (api_version.unwrap_or_default(), kind.unwrap_or_default());
    reader_of(api_version, kind).is_some() || matches!(kind, "StatefulSet" | "ReplicaSet" | "ReplicationController")
}

fn hash(spec: &GangSpec) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{spec:?}").hash(&mut hasher);
    hasher.finish()
}

/// Takes the watch of Events about pods that owners could not create. What it lists no more is no news: it was said.
#[derive(Debug)]
pub(super) struct TakeFailures(pub(super) Arc<Gangs>);

impl Take<EventObject> for TakeFailures {
    fn listing(&mut self) {}

    fn applied(&mut self, event: EventObject) {
        self.0.state().failed(&self.0.host, event);
    }

    fn deleted(&mut self, _: EventObject) {}

    fn listed(&mut self) {}
}

/// Takes the watch of one kind.
#[derive(Debug)]
pub(super) struct TakeGangs {
    pub(super) gangs: Arc<Gangs>,
    pub(super) kind: &'static Kind,
}

impl Take<GangObject> for TakeGangs {
    fn listing(&mut self) {
        self.gangs.state().known.entry(self.kind.feed).or_default().listing();
    }

    fn applied(&mut self, mut object: GangObject) {
        if object.uid().is_empty() {
            return unreadable(&self.gangs.host, self.kind.feed, "no uid");
        }
        // Items of built-in lists do not say what they are; the version does not matter to what is read.
        if object.kind.is_empty() {
            self.kind.kind.clone_into(&mut object.kind);
            object.api_version = format!("{}/{}", self.kind.group, self.kind.versions.first().copied().unwrap_or_default());
        }
        self.gangs.state().applied(&self.gangs.host, self.kind.feed, object);
    }

    fn deleted(&mut self, object: GangObject) {
        let uid: Arc<str> = object.uid().into();
        let mut state = self.gangs.state();
        state.known.entry(self.kind.feed).or_default().deleted(&uid);
        state.gone(&self.gangs.host, &uid);
    }

    fn listed(&mut self) {
        let mut state = self.gangs.state();
        for uid in state.known.entry(self.kind.feed).or_default().listed() {
            state.gone(&self.gangs.host, &uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::host::{Clock, Journal, JournalLimits};
    use crate::model::Time;
    use crate::policy::Profile;
    use crate::telemetry::Metrics;
    use crate::wire::gang::KINDS;
    use crate::wire::journal::{Line, Record};

    fn host() -> Arc<Host> {
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::new(JournalLimits::default(), metrics.clone());
        Host::new(Profile::shipped(), Clock::simulated(Time::default()), metrics, journal).0
    }

    fn take(gangs: &Arc<Gangs>, kind: &str) -> TakeGangs {
        let kind = KINDS.iter().map(|reader| &reader.kind).find(|known| known.feed.starts_with(kind)).unwrap();
        TakeGangs { gangs: gangs.clone(), kind }
    }

    fn object(value: Value) -> GangObject {
        serde_json::from_value(value).unwrap()
    }

    fn template() -> Value {
        json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": 8}}}]}})
    }

    fn job(uid: &str, parallelism: u32, status: &Value) -> GangObject {
        let spec = json!({"parallelism": parallelism, "completions": parallelism, "template": template()});
        object(json!({"metadata": {"name": "train", "namespace": "ml", "uid": uid}, "spec": spec, "status": status}))
    }

    /// What the host was told since it was asked last: `+name size min owner`, with `!` where we suspended it, or `-name`.
    fn told(host: &Host, seen: &mut u64) -> Vec<String> {
        let lines = host.journal(|journal| journal.newest(100));
        // As a replay reads them.
        let lines: Vec<Line> = lines.iter().map(|line| serde_json::from_str(&serde_json::to_string(line).unwrap()).unwrap()).collect();
        let news: Vec<_> = lines.iter().filter(|line| line.seq >= *seen).collect();
        let text = news.iter().filter_map(|line| match &line.input {
            Record::GangApplied { object, place, suspends } => {
                let spec = specs(object, suspends.as_ref()).into_iter().nth(*place as usize).unwrap();
                let owner = spec.suspend.map(|owner| format!("{}/{}", owner.kind, owner.key.name)).unwrap_or_default();
                let ours = if spec.suspended_by_us { "!" } else { "" };
                Some(format!("+{} {} {} {owner}{ours}", spec.id.key.name, spec.size, spec.min))
            }
            Record::GangDeleted { name, .. } => Some(format!("-{name}")),
            _ => None,
        });
        let text = text.collect();
        *seen = lines.iter().map(|line| line.seq + 1).max().unwrap_or(0);
        text
    }

    #[test]
    fn a_job_is_news_when_its_size_changes_and_not_when_its_status_does() {
        let (host, mut seen) = (host(), 0);
        let gangs = Gangs::new(host.clone());
        let mut jobs = take(&gangs, "jobs.batch");
        jobs.listing();
        jobs.applied(job("a", 4, &json!({"active": 1})));
        jobs.listed();
        assert_eq!(told(&host, &mut seen), ["+train 4 4 Job/train"]);
        jobs.applied(job("a", 4, &json!({"active": 4})));
        assert!(told(&host, &mut seen).is_empty());
        jobs.applied(job("a", 8, &json!({"active": 4})));
        assert_eq!(told(&host, &mut seen), ["+train 8 8 Job/train"]);
        jobs.applied(job("a", 8, &json!({"conditions": [{"type": "Complete", "status": "True"}]})));
        assert_eq!(told(&host, &mut seen), ["-train"]);
        jobs.deleted(job("a", 8, &json!({})));
        assert!(told(&host, &mut seen).is_empty());
    }

    #[test]
    fn a_job_without_devices_is_no_news() {
        let (host, mut seen) = (host(), 0);
        let mut jobs = take(&Gangs::new(host.clone()), "jobs.batch");
        let mut plain = job("a", 4, &json!({}));
        plain.spec["template"] = json!({"spec": {}});
        jobs.applied(plain);
        assert!(told(&host, &mut seen).is_empty());
    }

    #[test]
    fn a_list_that_no_longer_names_a_job_ends_its_gang_and_one_created_anew_is_another() {
        let (host, mut seen) = (host(), 0);
        let gangs = Gangs::new(host.clone());
        take(&gangs, "jobs.batch").applied(job("a", 4, &json!({})));
        told(&host, &mut seen);
        // Another taker, as after a change of the served version.
        let mut jobs = take(&gangs, "jobs.batch");
        jobs.listing();
        jobs.applied(job("b", 4, &json!({})));
        jobs.listed();
        assert_eq!(told(&host, &mut seen), ["+train 4 4 Job/train", "-train"]);
    }

    #[test]
    fn the_topmost_owner_is_found_whichever_of_them_comes_first() {
        let owner = |kind: &str, uid: &str| {
            json!([{"apiVersion": "x", "kind": "Other", "name": "o", "uid": "o"},
            {"apiVersion": kind.split_once(' ').unwrap().0, "kind": kind.split_once(' ').unwrap().1, "name": "t", "uid": uid, "controller": true}])
        };
        let job_set = || {
            let replicated = json!([{"name": "node", "template": {"spec": {"parallelism": 2, "completions": 2}}}]);
            object(json!({"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "spec": {"replicatedJobs": replicated},
                "metadata": {"name": "t", "namespace": "ml", "uid": "js", "ownerReferences": owner("trainer.kubeflow.org/v1alpha1 TrainJob", "tj")}}))
        };
        let train_job = |annotations: Value| {
            let suspended = annotations["gangplank.dev/suspended"] == "true";
            object(json!({"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {"suspend": suspended},
                "metadata": {"name": "t", "namespace": "ml", "uid": "tj", "annotations": annotations}}))
        };
        let (host, mut seen) = (host(), 0);
        let gangs = Gangs::new(host.clone());
        let (mut job_sets, mut train_jobs) = (take(&gangs, "jobsets"), take(&gangs, "trainjobs"));
        job_sets.applied(job_set());
        assert_eq!(told(&host, &mut seen), ["+t 2 2 JobSet/t"]);
        train_jobs.applied(train_job(json!({})));
        assert_eq!(told(&host, &mut seen), ["+t 2 2 TrainJob/t"]);
        train_jobs.applied(train_job(json!({"gangplank.dev/suspended": "true"})));
        assert_eq!(told(&host, &mut seen), ["+t 2 2 TrainJob/t!"]);
        train_jobs.deleted(train_job(json!({})));
        assert_eq!(told(&host, &mut seen), ["+t 2 2 JobSet/t"]);
        job_sets.deleted(job_set());
        train_jobs.applied(train_job(json!({})));
        assert_eq!(told(&host, &mut seen), ["-t"]);
    }

    #[test]
    fn replicas_of_a_leader_worker_set_come_and_go_one_by_one() {
        let set = |replicas: u32| {
            object(json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
                "metadata": {"name": "s", "namespace": "ml", "uid": "u"},
                "spec": {"replicas": replicas, "leaderWorkerTemplate": {"size": 3}}}))
        };
        let (host, mut seen) = (host(), 0);
        let mut sets = take(&Gangs::new(host.clone()), "leaderworkersets");
        sets.applied(set(1));
        sets.applied(set(2));
        sets.applied(set(1));
        assert_eq!(told(&host, &mut seen), ["+s-0 3 3 ", "+s-1 3 3 ", "-s-1"]);
    }

    fn owned(namespace: &str, uid: &str, by: &str) -> GangObject {
        object(
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template()}, "metadata": {"name": uid, "namespace": namespace, "uid": uid,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": by, "uid": by, "controller": true}]}}),
        )
    }

    #[test]
    fn nobody_makes_an_object_of_another_namespace_its_owner() {
        let (host, mut seen) = (host(), 0);
        let mut jobs = take(&Gangs::new(host.clone()), "jobs.batch");
        jobs.applied(owned("ml", "a", "none"));
        jobs.applied(owned("other", "b", "a"));
        jobs.applied(owned("ml", "c", "a"));
        assert_eq!(told(&host, &mut seen), ["+a 1 1 Job/a", "+b 1 1 Job/b", "+c 1 1 Job/a"]);
    }

    #[test]
    fn failures_of_jobs_with_devices_are_told_with_their_owners_whichever_is_seen_first() {
        let event = |uid: &str| -> EventObject {
            serde_json::from_value(json!({"reason": "FailedCreate", "message": "no", "lastTimestamp": "2026-01-01T00:00:00Z",
                "involvedObject": {"apiVersion": "batch/v1", "kind": "Job", "namespace": "ml", "name": uid, "uid": uid}}))
            .unwrap()
        };
        let told = |host: &Host| {
            let lines = host.journal(|journal| journal.newest(100));
            let of = |line: &Line| match &line.input {
                Record::CreationFailed { event, above } => Some(format!("{} {above:?}", event.creation_failure()?.owner.uid)),
                _ => None,
            };
            lines.iter().filter_map(of).collect::<Vec<_>>()
        };
        let host = host();
        let gangs = Gangs::new(host.clone());
        let (mut jobs, mut failures) = (take(&gangs, "jobs.batch"), TakeFailures(gangs.clone()));
        let mut plain = job("plain", 4, &json!({}));
        plain.spec["template"] = json!({"spec": {}});
        jobs.applied(plain);
        failures.applied(event("plain"));
        assert!(told(&host).is_empty(), "a Job without devices");
        failures.applied(event("b"));
        jobs.applied(owned("ml", "a", "top"));
        jobs.applied(owned("ml", "b", "a"));
        assert_eq!(told(&host), ["b []", "b [\"a\", \"top\"]"]);
        for index in 0..2 * FAILURES_MAX {
            failures.applied(event(&index.to_string()));
            assert!(gangs.state().failures.len() <= FAILURES_MAX);
        }
    }

    #[test]
    fn owners_in_a_circle_end_somewhere() {
        let (host, mut seen) = (host(), 0);
        let mut jobs = take(&Gangs::new(host.clone()), "jobs.batch");
        jobs.applied(owned("ml", "a", "b"));
        jobs.applied(owned("ml", "b", "a"));
        jobs.applied(owned("ml", "c", "c"));
        assert!(told(&host, &mut seen).len() < 20);
    }
}
