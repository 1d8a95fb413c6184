//! How much of a node's devices is of no use to the pods that usually come, and what placing a pod there changes of
//! that: the gradient of "Beware of Fragmentation" (ATC'23), with what is usual learned from arrivals.
//!
//! The gradient depends on a node's state alone, so equal nodes share one, and it is remembered until what is usual
//! is drawn anew.

use std::collections::BTreeMap;

use super::states::States;
use super::{Demand, NodeState, Shape, Spec};

/// How much of all arrivals the usual pods cover.
const COVER: f64 = 0.95;
/// What is usual is drawn anew when arrivals have doubled, and at the latest after so many.
const REDRAW_EVERY: u64 = 1000;
/// Kinds of pods with remembered gradients; the one unused for longest makes room.
const KINDS_MAX: usize = 128;

/// The usual pods, with their parts of all.
#[derive(Clone, Debug, Default)]
pub struct Typical(Vec<(Spec, f64)>);

/// Idle thousandths of a node's devices that usual pods cannot use, on average, without a pod and with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fragmented {
    /// What was left of the device it goes to; 1000 for whole devices, 0 for a plain pod.
    pub residual_milli: u16,
    /// As the node is.
    pub before_milli: f64,
    /// With the pod there.
    pub after_milli: f64,
}

/// What is learned, the state of every node, and what follows for kinds of pods.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    demand: Demand,
    arrivals: u64,
    redraw_at: u64,
    typical: Typical,
    states: States,
    /// By state: what usual pods cannot use of it, where somebody asked.
    before_milli: Vec<Option<f32>>,
    kinds: BTreeMap<Spec, Kind>,
    clock: u64,
}

/// What is known for one kind of pod, by state.
#[derive(Clone, Debug, Default)]
struct Kind {
    cells: Vec<Cell>,
    used_at: u64,
}

/// Eight bytes, because there are as many as states times kinds.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// What had to be left of the device: [`ANY`], or [`UNASKED`].
    asked: u16,
    /// What was left of the device it goes to, or [`UNFIT`].
    residual_milli: u16,
    after_milli: f32,
}

const UNASKED: u16 = u16::MAX;
const ANY: u16 = u16::MAX - 1;
const UNFIT: u16 = u16::MAX;

impl Default for Cell {
    fn default() -> Self {
        Self { asked: UNASKED, residual_milli: UNFIT, after_milli: 0.0 }
    }
}

impl Typical {
    /// Parts sum to 1.
    pub fn new(usual: Vec<(Spec, f64)>) -> Self {
        Self(usual)
    }

    /// Idle thousandths of a node's devices that a usual pod cannot use, on average over usual pods. Memory has no
    /// say, as published.
    pub fn fragments_milli(&self, state: &NodeState) -> f64 {
        let left = state.residual_milli();
        let idle: u32 = left.iter().map(|left| u32::from(*left)).sum();
        let useless = |spec: &Spec| {
            // What is left is in order, the emptiest device first.
            let fitting = left.iter().take_while(|left| **left >= spec.milli).count();
            let fits =
                spec.num > 0 && fitting >= usize::from(spec.num) && state.cpu_milli >= spec.cpu_milli && spec.products.has(state.product);
            if fits { left[fitting..].iter().map(|left| u32::from(*left)).sum() } else { idle }
        };
        self.0.iter().map(|(spec, part)| part * f64::from(useless(spec))).sum()
    }
}

impl Fragmented {
    /// How good that is, in percent: half where nothing changes. Cut to integers, as published: close ones are equal,
    /// and another opinion or the first name decides.
    pub fn percent(&self) -> u8 {
        percent(self.before_milli - self.after_milli)
    }
}

/// See [`Fragmented::percent`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..=100")]
pub fn percent(gained_milli: f64) -> u8 {
    (100.0 / (1.0 + (-gained_milli / 1000.0).exp())) as u8
}

impl Fragments {
    /// A pod arrived, for the first time.
    pub fn observe(&mut self, spec: &Spec) {
        self.demand.observe(spec);
        self.arrivals += 1;
        if self.arrivals >= self.redraw_at {
            self.redraw_at = self.arrivals + self.arrivals.min(REDRAW_EVERY);
            self.typical = Typical::new(self.demand.typical(COVER));
            self.forget();
        }
    }

