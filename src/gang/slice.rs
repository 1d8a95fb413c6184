//! A TPU slice over hosts: a group whose members take whole hosts of one node pool, in worker order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::choose::Choice;
use super::ground::Ground;
use super::plan::Group;
use super::seats::{Seats, len};
use crate::book::Book;
use crate::model::{ContainerRequest, ContainerRole, Node, NodeName, Operator, Pod, Reason, Refusal, Requirement};
use crate::topology::torus::{Domain, Extent, Generation, Host, over_hosts};

const RESOURCE: &str = "google.com/tpu";
const ACCELERATOR: &str = "cloud.google.com/gke-tpu-accelerator";
const TOPOLOGY: &str = "cloud.google.com/gke-tpu-topology";
const NODE_POOL: &str = "cloud.google.com/gke-nodepool";

/// A node pool: the hosts of one slice, in the order along the fabric.
#[derive(Debug)]
struct NodePool {
    generation: &'static Generation,
    topology: Extent,
    hosts: Vec<(NodeName, bool)>,
}

/// The hosts of the slice that a group asks for by its node selector; none for a group that asks for none.
///
/// # Errors
/// No node pool can give it.
pub(super) fn choose(book: &Book, seats: &Seats<'_>, group: &Group<'_>) -> Result<Option<Choice>, Refusal> {
    let [role] = group.roles.as_slice() else { return Ok(None) };
    let Some(wanted) = wanted(role.pod) else { return Ok(None) };
    let chips = role.pod.request.whole_of(&RESOURCE.into());
    let members = len(&role.members);
    if chips.checked_mul(members) != Some(wanted.chips()) {
        let there = format!("{members} members of {chips} chips each are {} chips", u64::from(chips) * u64::from(members));
        let remedy = match wanted.chips().checked_div(chips) {
            Some(hosts) if wanted.chips().is_multiple_of(chips) => format!("run {hosts} members, one a host"),
            _ => "ask for all chips of a host in each member".to_owned(),
        };
        return Err(Refusal {
            reason: Reason::SliceNotAllowed,
            needed: format!("a slice of {wanted}, {} chips", wanted.chips()),
            there,
            remedy,
        });
    }
    let pools = node_pools(book, seats, wanted, chips);
    let mut nearest: Option<(usize, Refusal)> = None;
    for (name, pool) in &pools {
        let free = pool.hosts.iter().filter(|(_, free)| *free).count();
        let hosts = pool.hosts.iter().map(|(_, free)| Host { worker: None, free: *free }).collect();
        match over_hosts(pool.generation, &Domain::Slice { topology: pool.topology, hosts }, wanted) {
            Ok(places) => {
                let counts = places.into_iter().map(|place| (pool.hosts[place].0.clone(), 1)).collect();
                return Ok(Some(Choice { counts, bounds: Vec::new(), title: format!("node pool {name}, workers in order") }));
            }
            Err(refusal) if nearest.as_ref().is_none_or(|(most, _)| free > *most) => {
                let taken: Vec<&str> =
                    pool.hosts.iter().filter(|(_, free)| !free).map(|(host, _)| host.as_str()).take(HOSTS_TOLD).collect();
                let story = refusal.story();
                let there = format!("nearest is node pool {name} with {free} of {} hosts free: {}", pool.hosts.len(), story.there);
                // Part of a pool is no slice of another shape: its nodes are selected by the shape of the whole.
                let add = format!("add a node pool of topology {wanted}");
                let remedy = if taken.is_empty() { story.remedy } else { format!("free {}, or {add}", taken.join(", ")) };
                nearest = Some((free, Refusal { there, remedy, ..story }));
            }
            Err(_) => {}
        }
    }
    Err(nearest.map_or_else(|| no_pool(book, wanted), |(_, refusal)| refusal))
}

/// How many hosts a remedy names.
const HOSTS_TOLD: usize = 4;

fn no_pool(book: &Book, wanted: Extent) -> Refusal {
    let mut topologies: Vec<&str> = book.nodes().filter_map(|entry| label(&entry.node, TOPOLOGY)).collect();
    topologies.sort_unstable();
    topologies.dedup();
    let there = if topologies.is_empty() {
        "no node has a TPU topology".to_owned()
    } else {
        format!("node pools are of {}", topologies.join(", "))
    };
    let remedy = format!("add a node pool of topology {wanted}, or ask for what is there");
    Refusal { reason: Reason::NoSliceFree, needed: format!("a TPU slice of {wanted} over its hosts"), there, remedy }
}

