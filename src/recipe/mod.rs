//! Recipes: a short spec in, Kubernetes objects out, as values. No file is read here, no cluster asked, nothing applied.
//!
//! What may live here: one folder a kind of spec (`training_job`), listed in [`KINDS`]; one file a framework, listed in
//! `training_job::framework::ALL`; how specs begin (`begin`); what several kinds share (fields, pods, storage, text checks).
//! What is wrong with a spec is told as it is of a profile: file, line, field, problem, remedy.
//!
//! Objects are `serde_json::Value`s (docs/decisions/0019-specs-and-recipes.md): there are no Kubernetes types here.

mod accelerators;
mod batch_job;
pub mod begin;
mod dataset;
mod fields;
mod model_server;
mod names;
mod object;
mod pipeline;
mod pod;
mod products;
mod read;
mod storage;
pub mod sweep;
mod team;
mod text;
mod tracking_server;
mod training_job;

pub use crate::policy::ProfileError as SpecError;
pub use model_server::runtime;
pub use names::{FIELD_MANAGER, GROUP, MANAGED_BY, VERSION};
pub use object::Named;
pub(crate) use products::product_values;
pub use read::{Spec, live, read};
pub use training_job::framework;
pub(crate) use training_job::{Training, as_one};

use serde_json::Value;

use crate::policy::Mistake;
use object::Unread;

/// Every kind of spec, in the order that help shows.
pub static KINDS: &[Kind] = &[
    Kind::of::<training_job::TrainingJobSpec>(),
    Kind::of::<model_server::ModelServerSpec>(),
    Kind::of::<pipeline::PipelineSpec>(),
    Kind::of::<sweep::SweepSpec>(),
    Kind::of::<batch_job::BatchJobSpec>(),
    Kind::of::<tracking_server::TrackingServerSpec>(),
    Kind::of::<dataset::DatasetSpec>(),
    Kind::of::<team::TeamSpec>(),
];

/// A kind of spec.
#[derive(Debug)]
pub struct Kind {
    /// `TrainingJob`.
    pub name: &'static str,
    /// One line for help.
    pub about: &'static str,
    /// What the API server calls a list of them, for kinds that have a CRD.
    pub plural: Option<&'static str>,
    /// Columns of `kubectl get`: name and path.
    pub columns: &'static [(&'static str, &'static str)],
    /// What the API server checks of a spec, in CEL, and what it says.
    pub rules: &'static [(&'static str, &'static str)],
    /// What `--as` takes, beside the plain Kubernetes objects.
    pub forms: &'static [&'static str],
    /// What its author is asked, and the commented file that comes of it.
    pub begin: &'static begin::Begin,
    read: fn(&str) -> Result<(Named, Box<dyn Recipe>), Unread>,
    /// The JSON Schema of the whole file.
    #[cfg(feature = "io")]
    pub schema: fn() -> Value,
    /// The schema of its `spec`, as the API server wants it.
    #[cfg(feature = "io")]
    pub spec_schema: fn(schemars::SchemaGenerator) -> Value,
}

impl Kind {
    const fn of<S: object::SpecOf>() -> Self {
        Self {
            name: S::KIND,
            about: S::ABOUT,
            plural: S::PLURAL,
            columns: S::COLUMNS,
            rules: S::RULES,
            forms: S::FORMS,
            begin: S::BEGIN,
            read: object::read::<S>,
            #[cfg(feature = "io")]
            schema: object::schema::<S>,
            #[cfg(feature = "io")]
            spec_schema: |generator| generator.into_root_schema_for::<S>().to_value(),
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
    }
}

/// A checked spec, ready to be turned into objects.
pub(crate) trait Recipe: std::fmt::Debug + Send + Sync {
    /// The objects, in the order in which they are to be created. `form` is one of the kind's `forms`, or absent.
    /// A mistake is one that only this form has, named from the file's root.
    fn render(&self, of: &Named, form: Option<&str>) -> Result<Rendered, Mistake>;

    /// The sweep that it is, if it is one.
    fn sweep(&self) -> Option<&sweep::Sweep> {
        None
    }

    /// What drives it as a training job, if it is one.
    fn training(&self) -> Option<Training> {
        None
    }
}

/// What a spec became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// In the order in which they are to be created.
    pub objects: Vec<Value>,
    /// What its author may want to know: nothing is wrong, but something is left open.
    pub notes: Vec<String>,
}
