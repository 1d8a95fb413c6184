//! Which nodes take a member, and how many of them: one row a node, in the order along the fabric.

use std::collections::BTreeMap;

use super::Context;
use crate::book::{Book, DeviceUse, Load, NodeEntry, Shape};
use crate::model::{Device, Node, NodeName, Pod, ShareRequest};
use crate::policy::{Outlook, View};
use crate::topology::fabric::{DomainId, Fabric};

/// The nodes that take at least one member of a role.
#[derive(Clone, Debug)]
pub(super) struct Seats<'a> {
    /// In the order along the fabric.
    pub(super) rows: Vec<Seat<'a>>,
    /// Why other nodes have none, by count.
    pub(super) shut: Shut,
    /// How many members would fit if one thing alone mattered.
    pub(super) alone: Alone,
    /// Nodes that would take members and are spares of their domain.
    pub(super) spares: u32,
    pub(super) fabric: &'a Fabric,
}

/// One node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) name: &'a NodeName,
    pub(super) domains: &'a [Option<DomainId>],
    /// How many members fit. Exact for whole devices; shares may turn out to fit fewer.
    pub(super) room: u32,
    /// Somebody holds devices of it.
    pub(super) in_use: bool,
    /// What the policies think of a member on it.
    pub(super) score_nano: u32,
}

/// Nodes without a seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shut {
    /// Selector, affinity, taint or cordon keep the pod out, or kube-scheduler did not offer the node.
    pub(super) out: u32,
    /// Too few devices are free, of those that have any.
    pub(super) devices: u32,
    /// Too little CPU, memory or room for pods, though devices are free.
    pub(super) load: u32,
}

/// How many members fit on open nodes by one thing alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Alone {
    pub(super) devices: u32,
    pub(super) load: u32,
}

/// A domain of a level, or one node where there is none below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Domain(DomainId),
    Node(usize),
}

/// Where every role must stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Domain(DomainId),
    Node(NodeName),
}

impl Bound {
    pub(super) fn holds(&self, seat: &Seat<'_>) -> bool {
        match self {
            Self::Domain(id) => seat.domains.contains(&Some(*id)),
            Self::Node(name) => seat.name == name,
        }
    }
}

impl<'a> Seats<'a> {
    /// Looks at every node of the fabric.
    pub(super) fn of(book: &Book, context: Context<'a>, pod: &Pod) -> Self {
        let fabric = context.fabric;
        let mut seats = Self { rows: Vec::new(), shut: Shut::default(), alone: Alone::default(), spares: 0, fabric };
        let mut in_use: BTreeMap<DomainId, u32> = BTreeMap::new();
        let Some(shape) = Shape::of(&pod.request) else { return seats };
        let limited = fabric.rules().levels.iter().any(|level| level.usable_nodes.is_some());
        for (name, domains) in fabric.nodes() {
            let Some(entry) = book.node(name.as_str()) else { continue };
            let used = entry.is_in_use();
            if used && limited {
                domains.iter().flatten().for_each(|id| *in_use.entry(*id).or_default() += 1);
            }
            let fit = entry.fits(&shape);
            let devices = if fit.is_ok() { by_devices(entry, pod, kept(context, entry, pod)) } else { 0 };
            if devices == 0 {
                seats.shut.devices += u32::from(entry.node.pools.iter().any(|pool| shape.uses(pool)));
                continue;
            }
            if context.offered.is_some_and(|offered| !offered.contains(name.as_str())) || !admits(pod, &entry.node) {
                seats.shut.out += 1;
                continue;
            }
            let apart = if pod.constraints.apart { 1 } else { u32::MAX };
            let load = by_load(entry.room(), pod);
            let room = devices.min(load).min(apart);
            seats.alone.devices = seats.alone.devices.saturating_add(devices.min(apart));
            seats.alone.load = seats.alone.load.saturating_add(load.min(apart));
            if room == 0 {
                seats.shut.load += 1;
                continue;
            }
            let view = View { profile: context.profile, pod, shape: &shape, entry, fit: &fit, outlook: Outlook::default() };
            let Ok(score_nano) = context.scorer.of_node_nano(&view) else {
                seats.shut.devices += 1;
                continue;
            };
            seats.rows.push(Seat { name, domains, room, in_use: used, score_nano });
        }
        if limited {
            seats.set_spares_aside(&in_use);
        }
        seats
    }

    /// The same in some domains alone.
    pub(super) fn within(mut self, bounds: &[Bound]) -> Self {
        self.rows.retain(|seat| bounds.iter().all(|bound| bound.holds(seat)));
        self
    }

    /// What a place means for the seats of other roles.
    pub(super) fn bound(&self, place: Place) -> Bound {
        match place {
            Place::Domain(id) => Bound::Domain(id),
            Place::Node(row) => Bound::Node(self.rows[row].name.clone()),
        }
    }

    /// Where a row is, on a level.
    pub(super) fn place(&self, row: usize, level: usize) -> Option<Place> {
        let levels = self.fabric.rules().levels.len();
        if level >= levels { Some(Place::Node(row)) } else { self.rows[row].domains.get(level).copied().flatten().map(Place::Domain) }
    }

