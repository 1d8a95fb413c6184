//! Which devices of one node a request would get, if any. Reads the ledger, changes nothing.

use std::collections::BTreeSet;

use super::holder::{Peak, implied_mib};
use super::{Holder, NodeEntry, PoolLedger};
use crate::model::{
    Amount, ContainerGrant, ContainerRequest, ContainerRole, Curable, DeviceId, DeviceRequest, DeviceShare, Grant, Pattern, Pool, Reason,
    ResourceName, ShareRequest,
};
use crate::topology::bits;

/// A request in the form that the filter path asks each node: resources and amounts, summed once.
#[derive(Clone, Debug)]
pub struct Shape<'a> {
    request: &'a DeviceRequest,
    whole: Vec<(&'a ResourceName, u32)>,
    shares: bool,
}

/// What of a shape decides where it fits: equal keys get equal verdicts.
pub type ShapeKey = (Vec<(ResourceName, u32)>, Vec<(ContainerRole, ShareRequest)>, Pattern);

/// How a request would sit on a node: what policies score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Exact devices would be granted.
    pub named: bool,
    /// How well they are linked, in thousandths of the best choice on the empty box.
    pub link_quality_milli: u16,
    /// How much of the pools would be in use afterwards, in thousandths.
    pub used_milli: u16,
    /// How many devices would still be free as wholes, of the kind that has fewest.
    pub free_after: u32,
}

impl<'a> Shape<'a> {
    /// The shape of a request; none for one that nobody could grant: nothing asked, whole devices and shares
    /// together, or a share of more than one device.
    pub fn of(request: &'a DeviceRequest) -> Option<Self> {
        let whole: Vec<_> = request.resources().into_iter().map(|name| (name, request.whole_of(name))).collect();
        let shares = request.has_shares();
        let sane = |share: ShareRequest| (1..=1000).contains(&share.milli);
        let possible = whole.is_empty() == shares
            && request.impossible.is_none()
            && request.containers.iter().filter_map(|container| container.share).all(sane);
        possible.then_some(Self { request, whole, shares })
    }

    /// A pod that asks for no device: it sits anywhere, and policies may still prefer one node to another.
    pub fn plain(request: &'a DeviceRequest) -> Self {
        Self { request, whole: Vec::new(), shares: false }
    }

    /// Whether it asks for devices of this pool, or may be given a share of one.
    pub fn uses(&self, pool: &Pool) -> bool {
        if self.shares { pool.sharable } else { self.whole.iter().any(|(resource, _)| **resource == pool.resource) }
    }

    /// What decides where it fits.
    pub fn key(&self) -> ShapeKey {
        let mut whole: Vec<(ResourceName, u32)> = self.whole.iter().map(|(name, count)| ((*name).clone(), *count)).collect();
        // Each container of a TPU host needs a slice of its own: two of four chips are not one of eight.
        let several = self.request.containers.iter().filter(|container| !container.whole.is_empty()).count() > 1;
        whole.extend(self.request.containers.iter().filter(|_| several).flat_map(|container| container.whole.iter().cloned()));
        let shares = self.request.containers.iter().filter_map(|container| Some((container.role, container.share?))).collect();
        (whole, shares, self.request.pattern)
    }
}

impl NodeEntry {
    /// Whether the request fits, and how it would sit; or the first reason why not.
    ///
    /// # Errors
    /// A reason, and whether kube-scheduler's own eviction could cure it.
    pub fn fits(&self, shape: &Shape<'_>) -> Result<Placement, (Reason, Curable)> {
        if self.quarantined && (shape.shares || !shape.whole.is_empty()) {
            return Err((Reason::NodeQuarantined, Curable::NotByScheduler));
        }
        self.has_room(shape)
    }

    /// The same, whether or not the node is in quarantine.
    ///
    /// # Errors
    /// As [`Self::fits`].
    pub fn has_room(&self, shape: &Shape<'_>) -> Result<Placement, (Reason, Curable)> {
        if shape.shares {
            return self.fits_shares(shape);
        }
        let mut placement = Placement { named: true, link_quality_milli: 1000, used_milli: 0, free_after: u32::MAX };
        for &(resource, count) in &shape.whole {
            let pool = self.pool(resource).filter(|pool| !pool.usage.is_empty());
            let pool = pool.ok_or((Reason::NoSuchDevices, Curable::NotByScheduler))?;
            if pool.free < count {
                return Err(self.lacks(pool, count));
            }
            if pool.chips.is_some() && pool.free_ids != 0 && slices(pool, shape.request, resource, count).is_none() {
                return Err((no_slice(pool, shape.request, resource, count), Curable::NotByScheduler));
            }
            let subset = pool.best.of(shape.request.pattern).get(count as usize);
            placement.named &= subset.is_some();
            let quality = subset.map_or(0, |subset| subset.quality_milli);
            placement.link_quality_milli = placement.link_quality_milli.min(quality);
            placement.used_milli = placement.used_milli.max(used_milli(pool, pool.free - count));
            placement.free_after = placement.free_after.min(pool.free - count);
        }
        Ok(placement)
    }

