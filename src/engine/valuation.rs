//! What the market is told, and asked: pods become specs, nodes become states, and each node whose version changed is
//! told of before the next question. Only where a policy of the profile wants to know what nodes are worth.

use std::sync::Arc;

use super::Engine;
use super::gradient::Gradients;
use super::verdicts::Told;
use crate::book::{Book, NodeEntry, PoolLedger};
use crate::model::{Classes, Operator, Pod, Pool, Requirement};
use crate::policy::{Scorer, Worth};
use crate::value::{Asked, DEVICES_MAX, Fragments, Market, NodeState, Products, Shape, Spec, WHOLE};

/// The market, and how far it was told.
#[derive(Debug, Default)]
pub(super) struct Valuation {
    market: Market,
    fragments: Fragments,
    /// The version of each slot that the market knows.
    versions: Vec<u64>,
    /// The version of the book that it was told of.
    told: u64,
    /// Products by their number in the market.
    products: Vec<Arc<str>>,
    /// Whether the last look ahead left anything to do, or something came since.
    behind: bool,
}

/// Values that one [`super::Input::Prepare`] works out: about 0.3 ms of work.
const PREPARED_AT_ONCE: u32 = 256;

impl Engine {
    /// Counts a pod that was not seen before.
    pub(super) fn arrived(&mut self, pod: &Pod) {
        let (to_market, to_fragments) = (self.somebody_asks_the_market(), self.somebody_asks_for_gradients());
        if !(to_market || to_fragments) || self.pods.contains_key(&pod.uid) {
            return;
        }
        self.valuation.sync(&self.book);
        let spec = self.valuation.spec(pod, self.profiles.classes());
        if to_fragments {
            self.valuation.fragments.observe(&spec);
        }
        if to_market {
            self.valuation.market.observe(&spec);
            self.valuation.behind = true;
        }
    }

    /// What the market says of a pod on one node, in parts.
    pub(super) fn worth(&mut self, pod: &Pod, name: &str) -> Worth {
        let Some(slot) = self.book.slot(name).filter(|_| self.rules(pod).scorer.asks_the_market()) else { return Worth::Unknown };
        let value = self.valuation.market.value(slot);
        let mut asked = self.valuation.ask(&self.book, pod, self.profiles.classes());
        match (value, asked.quote(slot), asked.change(slot)) {
            (Some(value), Some(quote), Some(change)) => Worth::Story(value, quote, change),
            _ => Worth::Unvalued,
        }
    }

    /// Whether [`super::Input::Prepare`] would find anything to do.
    pub fn wants_to_prepare(&self) -> bool {
        self.valuation.behind && self.somebody_asks_the_market()
    }

    /// Works ahead while nobody waits.
    pub(super) fn prepare(&mut self) {
        if self.somebody_asks_the_market() {
            self.valuation.sync(&self.book);
            self.valuation.behind = self.valuation.market.prepare(PREPARED_AT_ONCE);
        }
    }

    fn somebody_asks_the_market(&self) -> bool {
        self.profiles.all().any(|rules| rules.scorer.asks_the_market())
    }

    fn somebody_asks_for_gradients(&self) -> bool {
        self.profiles.all().any(|rules| rules.scorer.asks_for_gradients())
    }
}

impl Valuation {
    /// Tells the market of every node that changed.
    fn sync(&mut self, book: &Book) {
        let changed = book.changed_since(self.told);
        self.told = book.latest_version();
        self.versions.resize(book.slots(), 0);
        for slot in changed.unwrap_or_else(|| (0..book.slots()).collect()) {
            let version = book.version(slot);
            if self.versions[slot] != version {
                self.versions[slot] = version;
                self.behind = true;
                let state = book.entry(slot).and_then(|entry| self.state(entry));
                self.market.set_node(slot, state);
                self.fragments.set_node(slot, state);
            }
        }
    }

