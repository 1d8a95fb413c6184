//! The planned lane: gangs, of which a single pod is the smallest. Here it is known which pods belong together and how far
//! each gang is; `plan` finds places, `ask` answers filter and bind from the plan, `act` carries a gang from phase to
//! phase (the phases are [`crate::gang::life`]'s), `recover` reads promises back after a restart.
//!
//! A member is known by what the watch says of it and what the book holds for it; nothing else is remembered that a
//! restart could lose, but refusals and deadlines.

mod act;
mod ask;
mod capacity;
mod closed;
mod defrag;
mod durations;
mod ended;
mod ledger;
mod line;
mod missing;
mod outlook;
mod plan;
mod preempt;
mod queues;
mod recover;
mod refused;
mod repair;
mod reserve;
mod rights;
mod roles;
mod turns;
mod units;
mod victims;
mod view;

pub use defrag::{Defrag, DefragMove, DefragPlan, Staying, Survey};
pub use ledger::Eviction;
pub use outlook::{Outlook, Search};
pub use view::{GangStatus, MemberStatus};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Engine;
use crate::book::{Holder, HolderState};
use crate::gang::Planned;
use crate::gang::life::{Members, Phase};
use crate::model::{GangId, GangKind, GangRef, GangSpec, NodeName, Pod, PodKey, PodUid, Refusal, Time};
use crate::queue::Durations;

/// Gangs and their members.
#[derive(Debug, Default)]
pub(super) struct Lane {
    gangs: BTreeMap<GangId, Gang>,
    gang_of: BTreeMap<PodUid, GangId>,
    /// What objects say of gangs, by what members can name them by.
    specs: BTreeMap<(GangKind, PodKey), GangSpec>,
    /// Gangs that wait for a plan.
    ready: turns::Ready,
    /// Gangs that were planned in vain since there was last room to gain.
    refused: refused::Refused,
    /// There is more room than when `refused` were.
    gained: bool,
    /// When those who were refused were last looked at because time passed.
    looked_at: Time,
    /// Rooms that are being made, by who waits for them.
    claims: BTreeMap<GangId, preempt::Claim>,
    /// Pods that are waited for to be gone, and by whom.
    awaited: BTreeMap<PodUid, GangId>,
    /// Pods that were waited for in vain: nobody counts on their room.
    stuck: BTreeSet<PodUid>,
    pub(super) ledger: ledger::Ledger,
    /// The highest plan epoch that was seen or given.
    epoch: u64,
    arrivals: u64,
    /// When kube-scheduler last asked about any pod.
    pub(super) asked_at: Time,
    /// When time was last told to pass.
    ticked_at: Option<Time>,
    /// Room that is kept for a gang which has waited too long.
    kept: Option<reserve::Kept>,
    /// When it was last looked at who has waited too long.
    patience_looked_at: Time,
    /// Until then no room is kept of which nobody knows when it comes free.
    rests_until: Time,
    durations: Durations,
    /// By priority, who came last of those that have started: who came before and waits was passed.
    started: BTreeMap<i32, (Time, u64)>,
    /// Members that ask for no devices: they count, and need no place from us.
    companions: BTreeMap<(GangKind, PodKey), u32>,
    companion_of: BTreeMap<PodUid, (GangKind, PodKey)>,
    failures: missing::Failures,
    capacity: capacity::Capacity,
    asked_who_ended: ended::Asked,
    losses: repair::Losses,
}

/// When a gang's turn is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<i32>,
    created_at: Time,
    /// Of those created in the same second, who was seen first.
    arrival: u64,
    id: GangId,
}

/// One gang.
#[derive(Debug)]
struct Gang {
    /// Size and minimum, as members say.
    said: Option<(u32, u32)>,
    phase: Phase,
    members: BTreeMap<PodUid, Step>,
    tally: Members,
    /// Members that ended well.
    done: u32,
    ended: ended::Ended,
    turn: Turn,
    /// kube-scheduler asked about a member: it is ours, gate or no gate.
    asked: bool,
    joined_at: Time,
    /// Its plan's.
    epoch: u64,
    /// When its gates last came off.
    let_go_at: Time,
    /// Where its plan has it, for people.
    domains: String,
    /// Why it has no plan.
    refusal: Option<Refusal>,
    /// Which of it each member is.
    ranks: BTreeMap<PodUid, u32>,
    /// Places of members that are gone, held for those that replace them.
    vacant: Vec<Planned>,
    /// The nodes that kube-scheduler offered a member which could not be placed on any of them beside the others, and when:
    /// the next whole plan begins there.
    offered: Option<(Time, BTreeSet<NodeName>)>,
    /// Whole plans made anew because kube-scheduler refused a node, since the last release.
    replanned: u32,
    /// Members that were nominated because kube-scheduler did not show their place, once each for a plan.
    nominated_late: BTreeSet<PodUid>,
}

