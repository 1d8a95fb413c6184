//! One attempt of kube-scheduler on one pod: the nominated node first, then all; the extender after its own filters;
//! then the Binding, beside the next attempt. And its lease.

use super::kube_scheduler::Place;
use super::replica::LEASE_MS;
use super::run::Run;
use super::store::Kind;
use super::timeline::{Event, Ms, Watcher};
use crate::engine::{Answer, FilterQuery, Input};
use crate::model::{NodeName, Pod, PodUid};

const FLUSH_MS: Ms = 30_000;
const RENEW_MS: Ms = 2000;
/// `httpTimeout` of the extender's entry.
const TIMEOUT_MS: Ms = 5000;

/// How an attempt ended without a node.
enum Ended {
    /// Nobody takes it; whether the extender had a word in that.
    Refused { by_extender: bool, reason: u64 },
    /// The extender failed; how long that took.
    Failed(Ms),
}

impl Run {
    pub(super) fn start_scheduler(&mut self, at: usize) {
        if self.schedulers[at].alive {
            return;
        }
        let single = self.lease.is_none();
        let scheduler = &mut self.schedulers[at];
        scheduler.start();
        scheduler.leading = single;
        let life = scheduler.life;
        self.say(|| format!("kube-scheduler {at} starts"));
        self.follow(Watcher::Scheduler(at), &[Kind::Pods, Kind::Nodes]);
        self.enter(FLUSH_MS, Event::Flush { scheduler: at, life });
        if !single {
            self.enter(0, Event::Lease { scheduler: at, life });
        }
    }

    pub(super) fn kill_scheduler(&mut self, at: usize) {
        if self.schedulers[at].alive {
            (self.schedulers[at].alive, self.schedulers[at].leading, self.schedulers[at].paused_until) = (false, false, 0);
            self.say(|| format!("kube-scheduler {at} dies"));
        }
    }

    pub(super) fn flush(&mut self, at: usize, life: u64) {
        self.schedulers[at].flush(self.now);
        self.enter(FLUSH_MS, Event::Flush { scheduler: at, life });
    }

    pub(super) fn lease(&mut self, at: usize, life: u64) {
        let now = self.now;
        let Some(lease) = &mut self.lease else { return };
        let scheduler = &mut self.schedulers[at];
        if (scheduler.lease_seen.0, scheduler.lease_seen.1) != (lease.holder, lease.renewals) {
            scheduler.lease_seen = (lease.holder, lease.renewals, now);
        }
        let lapsed = now >= scheduler.lease_seen.2 + LEASE_MS;
        if scheduler.leading && lease.holder != at {
            // It ends itself, and its pod starts it anew.
            self.kill_scheduler(at);
            let after = self.dice.between(500, 3000);
            return self.enter(after, Event::StartScheduler { scheduler: at });
        }
        if scheduler.leading || lapsed {
            lease.holder = at;
            lease.renewals += 1;
            scheduler.lease_seen = (at, lease.renewals, now);
            if !scheduler.leading {
                scheduler.leading = true;
                self.say(|| format!("kube-scheduler {at} leads"));
            }
        }
        let after = RENEW_MS + self.dice.below(200);
        self.enter(after, Event::Lease { scheduler: at, life });
    }

    /// Enters the next cycle, if there is anything to try.
    pub(super) fn drive(&mut self, at: usize) {
        let now = self.now;
        let scheduler = &mut self.schedulers[at];
        if !scheduler.is_up() {
            return;
        }
        let Some(next) = scheduler.next_try(now) else { return };
        if scheduler.cycle_at.is_some_and(|at| at <= next.max(now + 5)) {
            return;
        }
        let life = scheduler.life;
        let after = (next - now) + self.dice.between(1, 5);
        self.schedulers[at].cycle_at = Some(now + after);
        self.enter(after, Event::Cycle { scheduler: at, life });
    }

    pub(super) fn cycle(&mut self, at: usize) {
        let now = self.now;
        let scheduler = &mut self.schedulers[at];
        if scheduler.cycle_at.is_none_or(|due| due > now) || !scheduler.is_up() {
            return;
        }
        scheduler.cycle_at = None;
        let Some(uid) = scheduler.pop(now) else { return };
        let Some(pod) = scheduler.cache.pod(&uid).map(|pod| pod.pod.clone()) else {
            scheduler.waiting.remove(&uid);
            return;
        };
        if pod.deleting || pod.gated {
            if let Some(waiting) = scheduler.waiting.get_mut(&uid) {
                waiting.place = if pod.gated { Place::Gated } else { Place::Unschedulable(now) };
            }
            return;
        }
        self.counts.attempts += 1;
        match self.choose(at, &pod) {
            Ok(node) => self.assume(at, &pod, &node),
            Err(Ended::Refused { by_extender, reason }) => {
                self.say(|| {
                    format!("kube-scheduler {at}: {} is unschedulable ({})", pod.key, if by_extender { "extender" } else { "in-tree" })
                });
                self.schedulers[at].refused(now, &uid, by_extender);
                let after = self.dice.between(1, 10);
                self.enter(after, Event::Condition { uid, reason, unschedulable: true });
            }
            Err(Ended::Failed(after)) => {
                self.schedulers[at].failed(now, &uid);
                // One pod at a time: while it waits for an answer it tries nobody else.
                if after > 0 {
                    let life = self.schedulers[at].life;
                    self.schedulers[at].cycle_at = Some(now + after);
                    self.enter(after, Event::Cycle { scheduler: at, life });
                }
                self.enter(after + 1, Event::Condition { uid, reason: 1, unschedulable: false });
            }
        }
    }

