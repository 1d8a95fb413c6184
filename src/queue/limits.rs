//! What a queue may take: up to its maximum, within its guarantee without asking anybody, beyond it as long as nobody claims it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ledger::{Amounts, Asks, Ledger};
use crate::book::{Book, NodeEntry, PoolLedger};
use crate::model::{Classes, GangId, NodeName};
use crate::policy::{QueueAmount, QueueRule};

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

/// By what right somebody may take from a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Right {
    /// It is the same queue.
    #[default]
    Own,
    /// The one who asks, or the queue above it that is a sibling of the other's, stays within its guarantee with what it asks
    /// for: what the other holds beyond its own was only lent.
    Lent,
    /// None but that it may be more urgent.
    Other,
}

/// What a queue holds beyond what it is guaranteed of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// The queue.
    pub queue: usize,
    class: Arc<str>,
    guaranteed: QueueAmount,
    /// So much, in thousandths of devices or in boxes, as the guarantee counts.
    pub left: u64,
}

impl Spare {
    /// What of it goes with somebody who holds so much. Of boxes all that it uses: others may be on them, or not.
    pub fn used_by(&self, holds: &Asks) -> u64 {
        holds.class(&self.class).by(self.guaranteed).0
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
    ///
    /// `except` is the gang that asks: what makes room for it is not counted.
    pub fn admits(&self, queue: usize, asks: &Asks, except: Option<&GangId>) -> Result<(), Exceeded> {
        let passed = |at: usize| {
            let rule = self.rule(at)?;
            rule.maximum.iter().find_map(|(class, most)| {
                let held = self.held[at].class(class).plus(self.claimed(at, class, except));
                let ((held, most_of_it), (asked, _)) = (held.by(*most), asks.class(class).by(*most));
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
                let held = self.held[queue].class(class).plus(self.claimed(queue, class, None));
                let (sum, most) = held.plus(*asked).by(*amount);
                sum <= most
            })
        };
        asks.0.iter().filter(|(_, asked)| asked.milli > 0).all(within)
    }

    /// By what right a queue that asks for something may take from another.
    pub fn right(&self, queue: usize, asks: &Asks, from: usize) -> Right {
        let above: Vec<usize> = self.rules.path(queue).collect();
        let Some(sibling) = self.rules.path(from).take_while(|at| !above.contains(at)).last() else { return Right::Own };
        let parent = self.rule(sibling).and_then(|rule| rule.parent);
        let mine = above.into_iter().find(|at| self.rule(*at).is_some_and(|rule| rule.parent == parent));
        if mine.is_some_and(|mine| self.within_guarantee(mine, asks)) { Right::Lent } else { Right::Other }
    }

    /// What gangs of a queue, and of those below it, wait for while others make room for them.
    fn claimed(&self, queue: usize, class: &str, except: Option<&GangId>) -> Amounts {
        let of_queue = |(id, (of, _)): &(&GangId, &(usize, Asks))| Some(*id) != except && self.rules.path(*of).any(|at| at == queue);
        self.claims.iter().filter(of_queue).fold(Amounts::default(), |sum, (_, (_, asks))| sum.plus(asks.class(class)))
    }

    /// What may be taken of a queue, and of those above it that are not also above `queue`, without any of them coming below its
    /// guarantee.
    pub fn spares(&self, queue: usize, from: usize) -> Vec<Spare> {
        let above: Vec<usize> = self.rules.path(queue).collect();
        let theirs = self.rules.path(from).take_while(|at| !above.contains(at)).filter_map(|at| Some((at, self.rule(at)?)));
        let spare = |(at, rule): (usize, &QueueRule)| {
            let held = self.held[at].clone();
            let left = move |(class, amount): (&Arc<str>, &QueueAmount)| {
                let (has, guaranteed) = held.class(class).by(*amount);
                Spare { queue: at, class: class.clone(), guaranteed: *amount, left: has.saturating_sub(guaranteed) }
            };
            rule.guaranteed.iter().map(left).collect::<Vec<_>>()
        };
        theirs.flat_map(spare).collect()
    }

    /// Whether anybody may take back of what a queue holds: it, or one above it, borrows, and another holds less than its guarantee.
    pub fn is_claimable(&self, queue: usize) -> bool {
        let above: Vec<usize> = self.rules.path(queue).collect();
        let lacks = |at: usize, rule: &QueueRule| {
            rule.guaranteed.iter().any(|(class, amount)| {
                let (held, guaranteed) = self.held[at].class(class).by(*amount);
                held < guaranteed
            })
        };
        let others = || self.rules.all().iter().enumerate().filter(|(at, _)| !above.contains(at));
        others().any(|(at, rule)| lacks(at, rule)) && above.iter().any(|at| !self.borrowed_milli(*at).is_empty())
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