/// How far one member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Somebody else's gate holds it, or it is going: it does not count.
    Outside,
    /// Without a place.
    Waiting,
    /// With a place that the book holds; whether its nomination was seen, or is spared.
    Planned { nominated: bool },
    /// Bound, or being bound.
    Bound,
    /// Ended well.
    Done,
}

/// An elastic gang is planned without its last members when none came for so long.
const QUIET: Duration = Duration::from_secs(5);
/// So long is waited for the object that says whether pods of a controller start together.
const OBJECT: Duration = Duration::from_secs(10);
/// How long devices wait for a member that replaces one that is gone: controllers create within seconds.
const VACANT: Duration = Duration::from_secs(60);
/// What kube-scheduler offered is believed in for so long: volumes and other plugins change their minds rarely.
const OFFERED: Duration = Duration::from_secs(120);
/// Ticks come every second: a process that hears none for so long was not running.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// No UID that an API server gives begins so.
const STAND_IN: &str = "gang:";

/// Who holds the place of a member for the one that replaces it.
fn vacancy_of(uid: &PodUid) -> PodUid {
    PodUid::new(format!("{STAND_IN}{uid}"))
}

impl Gang {
    fn new(turn: Turn) -> Self {
        Self {
            said: None,
            phase: Phase::default(),
            members: BTreeMap::new(),
            tally: Members::default(),
            done: 0,
            ended: ended::Ended::default(),
            turn,
            asked: false,
            joined_at: Time::default(),
            epoch: 0,
            let_go_at: Time::default(),
            domains: String::new(),
            refusal: None,
            ranks: BTreeMap::new(),
            vacant: Vec::new(),
            offered: None,
            replanned: 0,
            nominated_late: BTreeSet::new(),
        }
    }

    /// Notes how far a member is; none: it is gone.
    fn set(&mut self, uid: &PodUid, step: Option<Step>) {
        let before = match step {
            Some(step) => self.members.insert(uid.clone(), step),
            None => self.members.remove(uid),
        };
        if let Some(before) = before {
            self.count(before, |count| *count -= 1);
        }
        if let Some(step) = step {
            self.count(step, |count| *count += 1);
        }
    }

    fn count(&mut self, step: Step, change: impl Fn(&mut u32)) {
        match step {
            Step::Outside => {}
            Step::Waiting => change(&mut self.tally.waiting),
            Step::Planned { nominated } => {
                change(&mut self.tally.planned);
                if !nominated {
                    change(&mut self.tally.unnominated);
                }
            }
            Step::Bound => change(&mut self.tally.bound),
            Step::Done => change(&mut self.done),
        }
    }

    /// Members at a step.
    fn at(&self, wanted: impl Fn(Step) -> bool) -> Vec<PodUid> {
        self.members.iter().filter(|(_, step)| wanted(**step)).map(|(uid, _)| uid.clone()).collect()
    }

    fn with_places(&self) -> Vec<PodUid> {
        self.at(|step| matches!(step, Step::Planned { .. }))
    }

    /// Nothing is known of it but its name.
    fn is_empty(&self) -> bool {
        self.members.is_empty() && !matches!(self.phase, Phase::Undoing { .. })
    }
}

impl Lane {
    /// Whether a holder stands in for a member that is gone.
    pub(super) fn stands_in(uid: &PodUid) -> bool {
        uid.as_str().starts_with(STAND_IN)
    }

    /// The process was not running a moment ago: nothing is taken back on the word of what it knew then, before it is looked
    /// at who has the voice.
    fn stood_still(&self, now: Time) -> bool {
        self.ticked_at.is_some_and(|before| now - before > STOOD_STILL)
    }

    /// There is more room than there was.
    pub(super) fn gained(&mut self) {
        self.gained = true;
    }

    /// How many gangs of more than one pod are in each phase.
    pub(super) fn census(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<&'static str, usize> = Phase::NAMES.into_iter().map(|name| (name, 0)).collect();
        for gang in self.gangs.iter().filter(|(id, _)| id.kind != GangKind::Alone).map(|(_, gang)| gang) {
            *counts.entry(gang.phase.name()).or_default() += 1;
        }
        counts
    }

