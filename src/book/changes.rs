//! Which slots changed lately: who follows the book looks at those, not at every node.

use std::collections::VecDeque;

/// The latest changes, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    latest: VecDeque<(u64, u32)>,
    version: u64,
    /// Everything up to here is forgotten.
    forgotten: u64,
}

/// Changes remembered: more than between two questions, but of a restart.
const KEPT: usize = 1024;

impl Changes {
    /// A slot changed; returns the version that came of it.
    pub(super) fn note(&mut self, slot: u32) -> u64 {
        self.version += 1;
        self.latest.push_back((self.version, slot));
        if self.latest.len() > KEPT {
            self.forgotten = self.latest.pop_front().map_or(self.version, |(version, _)| version);
        }
        self.version
    }

    /// The last version.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The slots that changed after a version, ascending; none if that is too long ago to know.
    pub(super) fn since(&self, version: u64) -> Option<Vec<usize>> {
        if version < self.forgotten {
            return None;
        }
        let later = self.latest.iter().rev().take_while(|(at, _)| *at > version);
        let mut slots: Vec<usize> = later.map(|(_, slot)| *slot as usize).collect();
        slots.sort_unstable();
        slots.dedup();
        Some(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_since_is_known_until_too_much_did() {
        let mut changes = Changes::default();
        let mark = changes.note(7);
        assert_eq!(changes.since(0), Some(vec![7]));
        for slot in [3, 9, 3] {
            changes.note(slot);
        }
        assert_eq!(changes.since(mark), Some(vec![3, 9]));
        assert_eq!(changes.since(changes.version()), Some(vec![]));
        for slot in 0..1024 {
            changes.note(slot);
        }
        assert_eq!((changes.since(mark), changes.since(changes.version() - 1)), (None, Some(vec![1023])));
    }
}
