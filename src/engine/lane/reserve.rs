//! Room that is kept for a gang which has waited too long. Whoever fits passes those who do not, so that small pods could keep a
//! large gang out for ever. Once it was passed, and has waited as long as the profile says and ten times as long as it will run, it is
//! found out who has to end so that all of it fits, those first who end soonest, and nodes are chosen for it by the planner's own word; from then
//! on nobody of its priority or below starts there but who is expected to end before the gang can start.
//!
//! One gang at a time, in the order of turns. When it starts follows from what those who have to end said of themselves, or from what
//! earlier runs of their owners took (`durations`); where one of them did not and there are none it is not predictable, and then nobody passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Lane, Step, Turn};
use crate::book::{Holder, HolderState};
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::gang::{Context, plan};
use crate::model::{GangId, NodeName, Pod, PodUid, Reason, Refusal, Time};

/// Who waits is looked at so often, also while nobody ends.
const LOOK: Duration = Duration::from_secs(30);

/// A gang waits so many times as long as it will run: what is kept for it costs others, and who runs for long can wait for long.
const STRETCH: u32 = 10;
/// Where nobody knew when room would come free, none is kept so again for so many times as long as that took.
const REST: u32 = 10;

/// Room that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    id: GangId,
    priority: i32,
    since: Time,
    nodes: BTreeSet<NodeName>,
    /// When those who have to end have ended, if it is known of all how long they run.
    free_at: Option<Time>,
    /// When that is at the soonest.
    free_from: Time,
    /// How many of them there were, of how many earlier runs tell, and of how many nothing does.
    ran: usize,
    learnt: usize,
    silent: usize,
}

impl Kept {
    /// Why the gang waits, with when it is expected to start and on what that rests.
    fn story(&self, now: Time, why: &Refusal) -> Refusal {
        let (count, ran) = (self.nodes.len(), self.ran);
        let basis = match self.learnt {
            0 => format!("what the {ran} pods that have to end say of themselves"),
            learnt if learnt == ran => format!("earlier runs of the owners of the {ran} pods that have to end"),
            learnt => format!("what the {ran} pods that have to end say of themselves, {learnt} of them by earlier runs of their owners"),
        };
        let start = match self.free_at {
            Some(free_at) if free_at > now => {
                let least = if self.free_from > now { (self.free_from - now).as_secs() } else { 0 };
                format!("start expected in {least} to {} s, by {basis}", (free_at - now).as_secs())
            }
            Some(_) => format!("start was expected by now, by {basis}"),
            None => format!("start not predictable: {} of the {ran} pods that have to end do not say how long they run", self.silent),
        };
        Refusal {
            there: format!("{}; {count} nodes are kept for it; {start}", why.there),
            remedy: "none needed: nobody starts there who would put it off".into(),
            ..why.clone()
        }
    }
}

impl Lane {
    /// A gang has places.
    pub(super) fn starts(&mut self, turn: &Turn) {
        let last = self.started.entry(turn.priority.0).or_default();
        *last = (*last).max((turn.created_at, turn.arrival));
    }

    /// Whether somebody started that came later, and is no more urgent.
    fn is_passed(&self, turn: &Turn) -> bool {
        self.started.range(..=turn.priority.0).any(|(_, last)| *last > (turn.created_at, turn.arrival))
    }
}

impl Engine {
    /// For which gang room is kept, and since when.
    pub fn room_kept(&self) -> Option<(&GangId, Time)> {
        self.lane.kept.as_ref().map(|kept| (&kept.id, kept.since))
    }

    /// A gang does not fit. Room is kept for it from now on if it has waited long enough, and the story says so.
    pub(super) fn keep_room(&mut self, now: Time, id: &GangId, why: &Refusal) -> Option<Refusal> {
        if self.lane.kept.is_none() && why.reason.lacks_room() {
            self.lane.kept = self.room_for(now, id);
        }
        self.lane.kept.as_ref().filter(|kept| kept.id == *id).map(|kept| kept.story(now, why))
    }

