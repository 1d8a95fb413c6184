//! `Dataset`: claims that outlive the jobs that use them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::begin;
use super::object::{Named, SpecOf};
use super::storage::{ClaimFile, Storage};
use super::{Recipe, Rendered};
use crate::policy::Mistake;

/// Claims that outlive the jobs that use them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DatasetSpec {
    /// Claims to create, by name.
    claims: BTreeMap<String, ClaimFile>,
}

#[derive(Debug)]
struct Dataset(Storage);

impl SpecOf for DatasetSpec {
    const KIND: &'static str = "Dataset";
    const ABOUT: &'static str = "Claims that outlive the jobs that use them";
    const PLURAL: Option<&'static str> = None;
    const COLUMNS: &'static [(&'static str, &'static str)] = &[];
    const FORMS: &'static [&'static str] = &[];
    const BEGIN: &'static begin::Begin = &begin::DATASET;

    fn check(self, _: &Named) -> Result<Box<dyn Recipe>, Mistake> {
        if self.claims.is_empty() {
            return Err(Mistake::new("claims", "is empty", "name one: `claims: {images: {size: 500Gi}}`"));
        }
        Ok(Box::new(Dataset(Storage::check(BTreeMap::new(), BTreeMap::new(), self.claims, BTreeMap::new())?)))
    }
}

impl Recipe for Dataset {
    fn render(&self, of: &Named, _: Option<&str>) -> Result<Rendered, Mistake> {
        Ok(Rendered { objects: self.0.objects(of), notes: Vec::new() })
    }
}
