//! Disturbances: what each does when it comes, and how it is mended. And effects, which arrive late, in any order, or not at all.

use super::jobs::By;
use super::museum::Flaw;
use super::run::Run;
use super::scenario::{Disturbance, Trap};
use super::store::Kind;
use super::timeline::{Event, Ms, Watcher};
use crate::engine::{Effect, Input, PodRef};
use crate::model::{Health, Node, NodeName, Pod, PodKey, PodPhase, PodUid, Taint, TaintEffect};

impl Run {
    pub(super) fn disturb(&mut self, index: usize) {
        let Some((_, disturbance)) = self.scenario.disturbances.get(index).cloned() else { return };
        self.say(|| format!("disturbance {index}: {disturbance:?}"));
        let now = self.now;
        let after = match disturbance {
            Disturbance::KillGangplank(at, ms) => {
                self.kill_replica(at);
                self.enter(ms, Event::StartReplica { replica: at });
                0
            }
            Disturbance::PauseGangplank(at, ms) => {
                self.replicas[at].stop_until(now + ms);
                0
            }
            Disturbance::PauseBoth(at, ms) => {
                self.replicas[at].stop_until(now + ms);
                self.schedulers[at].paused_until = now + ms;
                0
            }
            Disturbance::KillScheduler(at, ms) => {
                self.kill_scheduler(at);
                self.enter(ms, Event::StartScheduler { scheduler: at });
                0
            }
            Disturbance::BreakWatch { replica, kind, ms, .. } => {
                self.break_watch(Watcher::Replica(replica), Kind::ALL[kind]);
                ms
            }
            Disturbance::LoseNode(at, ms) => {
                self.lose_node(at);
                ms
            }
            Disturbance::SickDevice(at, device, ms) => {
                self.change_node(at, |node| {
                    node.pools[0].devices[device].health = Health::Unhealthy;
                    node.pools[0].allocatable = node.pools[0].allocatable.saturating_sub(1);
                });
                ms
            }
            Disturbance::Blip(at, ms) => {
                self.change_node(at, |node| node.pools[0].allocatable = 0);
                ms
            }
            Disturbance::Cordon(at, ms) => {
                self.change_node(at, |node| node.unschedulable = true);
                ms
            }
            Disturbance::Zone(job, node, ms) => {
                self.zones.insert(self.zone(job, node));
                ms
            }
            Disturbance::AtBinding(trap) => {
                self.trap = Some(trap);
                0
            }
            Disturbance::Unanswering(at, ms) => {
                self.silence(at);
                ms
            }
            Disturbance::LoseForGood(at) => {
                self.lose_node(at);
                0
            }
            other => self.disturb_work(&other),
        };
        if after > 0 {
            self.enter(after, Event::Mend { index });
        }
    }

    /// Users, members that fail, and what waits for an eviction. Returns after how long it is mended.
    fn disturb_work(&mut self, disturbance: &Disturbance) -> Ms {
        match *disturbance {
            Disturbance::DeleteMember(job) => {
                if let Some(uid) = self.some_member(job) {
                    self.delete_pod(&uid, By::User);
                }
                0
            }
            Disturbance::FailMember(job) => {
                if let Some(uid) = self.some_member(job) {
                    self.finished(&uid, PodPhase::Failed);
                }
                0
            }
            Disturbance::DeleteJob(job) => {
                self.delete_job(&self.scenario.jobs[job].key.clone());
                0
            }
            Disturbance::RecreateJob(job, ms) => {
                self.delete_job(&self.scenario.jobs[job].key.clone());
                ms
            }
            Disturbance::Finalizer(job, ms) => {
                self.finalizers.insert(self.scenario.jobs[job].key.clone());
                ms
            }
            Disturbance::AtEviction(trap) => {
                self.eviction_trap = Some(trap);
                0
            }
            Disturbance::SuspendJob(job, ms) => {
                self.suspend_by_user(job, true);
                ms
            }
            _ => 0,
        }
    }

