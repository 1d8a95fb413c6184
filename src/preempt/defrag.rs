//! Which work moves so that a block stands empty: the search for victims, asked for a block instead of a group, and the
//! planner, asked where each of them goes once the block is closed. A set in which everybody has a place to go comes before
//! one in which somebody has none, however cheap.

use std::collections::{BTreeMap, BTreeSet};

use super::block::Block;
use super::search::{Ask, Takeover, search};
use super::unit::{Cost, Reach, Unit};
use crate::book::{Book, Holder, HolderState, Load, takes};
use crate::gang::{self, Context, Group, Plan};
use crate::model::{NodeName, PodUid};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Clearance<'a> {
    /// What the block is planned with.
    pub context: Context<'a>,
    /// Blocks of which one is to be opened.
    pub blocks: &'a [Block],
    /// What may move.
    pub units: &'a [Unit],
    /// By unit: what it is planned as when it comes back; none for one that does not come back.
    pub returns: &'a [Option<Return<'a>>],
    /// Disruption budgets: how many of its pods may go now.
    pub allowances: &'a [u32],
    /// Pods that are going already: what they hold counts as free.
    pub going: &'a BTreeSet<PodUid>,
    /// So many sets of units are looked at.
    pub sets_max: usize,
}

/// Work that moved, as it is planned anew.
#[derive(Clone, Debug)]
pub struct Return<'a> {
    /// Its own rules.
    pub context: Context<'a>,
    /// All of it.
    pub group: Group<'a>,
}

/// How a block is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which block, by its place in [`Clearance::blocks`].
    pub block: usize,
    /// Its nodes, in the order along the fabric.
    pub nodes: Vec<NodeName>,
    /// Their domains, for people.
    pub domains: String,
    /// Who goes, in the order in which they are planned again; none if the block stands open.
    pub moves: Vec<Move>,
    /// Pods that are going already and whose room is counted on.
    pub awaited: Vec<PodUid>,
    /// What it costs.
    pub cost: Cost,
    /// How high it reaches.
    pub reach: Option<Reach>,
    /// If everybody has a place to go: no such set costs less. If not: there is no such set, and none of any kind costs less.
    pub proven: bool,
}

/// One that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which of [`Clearance::units`].
    pub unit: usize,
    /// Where it goes with the block closed; none: there is no room for it, so that this is no move but an eviction.
    pub to: Option<Plan>,
}

impl Opening {
    /// Whether everybody has a place to go.
    pub fn moves_only(&self) -> bool {
        self.moves.iter().all(|going| going.to.is_some())
    }
}

/// Up to so many movers, every order of planning them is tried; of more, the largest goes first.
const ALL_ORDERS_MAX: usize = 4;

/// Finds the cheapest set of moves that opens one of the blocks; where there is none, the cheapest set of any kind. No unit of
/// either is needless. The book is left as it is.
pub fn open(book: &mut Book, ask: &Clearance<'_>) -> Option<Opening> {
    let mut on: BTreeMap<NodeName, BTreeSet<usize>> = BTreeMap::new();
    for (unit, uid) in ask.units.iter().enumerate().flat_map(|(at, unit)| unit.pods.iter().map(move |uid| (at, uid))) {
        if let Some(holder) = book.holder(uid) {
            on.entry(holder.node.clone()).or_default().insert(unit);
        }
    }
    let mut search = Search { ask, on, looked_at: 0, whole: true, waiting: BTreeMap::new(), seen: BTreeSet::new() };
    for (block, Block { nodes, .. }) in ask.blocks.iter().enumerate() {
        search.add(book, Part { block, nodes: nodes.clone(), barred: BTreeSet::new() });
    }
    let mut cheapest: Option<Opening> = None;
    while let Some((_, candidate)) = search.waiting.pop_first() {
        let mut opening = candidate.opening(book, ask);
        if opening.moves_only() {
            opening.proven &= search.whole;
            return Some(opening);
        }
        if !has_room(book, ask, &ask.blocks[candidate.part.block]) {
            // Nor will any other set for this block; another one may be smaller.
            cheapest.get_or_insert(opening);
            continue;
        }
        // What else there is: the same nodes without one of these units, or other nodes.
        let Part { block, nodes, barred } = &candidate.part;
        let chosen: BTreeSet<NodeName> = opening.nodes.iter().cloned().collect();
        for unit in &candidate.takeover.victims {
            let barred = barred.iter().copied().chain([*unit]).collect();
            search.add(book, Part { block: *block, nodes: chosen.clone(), barred });
        }
        for node in &chosen {
            let others = nodes.iter().filter(|other| *other != node).cloned().collect();
            search.add(book, Part { block: *block, nodes: others, barred: barred.clone() });
        }
        cheapest.get_or_insert(opening);
    }
    let mut opening = cheapest?;
    opening.proven &= search.whole;
    Some(opening)
}