/// Whether a group asks for a slice over hosts.
pub(super) fn is_wanted(group: &Group<'_>) -> bool {
    matches!(group.roles.as_slice(), [role] if wanted(role.pod).is_some())
}

/// A ground's node pools: a slice never reaches across two.
pub(super) fn by_node_pool(book: &Book, ground: &Ground) -> Vec<Ground> {
    let mut pools: BTreeMap<&str, Vec<NodeName>> = BTreeMap::new();
    for name in &ground.nodes {
        if let Some(pool) = book.node(name.as_str()).and_then(|entry| label(&entry.node, NODE_POOL)) {
            pools.entry(pool).or_default().push(name.clone());
        }
    }
    pools.into_iter().map(|(pool, nodes)| Ground { title: format!("node pool {pool}"), nodes }).collect()
}

/// The topology that the pod's node selector names, of a pod that takes TPU chips.
fn wanted(pod: &Pod) -> Option<Extent> {
    let selector = pod.constraints.node_selector.iter().find(|requirement| &*requirement.key == TOPOLOGY)?;
    let asks = pod.request.whole_of(&RESOURCE.into()) > 0 && selector.operator == Operator::In;
    Extent::parse(selector.values.first().filter(|_| asks)?)
}

/// Lets a pod ask for its part of a slice: all chips of a host, of which each has so many.
pub fn ask_for_slice(pod: &mut Pod, wanted: Extent, chips: u32) {
    let (container, whole) = (Arc::from("all"), vec![(RESOURCE.into(), chips)]);
    pod.request.containers.push(ContainerRequest { container, index: 0, role: ContainerRole::Main, whole, share: None });
    let (key, values) = (Arc::from(TOPOLOGY), vec![Arc::from(wanted.to_string())]);
    pod.constraints.node_selector.push(Requirement { key, field: false, operator: Operator::In, values });
}

/// Hosts whose node pools have this topology, by how many chips each has.
pub fn slice_hosts(book: &Book, wanted: Extent) -> BTreeMap<u32, BTreeSet<NodeName>> {
    let mut hosts: BTreeMap<u32, BTreeSet<NodeName>> = BTreeMap::new();
    for entry in book.nodes().filter(|entry| label(&entry.node, TOPOLOGY).and_then(Extent::parse) == Some(wanted)) {
        let chips = entry.node.pools.iter().find(|pool| pool.resource == RESOURCE.into()).map_or(0, |pool| pool.devices.len());
        if let Some(chips) = u32::try_from(chips).ok().filter(|chips| *chips > 0) {
            hosts.entry(chips).or_default().insert(entry.node.name.clone());
        }
    }
    hosts
}

/// Node pools of the wanted topology, by name. A host is free if a member has a seat on it and takes all of it.
fn node_pools(book: &Book, seats: &Seats<'_>, wanted: Extent, chips: u32) -> BTreeMap<Arc<str>, NodePool> {
    let free: BTreeSet<&NodeName> = seats.rows.iter().map(|seat| seat.name).collect();
    let mut pools: BTreeMap<Arc<str>, NodePool> = BTreeMap::new();
    for (name, _) in seats.fabric.nodes() {
        let Some(entry) = book.node(name.as_str()) else { continue };
        let (Some(pool), Some(topology)) = (label(&entry.node, NODE_POOL), label(&entry.node, TOPOLOGY).and_then(Extent::parse)) else {
            continue;
        };
        let generation = label(&entry.node, ACCELERATOR).and_then(Generation::of_label);
        let Some(generation) = generation.filter(|_| topology == wanted) else { continue };
        let whole = entry.pool(&RESOURCE.into()).is_some_and(|pool| pool.units == chips && pool.free == chips);
        let pool = pools.entry(Arc::from(pool)).or_insert_with(|| NodePool { generation, topology, hosts: Vec::new() });
        pool.hosts.push((name.clone(), whole && free.contains(name)));
    }
    pools
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.labels.get(key).map(AsRef::as_ref)
}
