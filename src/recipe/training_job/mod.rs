//! `TrainingJob`: one program in several equal workers that start together. Decides how many workers there are, and
//! what of the spec makes no sense; `render.rs` makes the objects, `framework/` the environment, `form/` what
//! stands around the Job in other forms.

mod form;
pub mod framework;
mod render;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::begin;
use super::fields::{Worker, workload};
use super::object::{Named, SpecOf};
use super::text::{self, Text};
use super::{Recipe, Rendered};
use crate::policy::Mistake;
use framework::{Framework, Group};
pub(crate) use render::as_one;

workload! {
    /// One program in several equal workers that start together.
    TrainingJobSpec {
        /// The image, with a tag or a digest.
        image: String,
        /// How the workers find each other: pytorch, tensorflow, jax, mpi, or plain for a program that needs no help.
        #[serde(default = "plain")]
        #[cfg_attr(feature = "io", schemars(schema_with = "framework::schema"))]
        framework: String,
        /// How many workers: 16, or 4..16 for a program that can work with fewer. A TPU slice says it itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workers: Option<Text>,
        /// How near to each other the workers are.
        #[serde(default)]
        topology: TopologyFile,
        /// Each worker on a node of its own.
        #[serde(default)]
        own_nodes: bool,
        /// Where the program saves its work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<CheckpointFile>,
        /// How often a failed worker is started again. Eviction does not count.
        #[serde(default = "retries_default")]
        #[cfg_attr(feature = "io", schemars(range(min = 0, max = 100)))]
        retries: u32,
        /// What starts again when a worker fails: `worker`, that one alone, or `gang`, all of them. A controller starts all again where the
        /// group cannot do with fewer, unless this says otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "io", schemars(schema_with = "restart_schema"))]
        restart: Option<Restart>,
        /// Stopped, with its devices free, for as long as this is true.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        suspend: bool,
        /// How long it will run, such as 8h: for queues and for filling gaps. Nothing is ended by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_duration: Option<Text>,
        /// After how long it is ended, such as 3d.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_duration: Option<Text>,
        /// How long it is kept when it is done, such as 7d; without it, until somebody deletes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<Text>,
    }
}

/// What starts again when a worker fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Restart {
    /// That worker alone.
    Worker,
    /// All of them, from their last checkpoint.
    Gang,
}

/// How near to each other workers are, in levels of Gangplank's profile or node label keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopologyFile {
    /// All of them in one domain of this level, or the job waits: rack, clique:even, clique:8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    required: Option<String>,
    /// The same, where it can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preferred: Option<String>,
}

/// Where a program saves its work.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CheckpointFile {
    /// The folder, on one of `outputs`. The program finds it in CHECKPOINT_DIR.
    path: String,
    /// How often it saves, such as 30m. The program finds it in CHECKPOINT_INTERVAL_SECONDS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<Text>,
    /// How much time it is given to save when it is stopped, such as 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace: Option<Text>,
}

/// Plain words: what else a derived one says of an enum the API server does not take.
#[cfg(feature = "io")]
fn restart_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "enum": [Restart::Worker, Restart::Gang]})
}

fn plain() -> String {
    "plain".to_owned()
}

fn retries_default() -> u32 {
    3
}

/// A checked training job.
#[derive(Debug)]
struct TrainingJob {
    framework: &'static Framework,
    worker: Worker,
    group: Group,
    topology: TopologyFile,
    own_nodes: bool,
    checkpoint: Option<Checkpoint>,
    retries: u32,
    restart: Option<Restart>,
    suspend: bool,
    expected_duration: Option<Duration>,
    max_duration: Option<Duration>,
    keep: Option<Duration>,
}

/// What whoever drives a training job has to know of it beside its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Training {
    /// It is to stand still.
    pub(crate) suspend: bool,
    /// Where one worker fails all begin anew.
    pub(crate) as_one: bool,
    /// How often that may be.
    pub(crate) retries: u32,
    /// With how many it does what it is for.
    pub(crate) workers_min: u32,
    /// How many there are at most.
    pub(crate) workers: u32,
    /// How long it is kept when it is done.
    pub(crate) keep: Option<Duration>,
}

/// A checked [`CheckpointFile`].
#[derive(Debug)]
struct Checkpoint {
    path: String,
    every: Option<Duration>,
    grace: Option<Duration>,
}

