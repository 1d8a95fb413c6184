//! What pods that usually come could use of nodes, where a policy of the profile wants to know.

use super::Engine;
use crate::model::Pod;
use crate::policy::{Gradient, Worth};
use crate::value::Asking;

/// Gradients for one pod, node by node.
pub(super) struct Gradients<'a>(Asking<'a>);

impl<'a> Gradients<'a> {
    pub(super) fn new(asking: Asking<'a>) -> Self {
        Self(asking)
    }

    /// That of a node, on the device that the market would take, if it has a word.
    #[inline]
    pub(super) fn of(&mut self, slot: usize, worth: &Worth) -> Gradient {
        self.0.of(slot, worth.quote().map(|quote| quote.residual_milli)).map_or(Gradient::Unfit, Gradient::Of)
    }
}

impl Engine {
    /// What a pod would change on one node.
    pub(super) fn gradient(&mut self, pod: &Pod, name: &str, worth: &Worth) -> Gradient {
        let rules = self.rules(pod);
        let Some(slot) = self.book.slot(name).filter(|_| rules.scorer.asks_for_gradients()) else { return Gradient::Unknown };
        self.valuation.gradients(&self.book, pod, self.profiles.classes()).of(slot, worth)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::{Answer, BindAnswer, BindOutcome, BindQuery, FilterQuery, Input, Trace};
    use crate::model::Time;
    use crate::model::fixtures::{node, pod};
    use crate::policy::Profile;

    /// Two boxes of two GPUs, and an engine that knows that halves and wholes come alike often.
    fn engine(decide: &str, weights: &str) -> Engine {
        let profile = format!(
            "apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: test\ndecide: {decide}\nweights: {{{weights}}}\n\
             accelerators: [{{name: gpu, resources: [nvidia.com/gpu], sharable: true}}]\n"
        );
        let mut engine = Engine::new(Arc::new(Profile::parse(&profile).unwrap()));
        for name in ["m", "n"] {
            engine.step(Time::default(), Input::NodeApplied(node(name, 2).served()));
        }
        engine.step(Time::default(), Input::Synced);
        for index in 0..32 {
            engine.step(Time::default(), Input::PodApplied(pod(&format!("half-{index}")).share(500, None)));
            engine.step(Time::default(), Input::PodApplied(pod(&format!("whole-{index}")).gpus(1)));
        }
        engine
    }

    fn filter(engine: &mut Engine, pod: &Pod) -> Arc<Trace> {
        engine.step(Time::default(), Input::Filter(FilterQuery { pod, names: &["m", "n"] })).trace.unwrap()
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
    fn a_half_goes_beside_the_other_half_and_a_whole_one_where_none_is_broken_into() {
        let mut engine = engine("filter", "fragmentation: 1");
        let device = bound(&mut engine, &pod("first").share(500, None), "n");
        let second = pod("second").share(500, None);
        let trace = filter(&mut engine, &second);
        assert_eq!(trace.chosen.as_ref().unwrap().as_str(), "n", "{trace:?}");
        let line = trace.lines.iter().find(|line| line.starts_with("fragmentation ")).unwrap();
        assert_eq!(line, "fragmentation 0.560 x 1: of idle devices usual pods cannot use 250 milli on average, 0 afterwards");
        assert_eq!(bound(&mut engine, &second, "n"), device);
        assert!(!engine.wants_to_prepare(), "there is nothing to work out ahead");
    }

    #[test]
    fn a_bind_that_was_not_held_takes_the_device_of_the_gradient_and_beside_the_market_the_markets() {
        for weights in ["fragmentation: 1", "fragmentation: 1, offered-value: 1"] {
            let mut engine = engine("score", weights);
            let first = bound(&mut engine, &pod("first").share(300, None), "n");
            let other = bound(&mut engine, &pod("whole").gpus(1), "n");
            assert_ne!(first, other);
            let worth = engine.worth(&pod("p").share(500, None), "n");
            let gradient = engine.gradient(&pod("p").share(500, None), "n", &worth);
            assert_eq!(gradient.residual_milli(), Some(700), "{weights}");
            assert_eq!(worth.quote().map(|quote| quote.residual_milli), weights.contains("offered").then_some(700));
            assert_eq!(bound(&mut engine, &pod("p").share(500, None), "n"), first);
            let gradient = engine.gradient(&pod("q").share(500, None), "n", &Worth::Unknown);
            assert_eq!(gradient, Gradient::Unfit);
        }
    }

    #[test]
    fn without_the_policy_nobody_is_asked() {
        let mut engine = engine("filter", "pack: 1");
        assert_eq!(engine.gradient(&pod("p").gpus(1), "n", &Worth::Unknown), Gradient::Unknown);
    }
}
