//! The profile: what an operator tunes, read from YAML (`policies/*.yaml`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::model::{AcceleratorClass, Classes, MemoryLabel, MemoryUnit};

/// A checked profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: Arc<str>,
    /// How pods without a plan are decided.
    pub decide: Decide,
    /// The highest score that prioritize gives.
    pub score_max: i64,
    /// How long a filter's choice is held.
    pub hold: Duration,
    /// What each scoring policy's opinion is worth.
    pub weights: BTreeMap<Arc<str>, u32>,
    /// What is managed.
    pub classes: Arc<Classes>,
}

/// How pods without a plan are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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

/// Why a profile was not taken.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Not YAML, or not of this shape; the text says where.
    #[error("the profile cannot be read: {0}")]
    Unreadable(String),
    /// Read, but a value makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl Profile {
    /// The text of the profile that ships in the binary.
    pub const DEFAULT_YAML: &str = include_str!("../../policies/default.yaml");

    /// The profile that ships in the binary.
    ///
    /// # Panics
    /// Never in a released binary: a test reads the same text.
    #[expect(clippy::expect_used, reason = "a test reads the same text")]
    pub fn shipped() -> Self {
        Self::parse(Self::DEFAULT_YAML).expect("policies/default.yaml is a valid profile")
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// Text that is not a profile, or values that make no sense.
    pub fn parse(yaml: &str) -> Result<Self, ProfileError> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| ProfileError::Unreadable(error.to_string()))?;
        file.check()
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::shipped()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    name: Arc<str>,
    #[serde(default)]
    decide: Decide,
    #[serde(default = "score_max_default")]
    score_max: i64,
    #[serde(default = "hold_seconds_default")]
    hold_seconds: u64,
    #[serde(default)]
    weights: BTreeMap<Arc<str>, u32>,
    accelerators: Vec<ClassFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClassFile {
    name: Arc<str>,
    resources: Vec<Arc<str>>,
    #[serde(default)]
    sharable: bool,
    #[serde(default)]
    product_labels: Vec<Arc<str>>,
    #[serde(default)]
    memory_labels: Vec<MemoryLabelFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryLabelFile {
    key: Arc<str>,
    unit: MemoryUnitFile,
}

#[derive(Deserialize)]
enum MemoryUnitFile {
    #[serde(rename = "MiB")]
    Mib,
    #[serde(rename = "GiB")]
    Gib,
}

fn score_max_default() -> i64 {
    10
}

fn hold_seconds_default() -> u64 {
    900
}

impl File {
    fn check(self) -> Result<Profile, ProfileError> {
        let invalid = |field: &str, problem: String| Err(ProfileError::Invalid { field: field.into(), problem });
        if self.api_version != "gangplank.dev/v1alpha1" || self.kind != "Profile" {
            return invalid("apiVersion, kind", "a profile is `apiVersion: gangplank.dev/v1alpha1`, `kind: Profile`".into());
        }
        if !(1..=1000).contains(&self.score_max) {
            return invalid("scoreMax", format!("{} is not within 1..=1000", self.score_max));
        }
        if !(10..=86_400).contains(&self.hold_seconds) {
            return invalid("holdSeconds", format!("{} is not within 10..=86400", self.hold_seconds));
        }
        if let Some(unknown) = self.weights.keys().find(|name| !super::names().contains(name)) {
            return invalid("weights", format!("there is no policy `{unknown}`; there are {}", super::names().join(", ")));
        }
        if let Some((name, weight)) = self.weights.iter().find(|(_, weight)| **weight > 1000) {
            return invalid("weights", format!("{name}: {weight} is not within 0..=1000"));
        }
        for class in &self.accelerators {
            if let Some(bad) = class.resources.iter().find(|name| !name.contains('/') || name.starts_with("gangplank.dev/")) {
                return invalid("accelerators[].resources", format!("`{bad}` of `{}` is not a vendor's extended resource", class.name));
            }
        }
        Ok(Profile {
            name: self.name,
            decide: self.decide,
            score_max: self.score_max,
            hold: Duration::from_secs(self.hold_seconds),
            weights: self.weights,
            classes: Arc::new(Classes(self.accelerators.into_iter().map(ClassFile::into_class).collect())),
        })
    }
}

impl ClassFile {
    fn into_class(self) -> AcceleratorClass {
        let memory_label = |label: MemoryLabelFile| MemoryLabel {
            key: label.key,
            unit: match label.unit {
                MemoryUnitFile::Mib => MemoryUnit::Mib,
                MemoryUnitFile::Gib => MemoryUnit::Gib,
            },
        };
        AcceleratorClass {
            name: self.name,
            resources: self.resources,
            sharable: self.sharable,
            product_labels: self.product_labels,
            memory_labels: self.memory_labels.into_iter().map(memory_label).collect(),
        }
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
    }

    #[test]
    fn a_mistake_is_named_with_its_field() {
        let yaml = Profile::DEFAULT_YAML.replace("scoreMax: 10", "scoreMax: 0");
        assert_eq!(Profile::parse(&yaml).unwrap_err().to_string(), "scoreMax: 0 is not within 1..=1000");
        let yaml = Profile::DEFAULT_YAML.replace("decide: auto", "decide: maybe");
        assert!(Profile::parse(&yaml).unwrap_err().to_string().contains("maybe"));
    }
}
