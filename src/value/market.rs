//! The market: demand seen so far, the state of every node, and from both the quotes in force.
//!
//! Three things make it quick on the request path. A quote depends on a node's state alone, so equal nodes share one.
//! What does not change with prices is kept, so that fresh prices cost a multiplication. And [`Market::prepare`] works
//! ahead: whoever asks, it is told when to, so that equal inputs give equal answers.

use std::collections::{BTreeMap, VecDeque};

use super::prices::Large;
use super::states::States;
use super::tables::{Quote, Tables};
use super::{Change, Demand, Flow, NodeState, Offers, Products, Shape, Spec, WHOLE};

/// How much of all arrivals the typical pods cover.
const COVER: f64 = 0.95;
/// Prices are refreshed, and typical pods drawn anew, after so many arrivals.
const REFRESH_EVERY: u64 = 100;
const REDRAW_EVERY: u64 = 1000;
/// Up to so many arrivals fresh tables are in force at once; later they are prepared, for so many arrivals at most.
const REDRAW_AT_ONCE: u64 = 64;
const PREPARED_FOR: u64 = 200;
/// A pod that takes a whole box may come though none has come yet: the doubt that is left after `n` arrivals is
/// 1/(n + this).
const DOUBT: f64 = 1000.0;
/// Kinds of large pods, and shapes of whole boxes, that room is counted for.
const LARGE_MAX: usize = 64;
const BOXES_MAX: usize = 8;
/// Values worked out for one question; what is beyond is estimated.
const EVALUATIONS_MAX: u32 = 128;
/// What fresh prices for one kind of pod cost, in values worked out.
const REPRICING_COSTS: u32 = 16;
/// States without a quote that a question takes as they come.
const UNKNOWN_MAX: usize = 32;

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct Market {
    demand: Demand,
    arrivals: u64,
    flow: Flow,
    states: States,
    tables: Tables,
    draft: Option<Draft>,
    /// Prices are due.
    stale: bool,
    /// Fresh tables are due.
    redraw_due: bool,
    /// States that kinds of pods have no quotes for yet.
    fresh: VecDeque<u32>,
    /// So many kinds of pods have quotes at today's prices.
    repriced: usize,
    /// A new one whenever quotes change: see [`Asked::epoch`].
    epoch: u32,
}

/// Tables on their way into force.
#[derive(Clone, Debug)]
struct Draft {
    tables: Tables,
    since: u64,
    todo: VecDeque<u32>,
}

impl Market {
    /// A pod arrived, for the first time.
    pub fn observe(&mut self, spec: &Spec) {
        self.demand.observe(spec);
        self.arrivals += 1;
        let n = self.arrivals;
        if n.is_multiple_of(REFRESH_EVERY) {
            // Nobody prepared it in a hundred arrivals: now is late enough.
            self.redraw_if_due();
            self.refresh_if_due();
            self.stale = true;
        }
        self.redraw_due |= n <= 8 || (n <= 512 && n.is_power_of_two()) || n.is_multiple_of(REDRAW_EVERY);
        if n <= REDRAW_AT_ONCE {
            self.redraw_if_due();
        }
        if self.draft.as_ref().is_some_and(|draft| n <= REDRAW_AT_ONCE || n >= draft.since + PREPARED_FOR) {
            self.enact();
        }
    }

    /// The node in a slot is now like this; none is gone, or cannot be valued.
    pub fn set_node(&mut self, slot: usize, node: Option<(Shape, NodeState)>) {
        let (before, after) = self.states.set(slot, node);
        if let (Some(before), Some((_, after))) = (&before, &node) {
            self.flow.note(before.idle_milli(), after.idle_milli(), self.tables.capacity_milli());
        }
        let drafted = self.draft.as_mut().map(|draft| &mut draft.tables);
        for tables in drafted.into_iter().chain([&mut self.tables]) {
            before.iter().for_each(|state| tables.remove(state));
            node.iter().for_each(|(_, state)| tables.add(state));
        }
        if let Some((id, true)) = after {
            self.fresh.push_back(id);
            self.draft.iter_mut().for_each(|draft| draft.todo.push_back(id));
        }
        if let Some(ids) = self.states.compact() {
            let renamed = |queue: &mut VecDeque<u32>| *queue = queue.iter().filter_map(|id| ids[*id as usize]).collect();
            renamed(&mut self.fresh);
            self.tables.rename_states(&ids);
            if let Some(draft) = &mut self.draft {
                renamed(&mut draft.todo);
                draft.tables.rename_states(&ids);
            }
        }
    }