    /// Quotes for a pod.
    pub(super) fn ask(&mut self, book: &Book, pod: &Pod, classes: &Classes) -> Asked<'_> {
        self.sync(book);
        let spec = self.spec(pod, classes);
        self.market.ask(&spec)
    }

    /// Quotes and gradients for a pod, of which its profile wants to know.
    pub(super) fn ask_for(&mut self, scorer: &Scorer, book: &Book, pod: &Pod, classes: &Classes) -> Told<'_> {
        if !(scorer.asks_the_market() || scorer.asks_for_gradients()) {
            return (None, None);
        }
        self.sync(book);
        let spec = self.spec(pod, classes);
        let quotes = scorer.asks_the_market().then(|| self.market.ask(&spec));
        (quotes, scorer.asks_for_gradients().then(|| Gradients::new(self.fragments.ask(&spec))))
    }

    /// Gradients for a pod.
    pub(super) fn gradients(&mut self, book: &Book, pod: &Pod, classes: &Classes) -> Gradients<'_> {
        self.sync(book);
        let spec = self.spec(pod, classes);
        Gradients::new(self.fragments.ask(&spec))
    }

    /// What a pod asks for, in the market's terms: its shares go to one device, or count as whole ones where they cannot.
    fn spec(&self, pod: &Pod, classes: &Classes) -> Spec {
        let share_milli = pod.request.share_milli();
        let whole: u32 = pod.request.resources().into_iter().map(|resource| pod.request.whole_of(resource)).sum();
        let (num, milli) = match (whole, share_milli) {
            (0, 0) => (0, 0),
            (0, share) if share <= u32::from(WHOLE) => (1, share),
            (whole, share) => (whole + share.div_ceil(WHOLE.into()), WHOLE.into()),
        };
        Spec {
            cpu_milli: clamped(pod.cpu_milli),
            memory_mib: clamped(pod.memory_bytes.div_ceil(1 << 20)),
            num: u8::try_from(num).unwrap_or(u8::MAX),
            milli: u16::try_from(milli).unwrap_or(WHOLE),
            products: self.products(pod, classes),
        }
    }

    /// The products that a pod's required node labels leave it, of those there are.
    fn products(&self, pod: &Pod, classes: &Classes) -> Products {
        let keys: Vec<&Arc<str>> = classes.0.iter().flat_map(|class| &class.product_labels).collect();
        let about = |requirement: &Requirement| !requirement.field && keys.contains(&&requirement.key);
        let selector = &pod.constraints.node_selector;
        let terms = pod.constraints.node_affinity.as_deref().unwrap_or_default();
        if !selector.iter().chain(terms.iter().flatten()).any(about) {
            return Products::ANY;
        }
        let accepted = |product: &str| {
            let holds = |requirement: &Requirement| !about(requirement) || holds(requirement, product);
            selector.iter().all(holds) && (terms.is_empty() || terms.iter().any(|term| term.iter().all(holds)))
        };
        let numbered = self.products.iter().zip(0_u8..);
        let accepted: Vec<u8> = numbered.filter(|(product, _)| accepted(product)).map(|(_, number)| number).collect();
        if accepted.len() == self.products.len() { Products::ANY } else { Products::of(accepted) }
    }

    /// A node's hardware and what is left of it; none where it has no pool that can be valued.
    fn state(&mut self, entry: &NodeEntry) -> Option<(Shape, NodeState)> {
        let valued = |(pool, _): &(&Pool, &PoolLedger)| !pool.devices.is_empty() && pool.devices.len() <= DEVICES_MAX;
        let pools = entry.node.pools.iter().zip(&entry.pools).filter(valued);
        let (pool, ledger) = pools.max_by_key(|(pool, _)| (pool.sharable, pool.devices.len()))?;
        let product = self.number(pool.product.as_ref());
        let room = entry.room();
        let residual_milli = residual_milli(entry, pool, ledger);
        let state = NodeState::new(clamped(room.cpu_milli), clamped(room.memory_bytes >> 20), product, &residual_milli);
        let (cpu_milli, memory_mib) = (clamped(entry.node.cpu_milli), clamped(entry.node.memory_bytes >> 20));
        Some((Shape { cpu_milli, memory_mib, devices: state.devices }, state))
    }

    fn number(&mut self, product: Option<&Arc<str>>) -> u8 {
        let product = product.cloned().unwrap_or_default();
        let number = self.products.iter().position(|known| *known == product).unwrap_or(self.products.len());
        if number == self.products.len() && number < Products::MAX {
            self.products.push(product);
        }
        u8::try_from(number).unwrap_or(u8::MAX)
    }
}

/// What is left of each device that may be granted.
fn residual_milli(entry: &NodeEntry, pool: &Pool, ledger: &PoolLedger) -> Vec<u16> {
    let whole_too = entry.is_served() || ledger.shared == 0;
    let mut unnamed = ledger.unnamed;
    let left = |(place, using): (usize, &crate::book::DeviceUse)| {
        if ledger.healthy & !ledger.whole & 1 << place == 0 {
            return 0;
        }
        let left = u16::try_from(1000_u32.saturating_sub(using.share_milli)).unwrap_or(0);
        if left == WHOLE && unnamed > 0 {
            unnamed -= 1;
            return 0;
        }
        // Free for shares alone: no whole-device pod may join them on this node.
        if left == WHOLE && !whole_too { WHOLE - 1 } else { left }
    };
    debug_assert!(!pool.is_counted());
    ledger.usage.iter().enumerate().map(left).collect()
}

fn holds(requirement: &Requirement, product: &str) -> bool {
    let named = requirement.values.iter().any(|value| **value == *product);
    match requirement.operator {
        Operator::In => named,
        Operator::NotIn => !named,
        Operator::Exists => !product.is_empty(),
        Operator::DoesNotExist => product.is_empty(),
        Operator::Gt | Operator::Lt => true,
    }
}

