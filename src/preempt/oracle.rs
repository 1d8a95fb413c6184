//! Where rooms do not add up (roles of different shapes, groups in parts, devices that counting misjudges): the planner itself
//! is asked whether a choice of victims does. Few units are tried in every combination; of many, nodes that are cheap to
//! clear come first, and then whatever is not needed is put back.

use std::collections::BTreeSet;

use super::search::{Ask, Chosen, Takeover, plan_without, settle};
use super::unit::{Cost, Reach};
use crate::book::Book;
use crate::gang::{Ground, Rung};
use crate::model::{NodeName, PodUid};

/// Up to so many units every combination is tried.
const ALL_WAYS_UNITS_MAX: usize = 10;
/// On so many nodes in all, at most.
const ALL_WAYS_NODES_MAX: usize = 64;
/// Plans that are tried for what is needed and what is not, at most, for each rung.
const PLANS_MAX: u32 = 256;

/// A rung on which only plans tell. The second value says whether finding nothing proves that there is nothing.
pub(super) fn planned(book: &mut Book, ask: &Ask<'_>, rung: &Rung, reaches: &[Reach]) -> (Option<Takeover>, bool) {
    for (at, ground) in rung.grounds.iter().enumerate() {
        let chosen = Chosen { victims: Vec::new(), ground: at, exact: true };
        if !ask.going.is_empty() && plan_without(book, ask, &ground.nodes, std::iter::empty()).is_some() {
            return (settle(book, ask, rung, &chosen), true);
        }
    }
    let units = units_on(book, ask, rung.grounds.iter().flat_map(|ground| &ground.nodes));
    let nodes: usize = rung.grounds.iter().map(|ground| ground.nodes.len()).sum();
    let few = units.len() <= ALL_WAYS_UNITS_MAX && nodes <= ALL_WAYS_NODES_MAX;
    let mut plans_left = PLANS_MAX;
    for reach in reaches {
        let within: Vec<usize> = units.iter().copied().filter(|unit| ask.units[*unit].reach <= *reach).collect();
        if within.is_empty() {
            continue;
        }
        let found = if few { every_way(book, ask, rung, &within) } else { cheap_nodes(book, ask, rung, &within, &mut plans_left) };
        if let Some(takeover) = found {
            return (Some(takeover), true);
        }
    }
    (None, few)
}

/// Units with a pod on one of these nodes.
fn units_on<'n>(book: &Book, ask: &Ask<'_>, nodes: impl Iterator<Item = &'n NodeName>) -> Vec<usize> {
    let nodes: BTreeSet<&NodeName> = nodes.collect();
    let there = |uid: &PodUid| book.holder(uid).is_some_and(|holder| nodes.contains(&holder.node));
    (0..ask.units.len()).filter(|unit| ask.units[*unit].pods.iter().any(there)).collect()
}

/// Whether all budgets are kept.
fn is_kept(ask: &Ask<'_>, units: &[usize]) -> bool {
    let taken = |budget: usize| -> u32 {
        let weights = units.iter().flat_map(|unit| &ask.units[*unit].budgets);
        weights.filter(|(of, _)| *of == budget).map(|(_, pods)| *pods).sum()
    };
    ask.allowances.iter().enumerate().all(|(budget, allowance)| taken(budget) <= *allowance)
}

/// Every set of units, the cheapest first.
fn every_way(book: &mut Book, ask: &Ask<'_>, rung: &Rung, units: &[usize]) -> Option<Takeover> {
    let list =
        |set: u32| -> Vec<usize> { units.iter().enumerate().filter(|(place, _)| set & 1 << place != 0).map(|(_, unit)| *unit).collect() };
    let mut sets: Vec<(Cost, Vec<usize>)> = (1..1_u32 << units.len())
        .map(list)
        .filter(|set| is_kept(ask, set))
        .map(|set| (set.iter().map(|unit| ask.units[*unit].cost()).sum(), set))
        .collect();
    sets.sort();
    for (_, victims) in sets {
        for (at, ground) in rung.grounds.iter().enumerate() {
            if plan_without(book, ask, &ground.nodes, victims.iter().copied()).is_some() {
                return settle(book, ask, rung, &Chosen { victims, ground: at, exact: true });
            }
        }
    }
    None
}