    /// Quotes for a kind of pod, node by node.
    pub fn ask<'a>(&'a mut self, spec: &Spec) -> Asked<'a> {
        let place = self.tables.place_of(spec);
        let fits = |id: &u32| self.states.is_live(*id) && self.states.state(*id).is_some_and(|state| accepts(spec, state));
        let mut unknown: Vec<u32> = self.tables.unknown(place, self.states.entered()).filter(fits).collect();
        let mut counter = self.tables.counter(place, self.states.len());
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.len() > UNKNOWN_MAX {
            // Too many to work all out: those that look best by prices alone, and the others while nobody waits.
            // Of equal ones, those of which less is free: a pod belongs on what is broken already.
            let mut ranked: Vec<(f64, u8, u32)> = Vec::with_capacity(unknown.len());
            for (id, state) in unknown.iter().filter_map(|id| Some((*id, self.states.state(*id)?))) {
                ranked.extend(counter.estimate(state).map(|quote| (quote.total, state.free(), id)));
            }
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
            for (_, _, id) in ranked {
                let Some(state) = self.states.state(id).filter(|_| counter.evaluations() < EVALUATIONS_MAX) else { break };
                counter.quote(id, state);
            }
            self.fresh.extend(unknown);
        }
        Asked { counter, states: &self.states, spec: *spec, epoch: self.epoch }
    }

    /// Works ahead, for about so many values: fresh prices, quotes for states that nodes have newly come to, and the
    /// next tables. Returns whether anything is left to do.
    pub fn prepare(&mut self, evaluations: u32) -> bool {
        if self.redraw_if_due() || self.refresh_if_due() {
            return true;
        }
        let mut left = evaluations;
        while let Some(id) = self.fresh.front().copied().filter(|_| left > 0) {
            if quote_ahead(&mut self.tables, &self.states, id, &mut left) {
                self.fresh.pop_front();
            }
        }
        while self.repriced < self.tables.kinds() && left > 0 {
            self.tables.reprice(self.repriced, &self.states);
            self.repriced += 1;
            left = left.saturating_sub(REPRICING_COSTS);
        }
        if let Some(draft) = &mut self.draft {
            while let Some(id) = draft.todo.front().copied().filter(|_| left > 0) {
                if quote_ahead(&mut draft.tables, &self.states, id, &mut left) {
                    draft.todo.pop_front();
                }
            }
            if draft.todo.is_empty() {
                self.enact();
            }
        }
        self.stale || self.redraw_due || !self.fresh.is_empty() || self.repriced < self.tables.kinds() || self.draft.is_some()
    }

    /// The value of the state that the node in a slot is in, for explaining.
    pub fn value(&self, slot: usize) -> Option<f64> {
        self.states.of(slot).map(|(_, state)| self.tables.value(state))
    }

    /// What is asked for, as far as it is known.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    fn refresh_if_due(&mut self) -> bool {
        if self.stale {
            let demand: Vec<_> = self.demand.all().collect();
            self.tables.refresh(&demand, &self.flow);
            self.requote();
        }
        std::mem::take(&mut self.stale)
    }

    /// Starts on tables for what is typical by now.
    fn redraw_if_due(&mut self) -> bool {
        if self.redraw_due {
            self.redraw();
        }
        std::mem::take(&mut self.redraw_due)
    }

    fn redraw(&mut self) {
        let prices = self.draft.take().map_or_else(|| self.tables.prices.clone(), |draft| draft.tables.prices);
        let offers = Offers::draw(&self.demand.typical(COVER));
        let states = self.states.nodes().map(|(_, state)| state);
        let mut tables = Tables::new(offers, self.large(), prices, states);
        tables.open_all_of(&self.tables);
        let demand: Vec<_> = self.demand.all().collect();
        tables.refresh(&demand, &self.flow);
        let todo = (0..u32::try_from(self.states.len()).unwrap_or(u32::MAX)).collect();
        self.draft = Some(Draft { tables, since: self.arrivals, todo });
    }

    /// Puts the drafted tables into force.
    fn enact(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.tables = draft.tables;
            self.fresh = draft.todo;
            self.stale = true;
            self.requote();
        }
    }

    fn requote(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.repriced = 0;
    }

    /// The kinds of pods that room is counted for: the most frequent that need several devices, and whole boxes.
    fn large(&self) -> Vec<Large> {
        let mut seen: Vec<Large> = self.demand.all().filter(|(spec, _)| spec.num >= 2).map(|(spec, part)| Large { spec, part }).collect();
        // Of equally rare ones, those that are hardest to find room for.
        seen.sort_by(|a, b| b.part.total_cmp(&a.part).then(b.spec.num.cmp(&a.spec.num)));
        seen.truncate(LARGE_MAX);
        seen.extend(self.whole_boxes());
        seen
    }

    /// Pods that would take nearly all of a box: expected a little, until arrivals say otherwise.
    fn whole_boxes(&self) -> impl Iterator<Item = Large> {
        let mut boxes: BTreeMap<Shape, u32> = BTreeMap::new();
        self.states.nodes().for_each(|(shape, _)| *boxes.entry(*shape).or_default() += 1);
        let devices = boxes.keys().map(|shape| shape.devices).max().unwrap_or(0);
        let mut boxes: Vec<(Shape, u32)> = boxes.into_iter().filter(|(shape, _)| shape.devices == devices && devices >= 2).collect();
        boxes.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        boxes.truncate(BOXES_MAX);
        let part = 1.0 / (self.demand.seen() as f64 + DOUBT);
        boxes.into_iter().map(move |(shape, _)| Large { spec: nearly_all(&shape), part })
    }
}