    /// The grant of a request that fits.
    ///
    /// # Errors
    /// As [`NodeEntry::fits`].
    pub fn grant(&self, shape: &Shape<'_>) -> Result<Grant, (Reason, Curable)> {
        self.grant_from(shape, None)
    }

    /// The same, with shares from a device that has just so much compute left, where there is one that takes them.
    ///
    /// # Errors
    /// As [`NodeEntry::fits`].
    pub fn grant_from(&self, shape: &Shape<'_>, left_milli: Option<u32>) -> Result<Grant, (Reason, Curable)> {
        self.fits(shape)?;
        let containers = if shape.shares {
            let devices = self.share_devices(shape, left_milli)?;
            let grant = |(container, (resource, device)): (&ContainerRequest, (ResourceName, DeviceId))| ContainerGrant {
                container: container.container.clone(),
                devices: container.share.iter().map(|share| share_of(*share, &resource, &device)).collect(),
            };
            shape.request.containers.iter().zip(devices).map(grant).collect()
        } else {
            self.whole_devices(shape)
        };
        Ok(Grant { node: self.node.name.clone(), containers })
    }

    /// Whether what a holder was promised here still stands: strangers and failing devices come between a filter
    /// call and its bind.
    pub fn upholds(&self, holder: &Holder) -> bool {
        !self.conflicts.contains(&holder.uid)
            && holder.takes.iter().all(|take| {
                let Some((pool, ledger)) = self.node.pools.iter().zip(&self.pools).find(|(pool, _)| pool.resource == take.resource) else {
                    return false;
                };
                let place = take.device.as_ref().map(|id| pool.devices.iter().position(|device| device.id == *id));
                let healthy = place.is_none_or(|place| place.is_some_and(|place| ledger.healthy & 1 << place != 0));
                let whole = ledger.whole.count_ones().saturating_add(ledger.unnamed);
                let apart = self.is_served() || ledger.shared == 0 || whole == 0;
                // kubelet counts an unhealthy device out of what is allocatable, whoever holds it.
                let counted = (ledger.whole & ledger.healthy).count_ones().saturating_add(ledger.unnamed);
                healthy && apart && counted <= pool.allocatable
            })
    }

    fn lacks(&self, pool: &PoolLedger, count: u32) -> (Reason, Curable) {
        if pool.shared != 0 && !self.is_served() {
            return (Reason::NodeHoldsShares, Curable::NotByScheduler);
        }
        let allocatable = pool.pool(&self.node).map_or(0, |pool| pool.allocatable);
        let curable = if pool.bound.saturating_add(count) > allocatable && count <= allocatable {
            Curable::ByEviction
        } else {
            Curable::NotByScheduler
        };
        let all = u64::MAX >> (64 - pool.usage.len().clamp(1, Pool::DEVICES_MAX));
        let unheld = (all & !pool.whole & !pool.shared).count_ones().saturating_sub(pool.unnamed);
        let reason = if unheld >= count && pool.healthy != all { Reason::UnhealthyDevices } else { Reason::InsufficientDevices };
        (reason, curable)
    }

    fn whole_devices(&self, shape: &Shape<'_>) -> Vec<ContainerGrant> {
        let mut given: Vec<ContainerGrant> = shape
            .request
            .containers
            .iter()
            .map(|container| ContainerGrant { container: container.container.clone(), devices: Vec::new() })
            .collect();
        for &(resource, count) in &shape.whole {
            let ids = self.chosen_ids(shape.request, resource, count);
            let device = |place: usize| DeviceShare { resource: resource.clone(), device: ids.get(place).cloned(), amount: Amount::Whole };
            // Devices are dealt in the order containers start; what an init container used, later ones use again.
            let mut dealt = 0;
            for (container, given) in shape.request.containers.iter().zip(&mut given) {
                let asked = container.whole_of(resource) as usize;
                given.devices.extend((dealt..dealt + asked).map(device));
                if container.role != ContainerRole::Init {
                    dealt += asked;
                }
            }
        }
        given
    }

