//! The published experiment: pods arrive one after the other and never end, nobody is refused while a node fits, and
//! who finds no place is dropped.

use thiserror::Error;

use super::{Asked, ClusterState, Curve, Nodes, Packer, PodSpec, Pods};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Allocation over arrivals.
    pub curve: Curve,
    /// Percent allocated when the first pod that asks for GPUs was refused; none if none was.
    pub first_refusal_pct: Option<f64>,
    /// Pods that found a place, and that did not.
    pub placed: usize,
    /// Pods that did not.
    pub refused: usize,
    /// How long each decision took.
    pub decisions_ns: Vec<u64>,
    /// What a decision took beside that, while nobody waited; none where nothing is done ahead.
    pub ahead_ns_mean: Option<u64>,
    /// How it was at the end.
    pub state: ClusterState,
}

/// A packer that broke the rules of the game: no figure of it would mean anything.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("arrival {arrival}, pod {pod}: {problem}")]
pub struct Broken {
    /// Counted from 0.
    pub arrival: usize,
    /// Its name in the list.
    pub pod: String,
    /// What was wrong.
    pub problem: &'static str,
}

/// Runs `order` through a packer. `clock_ns` is read around decisions.
///
/// # Errors
/// The packer names a place that does not fit, or none though one fits.
pub fn fill(nodes: &Nodes, pods: &Pods, order: &[usize], packer: &mut dyn Packer, clock_ns: fn() -> u64) -> Result<Fill, Broken> {
    let mut state = ClusterState::new(nodes);
    let mut curve = Curve::new(state.capacity_milli);
    let (mut arrived_milli, mut first_refusal_pct, mut placed, mut offered) = (0, None, 0, Vec::new());
    let mut decisions_ns = Vec::with_capacity(order.len());
    for (arrival, pod) in order.iter().map(|place| &pods.list[*place]).enumerate() {
        arrived_milli += pod.milli();
        let asked = Asked { arrival, pod };
        state.offer(pod, &mut offered);
        let began = clock_ns();
        let choice = packer.choose(&state, &asked, &offered);
        let took = clock_ns() - began;
        decisions_ns.push(packer.decided_ns().unwrap_or(took));
        check(&state, pod, &offered, choice.as_ref()).map_err(|problem| Broken { arrival, pod: pod.name.to_string(), problem })?;
        if let Some(place) = choice {
            state.place(pod, &place);
            packer.placed(&asked, &place);
            placed += 1;
        } else {
            packer.gone(&asked);
            if pod.gpus > 0 && first_refusal_pct.is_none() {
                first_refusal_pct = Some(100.0 * state.used_milli as f64 / state.capacity_milli as f64);
            }
        }
        curve.add(arrived_milli, state.used_milli);
    }
    let ahead_ns_mean = packer.ahead_ns().map(|ahead_ns| ahead_ns / (order.len() as u64).max(1));
    Ok(Fill { curve, first_refusal_pct, placed, refused: order.len() - placed, decisions_ns, ahead_ns_mean, state })
}

/// What is wrong with a choice, if anything.
pub(super) fn check(state: &ClusterState, pod: &PodSpec, offered: &[usize], choice: Option<&super::Place>) -> Result<(), &'static str> {
    let Some(place) = choice else {
        let fits = offered.iter().any(|place| state.nodes[*place].has_devices(pod));
        return if fits { Err("refused although a node fits") } else { Ok(()) };
    };
    if offered.binary_search(&place.node).is_err() {
        return Err("put on a node that was not offered");
    }
    let node = &state.nodes[place.node];
    let fit = super::state::bits(place.devices).all(|device| device < node.gpus && node.left_milli[device] >= pod.gpu_milli);
    if place.devices.count_ones() as usize != pod.gpus || !fit {
        return Err("put on devices that do not have what it asks for");
    }
    Ok(())
}