    fn choose(&mut self, at: usize, pod: &Pod) -> Result<NodeName, Ended> {
        let zone = |run: &Self, names: Vec<NodeName>| -> Vec<NodeName> {
            let refuses =
                |name: &NodeName| pod.controller.as_ref().is_some_and(|owner| run.zones.contains(&(owner.key.clone(), name.clone())));
            names.into_iter().filter(|name| !refuses(name)).collect()
        };
        let Some(sim_pod) = self.schedulers[at].cache.pod(&pod.uid).cloned() else { return Err(Ended::Failed(0)) };
        let nominated = self.schedulers[at].nominated.get(&pod.uid).or(pod.nominated.as_ref()).cloned();
        if let Some(nominated) = nominated {
            let alone = zone(self, self.schedulers[at].feasible(&sim_pod, Some(&nominated)));
            if !alone.is_empty()
                && let Ok(mut passed) = self.ask_filter(at, pod, alone)
                && let Some(node) = passed.0.pop()
            {
                return Ok(node);
            }
        }
        let names = zone(self, self.schedulers[at].feasible(&sim_pod, None));
        if names.is_empty() {
            return Err(Ended::Refused { by_extender: false, reason: 2 });
        }
        let (mut passed, reason) = self.ask_filter(at, pod, names)?;
        if passed.is_empty() {
            return Err(Ended::Refused { by_extender: true, reason });
        }
        if passed.len() > 1 && !pod.request.is_empty() {
            let names: Vec<&str> = passed.iter().map(NodeName::as_str).collect();
            let asked = self.as_read(pod);
            if let Answer::Prioritize(scores) = self.tell(at, Input::Prioritize(FilterQuery { pod: &asked, names: &names })) {
                self.check_scores(names.len(), &scores);
                let best = scores.iter().max().copied().unwrap_or(0);
                let mut keep = scores.iter().map(|score| *score == best);
                passed.retain(|_| keep.next().unwrap_or(true));
            }
        }
        let place = self.dice.place(passed.len());
        Ok(passed.swap_remove(place))
    }

    /// The filter verb over HTTP: the names that pass, and a number for the words of the refusal.
    fn ask_filter(&mut self, at: usize, pod: &Pod, names: Vec<NodeName>) -> Result<(Vec<NodeName>, u64), Ended> {
        if pod.request.is_empty() {
            return Ok((names, 0));
        }
        let faults = if self.calm { 0 } else { self.scenario.rates.http };
        let (lost, unanswered) = (self.dice.chance(faults), self.dice.chance(faults));
        let replica = &self.replicas[at];
        if !replica.alive {
            return Err(Ended::Failed(0));
        }
        if replica.paused_until > self.now || lost {
            return Err(Ended::Failed(TIMEOUT_MS));
        }
        let offered: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        let asked = self.as_read(pod);
        self.counts.filters += 1;
        *self.counts.asked.entry(pod.uid.clone()).or_default() += 1;
        let answer = self.tell(at, Input::Filter(FilterQuery { pod: &asked, names: &offered }));
        self.check_filter(at, names.len(), &answer);
        let Answer::Filter(answer) = answer else { return Err(Ended::Failed(0)) };
        if unanswered {
            return Err(Ended::Failed(TIMEOUT_MS));
        }
        self.say(|| format!("filter {} of {}: {:?}", pod.key, offered.join(" "), answer));
        let reason = super::checks::words(&answer.refused);
        let passed = answer.nodes.iter().filter_map(|place| names.get(*place as usize).cloned()).collect();
        Ok((passed, reason))
    }

    fn assume(&mut self, at: usize, pod: &Pod, node: &NodeName) {
        self.counter += 1;
        let call = self.counter;
        self.schedulers[at].assume(&pod.uid, node, call);
        let life = self.schedulers[at].life;
        // Volumes and other plugins before the Binding take their time.
        let after = if !self.calm && self.dice.chance(20) { self.dice.between(100, 1500) } else { self.dice.between(1, 15) };
        self.enter(after, Event::Bind { scheduler: at, life, uid: pod.uid.clone() });
    }

    pub(super) fn bind(&mut self, at: usize, life: u64, uid: &PodUid) {
        let scheduler = &self.schedulers[at];
        let (Some(node), Some(&call)) = (scheduler.assumed.get(uid).cloned(), scheduler.binding.get(uid)) else { return };
        let Some(pod) = scheduler.cache.pod(uid).map(|pod| pod.pod.clone()) else { return };
        if pod.request.is_empty() {
            // Nothing of ours: kube-scheduler binds it itself.
            let error = self.bind_plain(&pod, &node).err();
            return self.enter(1, Event::Bound { scheduler: at, life, uid: uid.clone(), call, error });
        }
        self.enter(TIMEOUT_MS, Event::Bound { scheduler: at, life, uid: uid.clone(), call, error: Some("no answer in time") });
        let lost = !self.calm && self.dice.chance(self.scenario.rates.http);
        if !lost {
            self.enter(1, Event::Asked { replica: at, caller: (at, life, call), uid: uid.clone(), key: pod.key, node });
        }
    }

    pub(super) fn bound(&mut self, at: usize, uid: &PodUid, call: u64, error: Option<&'static str>) {
        let now = self.now;
        let scheduler = &mut self.schedulers[at];
        if scheduler.binding.get(uid) != Some(&call) {
            return;
        }
        scheduler.binding.remove(uid);
        let Some(error) = error else {
            scheduler.waiting.remove(uid);
            return;
        };
        let forgotten = scheduler.assumed.contains_key(uid);
        scheduler.unassume(now, uid);
        self.say(|| format!("kube-scheduler {at}: binding of {uid} failed: {error}"));
        if forgotten {
            self.enter(1, Event::Condition { uid: uid.clone(), reason: 3, unschedulable: false });
        }
    }
}
