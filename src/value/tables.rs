//! What follows from one set of typical pods: the values of states, what room and gaps cost, and quotes of all that
//! for each kind of pod. Everything here is remembered arithmetic: asking twice gives the same.

use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

use super::prices::{Large, Supply, room};
use super::states::States;
use super::{Flow, NodeState, Offers, Prices, Products, Spec};

/// Values remembered; beyond that all are forgotten.
const VALUES_MAX: usize = 1 << 17;
/// Kinds of pods with quotes; the one unused for longest makes room.
const KINDS_MAX: usize = 256;

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    offers: Offers,
    large: Vec<Large>,
    supply: Supply,
    pub(super) prices: Prices,
    values: IndexMap<NodeState, f64, FxBuildHasher>,
    /// Distinct changes of the room for each of `large`.
    rooms: IndexSet<Box<[u32]>, FxBuildHasher>,
    /// What each of `rooms` costs, at the prices of `priced_at`.
    room_costs: Vec<f64>,
    priced_at: u32,
    /// By what is asked for, whatever the products: they decide where a pod may go, not what is lost there.
    kinds: IndexSet<Spec, FxBuildHasher>,
    /// By the place of their kind.
    quotes: Vec<Quotes>,
    clock: u64,
}

/// Quotes for one kind of pod, by state.
#[derive(Clone, Debug, Default)]
struct Quotes {
    cells: Vec<Cell>,
    options: Vec<Choice>,
    used_at: u64,
    /// So many of the states that nodes came to, in that order, are known.
    entered_known: usize,
}

/// The quote for one state: where its options are, and the best of them at the prices of `priced_at`.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    first: u32,
    /// One more than the number of options; 0 is not asked yet.
    options: u8,
    residual_milli: u16,
    priced_at: u32,
    total: f64,
}

/// One way to place a pod: what does not change with prices.
#[derive(Clone, Copy, Debug)]
struct Choice {
    residual_milli: u16,
    room: u16,
    /// Free devices afterwards.
    free: u8,
    value: f64,
}

/// What placing a pod on a node would change, in device milli.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// What was left of the device it goes to; 1000 for whole devices, 0 for a plain pod.
    pub residual_milli: u16,
    /// Change of the node's value.
    pub value: f64,
    /// Change of what its gaps are worth, weighed against the value.
    pub gaps: f64,
    /// Change of what its room for large pods is worth.
    pub room: f64,
    /// Less what the product's rent comes to.
    pub rent: f64,
}

/// What the worth of gaps counts for against the value of the node.
const GAP_WEIGHT: f64 = 3.0;
/// The value that a pod is taken to cost where there was no time to work it out, per device milli.
const COST_ESTIMATED: f64 = 1.0;

impl Change {
    /// All in all: higher is better.
    pub fn total(&self) -> f64 {
        self.value + self.gaps + self.room + self.rent
    }
}

/// What a pod would change on a node, in brief.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quote {
    /// See [`Change::residual_milli`].
    pub residual_milli: u16,
    /// See [`Change::total`].
    pub total: f64,
}

impl Cell {
    fn options_of<'a>(&self, options: &'a [Choice]) -> &'a [Choice] {
        &options[self.first as usize..][..usize::from(self.options.saturating_sub(1))]
    }
}

