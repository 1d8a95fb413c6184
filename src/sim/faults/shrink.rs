//! A failing run with as few disturbances as it takes: one after the other is left out, as long as the same thing breaks.

use std::collections::BTreeSet;

use super::{Broken, Options, run};

/// The smallest run found that breaks the same invariant, with its story; and what to leave out to see it again.
pub fn shrink(broken: &Broken, options: &Options) -> (Broken, BTreeSet<usize>) {
    let mut without = options.without.clone();
    let again = |without: &BTreeSet<usize>, trace: bool| {
        let options = Options { flaw: options.flaw, without: without.clone(), trace };
        run(broken.seed, &options).err().filter(|other| other.invariant == broken.invariant)
    };
    for place in 0..broken.disturbances + options.without.len() {
        if without.insert(place) && again(&without, false).is_none() {
            without.remove(&place);
        }
    }
    let smallest = again(&without, true).map_or_else(|| broken.clone(), |smallest| *smallest);
    (smallest, without)
}