    /// Time passed, and one of those who wait may have waited long enough.
    pub(super) fn look_at_patience(&mut self, now: Time) {
        if self.lane.kept.is_some() || self.lane.refused.is_empty() || now - self.lane.patience_looked_at < LOOK {
            return;
        }
        self.lane.patience_looked_at = now;
        let refused = self.lane.refused.iter().filter(|turn| self.is_due(now, turn)).map(|turn| turn.id.clone());
        for id in refused.collect::<Vec<_>>() {
            let Some(why) = self.lane.gangs.get(&id).and_then(|gang| gang.refusal.clone()) else { continue };
            if let Some(story) = self.keep_room(now, &id, &why) {
                return self.tell_gang(now, &id, &story);
            }
        }
    }

    /// Whether a gang has waited longer than anybody should, and others passed it meanwhile.
    fn is_due(&self, now: Time, turn: &Turn) -> bool {
        let waited = now - turn.created_at;
        let waits_too_long = || {
            let gang = self.lane.gangs.get(&turn.id)?;
            let mut waiting = gang.members.iter().filter(|(_, step)| **step == Step::Waiting).filter_map(|(uid, _)| self.pods.get(uid));
            let pod = &waiting.next()?.pod;
            let patience = self.rules(pod).profile.keep_room_after?;
            let runs = self.expected(pod).map_or(Duration::ZERO, |expected| expected.most);
            Some(waited >= patience.max(runs.saturating_mul(STRETCH)))
        };
        self.lane.is_passed(turn) && waits_too_long().unwrap_or(false)
    }

    fn room_for(&mut self, now: Time, id: &GangId) -> Option<Kept> {
        let gang = self.lane.gangs.get(id).filter(|gang| gang.phase == Phase::Queued && gang.tally.planned + gang.tally.bound == 0)?;
        let (waiting, turn) = (gang.at(|step| step == Step::Waiting), gang.turn.clone());
        if !self.is_due(now, &turn) {
            return None;
        }
        let ends = self.ends(now);
        // How many of them have to end: with one more gone there is never less room.
        let (mut few, mut enough) = (0, ends.len());
        let mut nodes = self.nodes_without(now, id, &waiting, &ends)?;
        while few < enough {
            let middle = usize::midpoint(few, enough);
            match self.nodes_without(now, id, &waiting, &ends[..middle]) {
                Some(fewer) => (enough, nodes) = (middle, fewer),
                None => few = middle + 1,
            }
        }
        let there = || ends[..enough].iter().filter(|end| nodes.contains(&end.node));
        let count = |basis: Basis| there().filter(|end| end.basis == basis).count();
        let (learnt, silent) = (count(Basis::Learnt), count(Basis::Nothing));
        if silent > 0 && now < self.lane.rests_until {
            return None;
        }
        let latest = there().map(|end| end.at).max().unwrap_or(now);
        let free_from = there().map(|end| end.from).max().unwrap_or(now);
        let (priority, free_at, ran) = (turn.priority.0, (silent == 0).then_some(latest), there().count());
        Some(Kept { id: id.clone(), priority, since: now, nodes, free_at, free_from, ran, learnt, silent })
    }

    /// Who holds devices, in the order in which they end, as far as that is known. Of one that says nothing, or has outrun what it
    /// said, it is taken that it runs about as long again as it ran; of those on a node that holds less is asked first.
    fn ends(&self, now: Time) -> Vec<End> {
        let mut held_milli: BTreeMap<&NodeName, u64> = BTreeMap::new();
        for holder in self.book.holders() {
            *held_milli.entry(&holder.node).or_default() += holder.takes.iter().map(|take| u64::from(take.milli())).sum::<u64>();
        }
        let end = |holder: &Holder| {
            let pod = self.pods.get(&holder.uid).map(|record| &record.pod);
            // A plan holds its devices before the pod runs.
            let since = pod.and_then(|pod| self.runs_since(pod)).unwrap_or(now);
            let expected = pod.and_then(|pod| self.expected(pod));
            let basis = expected.map_or(Basis::Nothing, |expected| if expected.learnt { Basis::Learnt } else { Basis::Said });
            let again = Duration::from_secs((now - since).as_secs().next_power_of_two());
            let at = expected.map(|expected| since + expected.most).filter(|at| *at > now).unwrap_or(now + again);
            let from = expected.map_or(now, |expected| since + expected.least).max(now);
            End { at, held_milli: held_milli[&holder.node], node: holder.node.clone(), uid: holder.uid.clone(), from, basis }
        };
        let mut ends: Vec<End> = self.book.holders().map(end).collect();
        ends.sort();
        ends
    }

