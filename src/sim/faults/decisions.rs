//! What must hold of preemption and of queues: each decision of an engine to evict somebody is judged by a naive count over what that
//! engine was told, and followed until the preemptor has its room. Numbers are those of docs/simulation.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::budgets::covers;
use super::jobs::Job;
use super::rivalry::Rivalry;
use super::run::Run;
use super::scenario::{Agent, gpu};
use super::store::Kind;
use super::timeline::Ms;
use crate::book::{Book, Holder, HolderState, Load, NodeEntry, Shape, takes};
use crate::engine::{Effect, Eviction};
use crate::model::{DeviceId, NodeName, Pod, PodKey, PodUid, Time};

/// Victims are waited for at most so long: what a nomination may take, two minutes, and a tick or two.
const AWAITED_MAX_MS: Ms = 126_000;
/// What was sent for a decision arrives at most so long after it is over.
const ARRIVES_MS: Ms = 3000;
/// How often one Job may evict another one: once, and again where a process forgot it or the room was lost.
const PAIR_MAX: u32 = 6;
/// So long after it is ready a process has heard of everything that was sent before.
const WORKED_MS: Ms = 10_000;
/// What the engine says to those that go for others, and to those whose node is lost.
pub(super) const NODE_LOST: &str = "its node is lost";
const FOR_OTHERS: &str = "a gang or pod of higher priority needs its room";

/// Everything that was decided in a run.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    made: Vec<Decision>,
    /// By replica: entries of its ledger that were seen.
    seen: BTreeMap<usize, usize>,
    /// How often one Job evicted another one, by UID.
    pairs: BTreeMap<(Arc<str>, Arc<str>), u32>,
    /// When victims have to go, as they were told, by the replica's clock.
    noticed: BTreeMap<(usize, PodUid), Time>,
}

impl Decisions {
    /// A process starts with an empty ledger.
    pub(super) fn begin(&mut self, replica: usize) {
        self.seen.insert(replica, 0);
    }

    /// Whether a pod goes by a decision, made by anybody, that is not over for long.
    pub(super) fn is_victim(&self, uid: &PodUid, now: Ms) -> bool {
        self.made.iter().any(|made| made.victims.contains_key(uid) && made.over_at.is_none_or(|over| now <= over + ARRIVES_MS))
    }
}

/// One decision.
#[derive(Debug)]
struct Decision {
    replica: usize,
    life: u64,
    preemptor: PodKey,
    job_uid: Arc<str>,
    /// The preemptor's pods that wait, one of them, and how many it needs at least.
    pods: BTreeSet<PodUid>,
    lead: Arc<Pod>,
    needed: u32,
    victims: BTreeMap<PodUid, Victim>,
    at: Ms,
    /// The same by the replica's clock.
    told_at: Time,
    /// How many changes of nodes there had been.
    nodes: usize,
    over_at: Option<Ms>,
}

#[derive(Clone, Debug)]
struct Victim {
    job: PodKey,
    job_uid: Arc<str>,
    key: PodKey,
    priority: i32,
    node: NodeName,
    devices: Vec<DeviceId>,
    milli: u64,
}

impl Run {
    /// After every step.
    pub(super) fn check_decisions(&mut self, at: usize, kind: &'static str, effects: &[Effect]) {
        if self.scenario.rivalry.is_none() {
            return;
        }
        let entries: Vec<Eviction> = {
            let ledger = &self.replicas[at].engine;
            let (seen, count) = (self.decisions.seen.get(&at).copied().unwrap_or(0), ledger.evictions().count());
            self.decisions.seen.insert(at, count);
            ledger.evictions().skip(seen).cloned().collect()
        };
        self.check_notices(at, effects);
        let mut by_preemptor: BTreeMap<String, Vec<Eviction>> = BTreeMap::new();
        entries.into_iter().for_each(|entry| by_preemptor.entry(entry.preemptor.clone()).or_default().push(entry));
        // Several may be made in one step: each is judged beside the others.
        let made: Vec<(usize, String, Vec<Vec<PodUid>>)> = by_preemptor
            .into_iter()
            .filter_map(|(preemptor, entries)| {
                self.enter_decision(at, &preemptor, &entries).map(|(place, units)| (place, preemptor, units))
            })
            .collect();
        // Who gave his room up in the same step, perhaps after the decision; of several decisions each was made in another book.
        let freed = |effect: &Effect| matches!(effect, Effect::Nominate { node: None, .. } | Effect::Notice { at: None, .. });
        let steady = made.len() == 1 && !effects.iter().any(freed);
        for (place, preemptor, units) in made {
            self.judge(at, place, &preemptor, &units, steady);
        }
        self.check_maxima(at, kind);
        self.check_goers(at, effects);
        if self.decisions.made.iter().any(|made| made.over_at.is_none() && made.replica == at) {
            self.follow_decisions(at);
        }
    }

