//! The search itself: rung after rung of what the group wishes, and on each the lowest reach at which anything is found.
//! Counting finds the units; the planner has the last word on what counting found.

use std::collections::BTreeSet;

use super::cover::{Cover, Wanted};
use super::oracle;
use super::rooms::Rooms;
use super::unit::{Cost, Reach, Unit};
use crate::book::Book;
use crate::gang::{self, Context, Group, Plan, Rung};
use crate::model::{NodeName, PodUid};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What the planner is asked with; the members are to be held by nobody.
    pub context: Context<'a>,
    /// Who wants to start.
    pub group: &'a Group<'a>,
    /// Who may be taken: only those that the rules let the group take.
    pub units: &'a [Unit],
    /// Disruption budgets: how many of its pods may go now.
    pub allowances: &'a [u32],
    /// Pods that are going already: what they hold counts as free, and they are no victims.
    pub going: &'a BTreeSet<PodUid>,
    /// The search ends after so many steps, with the best that it found by then.
    pub steps_max: u64,
}

impl Ask<'_> {
    /// Steps that end well within the time that a question may wait.
    pub const STEPS_MAX: u64 = 1_500_000;
}

/// Who must go, and where the group goes then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// Places in [`Ask::units`], ascending; without any of them the group would not fit. None where pods that are going
    /// already make room enough.
    pub victims: Vec<usize>,
    /// Pods that must be gone: those of the victims, and those that are going already and whose room is planned with.
    pub awaited: Vec<PodUid>,
    /// Where the members go. Nothing of it is held.
    pub plan: Plan,
    /// What it costs.
    pub cost: Cost,
    /// How high it reaches.
    pub reach: Option<Reach>,
    /// No choice of victims is better.
    pub proven: bool,
}

/// Units chosen on a rung.
pub(super) struct Chosen {
    pub(super) victims: Vec<usize>,
    pub(super) ground: usize,
    pub(super) exact: bool,
}

/// Finds who must go so that the group fits as a whole. The book is left as it is.
pub fn search(book: &mut Book, ask: &Ask<'_>) -> Option<Takeover> {
    let rungs = gang::rungs(book, ask.context, ask.group).ok()?;
    let mut reaches: Vec<Reach> = ask.units.iter().map(|unit| unit.reach).collect();
    reaches.sort_unstable();
    reaches.dedup();
    // By rung, the reaches that are worth a look, and whether what was passed over is known to be in vain.
    let mut proven = true;
    for rung in &rungs {
        let found = if rung.adds_up { counted(book, ask, rung, &reaches) } else { oracle::planned(book, ask, rung, &reaches) };
        let (found, whole) = found;
        if let Some(mut takeover) = found {
            takeover.proven &= proven;
            return Some(takeover);
        }
        proven &= whole;
    }
    None
}

