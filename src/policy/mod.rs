//! Policies say what speaks for and against a node; a profile says what each opinion is worth.
//!
//! One policy is one file and one line in [`ALL`]. An opinion has three values: a refusal with its reason, a score, or
//! indifference. What the book refuses (`fit`, `health`) is refused under every profile; everything else is weighed.

mod cost;
mod device_topology;
mod fit;
mod fragmentation;
mod health;
mod heterogeneity;
mod named;
mod network_topology;
mod offered_value;
mod order;
mod pack;
mod profile;
mod reserve;
mod scorer;
mod spread;

pub use cost::Cost;
pub use device_topology::DeviceTopology;
pub use fit::Fit;
pub use fragmentation::Fragmentation;
pub use health::Health;
pub use heterogeneity::Heterogeneity;
pub use named::Named;
pub use network_topology::NetworkTopology;
pub use offered_value::OfferedValue;
pub use order::{Job, ORDERS, Order, order};
pub use pack::Pack;
pub use profile::{
    Autoscaling, AutoscalingMode, Decide, FabricObjects, FabricSection, PlainPods, Preemption, Prices, Profile, ProfileError, ProfileText,
    Profiles, QuarantineRule, QueueAmount, QueueRule, Queues, ReserveRule, Rules, SelectedBy, Selects, Tiers,
};
pub(crate) use profile::{Mistake, Places, nearest, text};
pub use reserve::Reserve;
pub use scorer::Scorer;
pub use spread::Spread;

use std::sync::Arc;

use crate::book::{NodeEntry, Placement, Shape};
use crate::model::{Curable, Pod, Pool, Reason};
use crate::value::{Change, Fragmented, Quote};

/// Every policy: those that refuse first, in the order in which the trace tells them.
pub static ALL: [&dyn Policy; 12] = [
    &Fit,
    &Health,
    &Reserve,
    &Named,
    &DeviceTopology,
    &NetworkTopology,
    &Pack,
    &Spread,
    &Heterogeneity,
    &Cost,
    &OfferedValue,
    &Fragmentation,
];

/// An opinion on a pod on a node. Pure, and cheap: asked once a node and filter call.
pub trait Policy: Sync + std::fmt::Debug {
    /// The name in profiles, traces and metrics.
    fn name(&self) -> &'static str;

    /// The page for its users, docs/policies/NAME.md.
    fn guide(&self) -> &'static str;

    /// What it thinks.
    fn judge(&self, view: &View<'_>) -> Opinion;

    /// What it saw, in words, for the trace: `5 of 8 devices in use afterwards`.
    fn saw(&self, view: &View<'_>) -> String;

    /// What its opinion depends on: decides how long it is remembered.
    fn scope(&self) -> Scope {
        Scope::Node
    }

    /// Whether its word counts without a weight. Only for what would be wrong under any profile.
    fn always_asked(&self) -> bool {
        false
    }

    /// What it thinks, for [`Scope::Market`]: the same as [`Policy::judge`] of a view with this worth.
    fn judge_worth(&self, _worth: &Worth) -> Opinion {
        Opinion::Indifferent
    }

    /// What it thinks, for [`Scope::Gradient`]: the same as [`Policy::judge`] of a view with this gradient.
    fn judge_gradient(&self, _gradient: &Gradient) -> Opinion {
        Opinion::Indifferent
    }

    /// Whether it reads [`Outlook::domains_used_milli`].
    fn asks_for_domains(&self) -> bool {
        false
    }

    /// What of the pod beyond [`Shape`] decides its opinion, appended to `key`: where keys are equal, so are opinions.
    fn key(&self, _pod: &Pod, _profile: &Profile, _key: &mut Vec<u64>) {}
}

/// What a policy thinks of a pod on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Not there. Weights do not matter.
    Refuse(Reason, Curable),
    /// Nothing to say on this pod, on any node.
    Indifferent,
    /// How good it is, in millionths: 0 is worst, 1,000,000 best.
    Score(u32),
}

impl Opinion {
    /// The best score.
    pub const BEST: u32 = 1_000_000;

    /// A score from thousandths.
    pub fn milli(milli: u16) -> Self {
        Self::Score(u32::from(milli.min(1000)) * 1000)
    }

    /// `part` of `whole`; best where there is no whole.
    pub fn part(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::Score(Self::BEST);
        }
        Self::Score(u32::try_from(u128::from(part.min(whole)) * u128::from(Self::BEST) / u128::from(whole)).unwrap_or(Self::BEST))
    }
}

/// What an opinion depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The node, the pod's shape and [`Policy::key`]: remembered until the node changes. Only these may refuse.
    Node,
    /// Other nodes as well: asked at every call, so it reads what is prepared in [`Outlook`].
    Cluster,
    /// What the market says of the pod on the node, and nothing else: asked at every call, by [`Policy::judge_worth`].
    Market,
    /// How much less usual pods could use of the node, and nothing else: asked at every call, by [`Policy::judge_gradient`].
    Gradient,
}

/// A pod on a node, as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The profile in force.
    pub profile: &'a Profile,
    /// The pod. What is read of it beyond the shape must be in [`Policy::key`].
    pub pod: &'a Pod,
    /// What it asks for.
    pub shape: &'a Shape<'a>,
    /// The node, and what is left of it.
    pub entry: &'a NodeEntry,
    /// How the pod would sit there, or the book's reason why it would not.
    pub fit: &'a Result<Placement, (Reason, Curable)>,
    /// What is known beyond the node.
    pub outlook: Outlook,
}

