//! The decider: [`Engine::step`] takes an input and the time, and returns an answer, effects and a trace.
//! It cannot fail: a refusal is an answer with a reason. It performs nothing: effects are data.
//!
//! Pods come by one of two lanes. In the planned one (`lane`: gangs; a single pod is a gang of one) a plan is made before
//! the pod is released, and filter and bind verify it. A single pod without our gate is decided by filter itself, which
//! holds what it decided, and bind commits it.

mod bind;
mod decider;
mod domains;
mod entitled;
mod fabric;
mod filter;
mod gradient;
mod input;
mod lane;
mod news;
mod output;
mod plain;
mod preempt;
mod quarantine;
mod queues;
mod quota;
mod relist;
mod story;
mod valuation;
mod verdicts;
mod volumes;
mod wake;

pub use decider::{Census, Engine};
pub use input::{BindOutcome, BindQuery, FilterQuery, Input, PodRef, PreemptCandidate, PreemptQuery};
pub use lane::{Defrag, DefragMove, DefragPlan, Eviction, GangStatus, MemberStatus, Outlook, Search, Staying, Survey};
pub use output::{
    Answer, BindAnswer, BindOrder, Effect, EnvValue, Event, FilterAnswer, NodeEvent, Output, PreemptChoice, Refused, Score, Trace,
};
pub use quarantine::Quarantine;
pub use queues::{QueueClass, QueueStatus};

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
