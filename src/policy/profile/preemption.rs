//! `preemption`: whether pods of lower priority make room, which of them may, and how long before they hear of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mistake::Mistake;

/// Whether, and how, pods of lower priority make room.
#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "io", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct PreemptionFile {
    /// Whether gangs and pods of this profile take the room of lower priority at all.
    enabled: bool,
    /// Whether pods of this profile that have no controller may be evicted: nobody creates them again.
    ownerless_pods: bool,
    /// How many seconds before it is evicted a pod carries the annotation `gangplank.dev/preempt-notice` with the time. 0: it does not.
    #[cfg_attr(feature = "io", schemars(range(min = 0, max = 3600)))]
    notice_seconds: u64,
    /// How many seconds after their eviction victims are waited for. Of those that are not gone by then nobody else takes the place: what
    /// is free is kept, and the preemptor is planned anew.
    #[cfg_attr(feature = "io", schemars(range(min = 5, max = 3600)))]
    deadline_seconds: u64,
}

impl Default for PreemptionFile {
    fn default() -> Self {
        Self { enabled: true, ownerless_pods: false, notice_seconds: 0, deadline_seconds: 120 }
    }
}

/// Whether, and how, pods of lower priority make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// Whether gangs and pods of this profile take the room of lower priority at all.
    pub enabled: bool,
    /// Whether pods of this profile that have no controller may be evicted.
    pub ownerless_pods: bool,
    /// How long before it is evicted a pod hears of it.
    pub notice: Duration,
    /// How long victims may take to be gone, from their eviction on.
    pub deadline: Duration,
}

pub(super) fn check(file: &PreemptionFile) -> Result<Preemption, Mistake> {
    let PreemptionFile { enabled, ownerless_pods, notice_seconds, deadline_seconds } = *file;
    if notice_seconds > 3600 {
        return Err(Mistake::range("noticeSeconds", notice_seconds, "0..=3600"));
    }
    if !(5..=3600).contains(&deadline_seconds) {
        return Err(Mistake::range("deadlineSeconds", deadline_seconds, "5..=3600"));
    }
    let (notice, deadline) = (Duration::from_secs(notice_seconds), Duration::from_secs(deadline_seconds));
    Ok(Preemption { enabled, ownerless_pods, notice, deadline })
}
