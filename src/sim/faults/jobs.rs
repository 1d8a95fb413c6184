//! Work: the Job controller, which creates members one by one, replaces those that fail or are deleted and counts them;
//! and users, who create, delete and create anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::museum::Flaw;
use super::run::Run;
use super::scenario::{JobPlan, Says};
use super::timeline::{Event, Ms};
use crate::model::{DeviceRequest, GangId, GangKind, GangRef, GangSpec, OwnerRef, Pod, PodKey, PodPhase, PodUid, TopologyWishes};

/// A Job as the API server has it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) plan: JobPlan,
    pub(super) uid: Arc<str>,
    /// Indexes that are done.
    pub(super) done: BTreeSet<u32>,
    /// The newest pod of each index.
    pub(super) members: BTreeMap<u32, PodUid>,
    created: u32,
    /// `status.failed`, and how many of them Gangplank is to blame for.
    failed: u32,
    /// How often all members were there.
    runs: u64,
    /// All members are there, since when.
    pub(super) complete_since: Option<Ms>,
    /// `spec.suspend`, and whether it was us.
    pub(super) suspended: bool,
    suspended_by_us: bool,
    /// Since when some are bound and too few.
    pub(super) partial_since: Option<Ms>,
}

impl Job {
    pub(super) fn owner(&self) -> OwnerRef {
        OwnerRef { api_version: "batch/v1".into(), kind: "Job".into(), key: self.plan.key.clone(), uid: self.uid.clone() }
    }

    /// What the object says of its pods.
    fn spec(&self) -> GangSpec {
        let size = if self.plan.gang { self.plan.size } else { 1 };
        GangSpec {
            id: GangId { kind: GangKind::Owner, key: self.plan.key.clone(), uid: self.uid.clone() },
            size,
            min: if self.plan.gang { self.plan.min } else { 1 },
            roles: Vec::new(),
            topology: TopologyWishes::default(),
            suspend: self.plan.suspendable.then(|| self.owner()),
            suspended_by_us: self.suspended_by_us,
        }
    }
}

/// Who deletes a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Controller,
    User,
    Gangplank,
}

impl Run {
    pub(super) fn create_job(&mut self, plan: JobPlan) {
        let key = plan.key.clone();
        if self.jobs.contains_key(&key) {
            return;
        }
        self.counter += 1;
        let uid = Arc::from(format!("job-{}", self.counter));
        self.say(|| {
            format!("job {key} is created: {} members, {:?} each{}", plan.size, plan.ask, if plan.gang { ", together" } else { "" })
        });
        let job = Job {
            plan,
            uid,
            done: BTreeSet::new(),
            members: BTreeMap::new(),
            created: 0,
            failed: 0,
            runs: 0,
            complete_since: None,
            suspended: false,
            suspended_by_us: false,
            partial_since: None,
        };
        self.store.apply_gang(job.spec());
        self.jobs.insert(key.clone(), job);
        let after = self.dice.between(1, 200);
        self.enter(after, Event::Job { key });
    }

    pub(super) fn delete_job(&mut self, key: &PodKey) -> Option<JobPlan> {
        let job = self.jobs.remove(key)?;
        self.say(|| format!("job {key} is deleted"));
        self.store.remove_gang(&job.spec().id);
        for uid in job.members.values() {
            self.delete_pod(uid, By::Controller);
        }
        Some(job.plan)
    }

    /// The Job controller's look at one Job.
    pub(super) fn sync_job(&mut self, key: &PodKey) {
        let Some(job) = self.jobs.get(key).filter(|job| !job.suspended) else { return };
        let alive =
            |uid: &PodUid| self.store.pod(uid).is_some_and(|pod| !pod.phase.is_finished() && (!pod.deleting || job.plan.steady_names));
        let missing: Vec<u32> =
            (0..job.plan.size).filter(|index| !job.done.contains(index) && !job.members.get(index).is_some_and(alive)).collect();
        let Some(index) = missing.first().copied() else { return };
        let pause = job.plan.pause_ms;
        if self.over_quota(key) {
            let after = self.dice.between(1000, 3000);
            return self.enter(after, Event::Job { key: key.clone() });
        }
        let pod = self.member(key, index);
        let Some(pod) = pod else { return };
        let uid = pod.uid.clone();
        if self.store.create(pod) {
            if let Some(job) = self.jobs.get_mut(key) {
                job.members.insert(index, uid.clone());
                job.created += 1;
            }
            self.say(|| format!("job {key} creates its member {index}, {uid}"));
        }
        let after = if missing.len() > 1 { pause } else { 500 };
        self.enter(after.max(1), Event::Job { key: key.clone() });
    }