    /// Writes a decision down, as the engine sees those it is about; where, and who goes together.
    fn enter_decision(&mut self, at: usize, preemptor: &str, entries: &[Eviction]) -> Option<(usize, Vec<Vec<PodUid>>)> {
        self.say(|| format!("gangplank {at}: for {preemptor} go {entries:?}"));
        let (kind, name) = preemptor.split_once(' ')?;
        let alone = kind == "pod";
        let waiting = self.replicas[at].pods.values().filter(|pod| pod.node.is_none() && !pod.deleting && !pod.request.is_empty());
        let named = |pod: &&Arc<Pod>| {
            let owner = pod.controller.as_ref().map(|owner| owner.key.to_string());
            if alone { pod.key.to_string() == name } else { owner.is_some_and(|owner| owner == name) }
        };
        let pods: Vec<Arc<Pod>> = waiting.filter(named).cloned().collect();
        // Of two Jobs of a name the one that is there.
        let there = |pod: &&Arc<Pod>| {
            let owner = pod.controller.as_ref();
            owner.is_some_and(|owner| self.jobs.get(&owner.key).is_some_and(|job| job.uid == owner.uid))
        };
        let there: Vec<Arc<Pod>> = pods.iter().filter(there).cloned().collect();
        let pods = if there.is_empty() { pods } else { there };
        let Some(lead) = pods.first().cloned() else {
            self.fail("I5", format!("{preemptor} evicts somebody, and none of its pods waits"));
            return None;
        };
        let (mut units, mut victims) = (Vec::new(), BTreeMap::new());
        for entry in entries {
            let unit: Vec<(PodUid, Victim)> = entry.pods.iter().filter_map(|key| self.victim(at, key, &victims)).collect();
            units.push(unit.iter().map(|(uid, _)| uid.clone()).collect());
            victims.extend(unit);
        }
        self.counts.decisions += 1;
        self.counts.victims += victims.len() as u64;
        let owner = lead.controller.clone()?;
        self.decisions.made.push(Decision {
            replica: at,
            life: self.replicas[at].life,
            preemptor: if alone { lead.key.clone() } else { owner.key.clone() },
            job_uid: owner.uid.clone(),
            // Of a Job that is deleted by now nothing more is known.
            needed: self
                .jobs
                .get(&owner.key)
                .filter(|job| job.uid == owner.uid)
                .map_or(0, |job| if alone { 1 } else { self.missing(at, job) }),
            pods: pods.iter().map(|pod| pod.uid.clone()).collect(),
            lead,
            victims,
            at: self.now,
            told_at: self.time() + Duration::from_millis(self.replicas[at].ahead_ms),
            nodes: self.store.log(Kind::Nodes).len(),
            over_at: None,
        });
        Some((self.decisions.made.len() - 1, units))
    }

    /// How many of a gang have no place yet: a Binding of which nobody knew may have turned out well.
    fn missing(&self, at: usize, job: &Job) -> u32 {
        let (replica, going) = (&self.replicas[at], self.going(at));
        let of = |pod: &Arc<Pod>| pod.controller.as_ref().is_some_and(|owner| owner.uid == job.uid);
        let there = replica.engine.book().holders().filter(|holder| {
            let upheld = !going.contains(&holder.uid) && !self.silent.contains(&holder.node) && self.store.node(&holder.node).is_some();
            holder.state.is_committed() && upheld && replica.pods.get(&holder.uid).is_some_and(of)
        });
        job.plan.min.saturating_sub(u32::try_from(there.count()).unwrap_or(0))
    }