    /// The node in a slot is now like this; none is gone, or has no devices that can be told apart.
    pub fn set_node(&mut self, slot: usize, node: Option<(Shape, NodeState)>) {
        self.states.set(slot, node);
        if let Some(ids) = self.states.compact() {
            let states = self.states.len();
            self.before_milli = renamed(&self.before_milli, &ids, states);
            self.kinds.values_mut().for_each(|kind| kind.cells = renamed(&kind.cells, &ids, states));
        }
    }

    fn forget(&mut self) {
        self.kinds.clear();
        self.before_milli.clear();
    }

    /// Opens what is known for a kind of pod, to be asked node by node.
    pub fn ask(&mut self, spec: &Spec) -> Asking<'_> {
        self.clock += 1;
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(spec) {
            let oldest = self.kinds.iter().min_by_key(|(_, kind)| kind.used_at).map(|(spec, _)| *spec);
            oldest.map(|spec| self.kinds.remove(&spec));
        }
        let kind = self.kinds.entry(*spec).or_default();
        kind.used_at = self.clock;
        kind.cells.resize(self.states.len(), Cell::default());
        self.before_milli.resize(self.states.len(), None);
        let (cells, before_milli) = (&mut kind.cells, &mut self.before_milli);
        Asking { cells, before_milli, typical: &self.typical, states: &self.states, spec: *spec }
    }
}

/// What is known by state, when states have new ids, or none.
fn renamed<T: Copy + Default>(known: &[T], ids: &[Option<u32>], states: usize) -> Vec<T> {
    let mut by_new_id = vec![T::default(); states];
    known.iter().zip(ids).for_each(|(known, id)| {
        if let Some(place) = id.and_then(|id| by_new_id.get_mut(id as usize)) {
            *place = *known;
        }
    });
    by_new_id
}

/// Where one kind of pod is asked about.
#[derive(Debug)]
pub struct Asking<'a> {
    cells: &'a mut [Cell],
    before_milli: &'a mut [Option<f32>],
    typical: &'a Typical,
    states: &'a States,
    spec: Spec,
}

