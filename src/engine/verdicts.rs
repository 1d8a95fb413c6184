//! Verdicts remembered: how a request of one shape sits on each node, as long as the node does not change.
//!
//! Jobs are made of equal pods, and a bind changes one node of thousands. So a filter call looks most verdicts up,
//! four bytes each, instead of judging again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::domains::Domains;
use super::gradient::Gradients;
use crate::book::{Book, NodeEntry, Placement, Shape, ShapeKey};
use crate::model::{Curable, Pod, Reason};
use crate::policy::{Gradient, Outlook, Profile, Scorer, View, Worth};
use crate::value::{Asked, Spec};

/// How a request sits on a node: its score in billionths, or why not.
pub(super) type Verdict = Result<u32, (Reason, Curable)>;

/// Verdicts by shape of request and slot of node.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    tables: BTreeMap<Key, Table>,
    clock: u64,
}

/// What decides a verdict beside the node: the shape, what policies read of the pod beyond it, the profile by name, and
/// where the market is asked what it is asked.
type Key = (ShapeKey, Vec<u64>, Arc<str>, Option<Spec>);

#[derive(Debug, Default)]
struct Table {
    cells: Vec<Cell>,
    /// How the pod would sit on each node, where it fits; only if a policy looks beyond nodes.
    placements: Vec<Placement>,
    used_at: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// The node's version that was judged; none is 0.
    version: u64,
    packed: Packed,
    /// What the market adds, and the epoch of its quotes in which it did; 0 is not asked yet.
    market_nano: u32,
    epoch: u32,
}

/// A verdict in four bytes: the score, or the place of the reason with the top bit set.
#[derive(Clone, Copy, Debug, Default)]
struct Packed(u32);

/// Verdicts remembered, 24 bytes each, and shapes whatever the number of nodes; the one unused for longest makes room.
const CELLS_MAX: usize = 1 << 20;
const SHAPES_MAX: usize = 512;
const SHAPES_MIN: usize = 64;

const REFUSED: u32 = 1 << 31;
const BY_EVICTION: u32 = 1 << 30;

/// Reasons that lie in a node.
const REASONS: [Reason; 11] = [
    Reason::NoSuchDevices,
    Reason::InsufficientDevices,
    Reason::UnhealthyDevices,
    Reason::InsufficientShare,
    Reason::InsufficientDeviceMemory,
    Reason::NodeHoldsShares,
    Reason::NodeHoldsWholeDevices,
    Reason::Reserved,
    Reason::NodeQuarantined,
    Reason::NoSliceFree,
    Reason::SliceNotAllowed,
];

impl Verdicts {
    /// The verdicts of one shape, to look up or fill in.
    pub(super) fn of<'a>(&'a mut self, book: &'a Book, scorer: &'a Scorer, asking: Asking<'a>, told: Told<'a>) -> Judge<'a> {
        self.clock += 1;
        let (worths, gradients) = told;
        let asked = worths.as_ref().map(|worths| *worths.spec());
        let key = (asking.shape.key(), scorer.key(asking.pod, asking.profile), asking.profile.name.clone(), asked);
        let shapes_max = (CELLS_MAX / book.slots().max(1)).clamp(SHAPES_MIN, SHAPES_MAX);
        if self.tables.len() >= shapes_max && !self.tables.contains_key(&key) {
            let oldest = self.tables.iter().min_by_key(|(_, table)| table.used_at).map(|(key, _)| key.clone());
            oldest.map(|key| self.tables.remove(&key));
        }
        let table = self.tables.entry(key).or_default();
        table.used_at = self.clock;
        table.cells.resize(book.slots(), Cell::default());
        if scorer.looks_beyond_the_node() {
            table.placements.resize(book.slots(), Placement::default());
        }
        let (cells, placements) = (&mut table.cells, &mut table.placements);
        Judge { cells, placements, book, scorer, asking, worths, gradients, guess: 0, latest: None }
    }
}

