//! The decider: [`Engine::step`] takes an input and the time, and returns an answer, effects and a trace.
//! It cannot fail: a refusal is an answer with a reason. It performs nothing: effects are data.

mod decider;
mod input;
mod output;

pub use decider::Engine;
pub use input::{BindOutcome, BindQuery, FilterQuery, Input, PodRef, PreemptCandidate, PreemptQuery};
pub use output::{Answer, BindAnswer, BindOrder, Effect, EnvValue, Event, FilterAnswer, Output, PreemptChoice, Refused, Score, Trace};