impl SpecOf for TrainingJobSpec {
    const KIND: &'static str = "TrainingJob";
    const ABOUT: &'static str = "One program in several equal workers that start together";
    const PLURAL: Option<&'static str> = Some("trainingjobs");
    const COLUMNS: &'static [(&'static str, &'static str)] =
        &[("Framework", ".spec.framework"), ("Workers", ".spec.workers"), ("Accelerators", ".spec.accelerators")];
    const FORMS: &'static [&'static str] = form::NAMES;
    const BEGIN: &'static begin::Begin = &begin::TRAINING_JOB;

    fn check(self, of: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        let framework = framework::named(&self.framework)?;
        let worker = self.common(self.image.clone()).check()?;
        let (workers_min, workers) = workers(self.workers.as_ref(), &worker)?;
        let hosts = format!("{}-{}", of.name, workers - 1);
        if hosts.len() > HOST_BYTES_MAX {
            let problem = format!("makes host names of {} letters", hosts.len());
            return Err(Mistake::new("workers", problem, "shorten metadata.name: a host name has at most 63 letters"));
        }
        let devices = worker.accelerators.as_ref().map_or(0, |accelerators| accelerators.devices);
        let tpu = worker.accelerators.as_ref().is_some_and(|accelerators| accelerators.slice.is_some());
        let group = Group { name: of.name.clone(), hosts: of.name.clone(), workers, workers_min, devices, tpu };
        if group.is_elastic() && !framework.elastic {
            let elastic: Vec<&str> = framework::ALL.iter().filter(|framework| framework.elastic).map(|framework| framework.name).collect();
            let problem = format!("{} cannot go on with fewer workers", framework.name);
            return Err(Mistake::new("workers", problem, format!("write one number, or use {}", elastic.join(" or "))));
        }
        for variable in framework.environment(&group).iter().filter(|variable| framework.own.contains(&variable.name)) {
            if self.env.contains_key(variable.name) || self.secret_env.contains_key(variable.name) {
                let problem = format!("is what {} workers find each other by", framework.name);
                return Err(Mistake::new(format!("env.{}", variable.name), problem, "leave it out, or take `framework: plain`"));
            }
        }
        (framework.check)(&worker)?;
        for (field, wish) in [("required", &self.topology.required), ("preferred", &self.topology.preferred)] {
            wish.as_ref().map_or(Ok(()), |wish| topology(field, wish)).map_err(|mistake| mistake.within("topology"))?;
        }
        if self.retries > RETRIES_MAX {
            return Err(Mistake::range("retries", self.retries, "0..=100"));
        }
        let checkpoint = self.checkpoint.map(|file| file.check(&self.outputs)).transpose();
        Ok(Box::new(TrainingJob {
            framework,
            worker,
            group,
            topology: self.topology,
            own_nodes: self.own_nodes,
            checkpoint: checkpoint.map_err(|mistake| mistake.within("checkpoint"))?,
            retries: self.retries,
            restart: self.restart,
            suspend: self.suspend,
            expected_duration: time("expectedDuration", self.expected_duration.as_ref())?,
            max_duration: time("maxDuration", self.max_duration.as_ref())?,
            keep: time("keep", self.keep.as_ref())?,
        }))
    }
}

impl Recipe for TrainingJob {
    fn render(&self, of: &Named, form: Option<&str>) -> Result<Rendered, Mistake> {
        render::render(self, of, form.and_then(form::named))
    }

    fn training(&self) -> Option<Training> {
        let elastic = self.group.is_elastic();
        let alone = if elastic || self.group.is_alone() { Restart::Worker } else { Restart::Gang };
        Some(Training {
            suspend: self.suspend,
            as_one: self.restart.unwrap_or(alone) == Restart::Gang,
            retries: self.retries,
            workers_min: self.group.workers_min,
            workers: self.group.workers,
            keep: self.keep,
        })
    }
}

/// Fewest and most workers.
fn workers(written: Option<&Text>, worker: &Worker) -> Result<(u32, u32), Mistake> {
    let wrong = |text: &str| {
        let problem = format!("`{}` is no number of workers", text::cut(text));
        Mistake::new("workers", problem, format!("write a number within 1..={WORKERS_MAX}, or a range: 4..16"))
    };
    let number = |text: &str| text.trim().parse().ok().filter(|count| (1..=WORKERS_MAX).contains(count));
    let given = match written {
        None => None,
        Some(Text(text)) => Some(match text.split_once("..") {
            Some((min, max)) => number(min).zip(number(max)).filter(|(min, max)| min <= max).ok_or_else(|| wrong(text))?,
            None => number(text).map(|count| (count, count)).ok_or_else(|| wrong(text))?,
        }),
    };
    let Some(slice) = worker.accelerators.as_ref().and_then(|accelerators| accelerators.slice) else { return Ok(given.unwrap_or((1, 1))) };
    let hosts = (slice.hosts, slice.hosts);
    if given.is_some_and(|given| given != hosts) {
        let problem = format!("a TPU slice of {} takes {} workers, one a host", slice.shape, slice.hosts);
        return Err(Mistake::new("workers", problem, "leave it out: the slice says it"));
    }
    Ok(hosts)
}

/// `rack`, `block, rack`, `clique:even`, `clique:8`.
fn topology(field: &str, wish: &str) -> Result<(), Mistake> {
    let wrong =
        || Mistake::new(field, format!("`{}` is no level", text::cut(wish)), "write such as rack, clique:even, clique:8 or a label key");
    let level = |level: &str| {
        let (name, parts) = level.trim().split_once(':').map_or((level.trim(), None), |(name, parts)| (name, Some(parts)));
        let parts = parts.is_none_or(|parts| parts == "even" || parts.parse().is_ok_and(|members| (1..=WORKERS_MAX).contains(&members)));
        parts && crate::policy::text::label_key("level", name).is_ok()
    };
    if wish.len() <= 512 && wish.split(',').all(level) { Ok(()) } else { Err(wrong()) }
}

fn time(field: &str, text: Option<&Text>) -> Result<Option<Duration>, Mistake> {
    text.map(|Text(text)| text::time(field, text)).transpose()
}

impl CheckpointFile {
    fn check(self, outputs: &std::collections::BTreeMap<String, String>) -> Result<Checkpoint, Mistake> {
        text::mount_path("path", &self.path)?;
        let within = |folder: &String| {
            let folder = folder.trim_end_matches('/');
            self.path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !outputs.keys().any(within) {
            let problem = format!("`{}` is on no claim, and is lost with its pod", self.path);
            return Err(Mistake::new("path", problem, "name a folder of `outputs`"));
        }
        Ok(Checkpoint { every: time("every", self.every.as_ref())?, grace: time("grace", self.grace.as_ref())?, path: self.path })
    }
}

const WORKERS_MAX: u32 = 10_000;
const RETRIES_MAX: u32 = 100;
const HOST_BYTES_MAX: usize = 63;