    /// Whether a pod goes by this lane.
    pub(super) fn has(&self, uid: &PodUid) -> bool {
        self.gang_of.contains_key(uid)
    }

    /// The gang of a pod, if it goes by this lane.
    pub(super) fn id_of(&self, uid: &PodUid) -> Option<&GangId> {
        self.gang_of.get(uid)
    }

    /// Why the gang of a pod waits, if it waits behind others that are alike.
    pub(super) fn told(&self, uid: &PodUid) -> Option<&Refusal> {
        self.refused.told(&self.gang(uid)?.1.turn)
    }

    fn gang(&self, uid: &PodUid) -> Option<(&GangId, &Gang)> {
        let id = self.gang_of.get(uid)?;
        Some((id, self.gangs.get(id)?))
    }

    /// The gang of a pod, which may be its first.
    fn gang_mut(&mut self, id: &GangId, pod: &Pod) -> &mut Gang {
        self.gangs.entry(id.clone()).or_insert_with(|| {
            self.arrivals += 1;
            Gang::new(Turn { priority: Reverse(pod.priority), created_at: pod.created_at, arrival: self.arrivals, id: id.clone() })
        })
    }

    /// What the object of a gang says, if it is the one that the member means.
    fn spec(&self, id: &GangId) -> Option<&GangSpec> {
        self.specs.get(&(id.kind, id.key.clone())).filter(|spec| id.uid.is_empty() || spec.id.uid == id.uid)
    }

    /// How many there are to be and how few can start; none while nobody knows.
    fn size(&self, id: &GangId, gang: &Gang) -> Option<(u32, u32)> {
        if id.kind == GangKind::Alone {
            return Some((1, 1));
        }
        let (size, min) = gang.said.or_else(|| self.spec(id).map(|spec| (spec.size, spec.min)))?;
        let others = self.companions.get(&(id.kind, id.key.clone())).copied().unwrap_or(0) + gang.done;
        Some((size.saturating_sub(others).max(1), min.saturating_sub(others).max(1)))
    }

    /// The counts that decide a gang's next phase.
    fn members(&self, id: &GangId, gang: &Gang, now: Time) -> Members {
        let Some((size, min)) = self.size(id, gang) else { return Members { wanted: None, needed: u32::MAX, ..gang.tally } };
        let quiet = now - gang.joined_at >= QUIET;
        Members { wanted: Some(if quiet { min } else { size }), needed: min, ..gang.tally }
    }
}

impl Engine {
    /// Which of its gang a pod is, where a plan says so.
    pub fn rank(&self, uid: &PodUid) -> Option<u32> {
        let (id, gang) = self.lane.gang(uid)?;
        gang.ranks.get(uid).copied().filter(|_| id.kind != GangKind::Alone)
    }

    /// Takes what the watch, or a question, says of an unfinished pod with devices. The record and the book know it already.
    pub(super) fn lane_pod(&mut self, now: Time, pod: &Pod) {
        self.note_service(now, pod);
        let Some(id) = self.identify(now, pod) else {
            return self.lane_left(now, pod);
        };
        self.adopt(now, pod, &id);
        let step = self.step_of(pod);
        let gang = self.lane.gang_mut(&id, pod);
        if !gang.members.contains_key(&pod.uid) {
            gang.joined_at = now;
        }
        let moved = gang.members.get(&pod.uid) != Some(&step);
        gang.set(&pod.uid, Some(step));
        let (said, turn) = (pod.gang.as_ref().and_then(GangRef::said), gang.turn.clone());
        if gang.said != said {
            // Of members that do not agree, the one that wants most is heard.
            let of = |uid: &PodUid| self.pods.get(uid)?.pod.gang.as_ref()?.said();
            gang.said = gang.members.keys().filter_map(of).max();
        }
        if moved {
            self.lane.refused.remove(&turn);
        }
        self.lane.gang_of.insert(pod.uid.clone(), id.clone());
        self.move_claim(now, &id);
        self.advance(now, &id);
    }

    /// A pod without devices may be a member all the same: a launcher, a head. kube-scheduler places it by itself.
    /// Pods of one Job are alike, so that none of them is.
    pub(super) fn companion_news(&mut self, now: Time, pod: &Pod) {
        let Some(GangRef { id, .. }) = pod.gang.as_ref().filter(|gang| gang.id.kind != GangKind::Owner) else { return };
        let named = (id.kind, id.key.clone());
        if self.lane.companion_of.insert(pod.uid.clone(), named.clone()).is_none() {
            *self.lane.companions.entry(named.clone()).or_default() += 1;
            self.look_at_gangs(now, named.0, &named.1);
        }
    }