    /// The devices that a pod would get, in the order in which its containers take them: each container has those that
    /// are linked best among themselves, and what only an init container needs comes last.
    fn chosen_ids(&self, request: &DeviceRequest, resource: &ResourceName, count: u32) -> Vec<DeviceId> {
        let Some(ledger) = self.pool(resource) else { return Vec::new() };
        let chosen = ledger.best.of(request.pattern).get(count as usize);
        let (Some(pool), Some(subset)) = (ledger.pool(&self.node), chosen) else { return Vec::new() };
        if let Some(slices) = slices(ledger, request, resource, count) {
            let places = slices.into_iter().flat_map(bits);
            return places.filter_map(|place| pool.devices.get(place as usize)).map(|device| device.id.clone()).collect();
        }
        let running = request.containers.iter().filter(|container| container.role != ContainerRole::Init);
        let wants: Vec<u32> = running.map(|container| container.whole_of(resource)).collect();
        let mut dealt = ledger.table.deal(subset.mask, &wants, request.pattern);
        dealt.push(subset.mask & !dealt.iter().fold(0, |all, mask| all | mask));
        dealt.into_iter().flat_map(bits).filter_map(|place| pool.devices.get(place as usize)).map(|device| device.id.clone()).collect()
    }

    fn fits_shares(&self, shape: &Shape<'_>) -> Result<Placement, (Reason, Curable)> {
        let devices = self.share_devices(shape, None)?;
        let named = devices.first().and_then(|(resource, _)| Some((self.pool(resource)?, self.pool(resource)?.pool(&self.node)?)));
        let (used_milli, free_after) = named.map_or((0, 0), |(ledger, pool)| {
            let untouched = |id: &DeviceId| {
                let place = pool.devices.iter().position(|device| device.id == *id);
                place.and_then(|place| ledger.usage.get(place)).is_some_and(|using| using.sharers.is_empty())
            };
            let opened: BTreeSet<&DeviceId> = devices.iter().map(|(_, id)| id).filter(|id| untouched(id)).collect();
            let free_after = ledger.free.saturating_sub(u32::try_from(opened.len()).unwrap_or(u32::MAX));
            (used_milli(ledger, free_after), free_after)
        });
        Ok(Placement { named: true, link_quality_milli: 1000, used_milli, free_after })
    }

    /// The device of each container of a request for shares: one for all where they fit together, else the
    /// fullest that fits each. A device with `left_milli` left comes first.
    fn share_devices(&self, shape: &Shape<'_>, left_milli: Option<u32>) -> Result<Vec<(ResourceName, DeviceId)>, (Reason, Curable)> {
        let mut refusal = Reason::NoSuchDevices;
        for (pool, ledger) in self.node.pools.iter().zip(&self.pools).filter(|(pool, _)| pool.sharable && !pool.devices.is_empty()) {
            if !self.is_served() && (ledger.whole != 0 || ledger.unnamed > 0) {
                refusal = Reason::NodeHoldsWholeDevices;
                continue;
            }
            match Sharing::of(pool, ledger, left_milli).and_then(|sharing| sharing.deal(&shape.request.containers)) {
                Ok(places) => return Ok(places.into_iter().map(|place| (pool.resource.clone(), pool.devices[place].id.clone())).collect()),
                Err(reason) => refusal = reason,
            }
        }
        Err((refusal, Curable::NotByScheduler))
    }
}

/// What each container of a TPU host needs at once. Where init containers ask, too, one slice is for all of them.
fn wants(request: &DeviceRequest, resource: &ResourceName, count: u32) -> Vec<u32> {
    let asking = || request.containers.iter().filter(|container| container.whole_of(resource) > 0);
    let init = asking().any(|container| container.role == ContainerRole::Init);
    if init { vec![count] } else { asking().map(|container| container.whole_of(resource)).collect() }
}

/// The chips of each container of a TPU host; none where the pool is none, or has no such slices free.
fn slices(pool: &PoolLedger, request: &DeviceRequest, resource: &ResourceName, count: u32) -> Option<Vec<u64>> {
    pool.chips?.deal(pool.free_ids, &wants(request, resource, count))
}

