//! Blocks that can be opened, in the words of people: a whole box, a domain of the fabric, a TPU slice. Each becomes a group that
//! would take every device of it: where that group fits, the block is open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::book::{Book, NodeEntry};
use crate::gang::{self, Group, Member, Role};
use crate::model::{
    ContainerRequest, ContainerRole, NodeName, Parts, Pod, PodKey, PodUid, Reason, Refusal, ResourceName, Toleration, TopologyWishes, Wish,
};
use crate::topology::fabric::{Domain, Fabric};
use crate::topology::torus::Extent;

/// What is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which kind.
    pub what: What,
    /// So many whole nodes of one domain; without it all of the domain, or one node.
    pub nodes: Option<u32>,
    /// Only nodes with devices of this resource.
    pub resource: Option<ResourceName>,
    /// Only these nodes; none: any.
    pub on: BTreeSet<NodeName>,
}

/// Kinds of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A node, or a domain of a level of the fabric; this one, where it is named.
    Level(Arc<str>, Option<Arc<str>>),
    /// A TPU slice over the hosts of a node pool.
    Slice(Extent),
}

impl What {
    /// Reads `node`, `node=NAME`, `rack`, `rack=r7`, `4x4x4`.
    ///
    /// # Errors
    /// What it is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(extent) = Extent::parse(text) {
            return Ok(Self::Slice(extent));
        }
        let (level, name) = text.split_once('=').map_or((text, None), |(level, name)| (level, Some(name)));
        let named = name.is_none_or(|name| !name.is_empty());
        if level.is_empty() || !named || level.contains(char::is_whitespace) {
            return Err(format!(
                "`{text}` names no block: write node, node=NAME, a level of the fabric (rack, rack=NAME), or a TPU slice (4x4x4)"
            ));
        }
        Ok(Self::Level(level.into(), name.map(Arc::from)))
    }
}

impl Wanted {
    /// Reads what people ask for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(what: &str, nodes: Option<u32>, resource: Option<&str>) -> Result<Self, String> {
        let what = What::parse(what)?;
        match (&what, nodes) {
            (_, Some(0)) => Err("no nodes are no block: ask for at least one".into()),
            (What::Slice(_), Some(_)) => Err("a TPU slice has as many nodes as its topology says: leave the number away".into()),
            _ => Ok(Self { what, nodes, resource: resource.map(ResourceName::from), on: BTreeSet::new() }),
        }
    }

    /// The same on these nodes alone.
    pub fn on(self, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        Self { on: nodes.into_iter().collect(), ..self }
    }

    fn allows(&self, node: &NodeName) -> bool {
        self.on.is_empty() || self.on.contains(node)
    }
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// For people: `a whole node`, `rack r7 of block b2`.
    pub title: String,
    /// What takes all devices of a node of it.
    pub pod: Pod,
    /// How many of its nodes.
    pub members: u32,
    /// Of these.
    pub nodes: BTreeSet<NodeName>,
    wishes: TopologyWishes,
}

impl Block {
    /// The group that would take all of it.
    pub fn group(&self) -> Group<'_> {
        let member = |at: u32| {
            let name = format!("block-{at}");
            Member { uid: PodUid::new(format!("{MEMBER}{name}")), key: PodKey::new("", name) }
        };
        let roles = vec![Role { pod: &self.pod, members: (0..self.members).map(member).collect() }];
        Group { key: PodKey::new("", "block"), roles, wishes: &self.wishes }
    }
}

/// What the UIDs of a block's members begin with: no pod's does.
const MEMBER: &str = "defrag:";

/// All devices of a node.
type Devices = Vec<(ResourceName, u32)>;