    /// Where a gang would go if these had ended; none if it does not fit then.
    fn nodes_without(&mut self, now: Time, id: &GangId, waiting: &[PodUid], ended: &[End]) -> Option<BTreeSet<NodeName>> {
        let needed = self.lane.gangs.get(id).and_then(|gang| self.lane.size(id, gang)).map_or(usize::MAX, |(_, min)| min as usize);
        let roster = self.roster(id, waiting, needed);
        let rules = self.rules(roster.first()?);
        let (profile, scorer) = (&rules.profile, &rules.scorer);
        let mark = self.book.checkpoint();
        ended.iter().for_each(|end| drop(self.book.release(&end.uid)));
        let context = Context { fabric: &self.fabric, profile, scorer, offered: None, state: HolderState::Planned, now };
        let made = plan(&mut self.book, context, &roster.group(id));
        self.book.rollback(mark);
        made.ok().map(|made| made.members.into_iter().map(|planned| planned.node).collect())
    }

    pub(super) fn is_room_kept_for(&self, id: &GangId) -> bool {
        self.lane.kept.as_ref().is_some_and(|kept| kept.id == *id)
    }

    /// Whether a pod must not start on a node, because room is kept there for somebody else.
    pub(super) fn is_kept_from(&self, now: Time, id: &GangId, pod: &Pod, node: &NodeName) -> bool {
        let Some(kept) = self.lane.kept.as_ref().filter(|kept| kept.id != *id && kept.nodes.contains(node)) else { return false };
        if pod.priority > kept.priority {
            return false;
        }
        let ends_before = || Some(now + self.expected(pod)?.most <= kept.free_at?);
        !ends_before().unwrap_or(false)
    }

    /// Nodes of which room is kept from a gang, if any is.
    pub(super) fn kept_from(&self, now: Time, id: &GangId, pod: &Pod) -> BTreeSet<NodeName> {
        let nodes = self.lane.kept.iter().flat_map(|kept| &kept.nodes);
        nodes.filter(|node| self.is_kept_from(now, id, pod, node)).cloned().collect()
    }

    /// Room is kept no longer for a gang that has its places, or is gone.
    pub(super) fn review_kept_for(&mut self, now: Time, id: &GangId) {
        let over = self.is_room_kept_for(id) && self.lane.gangs.get(id).is_none_or(|gang| gang.phase != Phase::Queued);
        let Some(kept) = self.lane.kept.take_if(|_| over) else { return };
        if kept.silent > 0 {
            self.lane.rests_until = now + (now - kept.since).saturating_mul(REST);
        }
        self.lane.gained();
    }

    /// Nodes that are gone, or closed, are none that come free: others are chosen.
    pub(super) fn review_kept_nodes(&mut self) {
        let open = |name: &NodeName| self.book.node(name.as_str()).is_some_and(|entry| !entry.node.unschedulable);
        if self.lane.kept.as_ref().is_some_and(|kept| !kept.nodes.iter().all(open)) {
            self.lane.kept = None;
        }
    }

    /// The story of a pod that would fit where room is kept.
    pub(super) fn kept_elsewhere(&self, pod: &Pod) -> Option<Refusal> {
        let kept = self.lane.kept.as_ref()?;
        Some(Refusal {
            reason: Reason::RoomKept,
            needed: format!("{} devices", pod.request.units().div_ceil(1000)),
            there: format!("what is free is kept for gang {}, which has waited longer", kept.id),
            remedy: match kept.free_at {
                Some(_) => {
                    "say how long it runs (gangplank.dev/expected-duration): who ends before that gang can start may go first".into()
                }
                None => "wait until that gang has started".into(),
            },
        })
    }
}

/// Somebody who holds devices, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: Time,
    held_milli: u64,
    node: NodeName,
    uid: PodUid,
    /// It does not end before.
    from: Time,
    basis: Basis,
}

/// Who says when somebody ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Basis {
    /// Its owner.
    Said,
    /// Earlier runs of its owner.
    Learnt,
    /// Nobody.
    Nothing,
}
