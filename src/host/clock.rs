//! The clock that the host reads: the system's, or one that a test, a demo or a replay sets.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Time;

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::set`]; clones show the same time.
    pub fn simulated(start: Time) -> Self {
        Self(Source::Set(Arc::new(AtomicU64::new(start.unix_ms()))))
    }

    /// The time. The host never lets the engine see it run backwards.
    pub fn read(&self) -> Time {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Time::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Set(unix_ms) => Time::from_unix_ms(unix_ms.load(Ordering::Acquire)),
        }
    }

    /// Sets a simulated clock; the system's is left alone.
    pub fn set(&self, time: Time) {
        if let Source::Set(unix_ms) = &self.0 {
            unix_ms.store(time.unix_ms(), Ordering::Release);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Clock(system)"),
            Source::Set(_) => write!(f, "Clock(simulated, {} ms)", self.read().unix_ms()),
        }
    }
}
