//! `Team`: what a namespace may use. A quota on processors or memory refuses pods that do not say how much they want, so
//! that defaults belong to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::begin;
use super::object::{Named, SpecOf};
use super::text::{self, Text};
use super::{Recipe, Rendered};
use crate::policy::Mistake;

/// What a namespace may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TeamSpec {
    /// What all pods together may ask for: cpu, memory.
    #[serde(default)]
    requests: AmountsFile,
    /// What all pods together may use at most: cpu, memory.
    #[serde(default)]
    limits: AmountsFile,
    /// Devices by resource: `nvidia.com/gpu: 20`. Shares count against it where Gangplank grants them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    accelerators: BTreeMap<String, u32>,
    /// What a container asks for that does not say it.
    #[serde(default)]
    defaults: AmountsFile,
}

/// Processors and memory.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AmountsFile {
    /// Processors, such as 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu: Option<Text>,
    /// Memory, such as 200Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Text>,
}

impl AmountsFile {
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let both = [("cpu", &self.cpu), ("memory", &self.memory)];
        both.into_iter().filter_map(|(name, amount)| Some((name, amount.as_ref()?.0.as_str())))
    }
}

#[derive(Debug)]
struct Team(TeamSpec);

impl SpecOf for TeamSpec {
    const KIND: &'static str = "Team";
    const ABOUT: &'static str = "What a namespace may use";
    const PLURAL: Option<&'static str> = None;
    const COLUMNS: &'static [(&'static str, &'static str)] = &[];
    const FORMS: &'static [&'static str] = &[];
    const BEGIN: &'static begin::Begin = &begin::TEAM;

    fn check(self, _: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        for (section, amounts) in [("requests", &self.requests), ("limits", &self.limits), ("defaults", &self.defaults)] {
            amounts.named().try_for_each(|(name, amount)| text::quantity(&format!("{section}.{name}"), amount).map(|_| ()))?;
        }
        for resource in self.accelerators.keys() {
            let at = format!("accelerators.{resource}");
            crate::policy::text::resource(&at, resource)?;
            if resource.ends_with('*') {
                return Err(Mistake::new(at, "is many resources", "a quota counts one resource: name each"));
            }
        }
        if self.requests.named().chain(self.limits.named()).next().is_none() && self.accelerators.is_empty() {
            return Err(Mistake::new("", "bounds nothing", "write `accelerators: {nvidia.com/gpu: 20}`, `requests` or `limits`"));
        }
        Ok(Box::new(Team(self)))
    }
}

impl Recipe for Team {
    fn render(&self, of: &Named, _: Option<&str>) -> Result<Rendered, Mistake> {
        let mut hard = Map::new();
        for (prefix, amounts) in [("requests", &self.0.requests), ("limits", &self.0.limits)] {
            hard.extend(amounts.named().map(|(name, amount)| (format!("{prefix}.{name}"), json!(amount))));
        }
        // Extended resources are counted by what is requested; the API server counts no limits of them.
        hard.extend(self.0.accelerators.iter().map(|(resource, count)| (format!("requests.{resource}"), json!(count.to_string()))));
        let object = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": of.metadata(&of.name), "spec": spec});
        let mut objects = vec![object("v1", "ResourceQuota", json!({"hard": hard}))];
        let defaults: Map<String, Value> = self.0.defaults.named().map(|(name, amount)| (name.to_owned(), json!(amount))).collect();
        let mut notes = Vec::new();
        if defaults.is_empty() {
            if hard_on_plain(&self.0) {
                notes.push("no defaults: pods that do not say their cpu and memory will be refused".into());
            }
        } else {
            let limit = json!({"type": "Container", "defaultRequest": defaults, "default": defaults});
            objects.push(object("v1", "LimitRange", json!({"limits": [limit]})));
        }
        if of.namespace.is_none() {
            notes.push("no metadata.namespace: the quota holds in whichever it is applied to".into());
        }
        Ok(Rendered { objects, notes })
    }
}

fn hard_on_plain(team: &TeamSpec) -> bool {
    team.requests.named().chain(team.limits.named()).next().is_some()
}
