//! The engine itself.

use std::sync::Arc;

use super::{Input, Output};
use crate::model::Time;
use crate::policy::Profile;

/// The whole decider: books, rules and the memory of what it decided.
#[derive(Debug)]
pub struct Engine {
    profile: Arc<Profile>,
}

impl Engine {
    /// An engine with empty books, that answers nothing before [`Input::Synced`].
    pub fn new(profile: Arc<Profile>) -> Self {
        Self { profile }
    }

    /// The profile in force.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// Takes one input at a time that the caller read off its clock.
    pub fn step(&mut self, now: Time, input: Input<'_>) -> Output {
        let _ = (now, input);
        Output::default()
    }
}