    /// Whole devices, as the API server counts them when a pod is created.
    fn over_quota(&self, key: &PodKey) -> bool {
        let Some(job) = self.jobs.get(key) else { return false };
        let super::scenario::Ask::Whole(asked) = job.plan.ask else { return false };
        let gpu = super::scenario::gpu();
        let used: u32 = (self.store.pods())
            .filter(|pod| pod.key.namespace == key.namespace && !pod.phase.is_finished())
            .map(|pod| pod.request.whole_of(&gpu))
            .sum();
        self.store.quotas().iter().any(|quota| quota.namespace == key.namespace && quota.hard.iter().any(|(_, hard)| used + asked > *hard))
    }

    fn member(&mut self, key: &PodKey, index: u32) -> Option<Pod> {
        self.counter += 1;
        let job = self.jobs.get(key)?;
        let plan = &job.plan;
        let name = if plan.steady_names { format!("{}-{index}", key.name) } else { format!("{}-{index}-{}", key.name, job.created) };
        let owner = job.owner();
        let of = |kind, uid: &str, size| GangRef {
            id: GangId { kind, key: key.clone(), uid: Arc::from(uid) },
            size,
            min: size.map(|_| plan.min).filter(|min| Some(*min) != size),
            role: Arc::from(""),
            rank: Some(index),
        };
        let gang = match plan.says {
            Says::Annotation => plan.gang.then(|| of(GangKind::Annotation, "", Some(plan.size))),
            Says::Owner => Some(of(GangKind::Owner, &job.uid, None)),
        };
        Some(Pod {
            created_at: self.time(),
            controller: Some(owner),
            priority: plan.priority,
            never_preempts: plan.never_preempts,
            expected: plan.says_expected.then(|| Duration::from_millis(plan.run_ms)),
            labels: plan.labels(),
            request: DeviceRequest { containers: plan.containers(), ..DeviceRequest::default() },
            cpu_milli: plan.cpu_milli,
            memory_bytes: 1 << 30,
            gated: plan.gated,
            gang,
            ..Pod::pending(PodUid::new(format!("u{:05}", self.counter)), PodKey::new(key.namespace.clone(), name))
        })
    }

    /// Deletes a pod: at once if nobody runs it, else kubelet has its grace.
    pub(super) fn delete_pod(&mut self, uid: &PodUid, by: By) {
        let Some(pod) = self.store.pod(uid).filter(|pod| !pod.deleting).cloned() else { return };
        self.say(|| format!("{} ({uid}) is deleted by {by:?}", pod.key));
        if !pod.phase.is_finished() && by != By::Controller {
            self.count_failure(&pod, by);
        }
        if pod.node.is_none() || pod.phase.is_finished() {
            self.remove_pod(uid);
        } else {
            let _ = self.store.change(uid, |pod| pod.deleting = true);
            self.decisions.deleted(uid, self.now);
            self.settle_gang(&pod);
            let grace = pod.controller.as_ref().and_then(|owner| self.jobs.get(&owner.key)).map_or(15_000, |job| job.plan.grace_ms);
            let after = self.dice.between(200, grace);
            self.enter(after, Event::Gone { uid: uid.clone() });
        }
        self.job_of(&pod);
    }

    /// The object is gone.
    pub(super) fn remove_pod(&mut self, uid: &PodUid) {
        self.kubelet_frees(uid);
        if let Some(pod) = self.store.remove(uid) {
            self.say(|| format!("{} ({uid}) is gone", pod.key));
            self.job_of(&pod);
            self.settle_gang(&pod);
        }
    }

    /// A pod that failed, or was deleted before it was done, counts against the Job's `backoffLimit`.
    pub(super) fn count_failure(&mut self, pod: &Pod, by: By) {
        let Some(key) = pod.controller.as_ref().map(|owner| owner.key.clone()) else { return };
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.failed += 1;
        if by == By::Gangplank && pod.node.is_none() {
            self.fail("I3", format!("gangplank deleted {} before it ran: its Job counts that as a failure", pod.key));
        }
    }

    fn job_of(&mut self, pod: &Pod) {
        if let Some(owner) = &pod.controller {
            let after = self.dice.between(5, 800);
            self.enter(after, Event::Job { key: owner.key.clone() });
        }
    }

