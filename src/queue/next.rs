//! Which queue is served next: from the top of the hierarchy down, those that stay within their guarantee first, then the one
//! that had least for its weight; of equals the one whose first job is more urgent.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::ledger::{Asks, Ledger};

/// Who is first in a queue.
#[derive(Clone, Debug)]
pub struct Head<'a, T> {
    /// What it asks for.
    pub asks: &'a Asks,
    /// How urgent it is: the lowest is.
    pub turn: T,
}

/// The best head below a queue.
struct Best<'a, T> {
    leaf: usize,
    head: &'a Head<'a, T>,
}

impl Ledger {
    /// The queue that is served next, of those that have somebody waiting.
    pub fn next<T: Ord>(&self, heads: &BTreeMap<usize, Head<'_, T>>) -> Option<usize> {
        self.best(None, heads).map(|best| best.leaf)
    }

    fn best<'a, T: Ord>(&self, parent: Option<usize>, heads: &'a BTreeMap<usize, Head<'a, T>>) -> Option<Best<'a, T>> {
        let below = self.rules.children(parent).filter_map(|child| {
            let own = heads.get(&child).map(|head| Best { leaf: child, head });
            Some((child, own.or_else(|| self.best(Some(child), heads))?))
        });
        below.min_by(|(a, x), (b, y)| self.compare((*a, x), (*b, y))).map(|(_, best)| best)
    }

    fn compare<T: Ord>(&self, (a, x): (usize, &Best<'_, T>), (b, y): (usize, &Best<'_, T>)) -> Ordering {
        let borrows = |queue: usize, best: &Best<'_, T>| !self.within_guarantee(queue, best.head.asks);
        borrows(a, x).cmp(&borrows(b, y)).then_with(|| self.compare_shares(a, b)).then_with(|| x.head.turn.cmp(&y.head.turn))
    }

    /// What each had and has for its weight, without division.
    fn compare_shares(&self, a: usize, b: usize) -> Ordering {
        let share = |queue: usize| self.standing(self.held[queue].milli(), self.had[queue]);
        let weight = |queue: usize| self.rule(queue).map_or(1, |rule| u128::from(rule.weight));
        (share(a) * weight(b)).cmp(&(share(b) * weight(a)))
    }
}