/// Blocks that are of the wanted kind, whoever is there now.
///
/// # Errors
/// There is no such block in this cluster.
pub fn blocks(book: &Book, fabric: &Fabric, wanted: &Wanted) -> Result<Vec<Block>, Refusal> {
    let has = |entry: &NodeEntry| wanted.resource.as_ref().is_none_or(|resource| devices(entry).iter().any(|(name, _)| name == resource));
    let boxes: BTreeMap<NodeName, Devices> = book
        .nodes()
        .filter(|entry| !devices(entry).is_empty() && has(entry) && wanted.allows(&entry.node.name))
        .map(|entry| (entry.node.name.clone(), devices(entry)))
        .collect();
    if boxes.is_empty() {
        let there = "no node has such devices".to_owned();
        return Err(refusal(wanted, there, "name another block or another resource".into()));
    }
    // A node that takes no pods is no open one, whoever is on it.
    let takes_pods = |name: &NodeName| {
        wanted.allows(name) && book.node(name.as_str()).is_some_and(|entry| entry.node.ready && !entry.node.unschedulable)
    };
    let blocks = match &wanted.what {
        What::Slice(extent) => slices(book, *extent, takes_pods),
        What::Level(level, name) => {
            let rules = fabric.rules();
            let place = rules.level_of(level).ok_or_else(|| {
                let there = format!("the profile's fabric has {}", rules.names().join(", "));
                refusal(wanted, there, "name one of these".into())
            })?;
            if place >= rules.levels.len() {
                nodes(&boxes, name.as_deref(), wanted.nodes)
            } else {
                domains(fabric, &boxes, place, name.as_deref(), wanted.nodes)
            }
        }
    };
    let kinds: BTreeSet<Vec<&ResourceName>> = blocks
        .iter()
        .flat_map(|block| &block.nodes)
        .filter_map(|name| boxes.get(name))
        .map(|devices| devices.iter().map(|(name, _)| name).collect())
        .collect();
    if kinds.len() > 1 && wanted.resource.is_none() {
        let names: BTreeSet<String> = kinds.iter().flatten().map(ToString::to_string).collect();
        let there = format!("nodes have {}", names.into_iter().collect::<Vec<_>>().join(", "));
        return Err(refusal(wanted, there, "say which with --resource".into()));
    }
    if blocks.is_empty() {
        return Err(none_of_that_kind(fabric, &boxes, wanted));
    }
    let open = |mut block: Block| {
        block.nodes.retain(takes_pods);
        block
    };
    Ok(blocks.into_iter().map(open).collect())
}

/// What a node has, whether it is healthy or not: a box with a broken device is no whole box.
fn devices(entry: &NodeEntry) -> Devices {
    let pools = entry.node.pools.iter().map(|pool| (pool.resource.clone(), u32::try_from(pool.devices.len()).unwrap_or(u32::MAX)));
    pools.filter(|(_, count)| *count > 0).collect()
}

/// Any nodes, or one that is named; a block for each kind of box.
fn nodes(boxes: &BTreeMap<NodeName, Devices>, name: Option<&str>, count: Option<u32>) -> Vec<Block> {
    let members = count.unwrap_or(1);
    let mut kinds: BTreeMap<&Devices, BTreeSet<NodeName>> = BTreeMap::new();
    for (node, devices) in boxes.iter().filter(|(node, _)| name.is_none_or(|name| node.as_str() == name)) {
        kinds.entry(devices).or_default().insert(node.clone());
    }
    let enough = |nodes: &BTreeSet<NodeName>| nodes.len() >= members as usize;
    let title = |nodes: &BTreeSet<NodeName>| match (nodes.first(), members) {
        (Some(node), _) if name.is_some() => format!("node {node}"),
        (_, 1) => "a whole node".to_owned(),
        _ => format!("{members} whole nodes"),
    };
    let block = |(devices, nodes): (&Devices, BTreeSet<NodeName>)| block(title(&nodes), whole_box(devices), members, nodes, None);
    kinds.into_iter().filter(|(_, nodes)| enough(nodes)).map(block).collect()
}

/// Domains of a level: whole ones, one block each; or as many nodes of any of them.
fn domains(fabric: &Fabric, boxes: &BTreeMap<NodeName, Devices>, level: usize, name: Option<&str>, count: Option<u32>) -> Vec<Block> {
    let usable = fabric.rules().levels[level].usable_nodes;
    let there = |domain: &Domain| -> BTreeSet<NodeName> { domain.nodes.iter().filter(|node| boxes.contains_key(*node)).cloned().collect() };
    let mut blocks = Vec::new();
    let mut parts: BTreeMap<&Devices, BTreeSet<NodeName>> = BTreeMap::new();
    for (id, domain) in fabric.domains(level).filter(|(_, domain)| name.is_none_or(|name| *domain.value == *name)) {
        let nodes = there(domain);
        if count.is_some() {
            nodes.iter().for_each(|node| parts.entry(&boxes[node]).or_default().extend([node.clone()]));
            continue;
        }
        let Some(devices) = nodes.first().map(|node| &boxes[node]) else { continue };
        // Boxes that differ are not counted in whole domains: nothing takes all of each.
        if nodes.iter().all(|node| boxes[node] == *devices) {
            let all = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
            let members = usable.map_or(all, |usable| usable.min(all));
            blocks.push(block(fabric.title(id), whole_box(devices), members, nodes, None));
        }
    }
    let wish = fabric.rules().name_of(level);
    let members = count.unwrap_or(0);
    let title = format!("{members} whole nodes of one {wish}");
    blocks.extend(parts.into_iter().map(|(devices, nodes)| block(title.clone(), whole_box(devices), members, nodes, Some(wish))));
    blocks
}

