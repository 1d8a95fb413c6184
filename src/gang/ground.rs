//! Where a group may go, whoever is there now: what a search for victims looks through. Grounds stand in the order in
//! which the group's wishes want them; how many members a node of them takes is asked of the node as it would be.

use std::collections::BTreeMap;

use super::plan::{Context, Group, impossible};
use super::seats::{admits, by_devices, by_load, kept};
use super::{slice, wishes};
use crate::book::{Book, NodeEntry, Shape};
use crate::model::{NodeName, Pod, Refusal};
use crate::policy::{Outlook, View};

/// Nodes among which the whole group must stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// For people: `rack r7 of block b2`, or `the cluster`.
    pub title: String,
    /// In the order along the fabric.
    pub nodes: Vec<NodeName>,
}

/// Grounds that the group likes equally well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Any of them will do.
    pub grounds: Vec<Ground>,
    /// A group of alike members fits on a ground if its nodes have room for so many, added up; else only a plan tells.
    pub adds_up: bool,
}

/// Every rung that the group accepts, the best one first. Only levels that somebody wished for (the group, or the profile
/// for all) come before the whole of what is required: nobody is moved for a wish that nobody has.
///
/// # Errors
/// Wishes that cannot be read, or a request that no node can grant.
pub fn rungs(book: &Book, context: Context<'_>, group: &Group<'_>) -> Result<Vec<Rung>, Refusal> {
    let wishes = wishes::resolve(context.fabric.rules(), group)?;
    if group.roles.iter().any(|role| Shape::of(&role.pod.request).is_none()) {
        return Err(impossible(group));
    }
    let offered = |name: &NodeName| context.offered.is_none_or(|offered| offered.contains(name.as_str()));
    let nodes = context.fabric.nodes().map(|(name, _)| name.clone()).filter(offered).collect();
    let mut required = vec![Ground { title: "the cluster".to_owned(), nodes }];
    for level in &wishes.together {
        required = required.iter().flat_map(|ground| divided(context, ground, *level)).collect();
    }
    if slice::is_wanted(group) {
        required = required.iter().flat_map(|ground| slice::by_node_pool(book, ground)).collect();
    }
    let adds_up = group.roles.len() == 1 && wishes.parts.is_none();
    let asked_for = !group.wishes.preferred.is_empty() || context.fabric.rules().preferred.is_some();
    let mut rungs = Vec::new();
    for level in wishes.tries.iter().filter(|_| asked_for && wishes.parts.is_none()) {
        let grounds = required.iter().flat_map(|ground| divided(context, ground, *level)).collect();
        rungs.push(Rung { grounds, adds_up });
    }
    rungs.push(Rung { grounds: required, adds_up });
    Ok(rungs)
}

/// How many members like `pod` a node takes, as the planner counts. Exact for whole devices; of several shares in one
/// pod it is a bound.
pub fn room(context: Context<'_>, pod: &Pod, shape: &Shape<'_>, entry: &NodeEntry) -> u32 {
    let fit = entry.fits(shape);
    if fit.is_err() || !admits(pod, &entry.node) {
        return 0;
    }
    let apart = if pod.constraints.apart { 1 } else { u32::MAX };
    let room = by_devices(entry, pod, kept(context, entry, pod)).min(by_load(entry.room(), pod)).min(apart);
    let view = View { profile: context.profile, pod, shape, entry, fit: &fit, outlook: Outlook::default() };
    if room > 0 && context.scorer.of_node_nano(&view).is_ok() { room } else { 0 }
}

/// A ground's domains of a level, or its nodes where that is below all levels.
fn divided(context: Context<'_>, ground: &Ground, level: usize) -> Vec<Ground> {
    let fabric = context.fabric;
    if level >= fabric.rules().levels.len() {
        return ground.nodes.iter().map(|name| Ground { title: format!("node {name}"), nodes: vec![name.clone()] }).collect();
    }
    let mut places = BTreeMap::new();
    let mut grounds: Vec<Ground> = Vec::new();
    for name in &ground.nodes {
        let Some(id) = fabric.domains_of(name.as_str()).and_then(|domains| domains[level]) else { continue };
        let place = *places.entry(id).or_insert_with(|| {
            grounds.push(Ground { title: fabric.title(id), nodes: Vec::new() });
            grounds.len() - 1
        });
        grounds[place].nodes.push(name.clone());
    }
    grounds
}
