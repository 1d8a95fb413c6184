//! Room that is kept for a gang which has waited too long. Whoever fits passes those who do not, so that small pods could keep a
//! large gang out for ever. Once it was passed, and has waited as long as the profile says and ten times as long as it will run, it is
//! found out who has to end so that all of it fits, those first who end soonest, and nodes are chosen for it by the planner's own word; from then
//! on nobody of its priority or below starts there but who is expected to end before the gang can start.
//!
//! One gang at a time, in the order of turns. When it starts follows from what those who have to end said of themselves, or from what
//! earlier runs of their owners took (`durations`); where one of them did not and there are none it is not predictable, and then nobody passes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::outlook::Wait;
use super::{Lane, Step, Turn};
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::model::{GangId, NodeName, Pod, Reason, Refusal, Time};

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
    /// Who has to end.
    wait: Wait,
}

impl Kept {
    /// Why the gang waits, with when it is expected to start and on what that rests.
    fn story(&self, now: Time, why: &Refusal) -> Refusal {
        let (count, wait) = (self.nodes.len(), &self.wait);
        let start = match wait.free_at {
            Some(free_at) if free_at > now => {
                let least = (wait.free_from - now).as_secs();
                format!("start expected in {least} to {} s, by {}", (free_at - now).as_secs(), wait.basis())
            }
            Some(_) => format!("start was expected by now, by {}", wait.basis()),
            None => format!("start not predictable: {}", wait.unknown()),
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

    /// The turn of the gang for which room is kept, and since when it is.
    pub(super) fn kept_turn(&self) -> Option<(Turn, Time)> {
        let kept = self.kept.as_ref()?;
        Some((self.gangs.get(&kept.id)?.turn.clone(), kept.since))
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

    fn room_for(&self, now: Time, id: &GangId) -> Option<Kept> {
        let turn = &self.lane.gangs.get(id)?.turn;
        if !self.is_due(now, turn) {
            return None;
        }
        let (wait, nodes) = self.search_for_start(now, id)?.fewest()?;
        if wait.silent > 0 && now < self.lane.rests_until {
            return None;
        }
        Some(Kept { id: id.clone(), priority: turn.priority.0, since: now, nodes, wait })
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
        !self.ends_before(now, pod, kept)
    }

    /// A pod that starts now is expected to end before the gang can start for which room is kept.
    fn ends_before(&self, now: Time, pod: &Pod, kept: &Kept) -> bool {
        let ends_before = || Some(now + self.expected(pod)?.most <= kept.wait.free_at?);
        ends_before().unwrap_or(false)
    }

    /// Since when room is kept for somebody, and whether a pod that starts now ends before it is needed.
    pub(super) fn passes_kept_room(&self, now: Time, pod: &Pod) -> Option<(Time, bool)> {
        self.lane.kept.as_ref().map(|kept| (kept.since, self.ends_before(now, pod, kept)))
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
        if kept.wait.silent > 0 {
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
            remedy: match kept.wait.free_at {
                Some(_) => {
                    "say how long it runs (gangplank.dev/expected-duration): who ends before that gang can start may go first".into()
                }
                None => "wait until that gang has started".into(),
            },
        })
    }
}
