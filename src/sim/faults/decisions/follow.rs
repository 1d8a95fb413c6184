//! A decision after it was made: victims have their notice, nobody goes that no decision names, what was freed is its preemptor's
//! until it has its places, and no queue comes to have more than its maximum.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::run::Run;
use super::super::scenario::Agent;
use super::super::store::Kind;
use super::super::timeline::Ms;
use super::judge::fits;
use super::{AWAITED_MAX_MS, Decision, held_but, is_kept_for};
use crate::book::{Holder, HolderState};
use crate::engine::Effect;
use crate::model::{NodeName, PodUid};

/// So long after it is ready a process has heard of everything that was sent before.
const WORKED_MS: Ms = 10_000;
/// What the engine says to those that go for others.
const FOR_OTHERS: &str = "a gang or pod of higher priority needs its room";

impl Run {
    /// Victims had their notice.
    pub(super) fn check_notices(&mut self, at: usize, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Notice { pod, at: until } = effect {
                match until {
                    Some(until) => drop(self.decisions.noticed.insert((at, pod.uid.clone()), *until)),
                    None => drop(self.decisions.noticed.remove(&(at, pod.uid.clone()))),
                }
            }
        }
        let wanted = self.scenario.rivalry.as_ref().is_some_and(|rivalry| rivalry.notice_ms > 0);
        let now = self.time() + Duration::from_millis(self.replicas[at].ahead_ms);
        let early = effects.iter().find_map(|effect| match effect {
            Effect::Evict { pod, why, .. } if wanted && *why == FOR_OTHERS => {
                self.decisions.noticed.get(&(at, pod.uid.clone())).is_none_or(|until| *until > now).then(|| pod.uid.clone())
            }
            _ => None,
        });
        if let Some(uid) = early {
            self.fail("I5", format!("{uid} is evicted before the end of its notice"));
        }
    }

    /// I5: whoever is told to go for others is in the ledger, for somebody who still waits.
    pub(super) fn check_goers(&mut self, at: usize, effects: &[Effect]) {
        let life = self.replicas[at].life;
        let beyond = effects.iter().find_map(|effect| match effect {
            Effect::Evict { pod, why, .. } if *why == FOR_OTHERS => {
                let known =
                    self.decisions.made.iter().any(|made| {
                        (made.replica, made.life) == (at, life) && made.over_at.is_none() && made.victims.contains_key(&pod.uid)
                    });
                (!known).then(|| pod.uid.clone())
            }
            _ => None,
        });
        if let Some(uid) = beyond {
            self.fail("I5", format!("{uid} is evicted for others, and no decision that stands names it"));
        }
    }

    /// I6: what victims left is their preemptor's until it has its places.
    pub(super) fn follow_decisions(&mut self, at: usize) {
        let (now, mut broken) = (self.now, None);
        let preempting = self.preempting(at);
        for place in 0..self.decisions.made.len() {
            let made = &self.decisions.made[place];
            if made.replica != at || made.over_at.is_some() {
                continue;
            }
            let replica = &self.replicas[at];
            // Of an elastic gang those start who are there by then.
            let runs = |phase: &str| matches!(phase, "reserved" | "released" | "bound");
            let boards = || replica.engine.queue().into_iter().any(|status| status.id.key == made.preemptor && runs(status.phase.name()));
            let placed = made.pods.iter().any(|uid| replica.engine.book().holder(uid).is_some()) || boards();
            let waits = preempting.contains(&made.preemptor.to_string());
            let silent = made.life != replica.life || !replica.ready;
            let over = silent || placed || !waits;
            // Who was stopped may be another's follower by now, and not know it yet: of its decisions it is noted only when they are over.
            if replica.paused_until > made.at && !silent {
                self.decisions.made[place].over_at = over.then_some(now);
                continue;
            }
            if !over && now > made.at + AWAITED_MAX_MS {
                broken = broken.or(Some(format!("{} waits for victims since {} ms", made.preemptor, now - made.at)));
            }
            if over {
                let causeless = !placed && !silent && self.is_given_up_without_cause(at, made);
                if causeless {
                    let status = replica.engine.queue().into_iter().find(|status| status.id.key == made.preemptor);
                    let why = status.map(|status| (status.phase, status.refusal));
                    broken = broken.or(Some(format!("{} gave up what was freed for it: {why:?}", made.preemptor)));
                }
                self.decisions.made[place].over_at = Some(now);
            } else if let Some(text) = self.taken_by_others(at, made) {
                broken = broken.or(Some(text));
            }
        }
        if let Some(text) = broken {
            self.fail("I6", text);
        }
    }

    /// Its members are the same, no node changed, and the deadline is not there.
    fn is_given_up_without_cause(&self, at: usize, made: &Decision) -> bool {
        let replica = &self.replicas[at];
        let waits = |uid: &PodUid| replica.pods.get(uid).is_some_and(|pod| pod.node.is_none() && !pod.deleting);
        // Of a pod that was gone long ago the engine may just have heard.
        let there = |uid: &PodUid| waits(uid) && self.store.pod(uid).is_some();
        let steady = self.store.log(Kind::Nodes).len() == made.nodes && self.scenario.plain.is_empty() && self.scenario.quotas.is_empty();
        let job = self.jobs.values().any(|job| job.members.values().any(|uid| made.pods.contains(uid)));
        // When all are gone it must fit still; what it needs beside devices was not kept for it.
        let mut book = replica.engine.book().clone();
        let gone = made.victims.keys().all(|uid| book.holder(uid).is_none());
        if gone && made.lead.request.share_milli() > 0 {
            return false;
        }
        let held: Vec<PodUid> =
            book.holders().filter(|holder| is_kept_for(holder, &made.preemptor)).map(|holder| holder.uid.clone()).collect();
        held.iter().for_each(|uid| drop(book.release(uid)));
        let lost = gone && !fits(&book, &made.lead, made.needed);
        steady && job && !lost && made.pods.iter().all(there) && self.now < made.at + AWAITED_MAX_MS - 8000
    }

    fn taken_by_others(&self, at: usize, made: &Decision) -> Option<String> {
        let book = self.replicas[at].engine.book();
        let places: BTreeSet<&NodeName> =
            book.holders().filter(|holder| is_kept_for(holder, &made.preemptor)).map(|holder| &holder.node).collect();
        if self.store.log(Kind::Nodes).len() != made.nodes {
            return None; // What is on a node that went away is nobody's.
        }
        let gone = made.victims.iter().filter(|(uid, _)| book.holder(uid).is_none());
        for (_, victim) in gone.filter(|(_, victim)| places.contains(&victim.node) && self.agent(&victim.node) != Some(Agent::Watches)) {
            let taker = book.holders_on(victim.node.as_str()).find(|holder| {
                let takes_it = holder.takes.iter().any(|take| take.device.as_ref().is_some_and(|device| victim.devices.contains(device)));
                let theirs =
                    is_kept_for(holder, &made.preemptor) || made.pods.contains(&holder.uid) || made.victims.contains_key(&holder.uid);
                takes_it && !theirs && holder.changed_at > made.told_at
            });
            if let Some(taker) = taker {
                return Some(format!("what {} left on {} for {} is given to {}", victim.key, victim.node, made.preemptor, taker.key));
            }
        }
        None
    }

    /// No queue, nor one above it, has more than its maximum, where anything was given just now.
    pub(super) fn check_maxima(&mut self, at: usize, kind: &'static str) {
        if !self.replicas[at].ready || !matches!(kind, "plan" | "filter" | "bind") {
            return;
        }
        let Some(rivalry) = &self.scenario.rivalry else { return };
        let book = self.replicas[at].engine.book();
        let now = self.time() + Duration::from_millis(self.replicas[at].ahead_ms);
        // What a process before this one had sent may land after the first plans, and before the first Binding.
        if kind != "bind" && self.now < self.replicas[at].ready_since + WORKED_MS {
            return;
        }
        let commits = |state: HolderState| kind != "bind" || matches!(state, HolderState::Binding { .. });
        let over = (rivalry.queues.iter().enumerate()).find_map(|(place, rule)| {
            let most = u64::from(rule.maximum?) * 1000;
            // What lies on a node that is lost nobody can use, and others may be where it was.
            let lost = |holder: &Holder| self.silent.contains(&holder.node) || self.store.node(&holder.node).is_none();
            let held = held_but(book, rivalry, place, lost);
            let of = |holder: &Holder| rivalry.queue_of(&holder.key.namespace).is_some_and(|own| rivalry.path(own).any(|at| at == place));
            let fresh = book
                .holders()
                .any(|holder| holder.changed_at == now && holder.state != HolderState::Bound && commits(holder.state) && of(holder));
            (held > most && fresh).then(|| format!("queue {} holds {held} thousandths, and may have {most}", rule.name))
        });
        if let Some(text) = over {
            self.fail("I7", format!("after {kind}: {text}"));
        }
    }
}