impl Asking<'_> {
    /// What the pod would change on the node in a slot, if it fits there: on a device of which so much is left, or else
    /// where it changes least for the worse, which of equal ones is the fullest.
    pub fn of(&mut self, slot: usize, residual_milli: Option<u16>) -> Option<Fragmented> {
        let id = self.states.id_of(slot)?;
        let asked = residual_milli.unwrap_or(ANY);
        if self.cells[id as usize].asked != asked {
            self.cells[id as usize] = self.cell(id, asked)?;
        }
        let Cell { residual_milli, after_milli, .. } = self.cells[id as usize];
        let before_milli = self.before_milli[id as usize]?.into();
        (residual_milli != UNFIT).then_some(Fragmented { residual_milli, before_milli, after_milli: after_milli.into() })
    }

    fn cell(&mut self, id: u32, asked: u16) -> Option<Cell> {
        let (typical, state) = (self.typical, self.states.state(id)?);
        let before_milli = *self.before_milli[id as usize].get_or_insert_with(|| rounded(typical.fragments_milli(state)));
        let options = state.after(&self.spec).filter(|(left, _)| asked == ANY || asked == *left);
        let cells =
            options.map(|(residual_milli, after)| Cell { asked, residual_milli, after_milli: rounded(typical.fragments_milli(&after)) });
        let percent = |cell: &Cell| percent(f64::from(before_milli) - f64::from(cell.after_milli));
        Some(cells.max_by_key(percent).unwrap_or(Cell { asked, ..Cell::default() }))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a ten-thousandth of a device milli is nobody's business")]
fn rounded(milli: f64) -> f32 {
    milli as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Products, WHOLE};

    fn asks(num: u8, milli: u16) -> Spec {
        Spec { cpu_milli: 1000, memory_mib: 1024, num, milli, products: Products::ANY }
    }

    fn node(cpu_milli: u32, residual_milli: &[u16]) -> (Shape, NodeState) {
        let shape = Shape { cpu_milli: 64_000, memory_mib: 1 << 20, devices: 2 };
        (shape, NodeState::new(cpu_milli, 1 << 20, 0, residual_milli))
    }

    /// Halves and whole ones alike.
    fn learned(nodes: &[(Shape, NodeState)]) -> Fragments {
        let mut fragments = Fragments::default();
        nodes.iter().enumerate().for_each(|(slot, node)| fragments.set_node(slot, Some(*node)));
        for _ in 0..8 {
            fragments.observe(&asks(1, 500));
            fragments.observe(&asks(1, WHOLE));
        }
        fragments
    }

    #[test]
    fn the_gradient_is_what_usual_pods_lose_and_equal_devices_are_one_option() {
        let mut fragments = learned(&[node(64_000, &[1000, 1000]), node(64_000, &[1000, 500]), node(500, &[1000, 1000])]);
        let mut asked = fragments.ask(&asks(1, 500));
        // 500 are left that whole ones cannot use: 250 on average. The next half mends that.
        let change = |of: Option<Fragmented>| of.map(|of| (of.residual_milli, of.before_milli, of.after_milli));
        assert_eq!(change(asked.of(0, None)), Some((1000, 0.0, 250.0)));
        assert_eq!(change(asked.of(1, None)), Some((500, 250.0, 0.0)));
        assert_eq!(change(asked.of(1, Some(1000))), Some((1000, 250.0, 500.0)), "where another opinion chose the device");
        assert_eq!(change(asked.of(1, None)), Some((500, 250.0, 0.0)));
        assert_eq!(asked.of(2, None), None, "no CPU");
        assert_eq!(asked.of(3, None), None, "no node");
        assert!(asked.of(1, None).map(|of| of.percent()) > asked.of(0, None).map(|of| of.percent()));
    }

    #[test]
    fn a_plain_pod_that_takes_the_last_cpu_makes_every_idle_device_useless() {
        let mut fragments = learned(&[node(8000, &[1000, 500])]);
        let plain = Spec { cpu_milli: 8000, ..asks(0, 0) };
        let Some(of) = fragments.ask(&plain).of(0, None) else { panic!("it fits") };
        assert_eq!((of.residual_milli, of.before_milli, of.after_milli), (0, 250.0, 1500.0));
        assert_eq!(of.percent(), 22);
    }

    #[test]
    fn a_node_that_changed_and_what_is_usual_by_now_both_count() {
        let mut fragments = learned(&[node(64_000, &[1000, 1000])]);
        fragments.ask(&asks(1, 500)).of(0, None);
        fragments.set_node(0, Some(node(64_000, &[500, 500])));
        let before = |fragments: &mut Fragments| fragments.ask(&asks(1, 500)).of(0, None).map(|of| of.before_milli);
        assert_eq!(before(&mut fragments), Some(500.0));
        (0..10_000).for_each(|_| fragments.observe(&asks(1, 500)));
        assert_eq!(before(&mut fragments), Some(0.0), "by now whole ones are not usual");
        fragments.set_node(0, None);
        assert_eq!(before(&mut fragments), None);
    }

    #[test]
    fn states_no_node_is_in_are_dropped_and_what_is_known_of_the_others_survives_it() {
        let mut fragments = learned(&[node(64_000, &[1000, 500]), node(64_000, &[1000, 1000])]);
        let asked = |fragments: &mut Fragments| {
            let mut asked = fragments.ask(&asks(1, 500));
            [0, 1].map(|slot| asked.of(slot, None).map(|of| (of.residual_milli, of.before_milli, of.after_milli)))
        };
        for cpu_milli in 10_000..14_000 {
            fragments.set_node(1, Some(node(cpu_milli, &[1000, 1000])));
            assert_eq!(asked(&mut fragments), [Some((500, 250.0, 0.0)), Some((1000, 0.0, 250.0))]);
        }
        assert!(fragments.states.len() < 3000, "{}", fragments.states.len());
    }

    #[test]
    fn kinds_are_bounded() {
        let mut fragments = learned(&[node(64_000, &[1000, 1000])]);
        (1..=1000).for_each(|milli| assert!(fragments.ask(&asks(1, milli)).of(0, None).is_some()));
        assert_eq!(fragments.kinds.len(), KINDS_MAX);
    }
}