    pub(super) fn mend(&mut self, index: usize) {
        let Some((_, disturbance)) = self.scenario.disturbances.get(index).cloned() else { return };
        self.say(|| format!("mended {index}: {disturbance:?}"));
        match disturbance {
            Disturbance::BreakWatch { replica, kind, gone, .. } => self.mend_watch(Watcher::Replica(replica), Kind::ALL[kind], gone),
            Disturbance::LoseNode(at, _) => {
                if let Some(node) = self.away.remove(&at) {
                    let waits = |pod: &&Pod| pod.node.as_ref() == Some(&node.name) && pod.phase == PodPhase::Pending;
                    let waiting: Vec<PodUid> = self.store.pods().filter(waits).map(|pod| pod.uid.clone()).collect();
                    self.back_at.insert(node.name.clone(), self.now);
                    self.store.apply_node(node);
                    waiting.into_iter().for_each(|uid| self.enter(100, Event::Start { uid }));
                }
            }
            Disturbance::SickDevice(at, device, _) => {
                let before = self.scenario.nodes[at].0.pools[0].allocatable;
                self.change_node(at, |node| {
                    node.pools[0].devices[device].health = Health::Healthy;
                    node.pools[0].allocatable = before;
                });
            }
            Disturbance::Blip(at, _) => {
                let before = self.scenario.nodes[at].0.pools[0].allocatable;
                self.change_node(at, |node| {
                    let sick = node.pools[0].devices.iter().filter(|device| device.health == Health::Unhealthy).count();
                    node.pools[0].allocatable = before - u32::try_from(sick).unwrap_or(0);
                });
            }
            Disturbance::Cordon(at, _) => self.change_node(at, |node| node.unschedulable = false),
            Disturbance::Zone(job, node, _) => {
                let zone = self.zone(job, node);
                self.zones.remove(&zone);
                // The volume became reachable: kube-scheduler sees that as a change of the node.
                self.change_node(node, |_| {});
            }
            Disturbance::RecreateJob(job, _) => self.create_job(self.scenario.jobs[job].clone()),
            Disturbance::Finalizer(job, _) => drop(self.finalizers.remove(&self.scenario.jobs[job].key)),
            Disturbance::SuspendJob(job, _) => self.suspend_by_user(job, false),
            Disturbance::Unanswering(at, _) => {
                let name = self.scenario.nodes[at].0.name.clone();
                self.silent.remove(&name);
                self.back_at.insert(name, self.now);
                self.change_node(at, |node| {
                    node.ready = true;
                    node.taints.clear();
                });
            }
            _ => {}
        }
    }

    /// Its kubelet is not heard any more: the node is said to be not ready.
    fn silence(&mut self, at: usize) {
        let name = self.scenario.nodes[at].0.name.clone();
        self.silent.insert(name.clone());
        self.silent_since.insert(name, self.now);
        self.change_node(at, |node| {
            node.ready = false;
            node.taints = vec![Taint { key: "node.kubernetes.io/unreachable".into(), value: "".into(), effect: TaintEffect::NoSchedule }];
        });
    }

    fn suspend_by_user(&mut self, job: usize, suspend: bool) {
        let owner = self.jobs.get(&self.scenario.jobs[job].key).filter(|job| job.plan.suspendable).map(super::jobs::Job::owner);
        owner.into_iter().for_each(|owner| self.suspend(&owner, suspend, By::User));
    }

    fn zone(&self, job: usize, node: usize) -> (PodKey, NodeName) {
        (self.scenario.jobs[job].key.clone(), self.scenario.nodes[node].0.name.clone())
    }

    fn some_member(&mut self, job: usize) -> Option<PodUid> {
        let key = self.scenario.jobs[job].key.clone();
        let members: Vec<PodUid> = self.members(&key).into_iter().filter(|uid| self.store.pod(uid).is_some()).collect();
        self.dice.pick(&members).cloned()
    }

    /// Changes a node, also one that is away.
    fn change_node(&mut self, at: usize, change: impl FnOnce(&mut Node)) {
        let name = self.scenario.nodes[at].0.name.clone();
        if let Some(node) = self.away.get_mut(&at) {
            return change(node);
        }
        let Some(mut node) = self.store.node(&name).cloned() else { return };
        change(&mut node);
        self.store.apply_node(node);
    }

    /// The node is gone; after a while its pods are, too.
    fn lose_node(&mut self, at: usize) {
        let name = self.scenario.nodes[at].0.name.clone();
        let Some(node) = self.store.remove_node(&name) else { return };
        self.away.insert(at, node);
        let there: Vec<PodUid> = self.store.pods().filter(|pod| pod.node.as_ref() == Some(&name)).map(|pod| pod.uid.clone()).collect();
        for uid in there {
            let after = self.dice.between(500, 20_000);
            self.enter(after, Event::Gone { uid });
        }
    }

    /// An effect reaches the API server.
    pub(super) fn carry_out(&mut self, at: usize, effect: Effect) {
        self.say(|| format!("gangplank {at}: {effect:?}"));
        let (Effect::Touch(PodRef { uid, .. })
        | Effect::Condition { pod: PodRef { uid, .. }, .. }
        | Effect::Consume { pod: PodRef { uid, .. }, .. }
        | Effect::Nominate { pod: PodRef { uid, .. }, .. }
        | Effect::Release { pod: PodRef { uid, .. }, .. }) = &effect
        else {
            return self.carry_out_for_good(at, effect);
        };
        if self.store.pod(uid).is_some_and(|pod| pod.request.is_empty()) {
            return self.fail("I22", format!("gangplank writes on {uid}, which asks for nothing of its"));
        }
        let _ = match effect {
            // Words in a condition or an annotation: a change like a touch.
            Effect::Touch(pod) | Effect::Condition { pod, .. } | Effect::Notice { pod, .. } | Effect::Consume { pod, .. } => {
                self.store.change(&pod.uid, |_| {})
            }
            Effect::Nominate { pod, node } => self.store.change(&pod.uid, |pod| {
                if pod.node.is_none() {
                    pod.nominated = node;
                }
            }),
            Effect::Release { pod, plan } => self.store.change(&pod.uid, |pod| release(pod, plan)),
            Effect::Event(_)
            | Effect::NodeEvent(_)
            | Effect::ListEnded { .. }
            | Effect::Evict { .. }
            | Effect::Suspend { .. }
            | Effect::Provision(_)
            | Effect::Unprovision { .. } => Ok(()),
        };
    }