struct Search<'s, 'a> {
    ask: &'s Clearance<'a>,
    /// The units with pods on each node.
    on: BTreeMap<NodeName, BTreeSet<usize>>,
    looked_at: usize,
    /// Nothing was passed over.
    whole: bool,
    /// Sets to look at, the cheapest first.
    waiting: BTreeMap<(Option<Reach>, Cost, usize), Candidate>,
    seen: BTreeSet<Part>,
}

/// A part of all ways to open a block: on some of its nodes, without some units.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    block: usize,
    nodes: BTreeSet<NodeName>,
    barred: BTreeSet<usize>,
}

/// The cheapest way of a part.
struct Candidate {
    part: Part,
    /// Its victims are places in [`Clearance::units`].
    takeover: Takeover,
}

impl Search<'_, '_> {
    fn add(&mut self, book: &mut Book, part: Part) {
        if part.nodes.len() < self.ask.blocks[part.block].members as usize || !self.seen.insert(part.clone()) {
            return;
        }
        if self.looked_at >= self.ask.sets_max {
            self.whole = false;
            return;
        }
        self.looked_at += 1;
        if let Some(takeover) = self.cheapest(book, &part) {
            self.waiting.insert((takeover.reach, takeover.cost, self.looked_at), Candidate { part, takeover });
        }
    }

    fn cheapest(&self, book: &mut Book, part: &Part) -> Option<Takeover> {
        let ask = self.ask;
        let group = ask.blocks[part.block].group();
        let offered: BTreeSet<&str> = part.nodes.iter().map(NodeName::as_str).collect();
        let context = Context { offered: Some(&offered), ..ask.context };
        let mark = book.checkpoint();
        let there = gang::plan(book, context, &group);
        book.rollback(mark);
        if let Ok(plan) = there {
            return Some(Takeover { victims: Vec::new(), awaited: Vec::new(), plan, cost: Cost::default(), reach: None, proven: true });
        }
        // What holds nothing there does not matter.
        let there: BTreeSet<usize> = part.nodes.iter().filter_map(|node| self.on.get(node)).flatten().copied().collect();
        let places: Vec<usize> = there.difference(&part.barred).copied().collect();
        let units: Vec<Unit> = places.iter().map(|place| ask.units[*place].clone()).collect();
        let (allowances, going, steps_max) = (ask.allowances, ask.going, Ask::STEPS_MAX);
        let mut takeover = search(book, &Ask { context, group: &group, units: &units, allowances, going, steps_max })?;
        takeover.victims.iter_mut().for_each(|victim| *victim = places[*victim]);
        Some(takeover)
    }
}

/// Whether the cluster has as much free as the block takes, wherever it is: what moves needs as much room afterwards as before.
fn has_room(book: &Book, ask: &Clearance<'_>, block: &Block) -> bool {
    block.pod.request.resources().into_iter().all(|resource| {
        let there: u64 = book.nodes().filter_map(|entry| entry.pool(resource)).map(|pool| 1000 * u64::from(pool.units)).sum();
        let stay = book.holders().filter(|holder| !ask.going.contains(&holder.uid)).flat_map(|holder| &holder.takes);
        let held: u64 = stay.filter(|take| take.resource == *resource).map(|take| u64::from(take.milli())).sum();
        let needed = 1000 * u64::from(block.pod.request.whole_of(resource)) * u64::from(block.members);
        there.saturating_sub(held) >= needed
    })
}

