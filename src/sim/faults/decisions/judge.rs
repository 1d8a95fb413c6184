//! One decision, by what its engine was told at that moment: whether a rule allows its victims, gangs go whole, budgets and guarantees
//! are kept, and it fits once they are gone, not before, and not without any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::budgets::covers;
use super::super::rivalry::Rivalry;
use super::super::run::Run;
use super::super::scenario::gpu;
use super::{Decision, Decisions, WAITED_MIN_MS, held_but, is_kept_for};
use crate::book::{Book, Holder, HolderState, Load, NodeEntry, Shape, takes};
use crate::model::{NodeName, Pod, PodKey, PodUid, Time};

/// How often one Job may evict another one: once, and again where a process forgot it or the room was lost.
const PAIR_MAX: u32 = 6;

impl Run {
    /// I5, I7, I8: one decision.
    pub(super) fn judge(&mut self, at: usize, place: usize, preemptor: &str, units: &[Vec<PodUid>], steady: bool) {
        let made = &self.decisions.made[place];
        let never = made.lead.never_preempts.then(|| ("I7", "its preemptionPolicy is Never".to_owned()));
        let broken = never
            .or_else(|| self.wrong_victim(at, made).map(|text| ("I7", text)))
            .or_else(|| self.part_of_gang(at, made).map(|text| ("I5", text)))
            .or_else(|| self.over_budget(at, made).map(|text| ("I7", text)))
            .or_else(|| self.below_guarantee(at, made).map(|text| ("I7", text)))
            .or_else(|| self.void(at, made, units, steady).map(|text| ("I5", text)))
            .or_else(|| self.again(place).map(|text| ("I8", text)));
        if let Some((invariant, text)) = broken {
            self.fail(invariant, format!("{preemptor}: {text}"));
        }
    }

    /// By priority, by what a queue lent, or by the order of one queue; else nobody goes for anybody.
    fn wrong_victim(&self, at: usize, made: &Decision) -> Option<String> {
        let lead = &made.lead;
        let rivalry = self.scenario.rivalry.as_ref()?;
        let book = self.replicas[at].engine.book();
        let mine = rivalry.queue_of(&lead.key.namespace);
        let asks = lead.request.units() * made.pods.len() as u64;
        let wrong = made.victims.values().find(|victim| {
            let theirs = rivalry.queue_of(&victim.key.namespace);
            let lower = victim.priority < lead.priority;
            let lent = mine != theirs
                && mine.is_some_and(|mine| held(book, rivalry, mine) + asks.min(1000) <= u64::from(rivalry.queues[mine].guaranteed) * 1000);
            let behind =
                mine == theirs && victim.priority == lead.priority && mine.is_some_and(|mine| rivalry.queues[mine].order != "priority");
            !(lower || lent || behind)
        })?;
        Some(format!(
            "{} of priority {} is evicted for {} of priority {}, and no rule allows it",
            wrong.key, wrong.priority, lead.key, lead.priority
        ))
    }

    /// A gang goes whole, or by what is above its minimum.
    fn part_of_gang(&self, at: usize, made: &Decision) -> Option<String> {
        if self.scenario.rates.lost_deletes > 0 {
            return None; // Of whom it never heard that they are gone, it counts.
        }
        let replica = &self.replicas[at];
        let mut jobs: BTreeMap<&PodKey, u32> = BTreeMap::new();
        made.victims.values().for_each(|victim| *jobs.entry(&victim.job).or_default() += 1);
        jobs.into_iter().find_map(|(key, gone)| {
            let job = self.jobs.get(key).filter(|job| job.plan.gang)?;
            let there = replica.engine.book().holders().filter(|holder| {
                let pod = replica.pods.get(&holder.uid);
                holder.state.is_committed() && pod.and_then(|pod| pod.controller.as_ref()).is_some_and(|owner| owner.uid == job.uid)
            });
            let mut going = self.going(at);
            going
                .extend(self.decisions.made.iter().filter(|other| other.over_at.is_none()).flat_map(|other| other.victims.keys().cloned()));
            let left = there.filter(|holder| !made.victims.contains_key(&holder.uid) && !going.contains(&holder.uid)).count();
            let least = job.plan.min.saturating_sub(u32::try_from(job.done.len()).unwrap_or(0)) as usize;
            (left > 0 && left < least).then(|| format!("{gone} of {key} go and {left} stay, fewer than {least}"))
        })
    }

