//! Readiness: what the answers wait for. The engine is told of each change, so that it refuses to guess as well.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Host;
use crate::engine::Input;
use crate::wire::journal::Record;

/// What readiness is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The initial lists.
    Lists,
    /// Contact to the API server since.
    Contact,
    /// The right to speak: one replica of several has it.
    Voice,
}

/// What is waited for; `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting(Vec<String>);

impl Waiting {
    pub(super) fn one(what: &str) -> Self {
        Self(vec![what.into()])
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for {}", self.0.join("; "))
    }
}

impl std::error::Error for Waiting {}

/// The state behind [`Host::ready`].
#[derive(Debug)]
pub(super) struct Ready {
    waits: Mutex<[Option<String>; 3]>,
    answering: AtomicBool,
    since: Mutex<Option<Instant>>,
    /// When the voice runs out by itself, unless it is given anew.
    voice_until: Mutex<Option<Instant>>,
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            waits: Mutex::new([Some("the initial lists".into()), None, None]),
            answering: AtomicBool::new(false),
            since: Mutex::new(None),
            voice_until: Mutex::new(None),
        }
    }
}

impl Ready {
    pub(super) fn set(&self, host: &Host, part: Part, what: Option<String>) {
        // Held while the engine is told, so that two changes reach it in the order in which they were decided.
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut waits[part as usize];
        if *slot == what {
            return;
        }
        *slot = what;
        let answers = waits.iter().all(Option::is_none);
        if self.answering.swap(answers, Ordering::AcqRel) == answers {
            return;
        }
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = answers.then(Instant::now);
        host.metrics.ready.set(i64::from(answers));
        if answers {
            tracing::info!("ready: the scheduler's questions are answered");
            host.ask(Input::Synced, Record::Synced);
        } else {
            tracing::warn!(waits_for = %Waiting(waits.iter().flatten().cloned().collect()), "not ready: the scheduler's questions are refused");
            host.ask(Input::Desynced, Record::Desynced);
        }
    }

    pub(super) fn voice_lasts(&self, until: Option<Instant>) {
        *self.voice_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Whether the voice has run out since it was last given; said once.
    pub(super) fn has_lapsed(&self) -> bool {
        let mut until = self.voice_until.lock().unwrap_or_else(PoisonError::into_inner);
        let lapsed = until.is_some_and(|until| Instant::now() >= until);
        if lapsed {
            *until = None;
        }
        lapsed
    }

    pub(super) fn since(&self) -> Option<Instant> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is missing beside the voice.
    pub(super) fn check_but_voice(&self) -> Result<(), Waiting> {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<String> = [Part::Lists, Part::Contact].iter().filter_map(|part| waits[*part as usize].clone()).collect();
        if missing.is_empty() { Ok(()) } else { Err(Waiting(missing)) }
    }

    pub(super) fn check(&self) -> Result<(), Waiting> {
        if self.answering.load(Ordering::Acquire) {
            return Ok(());
        }
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<String> = waits.iter().flatten().cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(Waiting(missing)) }
    }
}
