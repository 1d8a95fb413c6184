//! Room for a gang that does not fit, from those that must give way to it. The search is [`crate::preempt`]'s; here its
//! answer is carried out: members are nominated first, victims hear of it, then they are told to go, whole; what they
//! free is held until all are gone, and the gang is planned into it. Nobody is told to go for a plan that is void by then,
//! and nobody beyond the plan when one of them does not go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ledger::Eviction;
use super::queues::job_of;
use super::units::{Takeable, ways_out};
use super::{STAND_IN, Step, Turn};
use crate::book::{Book, Holder, HolderState, Load, Take, takes};
use crate::engine::decider::reference;
use crate::engine::{Effect, Engine, Event};
use crate::gang::Context;
use crate::gang::life::{NOMINATION, Phase, UNDO};
use crate::model::{Amount, GangId, GangKind, NodeName, Pod, PodKey, PodUid, Reason, Refusal, Time};
use crate::policy::Preemption;
use crate::preempt::rules::{self, Standing};
use crate::preempt::{Ask, Reach, Takeover, Unit, search};

/// How long what was freed is kept in all, if a victim does not go.
const KEPT: Duration = Duration::from_hours(1);
/// How many victims are named in words.
const NAMED: usize = 4;

/// What is on its way out for a gang.
#[derive(Debug)]
pub(super) struct Claim {
    stage: Stage,
    victims: Vec<Victim>,
    /// Pods that are not gone.
    awaited: BTreeSet<PodUid>,
    /// Where members go.
    places: BTreeMap<PodUid, NodeName>,
    /// Holders that keep what is free.
    held: Vec<PodUid>,
    asked_at: Time,
    /// When it is given up whatever happens.
    until: Time,
    /// What the profile of the gang said when they were chosen: a member that says so may be gone since.
    rule: Preemption,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody was told anything yet: nominations come first.
    Nominating { until: Time },
    /// Victims know when they have to go.
    Noticed { until: Time },
    /// They were told to go.
    Evicting,
    /// Some did not go in time. What the others freed is kept.
    Lapsed,
}

/// Whose room a gang would take.
#[derive(Debug)]
struct Found {
    takeover: Takeover,
    takeable: Takeable,
    standing: Standing,
    rule: Preemption,
}

#[derive(Clone, Debug)]
struct Victim {
    unit: Unit,
    kind: &'static str,
}

impl Engine {
    /// A gang does not fit: looks for those that must make room for it. True if they are on their way out.
    pub(super) fn preempts(&mut self, now: Time, id: &GangId, refusal: &Refusal) -> bool {
        let Some(gang) = self.lane.gangs.get(id).filter(|gang| gang.phase == Phase::Queued) else { return false };
        if gang.tally.planned + gang.tally.bound > 0 || self.lane.claims.contains_key(id) || !is_lack_of_room(&refusal.reason) {
            return false;
        }
        let Some(found) = self.find_room(now, id) else { return false };
        self.claim_room(now, id, &found);
        self.move_claim(now, id);
        true
    }

