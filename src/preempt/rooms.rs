//! How many members each node takes once some units are gone. A node's answer depends on the units with pods on it alone,
//! is asked of the book, and is remembered by which of these are gone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::unit::Unit;
use crate::book::{Book, NodeEntry, Shape, Take};
use crate::gang::{Context, room};
use crate::model::{Amount, NodeName, Pod, PodUid, Pool, ResourceName};

/// Units with pods on one node that are told apart, at most: a set of them is the bits of a word. Of more, the cheapest.
const ON_NODE_MAX: usize = 64;

/// What a unit frees on a node: units that free the same may be taken for each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Freed<'a> {
    /// It has pods elsewhere, or pods that another unit has too: it is like no other.
    Own(usize),
    /// CPU, memory and room for pods.
    Load(u64, u64, u32),
    /// A whole device that is as good as any of its pool.
    Any(&'a ResourceName),
    /// This very device, or share of one.
    This(&'a Take),
}

/// One node.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: NodeName,
    /// Units with pods on it, the cheapest first; a set of them is a mask over this list.
    pub(super) units: Vec<usize>,
    /// By place in `units`: units of one kind free the same here, so that the cheaper goes first.
    pub(super) kinds: Vec<usize>,
    /// The units that each pod belongs to, as masks.
    pods: BTreeMap<PodUid, u64>,
    known: RefCell<BTreeMap<u64, u32>>,
}

/// Nodes and their answers.
#[derive(Debug)]
pub(super) struct Rooms<'a> {
    book: &'a Book,
    context: Context<'a>,
    pod: &'a Pod,
    shape: Shape<'a>,
    going: &'a BTreeSet<PodUid>,
    pub(super) units: &'a [Unit],
    pub(super) rows: Vec<Row>,
    pub(super) row_of: BTreeMap<NodeName, usize>,
    /// By unit: the rows with pods of it.
    pub(super) rows_of: Vec<Vec<usize>>,
    /// Looks at the book and steps of the search, counted, so that it ends on any machine at the same point.
    work: Cell<u64>,
    work_max: u64,
    /// Some units were left out.
    pub(super) cut: bool,
}

/// Looking at a node as it would be costs so many steps.
const LOOK: u64 = 8;

impl<'a> Rooms<'a> {
    /// Rows for these nodes; none if no node can grant what the pod asks.
    pub(super) fn new(
        book: &'a Book,
        (context, pod): (Context<'a>, &'a Pod),
        (units, going): (&'a [Unit], &'a BTreeSet<PodUid>),
        nodes: impl Iterator<Item = &'a NodeName>,
        work_max: u64,
    ) -> Option<Self> {
        let shape = Shape::of(&pod.request)?;
        let mut rooms = Self {
            book,
            context,
            pod,
            shape,
            going,
            units,
            rows: Vec::new(),
            row_of: BTreeMap::new(),
            rows_of: vec![Vec::new(); units.len()],
            work: Cell::new(0),
            work_max,
            cut: false,
        };
        for name in nodes {
            if !rooms.row_of.contains_key(name) {
                rooms.row_of.insert(name.clone(), rooms.rows.len());
                let (known, empty) = (RefCell::default(), Vec::new());
                rooms.rows.push(Row { name: name.clone(), units: empty, kinds: Vec::new(), pods: BTreeMap::new(), known });
            }
        }
        rooms.seat_units();
        Some(rooms)
    }

