//! Room that is kept for a gang which has waited too long. Whoever fits passes those who do not, so that small pods could keep a
//! large gang out for ever. Once it was passed, and after the time that the profile says, nodes are chosen that come free soonest and hold the whole gang;
//! from then on nobody starts there but who is expected to end before the gang can start.
//!
//! One gang at a time, in the order of turns. When it starts follows from what those who run there said of themselves
//! (`gangplank.dev/expected-duration`); where one of them said nothing it is not predictable, and then nobody passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Lane, Step, Turn};
use crate::book::HolderState;
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::gang::{Context, plan};
use crate::model::{GangId, NodeName, Pod, PodUid, Reason, Refusal, Time};

/// Room that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    id: GangId,
    nodes: BTreeSet<NodeName>,
    /// When those who run there have ended, if all said how long they run.
    free_at: Option<Time>,
    /// How many of them there were, and how many did not say.
    ran: usize,
    silent: usize,
}

impl Kept {
    /// Why the gang waits, with when it is expected to start and on what that rests.
    fn story(&self, now: Time, why: &Refusal) -> Refusal {
        let count = self.nodes.len();
        let start = match self.free_at {
            Some(free_at) if free_at > now => format!(
                "start expected in 0 to {} s, by what the {} pods that ran there say of themselves",
                (free_at - now).as_secs(),
                self.ran
            ),
            Some(_) => format!("start was expected by now, by what the {} pods that ran there said of themselves", self.ran),
            None => format!("start not predictable: {} of the {} pods that ran there do not say how long they run", self.silent, self.ran),
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
    /// A gang does not fit. Room is kept for it from now on if it has waited long enough, and the story says so.
    pub(super) fn keep_room(&mut self, now: Time, id: &GangId, why: &Refusal) -> Option<Refusal> {
        if self.lane.kept.is_none() && why.reason.lacks_room() {
            self.lane.kept = self.room_for(now, id);
        }
        self.lane.kept.as_ref().filter(|kept| kept.id == *id).map(|kept| kept.story(now, why))
    }

    fn room_for(&mut self, now: Time, id: &GangId) -> Option<Kept> {
        let gang = self.lane.gangs.get(id).filter(|gang| gang.phase == Phase::Queued && gang.tally.planned + gang.tally.bound == 0)?;
        let waiting = gang.at(|step| step == Step::Waiting);
        let patience = self.patience(&self.pods.get(waiting.first()?)?.pod)?;
        if now - gang.turn.created_at < patience || !self.lane.is_passed(&gang.turn) {
            return None;
        }
        let nodes = self.soonest(now);
        // The fewest of them that hold all of it; with more there is never less room.
        let (mut low, mut high) = (0, nodes.len() + 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            let fits = middle > nodes.len() || self.plan_on(now, id, &waiting, &nodes[..middle]).is_some();
            (low, high) = if fits { (low, middle) } else { (middle + 1, high) };
        }
        let chosen = self.plan_on(now, id, &waiting, nodes.get(..low)?)?;
        let there: Vec<&Runs> = nodes.iter().filter(|(name, _)| chosen.contains(name)).map(|(_, runs)| runs).collect();
        let silent = there.iter().map(|runs| runs.silent).sum();
        let latest = there.iter().map(|runs| runs.free_at).max().unwrap_or(now);
        let ran = there.iter().map(|runs| runs.pods).sum();
        Some(Kept { id: id.clone(), nodes: chosen, free_at: (silent == 0).then_some(latest), ran, silent })
    }

    /// How long a pod waits before room is kept for it; none for ever.
    fn patience(&self, pod: &Pod) -> Option<Duration> {
        self.rules(pod).profile.keep_room_after
    }

    /// Nodes in the order in which they come free, as far as that is known; of the others those first that hold least.
    fn soonest(&self, now: Time) -> Vec<(NodeName, Runs)> {
        let mut nodes: BTreeMap<NodeName, Runs> =
            self.book.nodes().map(|entry| (entry.node.name.clone(), Runs { free_at: now, ..Runs::default() })).collect();
        for holder in self.book.holders() {
            let Some(runs) = nodes.get_mut(&holder.node) else { continue };
            runs.pods += 1;
            runs.held_milli += holder.takes.iter().map(|take| u64::from(take.milli())).sum::<u64>();
            runs.holders.push(holder.uid.clone());
            match self.pods.get(&holder.uid).and_then(|record| record.pod.expected) {
                Some(expected) => {
                    // A plan holds its devices before the pod runs.
                    let since = if holder.state == HolderState::Bound { holder.changed_at } else { now };
                    runs.free_at = runs.free_at.max(since + expected);
                }
                None => runs.silent += 1,
            }
        }
        let mut nodes: Vec<(NodeName, Runs)> = nodes.into_iter().collect();
        nodes
            .sort_by_key(|(name, runs)| (runs.silent > 0, if runs.silent > 0 { now } else { runs.free_at }, runs.held_milli, name.clone()));
        nodes
    }

    /// Where the gang would go if all who run on these nodes were gone; none if it does not fit then.
    fn plan_on(&mut self, now: Time, id: &GangId, waiting: &[PodUid], nodes: &[(NodeName, Runs)]) -> Option<BTreeSet<NodeName>> {
        let needed = self.lane.gangs.get(id).and_then(|gang| self.lane.size(id, gang)).map_or(usize::MAX, |(_, min)| min as usize);
        let roster = self.roster(id, waiting, needed);
        let rules = self.rules(roster.first()?);
        let (profile, scorer) = (&rules.profile, &rules.scorer);
        let mark = self.book.checkpoint();
        for uid in nodes.iter().flat_map(|(_, runs)| &runs.holders) {
            self.book.release(uid);
        }
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
        let ends_before = || Some(now + pod.expected? <= kept.free_at?);
        !ends_before().unwrap_or(false)
    }

    /// Nodes of which room is kept from a gang, if any is.
    pub(super) fn kept_from(&self, now: Time, id: &GangId, pod: &Pod) -> BTreeSet<NodeName> {
        let nodes = self.lane.kept.iter().flat_map(|kept| &kept.nodes);
        nodes.filter(|node| self.is_kept_from(now, id, pod, node)).cloned().collect()
    }

    /// Room is kept no longer for a gang that has its places, or is gone.
    pub(super) fn review_kept_for(&mut self, id: &GangId) {
        if self.is_room_kept_for(id) && self.lane.gangs.get(id).is_none_or(|gang| gang.phase != Phase::Queued) {
            self.lane.kept = None;
            self.lane.gained();
        }
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

/// Who runs on a node.
#[derive(Clone, Debug, Default)]
struct Runs {
    pods: usize,
    silent: usize,
    held_milli: u64,
    free_at: Time,
    holders: Vec<PodUid>,
}
