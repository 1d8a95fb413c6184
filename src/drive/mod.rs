//! What a live spec needs next: its object and what is there of it go in, writes, status and a time to wake come out. Nothing is
//! read, written or waited for here; `provision::run` does that.
//!
//! What may live here: one file a kind, one line each in [`KINDS`]; what the kinds share (times, conditions, what must never be
//! written). Each function can be called at any time, with whatever is seen: killed between two writes, the next call goes on. What it
//! has to remember stands in the status, and is written before what follows from it.

mod object;
mod safe;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod training_job;
mod when;

use std::collections::BTreeSet;

use serde_json::Value;

pub use object::{digest, is_of};
pub use step::{Act, Resource, Step, Verb};

use crate::model::Time;

/// Every kind that is driven.
pub static KINDS: &[Driver] = &[training_job::DRIVER];

/// How a kind is driven.
#[derive(Debug)]
pub struct Driver {
    /// As specs name it.
    pub kind: &'static str,
    /// Its objects, and where their status is.
    pub resource: Resource,
    /// Every write that it makes, by name.
    pub steps: &'static [&'static Step],
    /// Objects that it looks at: those that it makes, and the pods of those.
    pub looks: &'static [Resource],
    /// Fields of its status beside `observedGeneration`, `phase` and `conditions`: name, what it is, and what it says.
    pub status: &'static [(&'static str, Field, &'static str)],
    /// The columns that its status adds to `kubectl get`: name and path.
    pub columns: &'static [(&'static str, &'static str)],
    next: fn(&Seen<'_>, &Rules, Time) -> Next,
}

/// What a field of a status is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A whole number from 0.
    Count,
    /// A time as Kubernetes writes it.
    Time,
}

/// What is there.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The live spec, with its status.
    pub object: &'a Value,
    /// What was made of it, with `apiVersion` and `kind`.
    pub owned: &'a [&'a Value],
    /// The pods of that.
    pub pods: &'a [&'a Value],
    /// What the API server had against the last write, until one of them is taken.
    pub refused: Option<&'a str>,
}

/// What the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// ServiceAccounts that pods may run as: `NAME` in any namespace, `NAMESPACE/NAME` in one.
    pub accounts: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    /// In this order; the first that fails ends it, and what comes next is asked anew.
    pub writes: Vec<Write>,
    /// Said when all of that is written.
    pub events: Vec<Event>,
    /// To be asked again then, whatever happens.
    pub wake: Option<Time>,
}

/// One write, with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which of the kind's writes.
    pub step: &'static Step,
    /// The object as it is to be applied; its status; or, of one that goes, who it is and its UID.
    pub object: Value,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Something went wrong.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// The rest.
    pub note: String,
}

impl Driver {
    /// What the object needs next.
    pub fn next(&self, seen: &Seen<'_>, rules: &Rules, now: Time) -> Next {
        if seen.object["metadata"]["deletionTimestamp"].is_string() {
            // What it owns goes with it, by its owner references.
            return Next::default();
        }
        (self.next)(seen, rules, now)
    }

    /// The driver of this kind.
    pub fn named(kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|driver| driver.kind == kind)
    }
}

/// API verbs that driving uses, as (group, resource, verb), without those for events and the lease.
pub fn verbs() -> BTreeSet<Verb> {
    let mut all = BTreeSet::new();
    for driver in KINDS {
        for resource in driver.looks.iter().chain([&driver.resource]) {
            all.extend(["list", "watch"].map(|verb| (resource.group, resource.plural.to_owned(), verb)));
        }
        for step in driver.steps {
            all.extend(step.verbs());
        }
    }
    all
}