    /// Enters each unit where its pods are, the cheapest first.
    fn seat_units(&mut self) {
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        order.sort_by_key(|unit| (self.units[*unit].cost(), *unit));
        for unit in order {
            for uid in &self.units[unit].pods {
                let Some(holder) = self.book.holder(uid).filter(|_| !self.going.contains(uid)) else { continue };
                let Some(row) = self.row_of.get(&holder.node).copied() else { continue };
                let place = &mut self.rows[row];
                if place.units.last() != Some(&unit) {
                    if place.units.len() == ON_NODE_MAX {
                        self.cut = true;
                        continue;
                    }
                    place.units.push(unit);
                    self.rows_of[unit].push(row);
                }
                *place.pods.entry(uid.clone()).or_default() |= 1 << (place.units.len() - 1);
            }
        }
        for at in 0..self.rows.len() {
            let mut seen: BTreeMap<(Vec<Freed<'_>>, &[(usize, u32)]), usize> = BTreeMap::new();
            let kind = |place: usize| {
                let (next, unit) = (seen.len(), self.rows[at].units[place]);
                *seen.entry((self.freed(at, place), &self.units[unit].budgets)).or_insert(next)
            };
            let kinds = (0..self.rows[at].units.len()).map(kind).collect();
            self.rows[at].kinds = kinds;
        }
    }

    /// What a unit frees on a row.
    fn freed(&self, row: usize, place: usize) -> Vec<Freed<'a>> {
        let row = &self.rows[row];
        let unit = row.units[place];
        let mut freed = Vec::new();
        if self.rows_of[unit].len() > 1 {
            return vec![Freed::Own(unit)];
        }
        let Some(entry) = self.book.node(row.name.as_str()) else { return freed };
        for (uid, units) in row.pods.iter().filter(|(_, units)| **units & 1 << place != 0) {
            if *units != 1 << place {
                return vec![Freed::Own(unit)];
            }
            let Some(holder) = self.book.holder(uid) else { continue };
            freed.push(Freed::Load(holder.load.cpu_milli, holder.load.memory_bytes, holder.load.pods));
            for take in &holder.takes {
                let any = take.amount == Amount::Whole && self.pod.request.has_whole() && is_any(entry, take);
                freed.push(if any { Freed::Any(&take.resource) } else { Freed::This(take) });
            }
        }
        freed.sort_unstable();
        freed
    }

    /// How many members a row takes when these units are gone.
    pub(super) fn room(&self, row: usize, gone: u64) -> u32 {
        self.spend(1);
        let row = &self.rows[row];
        if let Some(room) = row.known.borrow().get(&gone) {
            return *room;
        }
        self.spend(LOOK);
        let stays = |uid: &PodUid| !self.going.contains(uid) && row.pods.get(uid).is_none_or(|units| units & gone == 0);
        let entry = self.book.node_if(row.name.as_str(), |holder| stays(&holder.uid));
        let room = entry.map_or(0, |entry| room(self.context, self.pod, &self.shape, &entry));
        row.known.borrow_mut().insert(gone, room);
        room
    }

    /// The units of a row that pass, as a mask.
    pub(super) fn mask(&self, row: usize, passes: impl Fn(usize) -> bool) -> u64 {
        self.rows[row].units.iter().enumerate().filter(|(_, unit)| passes(**unit)).fold(0, |mask, (place, _)| mask | 1 << place)
    }

    /// Counts steps.
    pub(super) fn spend(&self, steps: u64) {
        self.work.set(self.work.get().saturating_add(steps));
    }

    /// How many may still be done.
    pub(super) fn steps_left(&self) -> u64 {
        self.work_max.saturating_sub(self.work.get())
    }

    /// Whether so much was done that what is found now has to do.
    pub(super) fn is_spent(&self) -> bool {
        self.work.get() >= self.work_max
    }
}

/// Whether a whole device that is free is worth as much as any other of its pool: a healthy one, where neither shares nor
/// the place of a chip matter.
fn is_any(entry: &NodeEntry, take: &Take) -> bool {
    let Some((pool, ledger)) = entry.node.pools.iter().zip(&entry.pools).find(|(pool, _)| pool.resource == take.resource) else {
        return false;
    };
    let place = take.device.as_ref().and_then(|id| pool.devices.iter().position(|device| device.id == *id));
    let healthy = place.is_some_and(|place| place < Pool::DEVICES_MAX && ledger.healthy & 1 << place != 0);
    healthy && ledger.chips.is_none() && ledger.shared == 0 && entry.conflicts.is_empty()
}