    fn carry_out_for_good(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::ListEnded { namespace } => {
                let ended = |pod: &&Pod| pod.key.namespace == namespace && pod.phase == PodPhase::Succeeded && !pod.request.is_empty();
                let pods = self.store.pods().filter(ended).map(|pod| self.as_read(pod)).collect();
                self.tell(at, Input::EndedListed { namespace, pods });
            }
            Effect::Evict { pod, why, force } => {
                let force = force || (self.flaw == Some(Flaw::ForceWhereItMayRun) && why == super::decisions::NODE_LOST);
                let Some(pod) = self.meant(pod) else { return };
                self.spring(at, Some(&pod.uid));
                self.check_eviction(&pod.uid, why, force);
                if force {
                    self.delete_pod(&pod.uid, By::Gangplank);
                    self.remove_pod(&pod.uid);
                } else if self.may_be_evicted(&pod.uid) {
                    self.delete_pod(&pod.uid, By::Gangplank);
                }
            }
            Effect::Suspend { owner, suspend } => {
                if suspend {
                    self.spring(at, None);
                    self.check_suspension(&owner);
                }
                self.suspend(&owner, suspend, By::Gangplank);
            }
            // Nothing here makes nodes.
            Effect::Provision(_)
            | Effect::Unprovision { .. }
            | Effect::Consume { .. }
            | Effect::Event(_)
            | Effect::NodeEvent(_)
            | Effect::Touch(_)
            | Effect::Condition { .. }
            | Effect::Notice { .. }
            | Effect::Nominate { .. }
            | Effect::Release { .. } => {}
        }
    }

    /// Whom an eviction hits: the pod that it names, or in the museum whoever bears its name by now, and others beside it.
    fn meant(&mut self, pod: PodRef) -> Option<PodRef> {
        match self.flaw {
            Some(Flaw::EvictByName) => self.store.read(&pod.key).map(|(there, _)| PodRef { uid: there.uid, ..pod }),
            Some(Flaw::EvictMore) => {
                let victim = self.store.pod(&pod.uid).cloned();
                let beside = |other: &&Pod| {
                    victim
                        .as_ref()
                        .is_some_and(|victim| victim.node == other.node && victim.priority >= other.priority && victim.uid != other.uid)
                };
                let others: Vec<PodUid> =
                    self.store.pods().filter(beside).filter(|pod| pod.occupies()).map(|pod| pod.uid.clone()).collect();
                for uid in others {
                    self.check_eviction(&uid, "it is on the node of a victim", false);
                    self.delete_pod(&uid, By::Gangplank);
                }
                Some(pod)
            }
            _ => Some(pod),
        }
    }

    /// What happens at the moment of an eviction.
    fn spring(&mut self, at: usize, victim: Option<&PodUid>) {
        match self.eviction_trap.take() {
            Some(Trap::Kill(ms)) => {
                self.kill_replica(at);
                self.enter(ms, Event::StartReplica { replica: at });
            }
            Some(Trap::Pause(ms)) => {
                let until = self.now + ms;
                self.replicas[at].stop_until(until);
                self.schedulers[at].paused_until = until;
            }
            Some(Trap::Delete) => victim.into_iter().for_each(|uid| self.delete_pod(uid, By::User)),
            None => {}
        }
    }

    /// kube-scheduler binds a pod that asks for nothing of ours.
    pub(super) fn bind_plain(&mut self, pod: &Pod, node: &NodeName) -> Result<(), &'static str> {
        let grant = crate::model::Grant { node: node.clone(), containers: Vec::new() };
        let write = super::store::BindWrite { key: pod.key.clone(), uid: pod.uid.clone(), grant, version: None, by_uid: true };
        self.store.bind(&write).map_err(|_| "refused")?;
        self.enter(100, Event::Start { uid: pod.uid.clone() });
        let runs = self.dice.between(5000, 60_000);
        self.enter(runs, Event::End { uid: pod.uid.clone() });
        Ok(())
    }
}

fn release(pod: &mut Pod, plan: Option<crate::model::PlanRecord>) {
    pod.gated = pod.gated_by_others;
    if plan.is_some() {
        pod.planned = plan;
    }
}