/// Who asks, under which rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) profile: &'a Profile,
    pub(super) pod: &'a Pod,
    pub(super) shape: &'a Shape<'a>,
    /// How much of domains is in use, where a policy wants to know.
    pub(super) domains: Option<&'a Domains>,
}

impl Asking<'_> {
    /// Lets `read` see the pod on a node, as policies do.
    pub(super) fn view<R>(&self, entry: &NodeEntry, outlook: Outlook, read: impl FnOnce(&View<'_>) -> R) -> R {
        let fit = entry.fits(self.shape);
        read(&View { profile: self.profile, pod: self.pod, shape: self.shape, entry, fit: &fit, outlook })
    }
}

/// Judges nodes for one shape.
pub(super) struct Judge<'a> {
    cells: &'a mut [Cell],
    placements: &'a mut [Placement],
    book: &'a Book,
    scorer: &'a Scorer,
    asking: Asking<'a>,
    /// What nodes are worth, where a policy wants to know.
    worths: Option<Asked<'a>>,
    gradients: Option<Gradients<'a>>,
    /// The slot that the next name is likely to be in.
    guess: usize,
    /// What the market adds for the worth asked for last.
    latest: Option<(Worth, u32)>,
}

/// What nodes are worth, and what usual pods could use of them, where a policy wants to know.
pub(super) type Told<'a> = (Option<Asked<'a>>, Option<Gradients<'a>>);

impl Judge<'_> {
    /// The verdict on a node by name; none for an unknown one.
    pub(super) fn verdict(&mut self, name: &str) -> Option<Verdict> {
        let slot = self.book.slot_near(name, self.guess)?;
        self.guess = slot + 1;
        self.verdict_at(slot)
    }

    /// The verdict on the node in a slot; none for an empty one.
    pub(super) fn verdict_at(&mut self, slot: usize) -> Option<Verdict> {
        let version = self.book.version(slot);
        if version == 0 {
            return None;
        }
        let cell = self.cells.get_mut(slot)?;
        if cell.version != version {
            let entry = self.book.entry(slot)?;
            let judged = |view: &View<'_>| (self.scorer.of_node_nano(view), view.placement());
            let (verdict, placement) = self.asking.view(entry, Outlook::default(), judged);
            *cell = Cell { version, packed: Packed::pack(&verdict), ..Cell::default() };
            self.placements.get_mut(slot).into_iter().for_each(|known| *known = placement);
        }
        let mut verdict = cell.packed.unpack();
        let Ok(score) = &mut verdict else { return Some(verdict) };
        let beyond = self.scorer.looks_beyond_the_node();
        let mut worth = Worth::Unknown;
        if let Some(worths) = &mut self.worths {
            if beyond || self.gradients.is_some() || cell.epoch == 0 || cell.epoch != worths.epoch() {
                let appraisal = worths.appraise(slot);
                worth = appraisal.quote.map_or(Worth::Unvalued, Worth::Quote);
                // Nodes in one state are worth the same, and often stand in a row.
                if self.latest.is_none_or(|(known, _)| known != worth) {
                    self.latest = Some((worth, self.scorer.of_market_nano(&worth)));
                }
                cell.market_nano = self.latest.map_or(0, |(_, nano)| nano);
                cell.epoch = if appraisal.lasts { worths.epoch() } else { 0 };
            }
            *score = score.saturating_add(cell.market_nano);
        }
        let mut gradient = Gradient::Unknown;
        if let Some(gradients) = &mut self.gradients {
            gradient = gradients.of(slot, &worth);
            *score = score.saturating_add(self.scorer.of_gradient_nano(&gradient));
        }
        if !beyond {
            return Some(verdict);
        }
        let entry = self.book.entry(slot)?;
        let Asking { profile, pod, shape, domains } = self.asking;
        let domains_used_milli = domains.and_then(|domains| domains.used_milli(slot));
        let (outlook, fit) = (Outlook { worth, gradient, domains_used_milli }, Ok(*self.placements.get(slot)?));
        let beyond = self.scorer.of_cluster_nano(&View { profile, pod, shape, entry, fit: &fit, outlook });
        Some(verdict.map(|score| score.saturating_add(beyond)))
    }
}

