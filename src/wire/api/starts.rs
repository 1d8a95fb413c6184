//! What `/api/v1/starts` answers: when gangs that wait could start, or why nobody knows.

use serde::Serialize;

use crate::engine::{Outlook, Search};
use crate::model::GangId;

/// Gangs of one name that wait for room.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartsView {
    /// None of those that run, or wait for something else.
    pub starts: Vec<StartView>,
}

/// When one could start.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartView {
    /// `namespace/name`.
    pub gang: String,
    /// `expected`, `not-predictable`, or `never` where it does not fit even if all that runs ends.
    pub when: &'static str,
    /// At the soonest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_seconds: Option<u64>,
    /// At the latest, if nobody outruns what is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_seconds: Option<u64>,
    /// Whose word that is, or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
}

impl StartsView {
    /// Searches; it takes its time.
    pub fn of(searches: Vec<(GangId, Search)>) -> Self {
        Self { starts: searches.into_iter().map(|(id, search)| StartView::of(id.to_string(), search.outlook())).collect() }
    }
}

impl StartView {
    /// Of one gang.
    pub fn of(gang: String, outlook: Outlook) -> Self {
        let none = Self { gang, when: "never", from_seconds: None, until_seconds: None, basis: None };
        match outlook {
            Outlook::Expected { from, until, basis } => {
                let (from_seconds, until_seconds) = (Some(from.as_secs()), Some(until.as_secs()));
                Self { when: "expected", from_seconds, until_seconds, basis: Some(basis), ..none }
            }
            Outlook::NotPredictable { why } => Self { when: "not-predictable", basis: Some(why), ..none },
            Outlook::Never => none,
        }
    }
}