fn clamped(amount: u64) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, FilterQuery, Input, Output};
    use crate::model::Time;
    use crate::model::fixtures::{node, pod};
    use crate::policy::Profile;

    fn engine(nodes: impl IntoIterator<Item = crate::model::Node>) -> Engine {
        let weights = "weights: {offered-value: 1}\n\naccelerators:";
        let (head, tail) = Profile::DEFAULT_YAML.split_once("weights:").unwrap();
        let (_, tail) = tail.split_once("accelerators:").unwrap();
        let yaml = format!("{}{weights}{tail}", head.replace("decide: auto", "decide: filter"));
        let mut engine = Engine::new(Arc::new(Profile::parse(&yaml).unwrap()));
        nodes.into_iter().for_each(|node| drop(engine.step(Time::default(), Input::NodeApplied(node))));
        engine.step(Time::default(), Input::Synced);
        engine
    }

    fn filter(engine: &mut Engine, pod: &Pod, names: &[&str]) -> Output {
        engine.step(Time::default(), Input::Filter(FilterQuery { pod, names }))
    }

    /// The device that a bind writes.
    fn bound(engine: &mut Engine, pod: &Pod, name: &str) -> String {
        let query = BindQuery { pod: pod.clone(), node: name.into() };
        let Answer::Bind(BindAnswer::Write(order)) = engine.step(Time::default(), Input::Bind(query)).answer else { panic!("refused") };
        let outcome = Input::BindOutcome { uid: pod.uid.clone(), node: name.into(), outcome: BindOutcome::Bound };
        engine.step(Time::default(), outcome);
        order.grant.containers[0].devices[0].device.as_ref().unwrap().to_string()
    }

    #[test]
    fn a_pod_counts_once_however_often_it_is_seen() {
        let mut engine = engine([node("n", 1)]);
        for _ in 0..3 {
            filter(&mut engine, &pod("refused").gpus(2), &["n"]);
            engine.step(Time::default(), Input::PodApplied(pod("told").gpus(1)));
        }
        assert_eq!(engine.valuation.market.demand().seen(), 2);
    }

    #[test]
    fn the_trace_says_what_the_node_was_worth_and_the_share_goes_where_that_was_worked_out() {
        let mut engine = engine([node("n", 2).served(), node("m", 2).served()]);
        for index in 0..40 {
            engine.step(Time::default(), Input::PodApplied(pod(&format!("small-{index}")).share(300, None)));
            engine.step(Time::default(), Input::PodApplied(pod(&format!("large-{index}")).share(700, None)));
        }
        while engine.wants_to_prepare() {
            engine.step(Time::default(), Input::Prepare);
        }
        let device = bound(&mut engine, &pod("first").share(700, None), "n");
        let mut second = pod("second").share(300, None);
        second.cpu_milli = 1000;
        let output = filter(&mut engine, &second, &["m", "n"]);
        let trace = output.trace.unwrap();
        assert_eq!(trace.chosen.as_ref().unwrap().as_str(), "n", "{trace:?}");
        assert!(trace.lines.iter().any(|line| line.starts_with("offered-value 0.") && line.contains(": value ")), "{:?}", trace.lines);
        assert_eq!(bound(&mut engine, &second, "n"), device, "beside the share of 700");
    }

    #[test]
    fn products_are_those_that_the_required_labels_leave() {
        let mut engine = engine([node("a", 1).product(Some("A")), node("b", 1).product(Some("B")), node("c", 1).product(Some("C"))]);
        filter(&mut engine, &pod("any").gpus(1), &["a"]);
        let wants = |operator, values: &[&str]| {
            let values = values.iter().map(|value| Arc::from(*value)).collect();
            let mut pod = pod("picky").gpus(1);
            pod.constraints.node_selector = vec![Requirement { key: "nvidia.com/gpu.product".into(), field: false, operator, values }];
            engine.valuation.spec(&pod, engine.profiles.classes()).products
        };
        let number = |product: &str| u8::try_from(engine.valuation.products.iter().position(|known| **known == *product).unwrap()).unwrap();
        assert_eq!(wants(Operator::In, &["B"]), Products::of([number("B")]));
        assert_eq!(wants(Operator::NotIn, &["B"]), Products::of([number("A"), number("C")]));
        assert_eq!(wants(Operator::Exists, &[]), Products::ANY);
        assert_eq!(engine.valuation.spec(&pod("any").gpus(1), engine.profiles.classes()).products, Products::ANY);
    }

    #[test]
    fn a_node_that_is_gone_has_no_value_and_its_slot_is_told_anew() {
        let mut engine = engine([node("n", 8)]);
        filter(&mut engine, &pod("p").gpus(1), &["n"]);
        let worth = |engine: &mut Engine, name: &str| engine.worth(&pod("q").gpus(2), name);
        assert!(matches!(worth(&mut engine, "n"), Worth::Story(..)));
        engine.step(Time::default(), Input::NodeDeleted("n".into()));
        assert_eq!(worth(&mut engine, "n"), Worth::Unknown);
        engine.step(Time::default(), Input::NodeApplied(node("m", 1)));
        assert_eq!(worth(&mut engine, "m"), Worth::Unvalued, "two do not fit on one");
    }
}
