//! `autoscaling`: how autoscalers learn of a gang that lacks nodes. They react to pods that kube-scheduler found
//! unschedulable, and a gated pod is none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mistake::Mistake;
use super::text;

/// How autoscalers learn of a gang that lacks nodes.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AutoscalingFile {
    /// none: not at all. release: its pods are let go without places, so that kube-scheduler says that they are unschedulable; they
    /// still start together. provisioning-request: by a ProvisioningRequest, where the cluster serves that kind.
    #[serde(default)]
    mode: AutoscalingMode,
    /// How many seconds a gang lacks nodes before they are asked for.
    #[serde(default = "after_seconds_default")]
    #[cfg_attr(feature = "io", schemars(range(min = 1, max = 86400)))]
    after_seconds: u64,
    /// `spec.provisioningClassName` of the ProvisioningRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provisioning_class: Option<Arc<str>>,
    /// `spec.parameters` of the ProvisioningRequest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<Arc<str>, Arc<str>>,
}

/// By what means autoscalers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AutoscalingMode {
    /// Not at all.
    #[default]
    None,
    /// By pods that are unschedulable.
    Release,
    /// By a ProvisioningRequest.
    ProvisioningRequest,
}

/// How autoscalers learn of a gang that lacks nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaling {
    /// By what means.
    pub mode: AutoscalingMode,
    /// How long a gang lacks nodes before.
    pub after: Duration,
    /// `spec.provisioningClassName`.
    pub class: Arc<str>,
    /// `spec.parameters`.
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
}

/// All of the nodes or none.
const CLASS_DEFAULT: &str = "best-effort-atomic-scale-up.autoscaling.x-k8s.io";
/// As the API server limits them.
const PARAMETERS_MAX: usize = 100;
const PARAMETER_LETTERS_MAX: usize = 255;

fn after_seconds_default() -> u64 {
    30
}

pub(super) fn unset() -> AutoscalingFile {
    AutoscalingFile {
        mode: AutoscalingMode::None,
        after_seconds: after_seconds_default(),
        provisioning_class: None,
        parameters: BTreeMap::new(),
    }
}

pub(super) fn check(file: AutoscalingFile) -> Result<Autoscaling, Mistake> {
    let AutoscalingFile { mode, after_seconds, provisioning_class, parameters } = file;
    if !(1..=86_400).contains(&after_seconds) {
        return Err(Mistake::range("afterSeconds", after_seconds, "1..=86400"));
    }
    let given = [("provisioningClass", provisioning_class.is_some()), ("parameters", !parameters.is_empty())];
    if let Some((field, _)) = given.iter().find(|(_, given)| *given && mode != AutoscalingMode::ProvisioningRequest) {
        return Err(Mistake::new(*field, "means nothing without `mode: provisioning-request`", "set that mode, or leave it out"));
    }
    if let Some(class) = &provisioning_class {
        text::domain("provisioningClass", class)?;
    }
    if parameters.len() > PARAMETERS_MAX {
        return Err(Mistake::range("parameters", parameters.len(), "0..=100 entries"));
    }
    if let Some(long) = parameters.iter().find(|(_, value)| value.len() > PARAMETER_LETTERS_MAX) {
        return Err(Mistake::new(format!("parameters.{}", long.0), "is too long", "write at most 255 letters"));
    }
    Ok(Autoscaling {
        mode,
        after: Duration::from_secs(after_seconds),
        class: provisioning_class.unwrap_or_else(|| CLASS_DEFAULT.into()),
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    fn read(section: &str) -> Result<Autoscaling, String> {
        let yaml = Profile::DEFAULT_YAML.replace("\naccelerators:", &format!("\nautoscaling: {section}\naccelerators:"));
        Profile::parse(&yaml).map(|profile| profile.autoscaling).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_is_told_unless_the_profile_says_so() {
        assert_eq!(Profile::shipped().autoscaling.mode, AutoscalingMode::None);
        let release = read("{mode: release}").unwrap();
        assert_eq!((release.mode, release.after), (AutoscalingMode::Release, Duration::from_secs(30)));
        let asks = read("{mode: provisioning-request}").unwrap();
        assert_eq!(&*asks.class, CLASS_DEFAULT);
        let queued = "{mode: provisioning-request, afterSeconds: 5, provisioningClass: queued-provisioning.gke.io, parameters: {maxRunDurationSeconds: '3600'}}";
        let queued = read(queued).unwrap();
        assert_eq!((&*queued.class, &*queued.parameters["maxRunDurationSeconds"]), ("queued-provisioning.gke.io", "3600"));
    }

    #[test]
    fn a_mistake_is_told_with_its_field() {
        for (section, told) in [
            ("{mode: relaese}", "autoscaling.mode: `relaese` is none of its values"),
            ("{mode: release, afterSeconds: 0}", "autoscaling.afterSeconds: 0 is not within 1..=86400"),
            ("{mode: release, provisioningClass: a.b}", "autoscaling.provisioningClass: means nothing without"),
            ("{parameters: {a: b}}", "autoscaling.parameters: means nothing without"),
            ("{mode: provisioning-request, provisioningClass: Queued}", "autoscaling.provisioningClass: `Queued` is not"),
        ] {
            let error = read(section).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