    /// By what the engine was told of budgets, nothing else.
    fn over_budget(&self, at: usize, made: &Decision) -> Option<String> {
        let replica = &self.replicas[at];
        replica.budgets.values().find_map(|budget| {
            let under = made.victims.keys().filter(|uid| replica.pods.get(*uid).is_some_and(|pod| covers(budget, pod))).count();
            let allowed = usize::try_from(budget.disruptions_allowed).unwrap_or(0);
            (under > allowed).then(|| format!("{under} pods under budget {} are evicted, and it allows {allowed}", budget.name))
        })
    }

    /// No queue comes below its guarantee for another.
    fn below_guarantee(&self, at: usize, made: &Decision) -> Option<String> {
        let lead = &made.lead;
        let rivalry = self.scenario.rivalry.as_ref()?;
        let book = self.replicas[at].engine.book();
        let mine = rivalry.queue_of(&lead.key.namespace)?;
        let above: Vec<usize> = rivalry.path(mine).collect();
        let mut taken: BTreeMap<usize, u64> = BTreeMap::new();
        for victim in made.victims.values() {
            let queue = rivalry.queue_of(&victim.key.namespace)?;
            rivalry.path(queue).filter(|at| !above.contains(at)).for_each(|at| *taken.entry(at).or_default() += victim.milli);
        }
        taken.into_iter().find_map(|(queue, milli)| {
            let (held, rule) = (held(book, rivalry, queue), &rivalry.queues[queue]);
            let left = held.saturating_sub(milli);
            (left < u64::from(rule.guaranteed) * 1000)
                .then(|| format!("queue {} holds {held}, {milli} are taken, and it is guaranteed {} devices", rule.name, rule.guaranteed))
        })
    }

    /// It fits after exactly these left, not before, and not if one of them stays.
    fn void(&self, at: usize, made: &Decision, units: &[Vec<PodUid>], steady: bool) -> Option<String> {
        let (lead, needed) = (&made.lead, made.needed);
        // Those that ended well need no place, once the engine knows of them.
        let done = self.jobs.values().find(|job| job.uid == made.job_uid).map_or(0, |job| job.done.len());
        let least = needed.saturating_sub(u32::try_from(done).unwrap_or(u32::MAX));
        let steady = steady && least > 0;
        let engine = &self.replicas[at].engine;
        let mut book = engine.book().clone();
        let held: Vec<PodUid> =
            book.holders().filter(|holder| is_kept_for(holder, &made.preemptor)).map(|holder| holder.uid.clone()).collect();
        held.iter().for_each(|uid| drop(book.release(uid)));
        if steady && fits(&book, lead, needed) {
            return Some(format!("{needed} of it fit without any of {:?}", names(made)));
        }
        let going = self.free_soon(at, made);
        going.iter().for_each(|uid| drop(book.release(uid)));
        let without = |kept: Option<usize>, needed: u32| {
            let mut book = book.clone();
            let gone = units.iter().enumerate().filter(|(place, _)| Some(*place) != kept).flat_map(|(_, unit)| unit);
            gone.for_each(|uid| drop(book.release(uid)));
            fits(&book, lead, needed)
        };
        if !without(None, least) {
            return Some(format!("{least} of it do not fit when {:?} are gone", names(made)));
        }
        // Who waits for pods that were going before him has no decision that tells for whom their room is; nor has who waited in vain.
        let claims = self.preempting(at).len();
        let stuck = going.iter().any(|uid| self.decisions.is_stuck(uid, self.now));
        if !steady || stuck || (!going.is_empty() && claims > 1) {
            return None;
        }
        let spare = (0..units.len()).find(|place| without(Some(*place), needed))?;
        Some(format!("it fits without {:?} of {:?}", units[spare], names(made)))
    }

