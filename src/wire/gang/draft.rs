//! What a reader has understood of an object, before bounds: tenants write these objects, so sizes may be absurd and
//! levels any text. What cannot be is told as unreadable, so that nothing is placed on a guess.

use std::sync::Arc;

use serde_json::Value;

use super::GangObject;
use crate::model::{GangId, GangKind, GangSpec, OwnerRef, Parts, PodKey, TopologyWishes, Wish};
use crate::wire::annotations::GANG_MIN;

/// The largest gang that is planned; the planner's work grows with it.
pub(in crate::wire) const SIZE_MAX: u32 = 10_000;
/// A label key with its prefix.
pub(in crate::wire) const LEVEL_BYTES_MAX: usize = 317;

/// One gang.
pub(super) struct Draft {
    kind: GangKind,
    name: String,
    size: u64,
    min: Option<u64>,
    roles: Vec<(String, u64)>,
    topology: TopologyWishes,
}

impl Draft {
    /// A gang by the object's name, all of which must start together.
    pub(super) fn new(kind: GangKind, name: impl Into<String>, size: u64) -> Self {
        Self { kind, name: name.into(), size, min: None, roles: Vec::new(), topology: TopologyWishes::default() }
    }

    /// A gang of roles, in the order of ranks.
    pub(super) fn of_roles(kind: GangKind, name: impl Into<String>, roles: Vec<(String, u64)>) -> Self {
        let size = roles.iter().fold(0_u64, |sum, (_, members)| sum.saturating_add(*members));
        Self { roles, ..Self::new(kind, name, size) }
    }

    /// So few can start.
    pub(super) fn at_least(self, min: Option<u64>) -> Self {
        Self { min: min.or(self.min), ..self }
    }

    /// In one domain of a level, or in such parts.
    pub(super) fn required(mut self, level: Option<&str>, parts: Parts) -> Self {
        push(&mut self.topology, level, parts, true);
        self
    }

    /// As [`Self::required`], if it can be.
    pub(super) fn preferred(mut self, level: Option<&str>, parts: Parts) -> Self {
        push(&mut self.topology, level, parts, false);
        self
    }

    /// Within bounds; none for a gang that nobody is a member of.
    pub(super) fn finish(self, object: &GangObject, suspend: Option<OwnerRef>, suspended_by_us: bool) -> Option<GangSpec> {
        let Self { kind, name, size, min, roles, mut topology } = self;
        if size == 0 || name.is_empty() {
            return None;
        }
        let min = object.annotation(GANG_MIN).and_then(|min| min.parse().ok()).or(min);
        let size = u32::try_from(size).ok().filter(|size| *size <= SIZE_MAX);
        if size.is_none() {
            topology.unreadable = Some(Arc::from(format!("{}: more than {SIZE_MAX} members, or no number", object.kind)));
        }
        let whole = size.unwrap_or(SIZE_MAX);
        let roles = roles.into_iter().filter(|(_, members)| *members > 0 && size.is_some());
        Some(GangSpec {
            id: GangId { kind, key: PodKey::new(object.namespace(), name), uid: object.uid().into() },
            size: whole,
            min: min.map_or(whole, |min| u32::try_from(min).unwrap_or(whole).clamp(1, whole)),
            roles: roles.map(|(role, members)| (Arc::from(role), u32::try_from(members).unwrap_or(whole))).collect(),
            topology,
            suspend,
            suspended_by_us,
        })
    }
}

/// Adds a wish, or says that it cannot be read.
pub(in crate::wire) fn push(wishes: &mut TopologyWishes, level: Option<&str>, parts: Parts, required: bool) {
    let Some(level) = level else { return };
    if level.is_empty() || level.len() > LEVEL_BYTES_MAX {
        wishes.unreadable = Some("a level without a name, or with one that is too long".into());
        return;
    }
    let list = if required { &mut wishes.required } else { &mut wishes.preferred };
    list.push(Wish { level: level.into(), parts });
}

/// A count; what is absent has a default, and what is no count is more than any gang has.
pub(super) fn count(value: &Value, otherwise: u64) -> u64 {
    if value.is_null() { otherwise } else { value.as_u64().unwrap_or(u64::MAX) }
}

/// A count that may be absent.
pub(super) fn count_if_any(value: &Value) -> Option<u64> {
    (!value.is_null()).then(|| count(value, 0))
}
