//! When a gang that waits could start, as far as anybody knows. Those who hold devices are taken to end one after another, those first who
//! end soonest, until the planner finds places for all of it: from that follows a range, and on whose word it rests. Nothing is held or
//! kept by asking. [`super::reserve`] keeps room by the same search.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::roles::Roster;
use super::{Step, Turn};
use crate::book::{Book, Holder, HolderState};
use crate::engine::Engine;
use crate::gang::life::Phase;
use crate::gang::{Context, plan};
use crate::model::{GangId, NodeName, PodUid, Time};
use crate::policy::Rules;
use crate::topology::fabric::Fabric;

/// When a gang could start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Within this range, if nobody outruns what is known of it.
    Expected {
        /// At the soonest, from now.
        from: Duration,
        /// At the latest.
        until: Duration,
        /// Who says so.
        basis: String,
    },
    /// Nobody knows.
    NotPredictable {
        /// Why not.
        why: String,
    },
    /// Not even if all that runs had ended.
    Never,
}

/// Those who have to end before a gang can start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When they have ended, if it is known of all how long they run.
    pub(super) free_at: Option<Time>,
    /// When that is at the soonest.
    pub(super) free_from: Time,
    /// How many of them there are, of how many earlier runs tell, and of how many nothing does.
    pub(super) ran: usize,
    pub(super) learnt: usize,
    pub(super) silent: usize,
}

impl Wait {
    fn of(now: Time, ends: &[End]) -> Self {
        let count = |basis: Basis| ends.iter().filter(|end| end.basis == basis).count();
        let latest = ends.iter().map(|end| end.at).max().unwrap_or(now);
        let free_from = ends.iter().map(|end| end.from).max().unwrap_or(now);
        let (learnt, silent) = (count(Basis::Learnt), count(Basis::Nothing));
        Self { free_at: (silent == 0).then_some(latest), free_from, ran: ends.len(), learnt, silent }
    }

    /// On whose word it rests.
    pub(super) fn basis(&self) -> String {
        match (self.ran, self.learnt) {
            (1, 0) => "what the one pod that has to end says of itself".to_owned(),
            (1, _) => "earlier runs of the owner of the one pod that has to end".to_owned(),
            (ran, 0) => format!("what the {ran} pods that have to end say of themselves"),
            (ran, learnt) if learnt == ran => format!("earlier runs of the owners of the {ran} pods that have to end"),
            (ran, learnt) => {
                format!("what the {ran} pods that have to end say of themselves, {learnt} of them by earlier runs of their owners")
            }
        }
    }

    /// Why there is no range, where there is none.
    pub(super) fn unknown(&self) -> String {
        match self.ran {
            1 => "the one pod that has to end does not say how long it runs".to_owned(),
            ran => format!("{} of the {ran} pods that have to end do not say how long they run", self.silent),
        }
    }
}

/// All that the search for an answer needs of the engine: it is made beside it.
#[derive(Debug)]
pub struct Search {
    id: GangId,
    roster: Roster,
    rules: Arc<Rules>,
    fabric: Fabric,
    book: Book,
    now: Time,
    ends: Vec<End>,
    /// So many wait before it.
    ahead: usize,
    /// What keeps it from starting, where that is not a lack of room.
    other: Option<String>,
}

impl Search {
    /// When the gang could start.
    pub fn outlook(mut self) -> Outlook {
        if let Some(why) = self.other {
            return Outlook::NotPredictable { why };
        }
        let Some((wait, _)) = self.fewest() else { return Outlook::Never };
        match (self.ahead, wait.free_at) {
            (0, Some(free_at)) => {
                let until = free_at - self.now;
                Outlook::Expected { from: (wait.free_from - self.now).min(until), until, basis: wait.basis() }
            }
            (0, None) => Outlook::NotPredictable { why: wait.unknown() },
            (1, _) => Outlook::NotPredictable { why: "another gang waits before it".into() },
            (ahead, _) => Outlook::NotPredictable { why: format!("{ahead} gangs wait before it") },
        }
    }