    /// Nobody takes from whom it gave to and back again, nor from the same again and again.
    fn again(&mut self, place: usize) -> Option<String> {
        let Decisions { made, pairs, .. } = &mut self.decisions;
        let preemptor = made[place].job_uid.clone();
        // Pods of a Job that do not start together evict each for itself.
        let each = self.jobs.values().find(|job| job.uid == preemptor && !job.plan.gang).map_or(1, |job| job.plan.size);
        let jobs: BTreeSet<&Arc<str>> = made[place].victims.values().map(|victim| &victim.job_uid).collect();
        for job in jobs {
            let times = pairs.entry((preemptor.clone(), job.clone())).or_default();
            *times += 1;
            let times = *times;
            if times > PAIR_MAX * each {
                return Some(format!("{preemptor} evicts {job} for the {times}th time"));
            }
            let back = pairs.get(&(job.clone(), preemptor.clone())).copied().unwrap_or(0);
            if back.min(times) > each {
                return Some(format!("{preemptor} and {job} evict each other again and again"));
            }
        }
        None
    }

    /// The same, but for those whose room is another's, or who were waited for in vain.
    fn free_soon(&self, at: usize, made: &Decision) -> BTreeSet<PodUid> {
        let mut going = self.going(at);
        let life = self.replicas[at].life;
        let others = self.decisions.made.iter().filter(|other| (other.replica, other.life) == (made.replica, life));
        let others = others.filter(|other| other.preemptor != made.preemptor);
        // Those of a replica that was stopped are not followed.
        let preempting = self.preempting(at);
        let stands = |other: &&Decision| match other.over_at {
            Some(over) => over > other.at + WAITED_MIN_MS,
            None => preempting.contains(&other.preemptor.to_string()),
        };
        for other in others.filter(stands) {
            going.retain(|uid| !other.victims.contains_key(uid));
        }
        going
    }
}

fn names(made: &Decision) -> Vec<String> {
    made.victims.values().map(|victim| victim.key.to_string()).collect()
}

/// What a queue and those below it hold, in thousandths of devices.
fn held(book: &Book, rivalry: &Rivalry, queue: usize) -> u64 {
    held_but(book, rivalry, queue, |_| false)
}

/// Whether so many pods like this one fit at once, one after the other wherever there is room.
pub(super) fn fits(book: &Book, pod: &Pod, needed: u32) -> bool {
    let Some(shape) = Shape::of(&pod.request) else { return false };
    let mut book = book.clone();
    let names: Vec<NodeName> = book.nodes().map(|entry| entry.node.name.clone()).collect();
    let mut placed = 0;
    for name in names {
        while placed < needed {
            let Some(entry) = book.node(name.as_str()).filter(|entry| is_open(entry, pod)) else { break };
            let Ok(grant) = entry.grant(&shape) else { break };
            placed += 1;
            let (takes, _) = takes(&pod.request, Some(&grant));
            book.set_holder(Holder {
                uid: PodUid::new(format!("guess{placed}")),
                key: pod.key.clone(),
                priority: pod.priority,
                node: name.clone(),
                state: HolderState::Planned,
                grant: Some(grant),
                takes,
                load: Load::of(pod),
                changed_at: Time::default(),
            });
        }
    }
    placed >= needed
}

/// By what this simulator closes nodes with.
fn is_open(entry: &NodeEntry, pod: &Pod) -> bool {
    let room = entry.room();
    let carries = room.cpu_milli >= pod.cpu_milli && room.memory_bytes >= pod.memory_bytes && room.pods > 0;
    carries && !entry.node.unschedulable && entry.node.taints.is_empty() && entry.node.pools.iter().any(|pool| pool.resource == gpu())
}
