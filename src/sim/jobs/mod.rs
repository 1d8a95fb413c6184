//! Jobs of a trace on a cluster of equal nodes, in virtual time: who starts when, what preemption costs, how long all take.
//!
//! ```text
//! trace.rs  CSV text -> Job             engine.rs     Gangplank: gated pods in, bindings and evictions out
//! run.rs    the loop over events        baselines.rs  FIFO, with and without backfill, on counts
//! figures.rs what came of it            reference.rs  SRTF, SRSF and attained service, on counts
//! ```
//!
//! Whoever decides is an [`Arbiter`]. The loop checks every move: a job runs on exactly what it asks for, and no node
//! holds more than it has. A job that is stopped keeps its progress; each start after its first costs a fixed time in which
//! it holds its GPUs and gets nothing done. Not here: files, printing (`cli`).

mod baselines;
mod engine;
mod figures;
mod reference;
mod run;
mod trace;

pub use baselines::Fifo;
pub use engine::Gangplank;
pub use figures::Figures;
pub use reference::{Key, Reference};
pub use run::{Arbiter, Broken, Cluster, Move, Place, Progress, run};
pub use trace::{Job, Trace};
