//! What can be freed on some nodes, and what each amount costs at least: points of rising room and cost. Nodes that no unit
//! connects are looked at apart; units that reach over several are tried both ways until nothing is connected.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::rooms::Rooms;
use super::unit::Cost;
use crate::topology;

/// One way to have so much room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) room: u32,
    pub(super) cost: Cost,
    pub(super) units: Vec<usize>,
}

/// Points of rising room and rising cost; the first is what there is without taking anything more.
pub(super) type Frontier = Vec<Point>;

/// Sets of units of one node that are tried; of more, some of them by their cost alone.
const SETS_MAX: usize = 4096;
/// Connected nodes may cost so much of all the work; then they are freed greedily.
const PART: u64 = 8;

/// Units that are decided, by row: what is gone, and what may still go.
#[derive(Clone, Debug)]
pub(super) struct State<'r, 'a> {
    pub(super) rooms: &'r Rooms<'a>,
    gone: Vec<u64>,
    open: Vec<u64>,
    /// No more members than these are of use.
    room_max: u32,
    /// Everything so far is the best there is.
    pub(super) exact: bool,
    /// When no more steps than these are left, the connected nodes that are looked at are freed greedily.
    floor: u64,
}

impl<'r, 'a> State<'r, 'a> {
    /// Nothing is gone; what passes may go.
    pub(super) fn new(rooms: &'r Rooms<'a>, rows: &[usize], room_max: u32, passes: impl Fn(usize) -> bool) -> Self {
        let (gone, mut open) = (vec![0; rooms.rows.len()], vec![0; rooms.rows.len()]);
        for row in rows {
            open[*row] = rooms.mask(*row, &passes);
        }
        Self { rooms, gone, open, room_max, exact: !rooms.cut, floor: 0 }
    }

    /// A unit is gone whatever else happens.
    pub(super) fn take(&mut self, unit: usize) {
        self.change(unit, |gone, open, bit| (gone | bit, open & !bit));
    }

    /// Frontiers of connected rows, each apart.
    pub(super) fn frontiers(&mut self, rows: &[usize]) -> Vec<Frontier> {
        let parts = self.connected(rows);
        parts
            .into_iter()
            .map(|part| {
                let left = self.rooms.steps_left();
                self.floor = left - left / PART;
                self.part(&part)
            })
            .collect()
    }

    fn change(&mut self, unit: usize, change: impl Fn(u64, u64, u64) -> (u64, u64)) {
        for row in &self.rooms.rows_of[unit] {
            let Some(place) = self.rooms.rows[*row].units.iter().position(|other| *other == unit) else { continue };
            (self.gone[*row], self.open[*row]) = change(self.gone[*row], self.open[*row], 1 << place);
        }
    }

    fn is_open(&self, row: usize, unit: usize) -> bool {
        let place = self.rooms.rows[row].units.iter().position(|other| *other == unit);
        place.is_some_and(|place| self.open[row] & 1 << place != 0)
    }

    fn open_units(&self, row: usize) -> impl Iterator<Item = usize> + use<'r, 'a> {
        let (units, open) = (&self.rooms.rows[row].units, self.open[row]);
        units.iter().enumerate().filter(move |(place, _)| open & 1 << place != 0).map(|(_, unit)| *unit)
    }

    /// Rows by the units that connect them, in order.
    fn connected(&self, rows: &[usize]) -> Vec<Vec<usize>> {
        let place_of: BTreeMap<usize, usize> = rows.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        let mut seen = vec![false; rows.len()];
        let mut parts = Vec::new();
        for first in 0..rows.len() {
            if std::mem::replace(&mut seen[first], true) {
                continue;
            }
            let (mut part, mut next) = (vec![rows[first]], 0);
            while next < part.len() {
                for unit in self.open_units(part[next]).filter(|unit| self.rooms.rows_of[*unit].len() > 1) {
                    for row in &self.rooms.rows_of[unit] {
                        let Some(place) = place_of.get(row).filter(|_| self.is_open(*row, unit)) else { continue };
                        if !std::mem::replace(&mut seen[*place], true) {
                            part.push(*row);
                        }
                    }
                }
                next += 1;
            }
            part.sort_unstable();
            parts.push(part);
        }
        parts
    }

    /// Rows that units connect, or a single one.
    fn part(&mut self, rows: &[usize]) -> Frontier {
        if let [row] = rows {
            return self.node(*row);
        }
        self.rooms.spend(rows.len() as u64);
        if self.rooms.steps_left() <= self.floor {
            self.exact = false;
            return self.greedy(rows);
        }
        let inside = |unit: usize| self.rooms.rows_of[unit].iter().filter(|row| rows.contains(row) && self.is_open(**row, unit)).count();
        let units: BTreeSet<usize> = rows.iter().flat_map(|row| self.open_units(*row)).collect();
        let Some(unit) = units.into_iter().max_by_key(|unit| (inside(*unit), Reverse(*unit))) else {
            return self.all(rows);
        };
        let before: Vec<(usize, u64, u64)> = self.rooms.rows_of[unit].iter().map(|row| (*row, self.gone[*row], self.open[*row])).collect();
        self.change(unit, |gone, open, bit| (gone, open & !bit));
        let mut points = self.all(rows);
        before.iter().for_each(|(row, gone, open)| (self.gone[*row], self.open[*row]) = (*gone, *open));
        self.take(unit);
        let cost = self.rooms.units[unit].cost();
        for mut point in self.all(rows) {
            point.cost = point.cost + cost;
            point.units.push(unit);
            points.push(point);
        }
        before.iter().for_each(|(row, gone, open)| (self.gone[*row], self.open[*row]) = (*gone, *open));
        best(points)
    }