/// Quotes of one state for all kinds of pods; false when `left` ran out before.
fn quote_ahead(tables: &mut Tables, states: &States, id: u32, left: &mut u32) -> bool {
    let Some(state) = states.state(id).filter(|_| states.is_live(id)) else { return true };
    for place in 0..tables.kinds() {
        if tables.knows(place, id) {
            continue;
        }
        if *left == 0 {
            return false;
        }
        let mut counter = tables.counter(place, states.len());
        counter.quote(id, state);
        *left = left.saturating_sub(counter.evaluations().max(1));
    }
    true
}

/// Whether a pod may go to devices of a state's product.
fn accepts(spec: &Spec, state: &NodeState) -> bool {
    spec.num == 0 || spec.products.has(state.product)
}

fn nearly_all(shape: &Shape) -> Spec {
    let most = |all: u32| all / 16 * 15;
    let (cpu_milli, memory_mib) = (most(shape.cpu_milli), most(shape.memory_mib));
    Spec { cpu_milli, memory_mib, num: shape.devices, milli: WHOLE, products: Products::ANY }
}

/// Quotes for one kind of pod.
#[derive(Debug)]
pub struct Asked<'a> {
    counter: super::tables::Counter<'a>,
    states: &'a States,
    spec: Spec,
    epoch: u32,
}

/// A quote, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Appraisal {
    /// None where the pod does not fit.
    pub quote: Option<Quote>,
    /// Whether it stands until [`Asked::epoch`] or the node changes; an estimate does not.
    pub lasts: bool,
}

impl Asked<'_> {
    /// Of what kind the pod is.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Equal for two questions of one kind between which no quote changed, but of nodes that did; 0 is for none.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The best way to place the pod on the node in a slot, if it fits there.
    pub fn quote(&mut self, slot: usize) -> Option<Quote> {
        self.appraise(slot).quote
    }

    /// The same, and whether it lasts.
    #[inline]
    pub fn appraise(&mut self, slot: usize) -> Appraisal {
        let lasting = |quote| Appraisal { quote, lasts: true };
        let Some(id) = self.states.id_of(slot) else { return lasting(None) };
        if let (true, Ok(kept)) = (self.spec.products.is_any(), self.counter.kept(id)) {
            return lasting(kept);
        }
        let Some(state) = self.states.state(id).filter(|state| accepts(&self.spec, state)) else { return lasting(None) };
        if !self.counter.knows(id) && self.counter.evaluations() >= EVALUATIONS_MAX {
            return Appraisal { quote: self.counter.estimate(state), lasts: false };
        }
        lasting(self.counter.quote(id, state))
    }

    /// How many values had to be worked out so far.
    pub fn evaluations(&self) -> u32 {
        self.counter.evaluations()
    }

    /// The parts of that quote, for explaining.
    pub fn change(&mut self, slot: usize) -> Option<Change> {
        let (id, state) = self.states.of(slot).filter(|(_, state)| accepts(&self.spec, state))?;
        self.counter.change(id, state)
    }
}
