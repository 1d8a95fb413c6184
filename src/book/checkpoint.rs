//! What-if: mark the book, change it, put it back. Preemption and gang planning search on the real book this way,
//! without copying the cluster.

use std::sync::Arc;

use super::{Book, Holder};
use crate::model::{Node, NodeName, PodUid};

/// A mark to go back to. Marks nest; the latest is rolled back or committed first.
#[derive(Debug)]
#[must_use = "roll it back or commit it"]
pub struct Checkpoint {
    undo_len: usize,
    depth: u32,
}

/// How to take one change back.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Node(NodeName, Option<Arc<Node>>),
    Holder(PodUid, Option<Holder>),
}

impl Book {
    /// Marks the present state.
    pub fn checkpoint(&mut self) -> Checkpoint {
        self.checkpoints += 1;
        Checkpoint { undo_len: self.undo.len(), depth: self.checkpoints }
    }

    /// Puts everything back as it was at the mark.
    pub fn rollback(&mut self, mark: Checkpoint) {
        let recorded = self.close(mark);
        // Nothing that is put back is recorded again.
        let outer = std::mem::take(&mut self.checkpoints);
        for undo in recorded.into_iter().rev() {
            match undo {
                Undo::Node(name, node) => self.replace_node(&name, node),
                Undo::Holder(uid, holder) => drop(self.replace_holder(&uid, holder)),
            }
        }
        self.checkpoints = outer;
    }

    /// Keeps everything since the mark.
    pub fn commit(&mut self, mark: Checkpoint) {
        let recorded = self.close(mark);
        if self.checkpoints > 0 {
            self.undo.extend(recorded);
        }
    }

    pub(super) fn record(&mut self, undo: impl FnOnce() -> Undo) {
        if self.checkpoints > 0 {
            self.undo.push(undo());
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a mark is spent by closing it")]
    fn close(&mut self, mark: Checkpoint) -> Vec<Undo> {
        let Checkpoint { undo_len, depth } = mark;
        assert_eq!(depth, self.checkpoints, "checkpoints close in the reverse order of their opening");
        self.checkpoints -= 1;
        self.undo.split_off(undo_len)
    }
}
