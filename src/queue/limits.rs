//! What a queue may take: up to its maximum, within its guarantee without asking anybody, beyond it as long as nobody claims it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ledger::{Amounts, Asks, Ledger};
use crate::book::{Book, NodeEntry, PoolLedger};
use crate::model::{Classes, NodeName};
use crate::policy::QueueAmount;

/// Nodes that a queue may use, where its maximum is counted in them.
#[derive(Clone, Debug)]
pub struct BoxLimit {
    class: Arc<str>,
    held: BTreeSet<NodeName>,
    most: usize,
}

impl BoxLimit {
    /// Whether a place there keeps within it.
    pub fn allows(&self, node: &NodeName) -> bool {
        self.held.len() < self.most || self.held.contains(node)
    }

    /// Whether places on all of these nodes together do.
    pub fn allows_all<'a>(&'a self, nodes: impl IntoIterator<Item = &'a NodeName>) -> bool {
        nodes.into_iter().chain(&self.held).collect::<BTreeSet<_>>().len() <= self.most
    }

    /// Nodes on all of which together places keep within it: those that are in use, and of the others the emptiest.
    pub fn choose(&self, book: &Book, classes: &Classes) -> BTreeSet<NodeName> {
        let free = |entry: &NodeEntry| -> u32 {
            let of_class = |pool: &&PoolLedger| classes.of(pool.resource.as_str()).is_some_and(|class| class.name == self.class);
            entry.pools.iter().filter(of_class).map(|pool| pool.free).sum()
        };
        let mut others: Vec<&NodeEntry> = book.nodes().filter(|entry| !self.held.contains(&entry.node.name)).collect();
        others.sort_by_key(|entry| Reverse(free(entry)));
        let more = others.into_iter().take(self.most.saturating_sub(self.held.len())).map(|entry| entry.node.name.clone());
        self.held.iter().cloned().chain(more).collect()
    }
}

/// Why a queue cannot have more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The queue, or one above it, whose maximum it is.
    pub queue: usize,
    /// Of which class.
    pub class: Arc<str>,
    /// What it holds, asks for and may have, in thousandths of devices, or in boxes.
    pub amounts: (u64, u64, u64),
    /// Whether those are boxes.
    pub in_boxes: bool,
}

impl Ledger {
    /// Whether a queue, and those above it, may have so much more.
    ///
    /// # Errors
    /// The first maximum that this would pass.
    pub fn admits(&self, queue: usize, asks: &Asks) -> Result<(), Exceeded> {
        let passed = |at: usize| {
            let rule = self.rule(at)?;
            rule.maximum.iter().find_map(|(class, most)| {
                let ((held, most_of_it), (asked, _)) = (self.held[at].class(class).by(*most), asks.class(class).by(*most));
                let asks_at_all = asks.class(class).milli > 0;
                (asks_at_all && held + asked > most_of_it).then(|| Exceeded {
                    queue: at,
                    class: class.clone(),
                    amounts: (held, asked, most_of_it),
                    in_boxes: matches!(most, QueueAmount::Boxes(_)),
                })
            })
        };
        self.rules.path(queue).find_map(passed).map_or(Ok(()), Err)
    }

    /// The maxima in boxes that bind a queue in what it asks for.
    pub fn box_limits(&self, queue: usize, asks: &Asks) -> Vec<BoxLimit> {
        let rules = self.rules.path(queue).filter_map(|at| Some((at, self.rule(at)?)));
        let limits = rules.flat_map(|(at, rule)| rule.maximum.iter().map(move |(class, most)| (at, class, most)));
        limits
            .filter_map(|(at, class, most)| match most {
                QueueAmount::Boxes(most) if asks.class(class).milli > 0 => {
                    let held = self.boxes.get(at).and_then(|boxes| boxes.get(class)).cloned().unwrap_or_default();
                    Some(BoxLimit { class: class.clone(), held, most: *most as usize })
                }
                _ => None,
            })
            .collect()
    }

    /// Whether a queue would stay within what it is guaranteed with so much more, in every class of which it asks anything.
    pub fn within_guarantee(&self, queue: usize, asks: &Asks) -> bool {
        let Some(rule) = self.rule(queue) else { return false };
        let within = |(class, asked): (&Arc<str>, &Amounts)| {
            let guaranteed = rule.guaranteed.get(class);
            guaranteed.is_some_and(|amount| {
                let (sum, most) = self.held[queue].class(class).plus(*asked).by(*amount);
                sum <= most
            })
        };
        asks.0.iter().filter(|(_, asked)| asked.milli > 0).all(within)
    }

    /// Whether a queue that asks for something may take back so much from another: it, or the one above it that is a
    /// sibling of the other's, stays within its guarantee with what it asks for, and neither the other nor those above it up
    /// to that sibling come below theirs.
    pub fn may_reclaim(&self, queue: usize, asks: &Asks, from: usize, takes: &Asks) -> bool {
        let above: Vec<usize> = self.rules.path(queue).collect();
        let theirs: Vec<usize> = self.rules.path(from).take_while(|at| !above.contains(at)).collect();
        let Some(sibling) = theirs.last() else { return false };
        let parent = self.rule(*sibling).and_then(|rule| rule.parent);
        let Some(mine) = above.iter().find(|at| self.rule(**at).is_some_and(|rule| rule.parent == parent)) else { return false };
        self.within_guarantee(*mine, asks) && theirs.iter().all(|at| self.keeps_guarantee(*at, takes))
    }

    /// Whether a queue still holds what it is guaranteed if so much is taken from it.
    fn keeps_guarantee(&self, queue: usize, takes: &Asks) -> bool {
        let Some(rule) = self.rule(queue) else { return false };
        takes.0.iter().filter(|(_, taken)| taken.milli > 0).all(|(class, taken)| {
            let Some(amount) = rule.guaranteed.get(class) else { return true };
            let ((held, guaranteed), (taken, _)) = (self.held[queue].class(class).by(*amount), taken.by(*amount));
            held >= guaranteed + taken
        })
    }

    /// What a queue holds beyond its guarantee, in thousandths of devices by class; a guarantee in boxes counts as many.
    pub fn borrowed_milli(&self, queue: usize) -> BTreeMap<Arc<str>, u64> {
        let Some(rule) = self.rule(queue) else { return BTreeMap::new() };
        let borrowed = |(class, held): (&Arc<str>, &Amounts)| {
            let beyond = match rule.guaranteed.get(class) {
                None => held.milli,
                Some(QueueAmount::Devices(devices)) => held.milli.saturating_sub(u64::from(*devices) * 1000),
                Some(QueueAmount::Boxes(boxes)) if held.boxes <= *boxes => 0,
                Some(QueueAmount::Boxes(boxes)) => held.milli * u64::from(held.boxes - boxes) / u64::from(held.boxes),
            };
            (beyond > 0).then(|| (class.clone(), beyond))
        };
        self.held[queue].0.iter().filter_map(borrowed).collect()
    }
}