    /// Who has to end so that there is a place for all of it, and where that is. None: it does not fit if all of them ended.
    pub(super) fn fewest(&mut self) -> Option<(Wait, BTreeSet<NodeName>)> {
        // How many of them have to end: with one more gone there is never less room.
        let (mut few, mut enough) = (0, self.ends.len());
        let mut nodes = self.nodes_without(enough)?;
        while few < enough {
            let middle = usize::midpoint(few, enough);
            match self.nodes_without(middle) {
                Some(fewer) => (enough, nodes) = (middle, fewer),
                None => few = middle + 1,
            }
        }
        let there: Vec<End> = self.ends[..enough].iter().filter(|end| nodes.contains(&end.node)).cloned().collect();
        Some((Wait::of(self.now, &there), nodes))
    }

    /// Where the gang would go if the first of those who end had ended; none if it does not fit then.
    fn nodes_without(&mut self, ended: usize) -> Option<BTreeSet<NodeName>> {
        let (profile, scorer) = (&self.rules.profile, &self.rules.scorer);
        let mark = self.book.checkpoint();
        self.ends[..ended].iter().for_each(|end| drop(self.book.release(&end.uid)));
        let context = Context { fabric: &self.fabric, profile, scorer, offered: None, state: HolderState::Planned, now: self.now };
        let made = plan(&mut self.book, context, &self.roster.group(&self.id));
        self.book.rollback(mark);
        made.ok().map(|made| made.members.into_iter().map(|planned| planned.node).collect())
    }
}

impl Engine {
    /// What it takes to find out when a gang could start; none of one that does not wait for room.
    pub fn search_for_start(&self, now: Time, id: &GangId) -> Option<Search> {
        let gang = self.lane.gangs.get(id).filter(|gang| gang.phase == Phase::Queued && gang.tally.planned + gang.tally.bound == 0)?;
        let waiting = gang.at(|step| step == Step::Waiting);
        let needed = self.lane.size(id, gang).map_or(usize::MAX, |(_, min)| min as usize);
        let roster = self.roster(id, &waiting, needed);
        let rules = self.rules(roster.first()?);
        let other = gang.refusal.as_ref().filter(|why| !why.reason.lacks_room()).map(|why| format!("{}; {}", why.needed, why.there));
        let (ahead, ends) = (self.before(id, &gang.turn), self.ends(now));
        let (id, book, fabric) = (id.clone(), self.book.clone(), self.fabric.clone());
        Some(Search { id, roster, rules, fabric, book, now, ends, ahead, other })
    }

    /// The same for every gang of a name that waits for room; a pod stands for the gang that it is in.
    pub fn searches_for_start(&self, now: Time, namespace: &str, name: &str) -> Vec<(GangId, Search)> {
        let of_pod = self.pod(namespace, name).and_then(|pod| self.gang_of(&pod.uid));
        let named = |id: &&GangId| of_pod == Some(id) || &*id.key.namespace == namespace && &*id.key.name == name;
        self.lane.gangs.keys().filter(named).filter_map(|id| Some((id.clone(), self.search_for_start(now, id)?))).collect()
    }

    /// How many lack room and may take what comes free first: those whose turn is before, and whoever room is kept for.
    fn before(&self, id: &GangId, turn: &Turn) -> usize {
        let lacks_room = |turn: &&Turn| {
            let refusal = self.lane.gangs.get(&turn.id).and_then(|gang| gang.refusal.as_ref());
            refusal.is_some_and(|why| why.reason.lacks_room())
        };
        let earlier = || self.lane.refused.before(turn).filter(lacks_room).map(|turn| &turn.id);
        let kept = self.room_kept().map(|(kept, _)| kept).filter(|kept| *kept != id);
        earlier().count() + usize::from(kept.is_some_and(|kept| earlier().all(|earlier| earlier != kept)))
    }

    /// The gang that a pod is in; a pod without company is one of its own.
    pub fn gang_of(&self, uid: &PodUid) -> Option<&GangId> {
        self.lane.gang_of.get(uid)
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
