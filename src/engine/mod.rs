//! The decider: [`Engine::step`] takes an input and the time, and returns an answer, effects and a trace.
//! It cannot fail: a refusal is an answer with a reason. It performs nothing: effects are data.
//!
//! Pods come by one of two lanes. The lane without admission is here: the first filter call decides, holds what it
//! decided, and bind commits it. The planned lane (gangs; a single pod is a gang of one) will decide before the pod
//! is released, and its plan will be a firmer [`crate::book::HolderState`] that the same filter and bind verify.

mod bind;
mod decider;
mod domains;
mod filter;
mod gradient;
mod group;
mod input;
mod news;
mod output;
mod plain;
mod preempt;
mod quota;
mod relist;
mod story;
mod valuation;
mod verdicts;
mod wake;

pub use decider::{Census, Engine};
pub use input::{BindOutcome, BindQuery, FilterQuery, Input, PodRef, PreemptCandidate, PreemptQuery};
pub use output::{Answer, BindAnswer, BindOrder, Effect, EnvValue, Event, FilterAnswer, Output, PreemptChoice, Refused, Score, Trace};

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
