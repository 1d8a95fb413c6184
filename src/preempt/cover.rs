//! The cheapest units that make room for all members on one ground: points of connected nodes are added up exactly, one part
//! after the other. Budgets that several units share are looked at afterwards: where the cheapest set would break one, each
//! of its units is tried both ways.

use std::collections::BTreeSet;

use super::frontier::{Frontier, State};
use super::rooms::Rooms;
use super::unit::Cost;

/// Units that make enough room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    pub(super) units: Vec<usize>,
    pub(super) cost: Cost,
    /// There is no cheaper one on this ground.
    pub(super) exact: bool,
}

/// What is asked of one ground.
pub(super) struct Wanted<'r, 'a> {
    pub(super) rooms: &'r Rooms<'a>,
    /// The ground.
    pub(super) rows: &'r [usize],
    pub(super) members: u32,
    /// By unit: whether it may be taken.
    pub(super) allowed: &'r [bool],
    /// By budget: how many of its pods may go.
    pub(super) allowances: &'r [u32],
    /// Something as cheap as this is known already.
    pub(super) below: Option<Cost>,
}

impl Wanted<'_, '_> {
    /// The cheapest units, if they are cheaper than what is known. The second value says whether everything was looked at.
    pub(super) fn cover(&self) -> (Option<Cover>, bool) {
        let mut search = Search { wanted: self, best: None, whole: true };
        search.branch(&BTreeSet::new(), &BTreeSet::new());
        let whole = search.whole;
        let cover = search.best.map(|cover| Cover { exact: cover.exact && whole, ..cover });
        (cover, whole)
    }

    /// Whether units keep all budgets; else the first that is broken.
    fn broken<'u>(&self, units: impl IntoIterator<Item = &'u usize> + Copy) -> Option<usize> {
        (0..self.allowances.len()).find(|budget| {
            let taken: u32 = units.into_iter().map(|unit| self.weight(*unit, *budget)).sum();
            taken > self.allowances[*budget]
        })
    }

    fn weight(&self, unit: usize, budget: usize) -> u32 {
        self.rooms.units[unit].budgets.iter().filter(|(of, _)| *of == budget).map(|(_, pods)| *pods).sum()
    }
}

struct Search<'w, 'r, 'a> {
    wanted: &'w Wanted<'r, 'a>,
    best: Option<Cover>,
    whole: bool,
}

impl Search<'_, '_, '_> {
    fn branch(&mut self, taken: &BTreeSet<usize>, barred: &BTreeSet<usize>) {
        let wanted = self.wanted;
        if wanted.rooms.is_spent() && self.best.is_some() {
            self.whole = false;
            return;
        }
        if wanted.broken(taken).is_some() {
            return;
        }
        let passes = |unit: usize| wanted.allowed[unit] && !taken.contains(&unit) && !barred.contains(&unit);
        let mut state = State::new(wanted.rooms, wanted.rows, wanted.members, passes);
        taken.iter().for_each(|unit| state.take(*unit));
        let parts = state.frontiers(wanted.rows);
        let first: Cost = taken.iter().map(|unit| wanted.rooms.units[*unit].cost()).sum();
        let Some((added, mut units)) = self.cheapest(&parts) else {
            self.whole &= state.exact;
            return;
        };
        let cost = first + added;
        let known = self.best.as_ref().map(|best| best.cost).into_iter().chain(wanted.below).min();
        if known.is_some_and(|known| cost >= known) {
            self.whole &= state.exact;
            return;
        }
        units.extend(taken.iter().copied());
        units.sort_unstable();
        let Some(budget) = wanted.broken(&units) else {
            self.best = Some(Cover { units, cost, exact: state.exact });
            return;
        };
        self.whole &= state.exact;
        // The unit that weighs most: without it, and with it whatever else.
        let free = units.iter().copied().filter(|unit| !taken.contains(unit) && wanted.weight(*unit, budget) > 0);
        let Some(unit) = free.max_by_key(|unit| (wanted.weight(*unit, budget), std::cmp::Reverse(*unit))) else { return };
        let with = |set: &BTreeSet<usize>| set.iter().copied().chain([unit]).collect::<BTreeSet<usize>>();
        self.branch(taken, &with(barred));
        self.branch(&with(taken), barred);
    }

    /// The cheapest choice of one point of each part that has room for all members.
    fn cheapest(&self, parts: &[Frontier]) -> Option<(Cost, Vec<usize>)> {
        let members = self.wanted.members as usize;
        let there: u32 = parts.iter().filter_map(|points| points.first()).fold(0, |sum, point| sum.saturating_add(point.room));
        let needed = members.saturating_sub(there as usize);
        let open: Vec<&Frontier> = parts.iter().filter(|points| points.len() > 1).collect();
        // By what was gained: the cheapest so far, and for each part from where and by which of its points.
        let mut sums: Vec<Option<Cost>> = vec![None; needed + 1];
        sums[0] = Some(Cost::default());
        let mut from: Vec<Vec<(u32, u32)>> = Vec::with_capacity(open.len());
        for points in &open {
            self.wanted.rooms.spend((needed + 1) as u64 * points.len() as u64 / 16);
            let (mut next, mut came) = (sums.clone(), (0..=needed).map(|gain| (index(gain), 0)).collect::<Vec<_>>());
            let base = points[0].room;
            for (gain, sum) in sums.iter().enumerate() {
                let Some(sum) = *sum else { continue };
                for (which, point) in points.iter().enumerate().skip(1) {
                    let gained = (gain + (point.room - base) as usize).min(needed);
                    let cost = sum + point.cost;
                    if next[gained].is_none_or(|known| cost < known) {
                        next[gained] = Some(cost);
                        came[gained] = (index(gain), index(which));
                    }
                }
            }
            sums = next;
            from.push(came);
        }
        let cost = sums[needed]?;
        let (mut gain, mut units) = (needed, Vec::new());
        for (points, came) in open.iter().zip(&from).rev() {
            let (before, which) = came[gain];
            units.extend(points[which as usize].units.iter().copied());
            gain = before as usize;
        }
        Some((cost, units))
    }
}

fn index(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
