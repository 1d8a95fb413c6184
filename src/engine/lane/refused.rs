//! Gangs that were planned in vain, until there is room to gain. Of those that are alike only the first is looked at again: while it
//! finds no place none of the others would. Thousands may wait, and somebody ends every second.

use std::collections::BTreeMap;

use super::Turn;
use super::plan::Alike;
use crate::model::{GangId, Refusal, Time};

/// So many kinds are told apart; of more each gang is looked at by itself.
const KINDS_MAX: usize = 64;

/// In the order of turns, each with its kind; none: it is looked at by itself.
#[derive(Debug)]
pub(super) struct Refused {
    turns: BTreeMap<Turn, Option<usize>>,
    kinds: Vec<Kind>,
    /// Since when room is kept for somebody by the time that these kinds were told apart: who ends before that is needed is another kind.
    /// With time fewer do, so that whoever stands behind another never has more ways than it.
    kept_since: Option<Time>,
    kinds_max: usize,
}

impl Default for Refused {
    fn default() -> Self {
        Self { turns: BTreeMap::new(), kinds: Vec::new(), kept_since: None, kinds_max: KINDS_MAX }
    }
}

/// Gangs that are alike.
#[derive(Debug)]
struct Kind {
    alike: Alike,
    /// Why the last of them that was looked at has no place.
    refusal: Refusal,
    /// No room was gained since.
    holds: bool,
    /// Who of them is to be looked at again before the others.
    front: Option<GangId>,
}

impl Refused {
    /// Each is looked at by itself from now on.
    #[cfg(test)]
    pub(super) fn tell_none_apart(&mut self) {
        self.kinds_max = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn contains(&self, turn: &Turn) -> bool {
        self.turns.contains_key(turn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.turns.keys()
    }

    pub(super) fn before(&self, turn: &Turn) -> impl Iterator<Item = &Turn> {
        self.turns.range(..turn).map(|(turn, _)| turn)
    }

    pub(super) fn remove(&mut self, turn: &Turn) {
        self.turns.remove(turn);
    }

    /// There is news of a gang: nobody else stands for it until it was looked at.
    pub(super) fn stands_alone(&mut self, turn: &Turn) {
        if let Some(kind) = self.turns.get_mut(turn) {
            *kind = None;
        }
    }

    pub(super) fn insert(&mut self, turn: Turn, kind: Option<usize>) {
        self.turns.insert(turn, kind);
    }

    /// The kind of a gang of which one was refused since room was last gained, and why.
    pub(super) fn known(&self, alike: &Alike) -> Option<(usize, &Refusal)> {
        let place = self.kinds.iter().position(|kind| kind.holds && kind.alike == *alike)?;
        Some((place, &self.kinds[place].refusal))
    }

    /// One of a kind is refused. Its kind, and whether the others have to hear of another reason.
    pub(super) fn note(&mut self, alike: Alike, refusal: &Refusal) -> Option<(usize, bool)> {
        if let Some(place) = self.kinds.iter().position(|kind| kind.alike == alike) {
            let kind = &mut self.kinds[place];
            let news = kind.refusal.reason != refusal.reason;
            (kind.refusal, kind.holds) = (refusal.clone(), true);
            return Some((place, news));
        }
        if self.kinds.len() == self.kinds_max {
            return None;
        }
        self.kinds.push(Kind { alike, refusal: refusal.clone(), holds: true, front: None });
        Some((self.kinds.len() - 1, false))
    }

    /// Room was gained: takes out those who are to be looked at. `kept` has room kept for it, and since when: nobody stands for it.
    pub(super) fn look_again(&mut self, kept: Option<(Turn, Time)>) -> Vec<Turn> {
        let kept_since = kept.as_ref().map(|(_, since)| *since);
        if self.kinds.len() == self.kinds_max || self.kept_since != kept_since {
            self.kinds.clear();
            self.turns.values_mut().for_each(|kind| *kind = None);
            self.kept_since = kept_since;
        }
        self.kinds.iter_mut().for_each(|kind| kind.holds = false);
        if let Some((turn, _)) = kept {
            self.stands_alone(&turn);
        }
        let mut again = Vec::new();
        for (turn, kind) in &self.turns {
            let front = kind.map(|place| &mut self.kinds[place].front);
            match front {
                Some(Some(_)) => {}
                Some(front) => {
                    *front = Some(turn.id.clone());
                    again.push(turn.clone());
                }
                None => again.push(turn.clone()),
            }
        }
        again.iter().for_each(|turn| self.remove(turn));
        again
    }

    /// A gang is looked at: the kind that it was the first of.
    pub(super) fn leads(&mut self, id: &GangId) -> Option<usize> {
        let place = self.kinds.iter().position(|kind| kind.front.as_ref() == Some(id))?;
        self.kinds[place].front = None;
        Some(place)
    }

    /// Kinds whose first is gone before it was looked at.
    pub(super) fn without_front(&mut self, is_there: impl Fn(&GangId) -> bool) -> Vec<usize> {
        let gone = |kind: &mut Kind| kind.front.take_if(|front| !is_there(front)).is_some();
        self.kinds.iter_mut().enumerate().filter_map(|(place, kind)| gone(kind).then_some(place)).collect()
    }

    /// Takes out the next of a kind, which is its first from now on.
    pub(super) fn next_of(&mut self, place: usize) -> Option<Turn> {
        let turn = self.of(place).next()?.clone();
        self.remove(&turn);
        self.kinds[place].front = Some(turn.id.clone());
        Some(turn)
    }

    /// Those who wait behind the first of a kind.
    pub(super) fn of(&self, place: usize) -> impl Iterator<Item = &Turn> {
        self.turns.iter().filter(move |(_, kind)| **kind == Some(place)).map(|(turn, _)| turn)
    }

    /// Whether somebody waits behind one who is to be looked at.
    pub(super) fn has_front(&self) -> bool {
        self.kinds.iter().any(|kind| kind.front.is_some())
    }

    /// What the last of its kind was told, if a gang waits behind others.
    pub(super) fn told(&self, turn: &Turn) -> Option<&Refusal> {
        let place = (*self.turns.get(turn)?)?;
        Some(&self.kinds[place].refusal)
    }
}