    /// A pod without devices is gone.
    pub(super) fn companion_gone(&mut self, now: Time, uid: &PodUid) {
        let Some(named) = self.lane.companion_of.remove(uid) else { return };
        if let Some(count) = self.lane.companions.get_mut(&named) {
            *count -= 1;
            if *count == 0 {
                self.lane.companions.remove(&named);
            }
        }
        self.look_at_gangs(now, named.0, &named.1);
    }

    /// Of pods without devices only these are there.
    pub(super) fn companions_listed(&mut self, now: Time, there: &BTreeSet<&PodUid>) {
        let gone: Vec<PodUid> = self.lane.companion_of.keys().filter(|uid| !there.contains(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.companion_gone(now, uid));
    }

    /// Pods of gangs that were planned in vain.
    pub(super) fn refused_in_vain(&self) -> impl Iterator<Item = &Pod> {
        let members = self.lane.refused.iter().filter_map(|turn| self.lane.gangs.get(&turn.id)).flat_map(|gang| gang.members.keys());
        members.filter_map(|uid| Some(&self.pods.get(uid)?.pod))
    }

    fn look_at_gangs(&mut self, now: Time, kind: GangKind, key: &PodKey) {
        let first = GangId { kind, key: key.clone(), uid: "".into() };
        let ids: Vec<GangId> =
            self.lane.gangs.range(first..).map(|(id, _)| id).take_while(|id| id.kind == kind && id.key == *key).cloned().collect();
        ids.iter().for_each(|id| self.advance(now, id));
    }

    /// The gang of a pod; none for a pod that filter decides alone.
    fn identify(&self, now: Time, pod: &Pod) -> Option<GangId> {
        if let Some(id) = self.lane.gang_of.get(&pod.uid)
            && id.kind != GangKind::Alone
            && (!id.uid.is_empty() || self.lane.spec(id).is_none())
            && !(id.kind == GangKind::Owner && self.starts_alone(now, pod, id))
        {
            return Some(id.clone());
        }
        if let Some(GangRef { id, .. }) = &pod.gang
            && !(id.kind == GangKind::Owner && self.starts_alone(now, pod, id))
        {
            let uid = self.lane.spec(id).map_or_else(|| id.uid.clone(), |spec| spec.id.uid.clone());
            return Some(GangId { uid, ..id.clone() });
        }
        let planned = self.book.holder(&pod.uid).is_some_and(|holder| holder.state == HolderState::Planned);
        let ours = pod.node.is_none() && (pod.gated || planned || pod.planned.is_some());
        ours.then(|| GangId::alone(pod.key.clone(), pod.uid.as_str().into()))
    }

    /// Pods of a controller start alone if it says so, or if nobody says anything for a while.
    fn starts_alone(&self, now: Time, pod: &Pod, id: &GangId) -> bool {
        let patience = self.pods.get(&pod.uid).map_or(now, |record| record.first_seen_at) + OBJECT;
        self.lane.spec(id).map_or(now >= patience, |spec| spec.size == 1)
    }

    fn step_of(&self, pod: &Pod) -> Step {
        match self.book.holder(&pod.uid) {
            _ if self.lane.losses.contains(&pod.uid) => Step::Outside,
            Some(holder) if holder.state.is_committed() => Step::Bound,
            _ if pod.node.is_some() => Step::Bound,
            _ if pod.gated_by_others || pod.deleting => Step::Outside,
            Some(holder) if holder.state == HolderState::Planned => {
                Step::Planned { nominated: pod.nominated.as_ref() == Some(&holder.node) || !self.nominates(pod) }
            }
            _ => Step::Waiting,
        }
    }

    /// Whether kube-scheduler is told of a pod's place before it is asked about the pod. Of few nodes it shows all that pass
    /// its own filters, and finds the place by itself.
    pub(super) fn nominates(&self, pod: &Pod) -> bool {
        self.book.node_count() > self.rules(pod).profile.nominate_above_nodes
    }

    /// Takes what its record says of a pod.
    pub(super) fn lane_news(&mut self, now: Time, uid: &PodUid) {
        if let Some(pod) = self.pods.get(uid).map(|record| record.pod.clone()) {
            self.lane_pod(now, &pod);
        }
    }

    /// Looks at a member again after the book changed.
    pub(super) fn lane_again(&mut self, now: Time, uid: &PodUid) {
        if self.lane.has(uid) {
            self.lane_news(now, uid);
        }
    }

    /// A pod is decided by filter alone from here on, or is bound and nobody's member.
    fn lane_left(&mut self, now: Time, pod: &Pod) {
        if self.lane.has(&pod.uid) {
            let promised = self.book.holder(&pod.uid).is_some_and(|holder| holder.state == HolderState::Planned);
            if promised {
                self.book.release(&pod.uid);
                self.gained(now);
            }
            self.lane_gone(now, &pod.uid, None);
        }
    }

    /// A member is gone for good; what it held is free again, unless another member is to take its place.
    pub(super) fn lane_gone(&mut self, now: Time, uid: &PodUid, held: Option<(Pod, Holder)>) {
        let lost = self.lane.losses.gone(uid);
        let Some(id) = self.lane.gang_of.remove(uid) else { return };
        let Some(gang) = self.lane.gangs.get_mut(&id) else { return };
        let was_bound = gang.members.get(uid) == Some(&Step::Bound);
        gang.set(uid, None);
        if was_bound && held.as_ref().is_some_and(|(pod, _)| !pod.deleting) && gang.tally.bound > 0 {
            gang.ended.left(now, uid);
        }
        let goes_on = matches!(gang.phase, Phase::Released { .. } | Phase::Bound) && !gang.members.is_empty();
        if let Some((pod, holder)) = held.filter(|_| goes_on && !lost && id.kind != GangKind::Alone) {
            self.keep_place(now, &id, &pod, holder);
        }
        if let Some(gang) = self.lane.gangs.get_mut(&id) {
            gang.ranks.remove(uid);
        }
        self.advance(now, &id);
        self.forget_if_empty(now, &id);
    }

    fn forget_if_empty(&mut self, now: Time, id: &GangId) {
        self.forget_the_ended(id);
        if self.lane.gangs.get(id).is_some_and(Gang::is_empty)
            && let Some(gang) = self.lane.gangs.remove(id)
        {
            self.drop_claim(now, id);
            self.review_kept_for(now, id);
            self.lane.ready.remove(id);
            self.lane.refused.remove(&gang.turn);
            for seat in gang.vacant {
                self.book.release(&seat.member.uid);
                self.gained(now);
            }
        }
    }

    /// The object of a gang says how large it is, or says it anew.
    pub(super) fn gang_applied(&mut self, now: Time, spec: GangSpec) {
        let id = spec.id.clone();
        self.lane.specs.insert((id.kind, id.key.clone()), spec);
        self.look_at_members(now, &id);
        self.advance(now, &id);
    }

    /// The object of a gang is gone; its members go on as they are.
    pub(super) fn gang_deleted(&mut self, now: Time, id: &GangId) {
        let key = (id.kind, id.key.clone());
        if self.lane.specs.get(&key).is_some_and(|spec| spec.id.uid == id.uid) {
            self.lane.specs.remove(&key);
            self.advance(now, id);
        }
    }

    /// Members that knew their gang by name alone learn which one that is.
    fn look_at_members(&mut self, now: Time, id: &GangId) {
        let nameless = GangId { uid: "".into(), ..id.clone() };
        for known in [&nameless, id] {
            let members: Vec<PodUid> = self.lane.gangs.get(known).map(|gang| gang.members.keys().cloned().collect()).unwrap_or_default();
            for uid in members {
                let Some(pod) = self.pods.get(&uid).map(|record| record.pod.clone()) else { continue };
                if self.identify(now, &pod).as_ref() == Some(known) {
                    self.lane_pod(now, &pod);
                } else {
                    self.move_member(now, known, &pod);
                }
            }
        }
    }

    /// From one gang to the other that it belongs to, with what it holds.
    fn move_member(&mut self, now: Time, from: &GangId, pod: &Pod) {
        if let Some(gang) = self.lane.gangs.get_mut(from) {
            gang.set(&pod.uid, None);
        }
        self.lane.gang_of.remove(&pod.uid);
        self.forget_if_empty(now, from);
        self.lane_pod(now, pod);
    }

    /// Where a plan has a pod.
    fn place_of(&self, uid: &PodUid) -> Option<NodeName> {
        self.book.holder(uid).filter(|holder| holder.state == HolderState::Planned).map(|holder| holder.node.clone())
    }
}

#[cfg(test)]
mod tests;