    /// Rows by domain of a level, each in order; rows outside any domain are left out.
    pub(super) fn by_place(&self, rows: &[usize], level: usize) -> Vec<(Place, Vec<usize>)> {
        let mut first: BTreeMap<Place, usize> = BTreeMap::new();
        let mut groups: Vec<(Place, Vec<usize>)> = Vec::new();
        for row in rows {
            let Some(place) = self.place(*row, level) else { continue };
            let at = *first.entry(place).or_insert_with(|| {
                groups.push((place, Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(*row);
        }
        groups
    }

    /// How many members fit on rows.
    pub(super) fn room(&self, rows: &[usize]) -> u32 {
        rows.iter().fold(0, |sum, row| sum.saturating_add(self.rows[*row].room))
    }

    /// A place for people.
    pub(super) fn title(&self, place: Place) -> String {
        match place {
            Place::Domain(id) => self.fabric.title(id),
            Place::Node(row) => format!("node {}", self.rows[row].name),
        }
    }

    /// Leaves out the unused nodes that a domain keeps for nodes that fail: the worst ones. Narrow levels first.
    fn set_spares_aside(&mut self, in_use: &BTreeMap<DomainId, u32>) {
        let mut keep = vec![true; self.rows.len()];
        for (level, rule) in self.fabric.rules().levels.iter().enumerate().rev() {
            let Some(usable) = rule.usable_nodes else { continue };
            let kept: Vec<usize> = (0..self.rows.len()).filter(|row| keep[*row]).collect();
            for (place, rows) in self.by_place(&kept, level) {
                let Place::Domain(id) = place else { continue };
                let room = usable.saturating_sub(in_use.get(&id).copied().unwrap_or(0)) as usize;
                let mut unused: Vec<usize> = rows.into_iter().filter(|row| !self.rows[*row].in_use).collect();
                unused.sort_by_key(|row| (std::cmp::Reverse((self.rows[*row].room, self.rows[*row].score_nano)), *row));
                unused.iter().skip(room).for_each(|row| keep[*row] = false);
            }
        }
        let before = self.rows.len();
        let mut keep = keep.into_iter();
        self.rows.retain(|_| keep.next().unwrap_or(true));
        self.spares = u32::try_from(before - self.rows.len()).unwrap_or(u32::MAX);
    }
}

/// What kube-scheduler will check and lies in the pod's constraints.
pub(super) fn admits(pod: &Pod, node: &Node) -> bool {
    let constraints = &pod.constraints;
    !constraints.shut_out_by_cordon(node)
        && constraints.untolerated(node).is_none()
        && constraints.selects(node)
        && constraints.reaches_volumes(node)
}

/// How many devices the profile keeps from the pod.
pub(super) fn kept(context: Context<'_>, entry: &NodeEntry, pod: &Pod) -> u32 {
    let rules = context.profile.reserve.iter().filter(|rule| pod.priority < rule.below_priority && rule.covers(&entry.node));
    rules.map(|rule| rule.devices_per_node).max().unwrap_or(0)
}

/// How many members the free devices bear.
pub(super) fn by_devices(entry: &NodeEntry, pod: &Pod, kept: u32) -> u32 {
    let request = &pod.request;
    let whole = request.resources().into_iter().map(|resource| {
        let free = entry.pool(resource).map_or(0, |pool| pool.free);
        free.saturating_sub(kept) / request.whole_of(resource).max(1)
    });
    let whole = whole.min();
    let shares: Vec<ShareRequest> = request.containers.iter().filter_map(|container| container.share).collect();
    let pools = entry.node.pools.iter().zip(&entry.pools).filter(|(pool, _)| pool.sharable && !pool.is_counted());
    let on_pools = pools.map(|(pool, ledger)| {
        let open = (0..ledger.usage.len()).filter(|place| ledger.healthy & !ledger.whole & 1 << place != 0);
        let milli_left = |place: usize| 1000_u32.saturating_sub(ledger.usage[place].share_milli);
        match shares.as_slice() {
            [] => 0,
            [share] => open.map(|place| times_on(*share, milli_left(place), &pool.devices[place], &ledger.usage[place])).sum(),
            // Several shares of a pod may lie apart: what is left in all is a bound.
            _ => open.map(milli_left).sum::<u32>() / request.share_milli().max(1),
        }
    });
    whole.unwrap_or_else(|| on_pools.max().unwrap_or(0))
}

/// How many such shares one device bears.
fn times_on(share: ShareRequest, milli_left: u32, device: &Device, using: &DeviceUse) -> u32 {
    let by_milli = milli_left / share.milli.max(1);
    let needed = share.memory_mib.or_else(|| device.memory_mib.map(|all| all.saturating_mul(share.milli.into()) / 1000));
    let left = device.memory_mib.map(|all| all.saturating_sub(using.share_memory_mib));
    let by_memory =
        needed.filter(|needed| *needed > 0).map(|needed| left.map_or(0, |left| u32::try_from(left / needed).unwrap_or(u32::MAX)));
    by_milli.min(by_memory.unwrap_or(u32::MAX))
}

pub(super) fn by_load(room: Load, pod: &Pod) -> u32 {
    let times = |room: u64, each: u64| room.checked_div(each).map_or(u32::MAX, |times| u32::try_from(times).unwrap_or(u32::MAX));
    times(room.cpu_milli, pod.cpu_milli).min(times(room.memory_bytes, pod.memory_bytes)).min(room.pods)
}

pub(super) fn len<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
