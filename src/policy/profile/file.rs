//! The file as it is written: its fields, their defaults and ranges. The JSON Schema is made from it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::autoscaling::AutoscalingFile;
use super::fabric::FabricFile;
use super::mistake::Mistake;
use super::preemption::PreemptionFile;
use super::prices::PriceFile;
use super::queues::QueuesFile;
use super::repair::RepairFile;
use super::reserve::ReserveFile;
use super::selects::SelectsFile;
use super::weights::Weights;
use super::{Decide, PlainPods, Profile, autoscaling, classes, fabric, preemption, prices, queues, repair, reserve, text, tiers, weights};

/// What an operator of Gangplank tunes: what is managed, and what makes a good place.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "io", schemars(title = "Gangplank profile"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    /// `gangplank.dev/v1alpha1`.
    #[cfg_attr(feature = "io", schemars(extend("const" = API_VERSION)))]
    api_version: String,
    /// `Profile`.
    #[cfg_attr(feature = "io", schemars(extend("const" = KIND)))]
    kind: String,
    /// The name: in answers, metrics, and in the annotation `gangplank.dev/profile`.
    #[cfg_attr(feature = "io", schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")))]
    name: Arc<str>,
    /// Which pods the profile is for, where there are several profiles.
    #[serde(default)]
    selects: SelectsFile,
    /// Whether a pod may choose this profile by the annotation `gangplank.dev/profile`, which anybody who creates pods can write.
    #[serde(default)]
    selectable_by_pods: bool,
    /// How a pod without a plan is decided. filter: the best node alone passes. score: every feasible node passes,
    /// prioritize scores them. auto: score for pods that state preferences, filter for the rest.
    #[serde(default)]
    decide: Decide,
    /// The highest score that prioritize gives; kube-scheduler multiplies it by ten.
    #[serde(default = "score_max_default")]
    #[cfg_attr(feature = "io", schemars(range(min = 1, max = 1000)))]
    score_max: i64,
    /// How many seconds devices that filter chose are kept for the bind.
    #[serde(default = "hold_seconds_default")]
    #[cfg_attr(feature = "io", schemars(range(min = 10, max = 86400)))]
    hold_seconds: u64,
    /// In a cluster of more nodes than this, a planned pod is nominated before its gate is taken off, so that kube-scheduler
    /// looks at one node. In a smaller one the write costs more than it saves. 0 where kube-scheduler shows a sample of its
    /// nodes, which is where `percentageOfNodesToScore` is not 100.
    #[serde(default = "nominate_above_nodes_default")]
    #[cfg_attr(feature = "io", schemars(range(min = 0, max = 100_000)))]
    nominate_above_nodes: u32,
    /// After how many seconds room is kept for a gang that does not fit, so that smaller pods do not keep it out for ever. 0: never.
    #[serde(default = "keep_room_after_seconds_default")]
    #[cfg_attr(feature = "io", schemars(range(max = 31_536_000)))]
    keep_room_after_seconds: u64,
    /// What becomes of pods that ask for no accelerator. pass: every offered node passes untouched. place: the same
    /// policies place them, where kube-scheduler is told to ask about every pod.
    #[serde(default)]
    plain_pods: PlainPods,
    /// What each policy's opinion is worth, 0 to 1000. A policy that is left out has no say.
    #[serde(default)]
    #[cfg_attr(feature = "io", schemars(schema_with = "weights::schema"))]
    weights: Weights,
    /// What an hour of a device costs, by product, in any one currency; for policy cost. The first entry that matches counts.
    #[serde(default)]
    prices: Vec<PriceFile>,
    /// Products from common to wanted, one list a tier; for policy heterogeneity. One `*` at the end stands for any ending.
    #[serde(default)]
    tiers: Vec<Vec<Arc<str>>>,
    /// Devices that are kept free on each node for pods of higher priority; for policy reserve.
    #[serde(default)]
    reserve: Vec<ReserveFile>,
    /// Whether pods of lower priority make room for gangs and pods that do not fit, and how.
    #[serde(default)]
    preemption: PreemptionFile,
    /// How soon members are replaced whose node is gone or not ready.
    #[serde(default)]
    repair: RepairFile,
    /// Which labels, or which objects, say where nodes are relative to each other.
    #[serde(default)]
    fabric: FabricFile,
    /// Who shares the cluster with whom, and by what right.
    #[serde(default)]
    queues: QueuesFile,
    /// How autoscalers learn of a gang that lacks nodes.
    #[serde(default = "autoscaling::unset")]
    autoscaling: AutoscalingFile,
    /// What is managed: one entry a kind of accelerator. A resource that none names is left to kube-scheduler. Left out: what the
    /// default profile says, or the built-in list.
    #[cfg_attr(feature = "io", schemars(length(min = 1)))]
    accelerators: Option<Vec<classes::ClassFile>>,
}

