//! The policies of a profile, weighed against each other.

use super::{ALL, Gradient, Opinion, Policy, Profile, Scope, View, Worth};
use crate::model::{Curable, Pod, Reason};

/// The policies of a profile, with their weights.
#[derive(Clone, Debug)]
pub struct Scorer {
    /// Asked of every node, whatever they weigh.
    refusing: Vec<&'static dyn Policy>,
    /// Of [`Scope::Node`]: their mean is remembered.
    of_node: Vec<(u32, &'static dyn Policy)>,
    /// Of [`Scope::Cluster`].
    of_cluster: Vec<(u32, &'static dyn Policy)>,
    /// Of [`Scope::Market`].
    of_market: Vec<(u32, &'static dyn Policy)>,
    /// Of [`Scope::Gradient`].
    of_gradient: Vec<(u32, &'static dyn Policy)>,
    weight_sum: u32,
}

impl Scorer {
    /// The policies that `profile` gives any weight, and those that are always asked.
    pub fn new(profile: &Profile) -> Self {
        let weight = |policy: &&'static dyn Policy| profile.weights.get(policy.name()).copied().unwrap_or(0);
        let weighted = |scope: Scope| -> Vec<(u32, &'static dyn Policy)> {
            ALL.iter().map(|policy| (weight(policy), *policy)).filter(|(weight, policy)| *weight > 0 && policy.scope() == scope).collect()
        };
        let (of_node, of_cluster) = (weighted(Scope::Node), weighted(Scope::Cluster));
        let (of_market, of_gradient) = (weighted(Scope::Market), weighted(Scope::Gradient));
        let refusing = ALL.iter().copied().filter(|policy| policy.always_asked()).collect();
        let weight_sum =
            of_node.iter().chain(&of_cluster).chain(&of_market).chain(&of_gradient).map(|(weight, _)| weight).sum::<u32>().max(1);
        Self { refusing, of_node, of_cluster, of_market, of_gradient, weight_sum }
    }

    /// What of a pod beyond its shape decides what [`Self::of_node_nano`] says of it.
    pub fn key(&self, pod: &Pod, profile: &Profile) -> Vec<u64> {
        let mut key = Vec::new();
        let asked = self.refusing.iter().chain(self.of_node.iter().map(|(_, policy)| policy));
        asked.for_each(|policy| policy.key(pod, profile, &mut key));
        key
    }

    /// The part of the weighted mean that depends on the node alone, in billionths so that small differences still
    /// order nodes.
    ///
    /// # Errors
    /// The first refusal.
    pub fn of_node_nano(&self, view: &View<'_>) -> Result<u32, (Reason, Curable)> {
        for policy in &self.refusing {
            if let Opinion::Refuse(reason, curable) = policy.judge(view) {
                return Err((reason, curable));
            }
        }
        self.mean_nano(&self.of_node, view)
    }

    /// Whether any policy wants to know what nodes are worth.
    pub fn asks_the_market(&self) -> bool {
        !self.of_market.is_empty()
    }

    /// Whether any policy wants to know what usual pods could use of nodes.
    pub fn asks_for_gradients(&self) -> bool {
        !self.of_gradient.is_empty()
    }

    /// Whether any policy wants to know how much of domains is in use.
    pub fn asks_for_domains(&self) -> bool {
        self.of_cluster.iter().any(|(_, policy)| policy.asks_for_domains())
    }

    /// Whether any policy looks beyond the node.
    pub fn looks_beyond_the_node(&self) -> bool {
        !self.of_cluster.is_empty()
    }

    /// The rest of the weighted mean.
    pub fn of_cluster_nano(&self, view: &View<'_>) -> u32 {
        self.mean_nano(&self.of_cluster, view).unwrap_or(0)
    }

    /// The part of the weighted mean that the market has a say in.
    pub fn of_market_nano(&self, worth: &Worth) -> u32 {
        let mut sum = 0_u64;
        for (weight, policy) in &self.of_market {
            if let Opinion::Score(score) = policy.judge_worth(worth) {
                sum += u64::from(*weight) * u64::from(score.min(Opinion::BEST));
            }
        }
        self.nano(sum)
    }

    /// The part of the weighted mean that the gradient has a say in.
    pub fn of_gradient_nano(&self, gradient: &Gradient) -> u32 {
        let said = self.of_gradient.iter().map(|(weight, policy)| match policy.judge_gradient(gradient) {
            Opinion::Score(score) => u64::from(*weight) * u64::from(score.min(Opinion::BEST)),
            Opinion::Refuse(..) | Opinion::Indifferent => 0,
        });
        self.nano(said.sum())
    }

    /// Each opinion, for the trace: `pack 0.625 x 1: 5 of 8 devices in use afterwards`.
    pub fn lines(&self, view: &View<'_>) -> Vec<String> {
        let weight = |asked: &dyn Policy| {
            let weighted = self.of_node.iter().chain(&self.of_cluster).chain(&self.of_market).chain(&self.of_gradient);
            weighted.clone().find(|(_, policy)| policy.name() == asked.name()).map_or(0, |(weight, _)| *weight)
        };
        let asked = ALL.iter().filter(|policy| weight(**policy) > 0 || policy.always_asked());
        asked
            .map(|policy| {
                let (name, saw) = (policy.name(), policy.saw(view));
                match (policy.judge(view), weight(*policy)) {
                    (Opinion::Refuse(..), _) => format!("{name} refuses: {saw}"),
                    (Opinion::Score(score), weight) if weight > 0 => {
                        format!("{name} {}.{:03} x {weight}: {saw}", score / Opinion::BEST, score % Opinion::BEST / 1000)
                    }
                    (Opinion::Score(_) | Opinion::Indifferent, _) => format!("{name} -: {saw}"),
                }
            })
            .collect()
    }

    fn mean_nano(&self, weighted: &[(u32, &'static dyn Policy)], view: &View<'_>) -> Result<u32, (Reason, Curable)> {
        let mut sum = 0_u64;
        for (weight, policy) in weighted {
            match policy.judge(view) {
                Opinion::Refuse(reason, curable) => return Err((reason, curable)),
                Opinion::Indifferent => {}
                Opinion::Score(score) => sum += u64::from(*weight) * u64::from(score.min(Opinion::BEST)),
            }
        }
        Ok(self.nano(sum))
    }

    fn nano(&self, sum: u64) -> u32 {
        u32::try_from(sum * 1000 / u64::from(self.weight_sum)).unwrap_or(u32::MAX)
    }
}