impl Packed {
    fn pack(verdict: &Verdict) -> Self {
        match verdict {
            Ok(score) => Self((*score).min(BY_EVICTION - 1)),
            Err((reason, curable)) => {
                let place = REASONS.iter().position(|known| known == reason).unwrap_or(0);
                let curable = if *curable == Curable::ByEviction { BY_EVICTION } else { 0 };
                Self(REFUSED | curable | u32::try_from(place).unwrap_or(0))
            }
        }
    }

    fn unpack(self) -> Verdict {
        if self.0 & REFUSED == 0 {
            return Ok(self.0);
        }
        let curable = if self.0 & BY_EVICTION == 0 { Curable::NotByScheduler } else { Curable::ByEviction };
        let place = (self.0 & !(REFUSED | BY_EVICTION)) as usize;
        Err((REASONS[place].clone(), curable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::HolderState;
    use crate::model::fixtures::{node, pod};

    #[test]
    fn every_verdict_survives_packing() {
        let refusals = REASONS
            .iter()
            .flat_map(|reason| [Curable::ByEviction, Curable::NotByScheduler].map(|curable| Err::<u32, _>((reason.clone(), curable))));
        for verdict in refusals.chain([Ok(0), Ok(1), Ok(1_000_000_000)]) {
            assert_eq!(Packed::pack(&verdict).unpack(), verdict);
        }
    }

    #[test]
    fn a_verdict_is_forgotten_when_its_node_changes() {
        let (mut book, mut verdicts, scorer) = (Book::default(), Verdicts::default(), Scorer::new(&Profile::shipped()));
        book.set_node(node("n", 8));
        let asked = pod("p").gpus(8);
        let shape = Shape::of(&asked.request).unwrap();
        let profile = Profile::shipped();
        let asking = Asking { profile: &profile, pod: &asked, shape: &shape, domains: None };
        let mut ask = |book: &Book, name| verdicts.of(book, &scorer, asking, (None, None)).verdict(name);
        assert!(matches!(ask(&book, "n"), Some(Ok(_))));
        assert_eq!(ask(&book, "m"), None);
        let other = pod("other").gpus(1);
        let (takes, _) = crate::book::takes(&other.request, None);
        book.set_holder(crate::book::Holder {
            uid: other.uid.clone(),
            key: other.key,
            priority: 0,
            node: "n".into(),
            state: HolderState::Bound,
            grant: None,
            takes,
            load: crate::book::Load::default(),
            changed_at: crate::model::Time::default(),
        });
        assert_eq!(ask(&book, "n"), Some(Err((Reason::InsufficientDevices, Curable::ByEviction))));
        book.release(&other.uid);
        assert!(matches!(ask(&book, "n"), Some(Ok(_))));
        book.remove_node(&"n".into());
        assert_eq!(ask(&book, "n"), None);
        book.set_node(node("m", 4));
        assert!(matches!(ask(&book, "m"), Some(Err(_))), "a reused slot starts afresh");
    }

    #[test]
    fn shapes_are_bounded() {
        let (book, mut verdicts, scorer) = (Book::default(), Verdicts::default(), Scorer::new(&Profile::shipped()));
        for count in (1..).take(SHAPES_MAX + 100) {
            let asked = pod("p").gpus(count);
            let (profile, shape) = (Profile::shipped(), Shape::of(&asked.request).unwrap());
            verdicts.of(&book, &scorer, Asking { profile: &profile, pod: &asked, shape: &shape, domains: None }, (None, None));
        }
        assert_eq!(verdicts.tables.len(), SHAPES_MAX);
    }
}
