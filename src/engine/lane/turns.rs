//! Whose turn it is. Gangs wait in the line of their queue; which queue is served next is [`crate::queue`]'s to say. Inside a line
//! the higher priority goes first, then, where the queue's order is fair, the namespace that had less of late, then the rank that
//! the order gives, then age. Without queues there is one line: by priority, then age.
//!
//! Who does not fit is set aside by the planner and holds nobody up, in its own line or another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Turn;
use crate::model::GangId;
use crate::queue::{Asks, Head, Ledger};

/// Gangs that wait for a plan.
#[derive(Debug, Default)]
pub(super) struct Ready {
    lines: BTreeMap<usize, Line>,
    entries: BTreeMap<GangId, Entry>,
}

/// One queue's: by priority, then by namespace where that matters, then by rank and age.
type Line = BTreeMap<Reverse<i32>, BTreeMap<Arc<str>, BTreeSet<(u128, Turn)>>>;

/// Where a gang stands, and what for.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its queue.
    pub(super) queue: usize,
    /// Its namespace, where the queue's order is fair between them.
    pub(super) group: Arc<str>,
    /// What the queue's order gives it.
    pub(super) rank: u128,
    pub(super) asks: Asks,
    pub(super) turn: Turn,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn contains(&self, id: &GangId) -> bool {
        self.entries.contains_key(id)
    }

    /// Every gang that waits here.
    pub(super) fn ids(&self) -> impl Iterator<Item = &GangId> {
        self.entries.keys()
    }

    /// Lets a gang wait, once.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.remove(&entry.turn.id);
        let level = self.lines.entry(entry.queue).or_default().entry(entry.turn.priority).or_default();
        level.entry(entry.group.clone()).or_default().insert((entry.rank, entry.turn.clone()));
        self.entries.insert(entry.turn.id.clone(), entry);
    }

    /// Takes a gang out, if it waits here.
    pub(super) fn remove(&mut self, id: &GangId) -> Option<Turn> {
        let Entry { queue, group, rank, turn, .. } = self.entries.remove(id)?;
        let line = self.lines.get_mut(&queue)?;
        let level = line.get_mut(&turn.priority)?;
        let members = level.get_mut(&group)?;
        let place = (rank, turn);
        members.remove(&place);
        if members.is_empty() {
            level.remove(&group);
        }
        if level.is_empty() {
            line.remove(&place.1.priority);
        }
        if line.is_empty() {
            self.lines.remove(&queue);
        }
        Some(place.1)
    }

    /// Takes out the gang whose turn it is.
    pub(super) fn pop(&mut self, ledger: &Ledger) -> Option<Turn> {
        let id = self.first(ledger)?.id.clone();
        self.remove(&id)
    }

    fn first(&self, ledger: &Ledger) -> Option<&Turn> {
        let head = |line: &Line| -> Option<GangId> { first_of(line, ledger).map(|turn| turn.id.clone()) };
        if ledger.rules().is_empty() {
            return self.lines.values().next().and_then(|line| first_of(line, ledger));
        }
        let heads: BTreeMap<usize, Head<'_, &Turn>> = self
            .lines
            .iter()
            .filter_map(|(queue, line)| {
                let entry = self.entries.get(&head(line)?)?;
                Some((*queue, Head { asks: &entry.asks, turn: &entry.turn }))
            })
            .collect();
        heads.get(&ledger.next(&heads)?).map(|head| head.turn)
    }
}

/// Who is first in a line.
fn first_of<'a>(line: &'a Line, ledger: &Ledger) -> Option<&'a Turn> {
    let (_, level) = line.first_key_value()?;
    let firsts = level.iter().filter_map(|(group, members)| Some((group, members.first()?)));
    let standing = |group: &str| if group.is_empty() { 0 } else { ledger.standing_of_namespace(group) };
    firsts.min_by_key(|(group, first)| (standing(group), *first)).map(|(_, (_, turn))| turn)
}