    /// Who would have to go for a gang.
    fn find_room(&mut self, now: Time, id: &GangId) -> Option<Found> {
        let gang = self.lane.gangs.get(id)?;
        let waiting = gang.at(|step| step == Step::Waiting);
        let needed = self.lane.size(id, gang).map_or(usize::MAX, |(_, min)| min as usize);
        let roster = self.roster(id, &waiting, needed);
        let rules = self.rules(roster.first()?);
        // Where a queue's amounts are whole boxes, it depends on the boxes that the queue has already what more room would be of use.
        if !rules.profile.preemption.enabled || !self.box_limits(&roster.by_role().collect::<Vec<_>>()).is_empty() {
            return None;
        }
        // Nobody goes for a pod that only a question was about: it may be gone.
        if waiting.iter().any(|uid| self.pods.get(uid).is_none_or(|record| !record.shown)) {
            return None;
        }
        let pods = || waiting.iter().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod);
        let never_preempts = pods().any(|pod| pod.never_preempts);
        let priority = pods().map(|pod| pod.priority).min().unwrap_or(0);
        // Without queues only lower priority gives way. Of thousands that wait each comes here whenever somebody ends.
        let nobody_is_lower = || self.book.lowest_priority().is_none_or(|lowest| lowest >= priority);
        if never_preempts || (self.queues.rules().is_empty() && nobody_is_lower()) {
            return None;
        }
        let standing = Standing { priority, never_preempts, ..Standing::default() };
        let takeable = self.takeable(now, id, standing);
        if takeable.units.is_empty() {
            return None;
        }
        let group = roster.group(id);
        let (profile, scorer) = (&rules.profile, &rules.scorer);
        let context = Context { fabric: &self.fabric, profile, scorer, offered: None, state: HolderState::Planned, now };
        let Takeable { units, allowances, going, .. } = &takeable;
        let ask = Ask { context, group: &group, units, allowances, going, steps_max: Ask::STEPS_MAX };
        let takeover = search(&mut self.book, &ask)?;
        Some(Found { takeover, takeable, standing, rule: rules.profile.preemption })
    }

    fn claim_room(&mut self, now: Time, id: &GangId, Found { takeover, takeable, standing, rule }: &Found) {
        let victim = |place: &usize| Victim { unit: takeable.units[*place].clone(), kind: takeable.of[*place].1 };
        let victims: Vec<Victim> = takeover.victims.iter().map(victim).collect();
        let why = words(takeover, *standing);
        let places: BTreeMap<PodUid, NodeName> =
            takeover.plan.members.iter().map(|planned| (planned.member.uid.clone(), planned.node.clone())).collect();
        let awaited: BTreeSet<PodUid> = takeover.awaited.iter().cloned().collect();
        let until = now + KEPT;
        let mut claim = Claim {
            stage: if victims.is_empty() { Stage::Evicting } else { Stage::Nominating { until: now + NOMINATION } },
            victims,
            awaited,
            places,
            held: Vec::new(),
            asked_at: now,
            until,
            rule: *rule,
            why,
        };
        for planned in &takeover.plan.members {
            let Some(pod) = self.pods.get(&planned.member.uid).map(|record| record.pod.clone()) else { continue };
            let free = free_part(&self.book, &claim.awaited, &planned.node, takes(&pod.request, Some(&planned.grant)).0);
            claim.held.extend(self.stand_in(id, &pod.uid, (&planned.node, free, Load::default()), (now, until)));
            if pod.nominated.as_ref() != Some(&planned.node) {
                self.effects.push(Effect::Nominate { pod: reference(&pod), node: Some(planned.node.clone()) });
            }
        }
        let named: Vec<&str> = claim.victims.iter().map(|victim| victim.unit.title.as_str()).take(NAMED).collect();
        let others = claim.victims.len().saturating_sub(NAMED);
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        let story = Refusal {
            reason: Reason::RoomComing,
            needed: format!("the room of {} pods", claim.awaited.len()),
            there: if named.is_empty() {
                "they are going already".into()
            } else {
                format!("{}{others} make room: {}", named.join(", "), claim.why)
            },
            remedy: "none needed: it starts when they are gone".into(),
        };
        claim.awaited.iter().for_each(|uid| drop(self.lane.awaited.insert(uid.clone(), id.clone())));
        let asks = claim.places.keys().filter_map(|uid| self.pods.get(uid)).map(|record| (&record.pod, 1));
        let asks = self.queues.asks(asks, self.profiles.classes());
        self.queues.claim(id.clone(), asks);
        self.lane.claims.insert(id.clone(), claim);
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            gang.phase = Phase::Preempting { until: now + NOMINATION + rule.notice + rule.deadline };
        }
        self.tell_gang(now, id, &story);
    }

    /// Goes on with what is on its way out for a gang, as far as it can be.
    pub(super) fn move_claim(&mut self, now: Time, id: &GangId) {
        let Some(claim) = self.lane.claims.get(id) else { return };
        // kube-scheduler asked in time, and there was room: nobody is told to go until it is known whether it is bound.
        if claim.places.keys().all(|uid| self.book.holder(uid).is_some()) {
            return;
        }
        match claim.stage {
            Stage::Nominating { until } => {
                let nominated = |(uid, node): (&PodUid, &NodeName)| {
                    self.pods.get(uid).is_some_and(|record| record.pod.nominated.as_ref() == Some(node))
                };
                if !claim.places.iter().all(nominated) && now < until {
                    return;
                }
                let notice = claim.rule.notice;
                if notice.is_zero() {
                    self.tell_to_go(now, id);
                } else {
                    self.give_notice(id, Some(now + notice));
                    self.set_stage(id, Stage::Noticed { until: now + notice });
                }
            }
            Stage::Noticed { until } if until <= now => self.tell_to_go(now, id),
            Stage::Evicting if now - claim.asked_at >= UNDO => self.ask_to_go(now, id),
            Stage::Noticed { .. } | Stage::Evicting | Stage::Lapsed => {}
        }
    }

    /// It was chosen, and nobody told it to go yet.
    pub(super) fn may_stay(&self, uid: &PodUid) -> bool {
        let claim = self.lane.awaited.get(uid).and_then(|id| self.lane.claims.get(id));
        claim.is_some_and(|claim| matches!(claim.stage, Stage::Nominating { .. } | Stage::Noticed { .. }))
    }

    /// Whether somebody waits for a pod to be gone.
    #[cfg(test)]
    pub(in crate::engine) fn is_awaited(&self, uid: &PodUid) -> bool {
        self.lane.awaited.contains_key(uid)
    }

    fn set_stage(&mut self, id: &GangId, stage: Stage) {
        self.lane.claims.entry(id.clone()).and_modify(|claim| claim.stage = stage);
    }

    fn give_notice(&mut self, id: &GangId, at: Option<Time>) {
        let Some(claim) = self.lane.claims.get(id).filter(|_| self.synced) else { return };
        let pods = claim.victims.iter().flat_map(|victim| &victim.unit.pods).filter_map(|uid| self.pods.get(uid));
        let notices: Vec<Effect> = pods.map(|record| Effect::Notice { pod: reference(&record.pod), at }).collect();
        self.effects.extend(notices);
    }

    /// The last look before anybody goes: who is told to go is written down, and why.
    fn tell_to_go(&mut self, now: Time, id: &GangId) {
        if self.planned_without_them(now, id) || !self.is_still_needed(now, id) {
            return;
        }
        self.set_stage(id, Stage::Evicting);
        let Some(claim) = self.lane.claims.get(id) else { return };
        if let Some(gang) = self.lane.gangs.get_mut(id) {
            gang.phase = Phase::Preempting { until: now + claim.rule.deadline };
        }
        let preemptor = title(id);
        let takers: Vec<&Pod> = claim.places.keys().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod).collect();
        let (preemptor_job, back) =
            (takers.first().map_or_else(|| "".into(), |pod| job_of(pod)), self.room_again(now, &takers, &preemptor));
        let mut entries = Vec::new();
        for Victim { unit, kind } in &claim.victims {
            let pods: Vec<&Pod> = unit.pods.iter().filter_map(|uid| self.pods.get(uid)).map(|record| &record.pod).collect();
            let lost = unit.lost_ms / 1000;
            for pod in &pods {
                let note = format!(
                    "{} makes room for {preemptor}: {}; it loses {lost} accelerator-seconds of work, and comes back {back}",
                    unit.title, claim.why
                );
                self.effects.push(Effect::Event(Event { pod: reference(pod), reason: "Preempted", note, warning: true }));
            }
            let entry = |job| Eviction {
                at: now,
                victim: unit.title.clone(),
                pods: pods.iter().map(|pod| pod.key.clone()).collect(),
                job,
                preemptor: preemptor.clone(),
                preemptor_job: preemptor_job.clone(),
                why: claim.why.clone(),
                cost: unit.cost(),
                kind,
            };
            entries.extend(pods.first().map(|pod| entry(job_of(pod))));
        }
        entries.into_iter().for_each(|entry| self.lane.ledger.add(entry));
        self.ask_to_go(now, id);
    }

    /// Looks for victims once more, as gangs, budgets, queues and nodes are by now. True if none is another than those who were chosen:
    /// perhaps fewer. Else the gang begins anew with those who are found, or waits as any other.
    fn is_still_needed(&mut self, now: Time, id: &GangId) -> bool {
        let Some(before) = self.lift_claim(id) else { return false };
        let found = self.find_room(now, id);
        let chosen: BTreeSet<&PodUid> = before.victims.iter().flat_map(|victim| &victim.unit.pods).collect();
        let units = |found: &Found| found.takeover.victims.iter().flat_map(|at| found.takeable.units[*at].pods.clone()).collect::<Vec<_>>();
        let gone_on: Vec<PodUid> = found.as_ref().map(units).unwrap_or_default();
        let same = gone_on.iter().all(|uid| chosen.contains(uid));
        if matches!(before.stage, Stage::Noticed { .. }) {
            let spared = chosen.into_iter().filter(|uid| !gone_on.contains(uid)).filter_map(|uid| self.pods.get(uid));
            let notices: Vec<Effect> = spared.map(|record| Effect::Notice { pod: reference(&record.pod), at: None }).collect();
            self.effects.extend(notices);
        }
        let Some(found) = found else {
            self.withdraw_nominations(&before);
            if let Some(gang) = self.lane.gangs.get_mut(id) {
                gang.phase = Phase::Queued;
            }
            self.gained(now);
            self.take_turn(now, id);
            return false;
        };
        self.claim_room(now, id, &found);
        same && !gone_on.is_empty()
    }

    fn ask_to_go(&mut self, now: Time, id: &GangId) {
        let Some(claim) = self.lane.claims.get_mut(id) else { return };
        claim.asked_at = now;
        let victims = claim.victims.iter().flat_map(|victim| &victim.unit.pods).filter(|uid| claim.awaited.contains(*uid));
        let stays = |uid: &&PodUid| self.pods.get(*uid).is_some_and(|record| !record.pod.deleting);
        let going: BTreeSet<PodUid> = victims.filter(stays).cloned().collect();
        let (suspended, evicted) = ways_out(&self.suspendable_owners(), &going);
        let evicted = evicted.into_iter().filter_map(|uid| self.pods.get(uid)).map(|record| reference(&record.pod));
        let why = "a gang or pod of higher priority needs its room";
        let evicted: Vec<Effect> = evicted.map(|pod| Effect::Evict { pod, why, force: false }).collect();
        self.effects.extend(suspended.into_iter().map(|owner| Effect::Suspend { owner, suspend: true }));
        self.effects.extend(evicted);
    }

    /// A pod is gone. If a gang waits for that, what the pod held is held for the gang. True if so.
    pub(in crate::engine) fn victim_gone(&mut self, now: Time, uid: &PodUid, held: Option<&Holder>) -> bool {
        self.lane.stuck.remove(uid);
        let Some(id) = self.lane.awaited.remove(uid) else { return false };
        let Some(claim) = self.lane.claims.get_mut(&id) else { return false };
        claim.awaited.remove(uid);
        let until = claim.until;
        if let Some(holder) = held.filter(|holder| claim.places.values().any(|node| *node == holder.node)) {
            let stand_in = self.stand_in(&id, uid, (&holder.node, holder.takes.clone(), holder.load), (now, until));
            self.lane.claims.entry(id.clone()).and_modify(|claim| claim.held.extend(stand_in));
        }
        if self.lane.claims.get(&id).is_some_and(|claim| claim.awaited.is_empty()) {
            self.settle_claim(now, &id);
        }
        true
    }

    /// All are gone: the gang is planned into what they left.
    fn settle_claim(&mut self, now: Time, id: &GangId) {
        if !self.planned_without_them(now, id) {
            self.drop_claim(now, id);
            if let Some(gang) = self.lane.gangs.get_mut(id)
                && matches!(gang.phase, Phase::Preempting { .. })
            {
                gang.phase = Phase::Queued;
            }
            self.advance(now, id);
        }
    }

    /// Plans a gang with what is held for it, and nobody else gone. True if it has its places; then nothing is claimed any more.
    pub(super) fn planned_without_them(&mut self, now: Time, id: &GangId) -> bool {
        let planned = self.plan_with_freed(now, id).is_ok();
        if planned {
            self.advance(now, id);
        }
        planned
    }

    /// The plan of a gang for which something may be held.
    pub(super) fn plan_with_freed(&mut self, now: Time, id: &GangId) -> Result<(), Refusal> {
        let Some(claim) = self.lane.claims.get(id) else { return self.plan_gang(now, id, None) };
        let (held, told) = (claim.held.clone(), claim.stage);
        let places: BTreeSet<&str> = claim.places.values().map(NodeName::as_str).collect();
        let places: Vec<NodeName> = places.into_iter().map(NodeName::from).collect();
        let places: Vec<&str> = places.iter().map(NodeName::as_str).collect();
        let mark = self.book.checkpoint();
        held.iter().for_each(|uid| drop(self.book.release(uid)));
        let there = if id.kind == GangKind::Alone { Err(()) } else { self.plan_gang(now, id, Some(&places)).map_err(drop) };
        match there.or_else(|()| self.plan_gang(now, id, None)) {
            Ok(()) => {
                self.book.commit(mark);
                if matches!(told, Stage::Noticed { .. }) {
                    self.give_notice(id, None);
                }
                self.nominate_anew(id);
                self.forget_claim(id);
                Ok(())
            }
            Err(refusal) => {
                self.book.rollback(mark);
                Err(refusal)
            }
        }
    }

    /// Members that were nominated for the room of victims and go elsewhere are nominated there.
    fn nominate_anew(&mut self, id: &GangId) {
        let Some(claim) = self.lane.claims.get(id) else { return };
        for uid in claim.places.keys() {
            let (Some(record), place) = (self.pods.get(uid), self.place_of(uid)) else { continue };
            if record.pod.nominated.is_some() && place.is_some() && record.pod.nominated != place {
                self.effects.push(Effect::Nominate { pod: reference(&record.pod), node: place });
            }
        }
    }

    /// Victims did not go in time: nobody else goes for it, and what is free is kept.
    pub(super) fn lapse(&mut self, now: Time, id: &GangId) {
        let Some(claim) = self.lane.claims.get_mut(id) else { return };
        claim.stage = Stage::Lapsed;
        let (stuck, stays): (Vec<PodUid>, Vec<PodUid>) =
            claim.awaited.iter().cloned().partition(|uid| self.pods.get(uid).is_some_and(|record| record.pod.deleting));
        self.lane.stuck.extend(stuck.iter().cloned());
        for uid in &stays {
            self.lane.awaited.remove(uid);
            self.lane.claims.entry(id.clone()).and_modify(|claim| {
                claim.awaited.remove(uid);
            });
        }
        if stuck.is_empty() {
            self.drop_claim(now, id);
        }
    }

    /// What was held for a gang is free for all again.
    pub(super) fn drop_claim(&mut self, now: Time, id: &GangId) {
        let Some(claim) = self.lane.claims.get(id) else { return };
        if matches!(claim.stage, Stage::Noticed { .. }) {
            self.give_notice(id, None);
        }
        let Some(claim) = self.lift_claim(id) else { return };
        self.withdraw_nominations(&claim);
        self.gained(now);
    }

    fn withdraw_nominations(&mut self, claim: &Claim) {
        // Without the voice nothing is written: another replica may have nominated them since.
        for uid in claim.places.keys().filter(|_| self.synced) {
            let pod = self.pods.get(uid).map(|record| &record.pod).filter(|pod| pod.node.is_none() && pod.nominated.is_some());
            self.effects.extend(pod.map(|pod| Effect::Nominate { pod: reference(pod), node: None }));
        }
    }

    /// Nothing is held or waited for any more.
    fn lift_claim(&mut self, id: &GangId) -> Option<Claim> {
        let claim = self.forget_claim(id)?;
        claim.held.iter().for_each(|uid| drop(self.book.release(uid)));
        Some(claim)
    }

    fn forget_claim(&mut self, id: &GangId) -> Option<Claim> {
        self.queues.unclaim(id);
        let claim = self.lane.claims.remove(id)?;
        claim.awaited.iter().for_each(|uid| drop(self.lane.awaited.remove(uid)));
        Some(claim)
    }

    /// Time passed, or another replica has the voice. The most urgent goes on first: what it gives up, because nobody could make room for
    /// it any more, is there for the others before they tell anybody to go.
    pub(super) fn move_claims(&mut self, now: Time) {
        let is_over = |id: &GangId, claim: &Claim| claim.until <= now || !self.lane.gangs.contains_key(id);
        let over: Vec<GangId> = self.lane.claims.iter().filter(|(id, claim)| is_over(id, claim)).map(|(id, _)| id.clone()).collect();
        over.iter().for_each(|id| self.drop_claim(now, id));
        let mut turns: Vec<Turn> = self.lane.claims.keys().filter_map(|id| self.lane.gangs.get(id)).map(|gang| gang.turn.clone()).collect();
        turns.sort_unstable();
        turns.iter().for_each(|turn| self.move_claim(now, &turn.id));
    }

    /// Everything that is held for anybody is free again.
    pub(super) fn drop_claims(&mut self, now: Time) {
        let ids: Vec<GangId> = self.lane.claims.keys().cloned().collect();
        ids.iter().for_each(|id| self.drop_claim(now, id));
    }

    /// Whose room was taken for whom, the newest last.
    pub fn evictions(&self) -> impl Iterator<Item = &Eviction> {
        self.lane.ledger.entries()
    }

    /// Holds something for a gang that is not one of its pods' yet; none if there is nothing to hold.
    fn stand_in(
        &mut self,
        id: &GangId,
        uid: &PodUid,
        (node, takes, load): (&NodeName, Vec<Take>, Load),
        (now, until): (Time, Time),
    ) -> Option<PodUid> {
        if takes.is_empty() || self.book.node(node.as_str()).is_none() {
            return None;
        }
        let uid = PodUid::new(format!("{STAND_IN}claim:{uid}"));
        // Of no namespace: no quota counts it.
        let key = PodKey::new("", format!("held for {id}"));
        let (state, grant, node) = (HolderState::Held { until }, None, node.clone());
        self.book.set_holder(Holder { uid: uid.clone(), key, priority: 0, node, state, grant, takes, load, changed_at: now });
        Some(uid)
    }
}