/// Node pools of a topology, by how many chips their hosts have.
fn slices(book: &Book, extent: Extent, takes_pods: impl Fn(&NodeName) -> bool) -> Vec<Block> {
    let hosts = gang::slice_hosts(book, extent).into_iter().filter(|(chips, _)| extent.chips().is_multiple_of(*chips));
    let block = |(chips, mut nodes): (u32, BTreeSet<NodeName>)| {
        nodes.retain(&takes_pods);
        let mut pod = empty_pod();
        gang::ask_for_slice(&mut pod, extent, chips);
        block(format!("a TPU slice of {extent}"), pod, extent.chips() / chips, nodes, None)
    };
    hosts.map(block).collect()
}

fn block(title: String, pod: Pod, members: u32, nodes: BTreeSet<NodeName>, level: Option<&str>) -> Block {
    let required = level.into_iter().map(|level| Wish { level: level.into(), parts: Parts::Whole }).collect();
    Block { title, pod, members, nodes, wishes: TopologyWishes { required, ..TopologyWishes::default() } }
}

/// Bears every taint: a box stands empty whoever may use it then. Of the highest priority: nothing is kept back from it.
fn empty_pod() -> Pod {
    let mut pod = Pod::pending(PodUid::new(MEMBER), PodKey::new("", "block"));
    pod.priority = i32::MAX;
    pod.constraints.tolerations.push(Toleration { key: None, value: None, effect: None });
    pod
}

fn whole_box(devices: &Devices) -> Pod {
    let mut pod = empty_pod();
    let (container, whole) = (Arc::from("all"), devices.clone());
    pod.request.containers.push(ContainerRequest { container, index: 0, role: ContainerRole::Main, whole, share: None });
    pod
}

fn none_of_that_kind(fabric: &Fabric, boxes: &BTreeMap<NodeName, Devices>, wanted: &Wanted) -> Refusal {
    let (there, remedy) = match &wanted.what {
        What::Slice(_) => ("no node pool has this topology".to_owned(), "name a topology that a node pool has".to_owned()),
        What::Level(level, name) => {
            let place = fabric.rules().level_of(level).unwrap_or(0);
            let names: Vec<String> = if place >= fabric.rules().levels.len() {
                boxes.keys().map(ToString::to_string).collect()
            } else {
                fabric.domains(place).map(|(_, domain)| domain.value.to_string()).collect()
            };
            let known = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let others = names.len().saturating_sub(NAMED);
            let others = if others > 0 { format!(" and {others} others") } else { String::new() };
            match name {
                Some(name) if !names.iter().any(|known| known == &**name) => (
                    format!("no {level} with accelerators has the name {name}; there are {known}{others}"),
                    format!("name one of these, or any with --open {level}"),
                ),
                _ if names.is_empty() => {
                    (format!("no node has a label of level {level}"), "label nodes, or set the profile's `fabric`".into())
                }
                _ if wanted.nodes.is_some() => {
                    (format!("no kind of box is there so often in {known}{others}"), "ask for fewer nodes".into())
                }
                _ => (
                    format!("nodes of one {level} differ in their devices"),
                    "say how many nodes with --nodes, or which with --resource".into(),
                ),
            }
        }
    };
    refusal(wanted, there, remedy)
}

/// How many names are told.
const NAMED: usize = 8;

fn refusal(wanted: &Wanted, there: String, remedy: String) -> Refusal {
    Refusal { reason: Reason::BlockShut, needed: wanted.to_string(), there, remedy }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.what, self.nodes) {
            (What::Slice(extent), _) => write!(f, "a free TPU slice of {extent}")?,
            (What::Level(level, Some(name)), None) => write!(f, "all of {level} {name} free")?,
            (What::Level(level, None), None) => write!(f, "one whole {level} free")?,
            (What::Level(level, Some(name)), Some(nodes)) => write!(f, "{nodes} whole nodes of {level} {name} free")?,
            (What::Level(level, None), Some(nodes)) => write!(f, "{nodes} whole nodes of one {level} free")?,
        }
        self.resource.as_ref().map_or(Ok(()), |resource| write!(f, ", with {resource}"))?;
        let on: Vec<&str> = self.on.iter().map(NodeName::as_str).collect();
        if on.is_empty() { Ok(()) } else { write!(f, ", on {}", on.join(", ")) }
    }
}