/// A rung on which room adds up. The second value says whether finding nothing proves that there is nothing.
fn counted(book: &mut Book, ask: &Ask<'_>, rung: &Rung, reaches: &[Reach]) -> (Option<Takeover>, bool) {
    let [role] = ask.group.roles.as_slice() else { return (None, false) };
    let members = ask.group.size();
    let mut whole = true;
    // First without any victim: what is going may be enough.
    let mut next = 0;
    while next <= reaches.len() {
        let nodes = rung.grounds.iter().flat_map(|ground| &ground.nodes);
        let Some(rooms) = Rooms::new(book, (ask.context, role.pod), (ask.units, ask.going), nodes, ask.steps_max) else {
            return (None, true);
        };
        let rows: Vec<Vec<usize>> =
            rung.grounds.iter().map(|ground| ground.nodes.iter().map(|name| rooms.row_of[name]).collect()).collect();
        let below = |at: usize| {
            let reaches = &reaches[..at];
            move |unit: usize| reaches.last().is_some_and(|reach| ask.units[unit].reach <= *reach)
        };
        let holds = |at: usize, rows: &[usize]| {
            let passes = below(at);
            let rooms = rows.iter().map(|row| rooms.room(*row, rooms.mask(*row, passes)));
            rooms.fold(0_u32, u32::saturating_add) >= members
        };
        // Room only grows with the reach.
        let (mut low, mut high) = (next, reaches.len() + 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if rows.iter().any(|rows| holds(middle, rows)) { high = middle } else { low = middle + 1 }
        }
        if low > reaches.len() {
            return (None, whole && !rooms.cut);
        }
        let passes = below(low);
        let allowed: Vec<bool> = (0..ask.units.len()).map(passes).collect();
        let mut best: Option<(usize, Cover)> = None;
        for (ground, rows) in rows.iter().enumerate().filter(|(_, rows)| holds(low, rows)) {
            let known = best.as_ref().map(|(_, cover)| cover.cost);
            let wanted = Wanted { rooms: &rooms, rows, members, allowed: &allowed, allowances: ask.allowances, below: known };
            let (cover, all) = wanted.cover();
            best = cover.map(|cover| (ground, cover)).or(best);
            whole &= all;
        }
        let chosen = best.map(|(ground, cover)| {
            let exact = whole && cover.exact;
            let victims = if exact { cover.units } else { pruned(&rooms, &rows, members, cover.units) };
            Chosen { victims, ground, exact }
        });
        if let Some(chosen) = chosen {
            let takeover = settle(book, ask, rung, &chosen);
            // Counting saw room where the planner sees none: only plans can tell.
            return takeover.map_or_else(|| oracle::planned(book, ask, rung, reaches), |takeover| (Some(takeover), true));
        }
        next = low + 1;
    }
    (None, whole)
}

/// Without those that are not needed, the dearest first.
fn pruned(rooms: &Rooms<'_>, grounds: &[Vec<usize>], members: u32, mut victims: Vec<usize>) -> Vec<usize> {
    let mut order = victims.clone();
    order.sort_by_key(|unit| std::cmp::Reverse((rooms.units[*unit].reach, rooms.units[*unit].cost(), *unit)));
    for unit in order {
        let without = |other: usize| other != unit && victims.contains(&other);
        let room = |rows: &Vec<usize>| rows.iter().map(|row| rooms.room(*row, rooms.mask(*row, without))).fold(0_u32, u32::saturating_add);
        if grounds.iter().any(|rows| room(rows) >= members) {
            victims.retain(|other| *other != unit);
        }
    }
    victims
}

/// The planner's word on a choice of victims.
pub(super) fn settle(book: &mut Book, ask: &Ask<'_>, rung: &Rung, chosen: &Chosen) -> Option<Takeover> {
    let ground = rung.grounds.get(chosen.ground)?;
    let plan = plan_without(book, ask, &ground.nodes, chosen.victims.iter().copied())?;
    let units = || chosen.victims.iter().map(|unit| &ask.units[*unit]);
    let nodes: BTreeSet<&NodeName> = plan.members.iter().map(|planned| &planned.node).collect();
    let there = |uid: &&PodUid| book.holder(uid).is_some_and(|holder| nodes.contains(&holder.node));
    let taken: BTreeSet<&PodUid> = units().flat_map(|unit| &unit.pods).collect();
    let going = ask.going.iter().filter(there).filter(|uid| !taken.contains(uid));
    let awaited = taken.iter().copied().chain(going).cloned().collect();
    let (cost, reach) = (units().map(Unit::cost).sum(), units().map(|unit| unit.reach).max());
    Some(Takeover { victims: chosen.victims.clone(), awaited, plan, cost, reach, proven: chosen.exact })
}

/// The plan that the group would have on these nodes without these units; the book is left as it is.
pub(super) fn plan_without(book: &mut Book, ask: &Ask<'_>, nodes: &[NodeName], units: impl Iterator<Item = usize>) -> Option<Plan> {
    let mark = book.checkpoint();
    for uid in units.flat_map(|unit| &ask.units[unit].pods).chain(ask.going) {
        book.release(uid);
    }
    let offered: BTreeSet<&str> = nodes.iter().map(NodeName::as_str).collect();
    let plan = gang::plan(book, Context { offered: Some(&offered), ..ask.context }, ask.group);
    book.rollback(mark);
    plan.ok()
}