fn no_slice(pool: &PoolLedger, request: &DeviceRequest, resource: &ResourceName, count: u32) -> Reason {
    let allowed = |want: &u32| pool.chips.is_some_and(|chips| chips.counts().any(|count| count == *want));
    if wants(request, resource, count).iter().all(allowed) { Reason::NoSliceFree } else { Reason::SliceNotAllowed }
}

/// A pool's devices while shares are dealt out.
struct Sharing {
    /// Compute and memory left, by place; none for a device that is out of question.
    left: Vec<Option<(u32, Option<u64>)>>,
    memory_mib: Vec<Option<u64>>,
    /// A device with so much compute left is taken before any other.
    preferred_milli: Option<u32>,
}

impl Sharing {
    fn of(pool: &Pool, ledger: &PoolLedger, preferred_milli: Option<u32>) -> Result<Self, Reason> {
        if ledger.unnamed > 0 || pool.is_counted() {
            return Err(Reason::InsufficientShare);
        }
        let left = |(place, (device, using)): (usize, (&crate::model::Device, &super::DeviceUse))| {
            let usable = ledger.healthy & !ledger.whole & 1 << place != 0;
            let memory = device.memory_mib.map(|all| all.saturating_sub(using.share_memory_mib));
            usable.then_some((1000_u32.saturating_sub(using.share_milli), memory))
        };
        Ok(Self {
            left: pool.devices.iter().zip(&ledger.usage).enumerate().map(left).collect(),
            memory_mib: pool.devices.iter().map(|device| device.memory_mib).collect(),
            preferred_milli,
        })
    }

    /// The place of each container's share.
    fn deal(mut self, containers: &[ContainerRequest]) -> Result<Vec<usize>, Reason> {
        let together = self.fullest(|memory_mib| {
            let mut peak = Peak::default();
            for (container, share) in containers.iter().filter_map(|container| Some((container, container.share?))) {
                peak.add(container.role, share.milli, share.memory_mib);
            }
            (peak.milli(), peak.memory_mib(memory_mib))
        });
        if let Ok(place) = together {
            return Ok(vec![place; containers.len()]);
        }
        containers
            .iter()
            .map(|container| {
                let Some(share) = container.share else { return Ok(0) };
                let needs = |memory_mib| (share.milli, needed_memory(share, memory_mib));
                let place = self.fullest(needs)?;
                let (milli, memory) = needs(self.memory_mib[place]);
                if let Some((milli_left, memory_left)) = &mut self.left[place] {
                    *milli_left -= milli;
                    *memory_left = memory_left.map(|left| left.saturating_sub(memory.unwrap_or(0)));
                }
                Ok(place)
            })
            .collect()
    }

    /// The preferred device, else the one with the least compute left, that still takes it; `needs` is told the device's memory.
    fn fullest(&self, needs: impl Fn(Option<u64>) -> (u32, Option<u64>)) -> Result<usize, Reason> {
        let mut refusal = Reason::InsufficientShare;
        let mut best: Option<(bool, u32, usize)> = None;
        for (place, left) in self.left.iter().enumerate() {
            let Some((milli_left, memory_left)) = *left else { continue };
            let (milli, memory) = needs(self.memory_mib[place]);
            if milli > milli_left {
                continue;
            }
            if memory.is_some_and(|needed| memory_left.is_none_or(|left| needed > left)) {
                refusal = Reason::InsufficientDeviceMemory;
                continue;
            }
            let rank = (self.preferred_milli != Some(milli_left), milli_left, place);
            best = best.min(Some(rank)).or(Some(rank));
        }
        best.map(|(_, _, place)| place).ok_or(refusal)
    }
}

/// What a share needs of a device's memory: what it asks for, else its part of it; unknown of an unknown device.
fn needed_memory(share: ShareRequest, device_mib: Option<u64>) -> Option<u64> {
    share.memory_mib.or_else(|| device_mib.map(|all| implied_mib(all, share.milli.into())))
}

fn share_of(share: ShareRequest, resource: &ResourceName, device: &DeviceId) -> DeviceShare {
    let amount = Amount::Share { milli: share.milli, memory_mib: share.memory_mib };
    DeviceShare { resource: resource.clone(), device: Some(device.clone()), amount }
}

fn used_milli(pool: &PoolLedger, free_after: u32) -> u16 {
    let all = pool.units.max(1);
    u16::try_from(u64::from(all.saturating_sub(free_after)) * 1000 / u64::from(all)).unwrap_or(1000)
}