/// The ground with the cheapest set that can be found without trying all of them.
fn cheap_nodes(book: &mut Book, ask: &Ask<'_>, rung: &Rung, units: &[usize], plans_left: &mut u32) -> Option<Takeover> {
    let mut best: Option<(Cost, Chosen)> = None;
    for (at, ground) in rung.grounds.iter().enumerate() {
        let Some(victims) = on_ground(book, ask, ground, units, plans_left) else { continue };
        let cost = victims.iter().map(|unit| ask.units[*unit].cost()).sum();
        if best.as_ref().is_none_or(|(known, _)| cost < *known) {
            best = Some((cost, Chosen { victims, ground: at, exact: false }));
        }
    }
    best.and_then(|(_, chosen)| settle(book, ask, rung, &chosen))
}

/// As few of the cheapest nodes as hold the group, and of their units only those that are needed.
fn on_ground(book: &mut Book, ask: &Ask<'_>, ground: &Ground, units: &[usize], plans_left: &mut u32) -> Option<Vec<usize>> {
    let mut fits = |book: &mut Book, nodes: &[NodeName], victims: &[usize]| {
        *plans_left = plans_left.checked_sub(1)?;
        Some(plan_without(book, ask, nodes, victims.iter().copied()).is_some())
    };
    // Of each budget no more than may go, the cheapest units first.
    let mut order = units.to_vec();
    order.sort_by_key(|unit| (ask.units[*unit].cost(), *unit));
    let mut open: Vec<usize> = Vec::new();
    for unit in order {
        open.push(unit);
        if !is_kept(ask, &open) {
            open.pop();
        }
    }
    let on = |book: &Book, name: &NodeName| -> Vec<usize> {
        let there = |uid: &PodUid| book.holder(uid).is_some_and(|holder| holder.node == *name);
        open.iter().copied().filter(|unit| ask.units[*unit].pods.iter().any(there)).collect()
    };
    let mut nodes: Vec<(Cost, usize, NodeName)> = Vec::new();
    for (at, name) in ground.nodes.iter().enumerate() {
        nodes.push((on(book, name).iter().map(|unit| ask.units[*unit].cost()).sum(), at, name.clone()));
    }
    nodes.sort();
    let cleared = |count: usize| -> Vec<NodeName> { nodes[..count].iter().map(|(_, _, name)| name.clone()).collect() };
    let (mut low, mut high) = (1, nodes.len());
    let all = units_on(book, ask, ground.nodes.iter());
    let all: Vec<usize> = open.iter().copied().filter(|unit| all.contains(unit)).collect();
    if !fits(book, &cleared(high), &all)? {
        return None;
    }
    while low < high {
        let middle = usize::midpoint(low, high);
        if fits(book, &cleared(middle), &open)? { high = middle } else { low = middle + 1 }
    }
    let chosen = cleared(high);
    let on_chosen: BTreeSet<usize> = chosen.iter().flat_map(|name| on(book, name)).collect();
    let mut victims: Vec<usize> = on_chosen.into_iter().collect();
    if !fits(book, &ground.nodes, &victims)? {
        return None;
    }
    let mut dearest = victims.clone();
    dearest.sort_by_key(|unit| std::cmp::Reverse((ask.units[*unit].reach, ask.units[*unit].cost(), *unit)));
    for unit in dearest {
        let without: Vec<usize> = victims.iter().copied().filter(|other| *other != unit).collect();
        if fits(book, &ground.nodes, &without)? {
            victims = without;
        }
    }
    Some(victims)
}