    /// I5, I7, I8: one decision.
    fn judge(&mut self, at: usize, place: usize, preemptor: &str, units: &[Vec<PodUid>], steady: bool) {
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

    /// A pod that is to go, as the engine's book has it.
    fn victim(&self, at: usize, key: &PodKey, others: &BTreeMap<PodUid, Victim>) -> Option<(PodUid, Victim)> {
        let replica = &self.replicas[at];
        // Of two of a name the one that is not known to go, and the later one: of the other nobody heard that it is gone. Both may go.
        let named = replica.engine.book().holders().filter(|holder| holder.key == *key && !others.contains_key(&holder.uid));
        let holder = named.max_by_key(|holder| replica.pods.get(&holder.uid).map(|pod| (!pod.deleting, pod.created_at)))?;
        let pod = replica.pods.get(&holder.uid)?;
        let owner = pod.controller.as_ref()?;
        let victim = Victim {
            job: owner.key.clone(),
            job_uid: owner.uid.clone(),
            key: key.clone(),
            priority: pod.priority,
            node: holder.node.clone(),
            devices: holder.takes.iter().filter_map(|take| take.device.clone()).collect(),
            milli: holder.takes.iter().map(|take| u64::from(take.milli())).sum(),
        };
        Some((holder.uid.clone(), victim))
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
        // Who waits for pods that were going before him has no decision that tells for whom their room is.
        let claims = self.preempting(at).len();
        if !steady || (!going.is_empty() && claims > 1) {
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

    /// Pods on their way out, as the engine was told.
    fn going(&self, at: usize) -> BTreeSet<PodUid> {
        let pods = self.replicas[at].pods.values().filter(|pod| pod.node.is_some());
        let suspended = |pod: &Pod| pod.controller.as_ref().is_some_and(|owner| self.replicas[at].suspended.contains(&owner.uid));
        pods.filter(|pod| pod.deleting || suspended(pod)).map(|pod| pod.uid.clone()).collect()
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
            Some(over) => over > other.at + AWAITED_MAX_MS - 16_000,
            None => preempting.contains(&other.preemptor.to_string()),
        };
        for other in others.filter(stands) {
            going.retain(|uid| !other.victims.contains_key(uid));
        }
        going
    }

    /// Victims had their notice.
    fn check_notices(&mut self, at: usize, effects: &[Effect]) {
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
    fn check_goers(&mut self, at: usize, effects: &[Effect]) {
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

    /// Who waits for victims.
    fn preempting(&self, at: usize) -> BTreeSet<String> {
        let queue = self.replicas[at].engine.queue().into_iter();
        queue.filter(|status| status.phase.name() == "preempting").map(|status| status.id.key.to_string()).collect()
    }

    /// I6: what victims left is their preemptor's until it has its places.
    fn follow_decisions(&mut self, at: usize) {
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
    fn check_maxima(&mut self, at: usize, kind: &'static str) {
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

    /// Whether a Job goes as a whole by decisions that stand, as far as it runs.
    pub(super) fn goes_by_decision(&self, job: &Job) -> bool {
        let bound = |uid: &&PodUid| self.store.pod(uid).is_some_and(|pod| pod.occupies() && !pod.deleting);
        let mut bound = job.members.values().filter(bound).peekable();
        bound.peek().is_some() && bound.all(|uid| self.decisions.is_victim(uid, self.now))
    }
}

/// Whether it keeps something for a gang or pod of this name.
fn is_kept_for(holder: &Holder, preemptor: &PodKey) -> bool {
    holder.key.namespace.is_empty() && *holder.key.name == format!("held for {preemptor}")
}

fn names(made: &Decision) -> Vec<String> {
    made.victims.values().map(|victim| victim.key.to_string()).collect()
}

/// What a queue and those below it hold, in thousandths of devices.
fn held(book: &Book, rivalry: &Rivalry, queue: usize) -> u64 {
    held_but(book, rivalry, queue, |_| false)
}

/// The same without some.
fn held_but(book: &Book, rivalry: &Rivalry, queue: usize, but: impl Fn(&Holder) -> bool) -> u64 {
    let of = |holder: &&Holder| rivalry.queue_of(&holder.key.namespace).is_some_and(|own| rivalry.path(own).any(|at| at == queue));
    book.holders().filter(of).filter(|holder| !but(holder)).flat_map(|holder| &holder.takes).map(|take| u64::from(take.milli())).sum()
}

/// Whether so many pods like this one fit at once, one after the other wherever there is room.
fn fits(book: &Book, pod: &Pod, needed: u32) -> bool {
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
