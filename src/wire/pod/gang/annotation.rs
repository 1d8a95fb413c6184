//! Our own: a name and a size on each pod, and perhaps a minimum.

use super::{Count, Found, Marks};
use crate::model::GangKind;
use crate::wire::annotations::{GANG, GANG_MIN, GANG_SIZE};

pub(super) fn read(marks: &Marks<'_>) -> Option<Found> {
    let found = Found::named(GangKind::Annotation, marks.annotation(GANG)?);
    let size = match Count::of(marks.annotation(GANG_SIZE)) {
        Count::Absent => Count::Unreadable,
        size => size,
    };
    Some(Found { size, min: Count::of(marks.annotation(GANG_MIN)), ..found })
}