/// What is known of a node's place in the cluster, prepared by the engine for policies of [`Scope::Cluster`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// What placing the pod there would change, where somebody values nodes.
    pub worth: Worth,
    /// What usual pods could use less, where somebody counts fragments.
    pub gradient: Gradient,
    /// How much of the node's domains is in use, in thousandths; none where there are no domains.
    pub domains_used_milli: Option<u16>,
}

/// What the market says of a pod on a node (see [`crate::value`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Worth {
    /// Nobody was asked.
    #[default]
    Unknown,
    /// It has no word on this node: by its counts the pod does not fit, or the pool is too large.
    Unvalued,
    /// What would change, all in all.
    Quote(Quote),
    /// The value of the node as it is, and what would change, in parts too: for the trace of a chosen node.
    Story(f64, Quote, Change),
}

/// What usual pods can use of a node, without a pod and with it (see [`crate::value::Fragments`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Gradient {
    /// Nobody was asked.
    #[default]
    Unknown,
    /// By its counts the pod does not fit, or the pool is too large.
    Unfit,
    /// On the best device, or on the one that [`Worth::quote`] is for.
    Of(Fragmented),
}

impl Gradient {
    /// What is left of the device that a share would go to.
    pub fn residual_milli(&self) -> Option<u16> {
        match self {
            Self::Of(of) => Some(of.residual_milli),
            Self::Unknown | Self::Unfit => None,
        }
    }
}

impl Worth {
    /// What would change, all in all.
    pub fn quote(&self) -> Option<Quote> {
        match self {
            Self::Quote(quote) | Self::Story(_, quote, _) => Some(*quote),
            Self::Unknown | Self::Unvalued => None,
        }
    }
}

impl<'a> View<'a> {
    /// The pools of the node that the pod would take from, or might.
    pub fn pools(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        let (entry, shape) = (self.entry, self.shape);
        entry.node.pools.iter().filter(move |pool| shape.uses(pool))
    }

    /// How the pod would sit there. Scores are only asked for where it fits.
    pub fn placement(&self) -> Placement {
        self.fit.as_ref().copied().unwrap_or_default()
    }
}

/// Names of the policies that take a weight, for checking a profile.
pub(crate) fn names() -> Vec<Arc<str>> {
    ALL.iter().map(|policy| Arc::from(policy.name())).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::book::Book;
    use crate::model::Node;
    use crate::model::fixtures::{node, pod};

    /// What a policy thinks of a pod on a node that carries `others`.
    pub(crate) fn judged(policy: &dyn Policy, profile: &Profile, node: Node, others: &[Pod], pod: &Pod) -> (Opinion, String) {
        let mut book = Book::default();
        let name = node.name.clone();
        book.set_node(node);
        for other in others {
            let shape = Shape::of(&other.request).expect("a possible request");
            let grant = book.node(name.as_str()).and_then(|entry| entry.grant(&shape).ok());
            let (takes, _) = crate::book::takes(&other.request, grant.as_ref());
            let (uid, key, load) = (other.uid.clone(), other.key.clone(), crate::book::Load::of(other));
            let (state, changed_at) = (crate::book::HolderState::Bound, crate::model::Time::default());
            book.set_holder(crate::book::Holder {
                uid,
                key,
                priority: other.priority,
                node: name.clone(),
                state,
                grant,
                takes,
                load,
                changed_at,
            });
        }
        let shape = Shape::of(&pod.request).expect("a possible request");
        let entry = book.node(name.as_str()).expect("just entered");
        let fit = entry.fits(&shape);
        let view = View { profile, pod, shape: &shape, entry, fit: &fit, outlook: Outlook::default() };
        (policy.judge(&view), policy.saw(&view))
    }

    #[test]
    fn every_policy_stays_within_its_scale_on_full_half_and_empty_nodes_and_says_what_it_saw() {
        let profile = Profile::shipped();
        for policy in ALL {
            for used in [0, 1, 4, 7] {
                let others: Vec<Pod> = (used > 0).then(|| pod("other").gpus(used)).into_iter().collect();
                let (opinion, saw) = judged(policy, &profile, node("n", 8), &others, &pod("p").gpus(1));
                assert!(!matches!(opinion, Opinion::Score(score) if score > Opinion::BEST), "{}: {opinion:?}", policy.name());
                assert!(!saw.is_empty(), "{}", policy.name());
            }
        }
    }

    #[test]
    fn every_policy_has_a_page_for_its_users_with_the_same_headings() {
        let headings = ["What it does", "Why", "When it hurts", "Example"];
        for policy in ALL {
            let page = policy.guide();
            assert!(page.starts_with(&format!("# {}\n", policy.name())), "{}", policy.name());
            assert_eq!(page.lines().filter_map(|line| line.strip_prefix("## ")).collect::<Vec<_>>(), headings, "{}", policy.name());
            let head = "apiVersion: gangplank.dev/v1alpha1\nkind: Profile\nname: example\naccelerators: [{name: gpu, resources: [nvidia.com/gpu]}]\n";
            for example in page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
                let read = Profile::parse(&format!("{head}{example}"));
                assert!(read.is_ok(), "docs/policies/{}.md: {read:?}", policy.name());
            }
        }
    }

    #[test]
    fn names_are_unique_and_only_what_is_remembered_refuses() {
        let mut names = names();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for policy in ALL {
            let (opinion, _) = judged(policy, &Profile::shipped(), node("n", 8), &[], &pod("p").gpus(9));
            assert!(!matches!(opinion, Opinion::Refuse(..)) || policy.scope() == Scope::Node, "{}", policy.name());
        }
    }
}