impl Tables {
    /// Tables over nodes of these states, not priced yet; `prices` are those to start from.
    pub(super) fn new<'a>(offers: Offers, large: Vec<Large>, prices: Prices, states: impl Iterator<Item = &'a NodeState>) -> Self {
        let mut tables = Self { offers, large, prices, ..Self::default() };
        states.for_each(|state| tables.add(state));
        tables
    }

    /// A node of this state is there.
    pub(super) fn add(&mut self, state: &NodeState) {
        self.supply.add(&self.large, state);
    }

    /// A node of this state is gone.
    pub(super) fn remove(&mut self, state: &NodeState) {
        self.supply.remove(&self.large, state);
    }

    /// Thousandths of devices on all nodes.
    pub(super) fn capacity_milli(&self) -> u64 {
        self.supply.capacity_milli()
    }

    /// Sets prices by what is asked for and what is left.
    pub(super) fn refresh(&mut self, demand: &[(Spec, f64)], flow: &Flow) {
        self.prices.refresh(demand, &self.large, &self.supply, flow);
    }

    /// How many kinds of pods have quotes; each has a place below.
    pub(super) fn kinds(&self) -> usize {
        self.quotes.len()
    }

    /// Quotes for the same kinds as other tables have, all to be worked out.
    pub(super) fn open_all_of(&mut self, other: &Self) {
        self.kinds.clone_from(&other.kinds);
        self.quotes = other.quotes.iter().map(|quotes| Quotes { used_at: quotes.used_at, ..Quotes::default() }).collect();
        self.clock = other.clock;
    }

    /// The place of a kind of pod that somebody asks about.
    pub(super) fn place_of(&mut self, spec: &Spec) -> usize {
        self.clock += 1;
        let (place, fresh) = self.kinds.insert_full(Spec { products: Products::ANY, ..*spec });
        if fresh {
            self.quotes.push(Quotes::default());
        }
        self.quotes[place].used_at = self.clock;
        if self.quotes.len() <= KINDS_MAX {
            return place;
        }
        let oldest = self.quotes.iter().enumerate().min_by_key(|(_, quotes)| quotes.used_at).map_or(0, |(place, _)| place);
        self.kinds.swap_remove_index(oldest);
        self.quotes.swap_remove(oldest);
        // The last one, which is the one asked for, moved there.
        oldest
    }

    /// Those of the states that nodes came to for which a kind has no quote.
    pub(super) fn unknown<'a>(&'a mut self, place: usize, entered: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        let quotes = &mut self.quotes[place];
        let knows = |id: &u32| quotes.cells.get(*id as usize).is_some_and(|cell| cell.options > 0);
        quotes.entered_known += entered[quotes.entered_known..].iter().take_while(|id| knows(id)).count();
        let quotes = &self.quotes[place];
        entered[quotes.entered_known..].iter().copied().filter(|id| quotes.cells.get(*id as usize).is_none_or(|cell| cell.options == 0))
    }

    /// States have new ids, or none: quotes move with them.
    pub(super) fn rename_states(&mut self, ids: &[Option<u32>]) {
        for quotes in &mut self.quotes {
            let old = std::mem::take(quotes);
            quotes.used_at = old.used_at;
            for (cell, id) in old.cells.iter().zip(ids).filter_map(|(cell, id)| Some((cell, (*id)? as usize))) {
                if quotes.cells.len() <= id {
                    quotes.cells.resize(id + 1, Cell::default());
                }
                let first = u32::try_from(quotes.options.len()).unwrap_or(u32::MAX);
                quotes.options.extend(cell.options_of(&old.options));
                quotes.cells[id] = Cell { first, ..*cell };
            }
        }
    }

    /// Whether the kind of pod at a place has a quote for a state.
    pub(super) fn knows(&self, place: usize, id: u32) -> bool {
        self.quotes[place].cells.get(id as usize).is_some_and(|cell| cell.options > 0)
    }

    /// Quotes for the kind of pod at a place, to be asked state by state.
    pub(super) fn counter(&mut self, place: usize, states: usize) -> Counter<'_> {
        let spec = self.kinds[place];
        let quotes = &mut self.quotes[place];
        if quotes.cells.len() < states {
            quotes.cells.resize(states, Cell::default());
        }
        let mut appraiser = Appraiser {
            offers: &self.offers,
            large: &self.large,
            values: &mut self.values,
            rooms: &mut self.rooms,
            room_costs: &mut self.room_costs,
            prices: &self.prices,
            evaluations: 0,
        };
        if self.priced_at != self.prices.version {
            self.priced_at = self.prices.version;
            appraiser.reprice();
        }
        Counter { quotes, appraiser, spec }
    }

    /// Prices the quotes of the kind of pod at a place anew, where they are known.
    pub(super) fn reprice(&mut self, place: usize, states: &States) {
        let mut counter = self.counter(place, states.len());
        for id in (0..).take(states.len()) {
            if let Some(state) = states.state(id).filter(|_| counter.knows(id) && states.is_live(id)) {
                counter.quote(id, state);
            }
        }
    }

    /// The value of a state.
    pub(super) fn value(&self, state: &NodeState) -> f64 {
        self.values.get(&self.offers.canonical(state)).copied().unwrap_or_else(|| self.offers.value(state))
    }
}

/// Where quotes are asked for one kind of pod.
#[derive(Debug)]
pub(super) struct Counter<'a> {
    quotes: &'a mut Quotes,
    appraiser: Appraiser<'a>,
    spec: Spec,
}

/// A quote that has to be worked out or priced first.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotKept;

#[derive(Debug)]
struct Appraiser<'a> {
    offers: &'a Offers,
    large: &'a [Large],
    values: &'a mut IndexMap<NodeState, f64, FxBuildHasher>,
    rooms: &'a mut IndexSet<Box<[u32]>, FxBuildHasher>,
    room_costs: &'a mut Vec<f64>,
    prices: &'a Prices,
    evaluations: u32,
}