fn score_max_default() -> i64 {
    10
}

fn hold_seconds_default() -> u64 {
    900
}

fn nominate_above_nodes_default() -> u32 {
    1000
}

fn keep_room_after_seconds_default() -> u64 {
    86_400
}

const API_VERSION: &str = "gangplank.dev/v1alpha1";
const KIND: &str = "Profile";

impl File {
    /// As it is written, and the built-in list where it does not say what is managed.
    pub(super) fn filled_in(yaml: &str) -> Result<Self, serde_saphyr::Error> {
        let file: Self = serde_saphyr::from_str(yaml)?;
        let built_in = || serde_saphyr::from_str::<Self>(Profile::DEFAULT_YAML).map(|default| default.accelerators);
        let accelerators = if file.accelerators.is_none() { built_in()? } else { file.accelerators };
        Ok(Self { accelerators, ..file })
    }

    pub(super) fn check(self) -> Result<Profile, Mistake> {
        for (field, is, wanted) in [("apiVersion", &self.api_version, API_VERSION), ("kind", &self.kind, KIND)] {
            if is != wanted {
                return Err(Mistake::new(field, format!("`{is}` is not what a profile has there"), format!("write `{field}: {wanted}`")));
            }
        }
        text::name("name", &self.name)?;
        if !(1..=1000).contains(&self.score_max) {
            return Err(Mistake::range("scoreMax", self.score_max, "1..=1000"));
        }
        if !(10..=86_400).contains(&self.hold_seconds) {
            return Err(Mistake::range("holdSeconds", self.hold_seconds, "10..=86400"));
        }
        if self.keep_room_after_seconds > 31_536_000 {
            return Err(Mistake::range("keepRoomAfterSeconds", self.keep_room_after_seconds, "0..=31536000"));
        }
        let inherits_classes = self.accelerators.is_none();
        let classes = match self.accelerators {
            Some(accelerators) => classes::check(accelerators).map_err(|mistake| mistake.within("accelerators"))?,
            None => Profile::shipped().classes,
        };
        if self.nominate_above_nodes > 100_000 {
            return Err(Mistake::range("nominateAboveNodes", i64::from(self.nominate_above_nodes), "0..=100000"));
        }
        let (repair_after, quarantine) = repair::check(&self.repair).map_err(|mistake| mistake.within("repair"))?;
        Ok(Profile {
            name: self.name,
            selects: self.selects.check(self.selectable_by_pods).map_err(|mistake| mistake.within("selects"))?,
            decide: self.decide,
            score_max: self.score_max,
            hold: Duration::from_secs(self.hold_seconds),
            nominate_above_nodes: self.nominate_above_nodes as usize,
            keep_room_after: (self.keep_room_after_seconds > 0).then(|| Duration::from_secs(self.keep_room_after_seconds)),
            plain_pods: self.plain_pods,
            weights: weights::check(self.weights).map_err(|mistake| mistake.within("weights"))?,
            prices: prices::check(self.prices).map_err(|mistake| mistake.within("prices"))?,
            tiers: tiers::check(self.tiers).map_err(|mistake| mistake.within("tiers"))?,
            reserve: reserve::check(self.reserve).map_err(|mistake| mistake.within("reserve"))?,
            preemption: preemption::check(&self.preemption).map_err(|mistake| mistake.within("preemption"))?,
            repair_after,
            quarantine,
            fabric: fabric::check(self.fabric).map_err(|mistake| mistake.within("fabric"))?,
            queues: queues::check(&self.queues, &classes).map_err(|mistake| mistake.within("queues"))?,
            autoscaling: autoscaling::check(self.autoscaling).map_err(|mistake| mistake.within("autoscaling"))?,
            inherits_classes,
            classes,
        })
    }
}

/// The JSON Schema of the file, as editors read it.
#[cfg(feature = "io")]
pub(super) fn schema() -> serde_json::Value {
    schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<File>().to_value()
}