    /// A member ended.
    pub(super) fn finished(&mut self, uid: &PodUid, phase: PodPhase) {
        let Some(pod) = self.store.pod(uid).filter(|pod| pod.node.is_some() && !pod.phase.is_finished()).cloned() else { return };
        self.say(|| format!("{} ({uid}) ends: {phase:?}", pod.key));
        let _ = self.store.change(uid, |pod| pod.phase = phase);
        self.kubelet_frees(uid);
        if let Some((job, index)) = self.job_index(&pod) {
            if phase == PodPhase::Succeeded {
                job.done.insert(index);
            } else {
                self.count_failure(&pod, By::User);
            }
        }
        self.job_of(&pod);
        self.settle_gang(&pod);
        let after = self.dice.between(300, 5000);
        self.enter(after, Event::Gone { uid: uid.clone() });
    }

    fn job_index(&mut self, pod: &Pod) -> Option<(&mut Job, u32)> {
        let owner = pod.controller.as_ref()?;
        let job = self.jobs.get_mut(&owner.key).filter(|job| job.uid == owner.uid)?;
        let index = job.members.iter().find(|(_, uid)| **uid == pod.uid).map(|(index, _)| *index)?;
        Some((job, index))
    }

    /// How many members are bound or done.
    pub(super) fn present(&self, key: &PodKey) -> u32 {
        let Some(job) = self.jobs.get(key) else { return 0 };
        let bound = |uid: &&PodUid| self.store.pod(uid).is_some_and(|pod| pod.occupies() && !pod.deleting);
        let bound = job.members.iter().filter(|(index, _)| !job.done.contains(index)).filter(|(_, uid)| bound(uid)).count();
        u32::try_from(bound + job.done.len()).unwrap_or(u32::MAX)
    }

    /// Work begins when all who must be there are; a gang that is there in part is noted. A gang that loses a member begins
    /// again when it is whole, as training does.
    pub(super) fn settle_gang(&mut self, pod: &Pod) {
        let Some(key) = pod.controller.as_ref().map(|owner| owner.key.clone()) else { return };
        let (present, now) = (self.present(&key), self.now);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let run_ms = job.plan.run_ms;
        if !job.plan.gang {
            if pod.occupies() && self.working.insert(pod.uid.clone()) {
                self.enter(run_ms, Event::End { uid: pod.uid.clone() });
            }
            return;
        }
        if present < job.plan.min {
            job.partial_since = if present == 0 { None } else { job.partial_since.or(Some(now)) };
            job.complete_since = None;
            return;
        }
        job.partial_since = None;
        if job.complete_since.is_none() {
            (job.complete_since, job.runs) = (Some(now), job.runs + 1);
            let run = job.runs;
            self.enter(run_ms, Event::GangEnd { key, run });
        }
    }

    /// The members of a gang end together.
    pub(super) fn gang_ends(&mut self, key: &PodKey, run: u64) {
        let Some(job) = self.jobs.get(key).filter(|job| job.runs == run && job.complete_since.is_some()) else { return };
        for uid in job.members.values().cloned().collect::<Vec<_>>() {
            self.finished(&uid, PodPhase::Succeeded);
        }
        // An elastic gang is done without those that never joined.
        let left: Vec<PodUid> =
            self.members(key).into_iter().filter(|uid| self.store.pod(uid).is_some_and(|pod| !pod.phase.is_finished())).collect();
        if let Some(job) = self.jobs.get_mut(key).filter(|job| job.plan.min < job.plan.size) {
            job.done = (0..job.plan.size).collect();
            left.iter().for_each(|uid| self.delete_pod(uid, By::Controller));
        }
    }

    /// Somebody writes `spec.suspend`: a suspended Job deletes its pods, and counts none of them.
    pub(super) fn suspend(&mut self, owner: &OwnerRef, suspend: bool, by: By) {
        let Some(job) = self.jobs.get_mut(&owner.key).filter(|job| job.uid == owner.uid) else { return };
        let changes = job.suspended != suspend;
        let noted = self.flaw != Some(Flaw::ForgetsWhoSuspended);
        (job.suspended, job.suspended_by_us) = (suspend, suspend && by == By::Gangplank && noted);
        if !changes {
            let spec = job.spec();
            return self.store.apply_gang(spec);
        }
        let (spec, members) = (job.spec(), job.members.values().cloned().collect::<Vec<_>>());
        self.say(|| format!("job {} is {}", owner.key, if suspend { "suspended" } else { "resumed" }));
        self.store.apply_gang(spec);
        for uid in members.into_iter().filter(|_| suspend) {
            self.delete_pod(&uid, By::Controller);
        }
        let after = self.dice.between(5, 800);
        self.enter(after, Event::Job { key: owner.key.clone() });
    }

    pub(super) fn members(&self, key: &PodKey) -> Vec<PodUid> {
        self.jobs.get(key).map(|job| job.members.values().cloned().collect()).unwrap_or_default()
    }
}
