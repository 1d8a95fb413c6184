//! Other forms of a server than plain objects: one file a form, one line each in [`ALL`].

mod httproute;
mod keda;
mod knative;
mod kserve;

use super::ModelServer;
use crate::policy::Mistake;
use crate::recipe::Rendered;
use crate::recipe::object::Named;

/// A form.
pub(super) struct Form {
    name: &'static str,
    pub(super) render: fn(&ModelServer, &Named) -> Result<Rendered, Mistake>,
}

const ALL: &[Form] = &[httproute::HTTPROUTE, keda::KEDA, knative::KNATIVE, kserve::KSERVE];

/// What `--as` takes.
pub(super) const NAMES: &[&str] = &[ALL[0].name, ALL[1].name, ALL[2].name, ALL[3].name];

/// The form of this name.
pub(super) fn named(name: &str) -> Option<&'static Form> {
    ALL.iter().find(|form| form.name == name)
}