impl Counter<'_> {
    /// How many values had to be worked out so far.
    pub(super) fn evaluations(&self) -> u32 {
        self.appraiser.evaluations
    }

    /// The quote that is kept at today's prices, if there is one: what is within says whether the pod fits.
    #[inline]
    pub(super) fn kept(&self, id: u32) -> Result<Option<Quote>, NotKept> {
        let cell = &self.quotes.cells[id as usize];
        if cell.options == 1 {
            return Ok(None);
        }
        let priced = cell.options > 1 && cell.priced_at == self.appraiser.prices.version;
        if priced { Ok(Some(Quote { residual_milli: cell.residual_milli, total: cell.total })) } else { Err(NotKept) }
    }

    /// The best way to place the pod on a node of this state, if it fits.
    pub(super) fn quote(&mut self, id: u32, state: &NodeState) -> Option<Quote> {
        self.kept(id).unwrap_or_else(|NotKept| self.quote_anew(id, state))
    }

    /// Whether a quote takes no work beyond prices.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.quotes.cells[id as usize].options > 0
    }

    /// A quote without the value, for a question that has cost enough already. Not kept.
    pub(super) fn estimate(&mut self, state: &NodeState) -> Option<Quote> {
        let value = -COST_ESTIMATED * f64::from(self.spec.device_milli());
        let options = state.after(&self.spec).map(|(residual_milli, after)| {
            let room = self.appraiser.room(state, &after);
            let choice = Choice { residual_milli, room, free: after.free(), value };
            Quote { residual_milli, total: self.appraiser.change(&self.spec, state, choice).total() }
        });
        options.max_by(|a, b| a.total.total_cmp(&b.total))
    }

    /// Each option's parts, for explaining.
    pub(super) fn change(&mut self, id: u32, state: &NodeState) -> Option<Change> {
        let quote = self.quote(id, state)?;
        let cell = self.quotes.cells[id as usize];
        let choice = cell.options_of(&self.quotes.options).iter().find(|choice| choice.residual_milli == quote.residual_milli)?;
        Some(self.appraiser.change(&self.spec, state, *choice))
    }

    fn quote_anew(&mut self, id: u32, state: &NodeState) -> Option<Quote> {
        let mut cell = self.quotes.cells[id as usize];
        if cell.options == 0 {
            cell.first = u32::try_from(self.quotes.options.len()).unwrap_or(u32::MAX);
            self.appraiser.choices(&self.spec, state, &mut self.quotes.options);
            cell.options = u8::try_from(self.quotes.options.len() - cell.first as usize + 1).unwrap_or(u8::MAX);
        }
        cell.priced_at = self.appraiser.prices.version;
        let mut best: Option<Quote> = None;
        for choice in cell.options_of(&self.quotes.options) {
            let total = self.appraiser.change(&self.spec, state, *choice).total();
            if best.is_none_or(|best| total > best.total) {
                best = Some(Quote { residual_milli: choice.residual_milli, total });
            }
        }
        if let Some(best) = best {
            (cell.residual_milli, cell.total) = (best.residual_milli, best.total);
        }
        self.quotes.cells[id as usize] = cell;
        best
    }
}

impl Appraiser<'_> {
    fn choices(&mut self, spec: &Spec, state: &NodeState, into: &mut Vec<Choice>) {
        let mut before = None;
        for (residual_milli, after) in state.after(spec) {
            let value_before = *before.get_or_insert_with(|| self.value(state));
            let value = self.value(&after) - value_before;
            into.push(Choice { residual_milli, room: self.room(state, &after), free: after.free(), value });
        }
    }

    fn change(&self, spec: &Spec, state: &NodeState, choice: Choice) -> Change {
        let gap = match choice.residual_milli {
            left if spec.is_share() => self.prices.gaps.worth(left - spec.milli) - self.prices.gaps.worth(left),
            _ => -f64::from(spec.num) * self.prices.gaps.worth(super::WHOLE),
        };
        let worth_coming = |free| self.prices.worth_coming(state.devices, free);
        let coming = worth_coming(choice.free) - worth_coming(state.free());
        Change {
            residual_milli: choice.residual_milli,
            value: choice.value,
            gaps: GAP_WEIGHT * self.prices.gaps_count() * gap,
            room: coming - self.room_costs[usize::from(choice.room)],
            rent: -self.prices.rent_of(state.product) * f64::from(spec.device_milli()),
        }
    }

    fn value(&mut self, state: &NodeState) -> f64 {
        let state = self.offers.canonical(state);
        if let Some(value) = self.values.get(&state) {
            return *value;
        }
        self.evaluations += 1;
        let value = self.offers.value(&state);
        if self.values.len() >= VALUES_MAX {
            self.values.clear();
        }
        self.values.insert(state, value);
        value
    }

    /// The place in `rooms` of what is lost from one state to the next.
    fn room(&mut self, before: &NodeState, after: &NodeState) -> u16 {
        // Most nodes have no room for any, and lose none.
        let lost = |large: &Large| match room(&large.spec, before) {
            0 => 0,
            before => before - room(&large.spec, after),
        };
        let lost: Box<[u32]> = if before.free() < 2 { Box::default() } else { self.large.iter().map(lost).collect() };
        let (place, fresh) = self.rooms.insert_full(lost);
        if fresh {
            self.room_costs.push(self.prices.room_cost(&self.rooms[place]));
        }
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    fn reprice(&mut self) {
        self.room_costs.clear();
        self.room_costs.extend(self.rooms.iter().map(|lost| self.prices.room_cost(lost)));
    }
}
