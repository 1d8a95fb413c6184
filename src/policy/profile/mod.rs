//! The profile: what an operator tunes, read from YAML (`policies/*.yaml`).
//!
//! One section of the file is one file here: a serde struct that says how the section is written, and a `check` that
//! turns it into what the engine reads, or into a [`Mistake`] with field, problem and remedy. To add a section: a file,
//! a field of `File` (file.rs), a field of [`Profile`], a row in docs/profiles.md.

mod autoscaling;
mod classes;
mod fabric;
mod file;
mod mistake;
mod nearest;
mod places;
mod preemption;
mod prices;
mod queues;
mod repair;
mod reserve;
mod selects;
mod set;
mod shipped;
pub(crate) mod text;
mod tiers;
mod weights;

pub use autoscaling::{Autoscaling, AutoscalingMode};
pub use fabric::{FabricObjects, FabricSection};
pub(crate) use mistake::Mistake;
pub use mistake::ProfileError;
pub(crate) use nearest::nearest;
pub(crate) use places::Places;
pub use preemption::Preemption;
pub use prices::Prices;
pub use queues::{QueueAmount, QueueRule, Queues};
pub use repair::QuarantineRule;
pub use reserve::ReserveRule;
pub use selects::Selects;
pub use set::{ProfileText, Profiles, Rules, SelectedBy};
pub use tiers::Tiers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Classes;
use file::File;

/// A checked profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: Arc<str>,
    /// Which pods it is for.
    pub selects: Selects,
    /// How pods without a plan are decided.
    pub decide: Decide,
    /// The highest score that prioritize gives.
    pub score_max: i64,
    /// How long a filter's choice is held.
    pub hold: Duration,
    /// In a cluster of more nodes a planned pod is nominated before it is released.
    pub nominate_above_nodes: usize,
    /// After how long room is kept for a gang that does not fit; none: never.
    pub keep_room_after: Option<Duration>,
    /// What becomes of pods that ask for no accelerator.
    pub plain_pods: PlainPods,
    /// What each scoring policy's opinion is worth.
    pub weights: BTreeMap<Arc<str>, u32>,
    /// What an hour of a device costs, for `cost`.
    pub prices: Prices,
    /// Products from common to wanted, for `heterogeneity`.
    pub tiers: Tiers,
    /// What is kept for higher priorities, for `reserve`.
    pub reserve: Vec<ReserveRule>,
    /// Whether, and how, lower priority makes room.
    pub preemption: Preemption,
    /// After how long members of gangs are lost whose node is gone or not ready.
    pub repair_after: Duration,
    /// When a node that fails pods is given no more of them: what the default profile says.
    pub quarantine: QuarantineRule,
    /// Where nodes are, relative to each other.
    pub fabric: FabricSection,
    /// Who shares the cluster with whom.
    pub queues: Queues,
    /// How autoscalers learn of a gang that lacks nodes.
    pub autoscaling: Autoscaling,
    /// What is managed.
    pub classes: Arc<Classes>,
    /// Whether it does not say so itself: then it is what the default profile manages, or else the built-in list.
    pub inherits_classes: bool,
}

/// How pods without a plan are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Decide {
    /// Filter answers with the best node alone.
    Filter,
    /// Filter answers with every feasible node, prioritize scores them.
    Score,
    /// Score for pods that state preferences, filter for all others.
    #[default]
    Auto,
}

/// What becomes of pods that ask for no accelerator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PlainPods {
    /// Every offered node passes untouched.
    #[default]
    Pass,
    /// They are placed by the same policies. kube-scheduler asks about them only where the extender's entry in its
    /// configuration names no `managedResources`.
    Place,
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// Text that is not a profile, or values that make no sense.
    pub fn parse(yaml: &str) -> Result<Self, ProfileError> {
        let file: Result<File, _> = serde_saphyr::from_str(yaml);
        let file = file.map_err(|error| ProfileError::unreadable(&error, yaml, &Places::of(yaml)))?;
        file.check().map_err(|mistake| mistake.found(&Places::of(yaml)))
    }

    /// What a profile says once defaults are filled in, in the form that it is read from.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn filled_in(yaml: &str) -> Result<impl Serialize + use<>, ProfileError> {
        Self::parse(yaml)?;
        File::filled_in(yaml).map_err(|error| ProfileError::unreadable(&error, yaml, &Places::of(yaml)))
    }

    /// The JSON Schema of the file, for editors.
    #[cfg(feature = "io")]
    pub fn schema() -> serde_json::Value {
        file::schema()
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::shipped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profile_is_valid_and_manages_every_accelerator_of_the_seed_manifests() {
        let profile = Profile::shipped();
        for resource in ["nvidia.com/gpu", "cloud-tpus.google.com/v3", "google.com/tpu", "nvidia.com/mig-1g.10gb", "huawei.com/Ascend910"] {
            assert!(profile.classes.of(resource).is_some(), "{resource}");
        }
        assert!(profile.classes.of("cpu").is_none());
        assert!(profile.classes.of("example.com/gpu").is_none());
        assert_eq!(profile.plain_pods, PlainPods::Pass);
    }

    #[test]
    fn a_mistake_is_named_with_its_field() {
        let yaml = Profile::DEFAULT_YAML.replace("scoreMax: 10", "scoreMax: 0");
        assert!(Profile::parse(&yaml).unwrap_err().to_string().contains(": scoreMax: 0 is not within 1..=1000"));
        let yaml = Profile::DEFAULT_YAML.replace("decide: auto", "decide: maybe");
        assert!(Profile::parse(&yaml).unwrap_err().to_string().contains("maybe"));
        let yaml = Profile::DEFAULT_YAML.replace("plainPods: pass", "plainPods: place");
        assert_eq!(Profile::parse(&yaml).unwrap().plain_pods, PlainPods::Place);
    }
}
