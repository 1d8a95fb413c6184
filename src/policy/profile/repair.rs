//! `repair`: after how long members of gangs are replaced whose node is gone or not ready, and when a node that fails pods is
//! given no more of them.

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
    /// When a node that fails pods is given no more of them.
    quarantine: QuarantineFile,
}

/// When a node that fails pods is given no more of them.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct QuarantineFile {
    /// How many failures it takes. 0: no node is ever in quarantine.
    #[cfg_attr(feature = "io", schemars(range(min = 0, max = 64)))]
    failures: u32,
    /// Within how many seconds they have to fall.
    #[cfg_attr(feature = "io", schemars(range(min = 1, max = 604_800)))]
    within_seconds: u64,
    /// For how many seconds after the last of them it is given nobody.
    #[cfg_attr(feature = "io", schemars(range(min = 1, max = 604_800)))]
    lasts_seconds: u64,
}

impl Default for QuarantineFile {
    fn default() -> Self {
        Self { failures: 3, within_seconds: 3600, lasts_seconds: 3600 }
    }
}

/// When a node that fails pods is given no more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineRule {
    /// How many failures it takes; 0: none ever does.
    pub failures: u32,
    /// Within what time they have to fall.
    pub within: Duration,
    /// For how long after the last of them.
    pub lasts: Duration,
}

impl Default for RepairFile {
    fn default() -> Self {
        Self { after_seconds: 5, quarantine: QuarantineFile::default() }
    }
}

pub(super) fn check(file: &RepairFile) -> Result<(Duration, QuarantineRule), Mistake> {
    if !(1..=86_400).contains(&file.after_seconds) {
        return Err(Mistake::range("afterSeconds", file.after_seconds, "1..=86400"));
    }
    let QuarantineFile { failures, within_seconds, lasts_seconds } = file.quarantine;
    if failures > 64 {
        return Err(Mistake::range("failures", failures, "0..=64").within("quarantine"));
    }
    for (field, seconds) in [("withinSeconds", within_seconds), ("lastsSeconds", lasts_seconds)] {
        if !(1..=604_800).contains(&seconds) {
            return Err(Mistake::range(field, seconds, "1..=604800").within("quarantine"));
        }
    }
    let (within, lasts) = (Duration::from_secs(within_seconds), Duration::from_secs(lasts_seconds));
    Ok((Duration::from_secs(file.after_seconds), QuarantineRule { failures, within, lasts }))
}