    /// Rows that may or may not be connected.
    fn all(&mut self, rows: &[usize]) -> Frontier {
        let parts = self.connected(rows);
        let mut sum = vec![Point { room: 0, cost: Cost::default(), units: Vec::new() }];
        for part in parts {
            let next = self.part(&part);
            self.rooms.spend((sum.len() * next.len()) as u64 / 4);
            let mut points = Vec::with_capacity(sum.len() * next.len());
            for a in &sum {
                for b in &next {
                    let units = a.units.iter().chain(&b.units).copied().collect();
                    points.push(Point { room: a.room.saturating_add(b.room).min(self.room_max), cost: a.cost + b.cost, units });
                }
            }
            sum = best(points);
        }
        sum
    }

    /// One row with the units that are on it alone.
    fn node(&mut self, row: usize) -> Frontier {
        let (gone, open) = (self.gone[row], self.open[row]);
        let point = |units: u64| {
            let list: Vec<usize> = bits(units).map(|place| self.rooms.rows[row].units[place]).collect();
            let cost = list.iter().map(|unit| self.rooms.units[*unit].cost()).sum();
            Point { room: self.rooms.room(row, gone | units).min(self.room_max), cost, units: list }
        };
        let first = point(0);
        if open == 0 || self.rooms.room(row, gone | open).min(self.room_max) == first.room {
            return vec![first];
        }
        // Of a kind the cheaper goes first: so many of each kind say which.
        let mut kinds: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for place in bits(open) {
            let prefixes = kinds.entry(self.rooms.rows[row].kinds[place]).or_insert_with(|| vec![0]);
            prefixes.push(prefixes.last().copied().unwrap_or(0) | 1 << place);
        }
        let mut kinds: Vec<Vec<u64>> = kinds.into_values().collect();
        kinds.sort_by_key(Vec::len);
        let Some(last) = kinds.pop() else { return vec![first] };
        let mut sets = vec![0_u64];
        for prefixes in &kinds {
            if sets.len() * prefixes.len() > SETS_MAX || self.rooms.is_spent() {
                self.exact = false;
                return self.greedy(&[row]);
            }
            sets = sets.iter().flat_map(|set| prefixes.iter().map(move |prefix| set | prefix)).collect();
        }
        let mut points = vec![first];
        for set in sets {
            // The room rises with each unit more of the last kind: only where it rises is a point.
            let room = |count: usize| self.rooms.room(row, gone | set | last[count]).min(self.room_max);
            let (mut count, most) = (0, room(last.len() - 1));
            points.push(point(set));
            while room(count) < most {
                let now = room(count);
                let (mut low, mut high) = (count + 1, last.len() - 1);
                while low < high {
                    let middle = usize::midpoint(low, high);
                    if room(middle) > now { high = middle } else { low = middle + 1 }
                }
                count = low;
                points.push(point(set | last[count]));
            }
        }
        best(points)
    }

    /// One member's room after the other, each on the row where it costs least now.
    fn greedy(&mut self, rows: &[usize]) -> Frontier {
        let before = (self.gone.clone(), self.open.clone());
        let mut units: Vec<usize> = Vec::new();
        let room = |state: &Self| rows.iter().map(|row| state.rooms.room(*row, state.gone[*row])).sum::<u32>().min(state.room_max);
        let mut points = vec![Point { room: room(self), cost: Cost::default(), units: Vec::new() }];
        let mut steps: Vec<Option<(Cost, u64)>> = rows.iter().map(|row| self.step(*row)).collect();
        while points.last().is_some_and(|point| point.room < self.room_max) {
            let Some((at, taken)) = steps
                .iter()
                .enumerate()
                .filter_map(|(at, step)| step.map(|(cost, taken)| (cost, at, taken)))
                .min()
                .map(|(_, at, taken)| (at, taken))
            else {
                break;
            };
            let taken: Vec<usize> = bits(taken).map(|place| self.rooms.rows[rows[at]].units[place]).collect();
            let mut touched = Vec::new();
            for unit in taken {
                self.take(unit);
                units.push(unit);
                touched.extend(self.rooms.rows_of[unit].iter().copied());
            }
            for (step, row) in steps.iter_mut().zip(rows).filter(|(_, row)| touched.contains(row)) {
                *step = self.step(*row);
            }
            let cost = units.iter().map(|unit| self.rooms.units[*unit].cost()).sum();
            points.push(Point { room: room(self), cost, units: units.clone() });
        }
        (self.gone, self.open) = before;
        best(points)
    }

    /// The cheapest units that give a row room for one more, as far as leaving out one after the other shows.
    fn step(&self, row: usize) -> Option<(Cost, u64)> {
        let (gone, open) = (self.gone[row], self.open[row]);
        let now = self.rooms.room(row, gone);
        if self.rooms.room(row, gone | open) <= now {
            return None;
        }
        let mut taken = open;
        // The dearest first.
        for place in bits(open).collect::<Vec<usize>>().into_iter().rev() {
            if self.rooms.room(row, gone | taken & !(1 << place)) > now {
                taken &= !(1 << place);
            }
        }
        let cost = bits(taken).map(|place| self.rooms.units[self.rooms.rows[row].units[place]].cost()).sum();
        Some((cost, taken))
    }
}

/// Points that no other beats: rising cost, rising room.
fn best(mut points: Vec<Point>) -> Frontier {
    points.sort_by(|a, b| (a.cost, Reverse(a.room), &a.units).cmp(&(b.cost, Reverse(b.room), &b.units)));
    let mut room = None;
    points.retain(|point| {
        let rises = room.is_none_or(|room| point.room > room);
        room = if rises { Some(point.room) } else { room };
        rises
    });
    points
}

/// The places of the bits that are set, ascending.
fn bits(mask: u64) -> impl Iterator<Item = usize> {
    topology::bits(mask).map(|place| place as usize)
}
