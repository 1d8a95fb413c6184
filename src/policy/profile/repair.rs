//! `repair`: after how long members of gangs are replaced whose node is gone or not ready.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mistake::Mistake;

/// How soon members are replaced whose node is gone or not ready.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RepairFile {
    /// After how many seconds. A node that comes back before costs nobody anything; Kubernetes itself waits 300.
    #[cfg_attr(feature = "io", schemars(range(min = 1, max = 86400)))]
    after_seconds: u64,
}

impl Default for RepairFile {
    fn default() -> Self {
        Self { after_seconds: 5 }
    }
}

pub(super) fn check(file: &RepairFile) -> Result<Duration, Mistake> {
    if !(1..=86_400).contains(&file.after_seconds) {
        return Err(Mistake::range("afterSeconds", file.after_seconds, "1..=86400"));
    }
    Ok(Duration::from_secs(file.after_seconds))
}