impl Candidate {
    /// Where everybody goes when the block is closed, in the order that leaves least without a place.
    fn opening(&self, book: &mut Book, ask: &Clearance<'_>) -> Opening {
        let Takeover { victims, awaited, plan, cost, reach, proven } = &self.takeover;
        let mark = book.checkpoint();
        // The largest first; also where that is the only order.
        let mut largest_first = victims.clone();
        let held = |unit: &usize| -> u64 { ask.units[*unit].pods.iter().map(|uid| held_milli(book, uid)).sum() };
        largest_first.sort_by_cached_key(|unit| (std::cmp::Reverse(held(unit)), *unit));
        for uid in victims.iter().flat_map(|unit| &ask.units[*unit].pods).chain(ask.going) {
            book.release(uid);
        }
        close(book, ask, &ask.blocks[self.part.block], plan);
        let orders = if victims.len() <= ALL_ORDERS_MAX { orders(&largest_first) } else { vec![largest_first] };
        let mut best: Option<((u64, usize), Vec<Move>)> = None;
        for order in orders {
            let moves = settle(book, ask, &order);
            let left = || moves.iter().filter(|going| going.to.is_none()).map(|going| ask.units[going.unit].lost_ms);
            let worth = (left().sum::<u64>(), left().count());
            let done = worth.1 == 0;
            if best.as_ref().is_none_or(|(known, _)| worth < *known) {
                best = Some((worth, moves));
            }
            if done {
                break;
            }
        }
        book.rollback(mark);
        let mut nodes: Vec<NodeName> = plan.members.iter().map(|planned| planned.node.clone()).collect();
        nodes.dedup();
        let moves = best.map(|(_, moves)| moves).unwrap_or_default();
        let taken: BTreeSet<&PodUid> = victims.iter().flat_map(|unit| &ask.units[*unit].pods).collect();
        let awaited = awaited.iter().filter(|uid| !taken.contains(uid)).cloned().collect();
        let domains = plan.domains.clone();
        Opening { block: self.part.block, nodes, domains, moves, awaited, cost: *cost, reach: *reach, proven: *proven }
    }
}

fn held_milli(book: &Book, uid: &PodUid) -> u64 {
    book.holder(uid).map_or(0, |holder| holder.takes.iter().map(|take| u64::from(take.milli())).sum())
}

/// Holds the whole block.
fn close(book: &mut Book, ask: &Clearance<'_>, block: &Block, plan: &Plan) {
    for planned in &plan.members {
        let (takes, _) = takes(&block.pod.request, Some(&planned.grant));
        book.set_holder(Holder {
            uid: planned.member.uid.clone(),
            key: planned.member.key.clone(),
            priority: block.pod.priority,
            node: planned.node.clone(),
            state: HolderState::Planned,
            grant: Some(planned.grant.clone()),
            takes,
            load: Load::default(),
            changed_at: ask.context.now,
        });
    }
}

/// Plans one after the other, each where the ones before it left room; the book is left as it is.
fn settle(book: &mut Book, ask: &Clearance<'_>, order: &[usize]) -> Vec<Move> {
    let mark = book.checkpoint();
    let place = |unit: &usize| {
        let to = ask.returns[*unit].as_ref().and_then(|comes| gang::plan(book, comes.context, &comes.group).ok());
        Move { unit: *unit, to }
    };
    let moves = order.iter().map(place).collect();
    book.rollback(mark);
    moves
}

/// Every order of a few, beginning with the given one.
fn orders(units: &[usize]) -> Vec<Vec<usize>> {
    let Some((last, others)) = units.split_last() else { return vec![Vec::new()] };
    let with = |order: Vec<usize>| {
        (0..=order.len()).rev().map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, *last);
            longer
        })
    };
    orders(others).into_iter().flat_map(with).collect()
}