/// What of a member's devices nobody holds but those that are waited for. Of a device that they share the rest is kept, too.
fn free_part(book: &Book, awaited: &BTreeSet<PodUid>, node: &NodeName, takes: Vec<Take>) -> Vec<Take> {
    let Some(entry) = book.node(node.as_str()) else { return Vec::new() };
    let mut unnamed: BTreeMap<String, u32> = BTreeMap::new();
    let free = |take: Take| {
        let (pool, ledger) = entry.node.pools.iter().zip(&entry.pools).find(|(pool, _)| pool.resource == take.resource)?;
        let Some(place) = take.device.as_ref().and_then(|id| pool.devices.iter().position(|device| device.id == *id)) else {
            let counted = unnamed.entry(take.resource.to_string()).or_default();
            *counted += 1;
            return (*counted <= ledger.free).then_some(take);
        };
        let using = ledger.usage.get(place)?;
        if !using.whole.iter().chain(&using.sharers).any(|uid| awaited.contains(uid)) {
            return Some(take);
        }
        let left = 1000_u32.saturating_sub(using.share_milli);
        let milli = left.min(take.milli());
        (using.whole.is_none() && milli > 0).then_some(Take { amount: Amount::Share { milli, memory_mib: None }, ..take })
    };
    takes.into_iter().filter_map(free).collect()
}

fn is_lack_of_room(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::InsufficientDevices
            | Reason::InsufficientShare
            | Reason::InsufficientDeviceMemory
            | Reason::NodeHoldsShares
            | Reason::NodeHoldsWholeDevices
            | Reason::Reserved
            | Reason::NoSliceFree
            | Reason::GroupDoesNotFit
            | Reason::NoDomainForGroup
            | Reason::NodesClosed
    )
}

fn title(id: &GangId) -> String {
    if id.kind == GangKind::Alone { format!("pod {id}") } else { format!("gang {id}") }
}

/// Why these and no others.
fn words(takeover: &Takeover, standing: Standing) -> String {
    let Some(reach @ Reach { priority, .. }) = takeover.reach else { return "nobody is evicted for it".into() };
    let best = if takeover.proven { "no other choice costs less" } else { "the best that was found" };
    let seconds = takeover.cost.lost_ms / 1000;
    format!(
        "{}, {priority} against {}; {} pods, {seconds} accelerator-seconds of work; {best}",
        rules::name(reach),
        standing.priority,
        takeover.cost.pods
    )
}
