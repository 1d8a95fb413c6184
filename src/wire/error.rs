//! What is wrong with bytes that others sent: which message, where in it, and what would be right.

use thiserror::Error;

/// Why a message was not taken. The text goes to whoever sent it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// More bytes than a message of this kind can have; answered 413.
    #[error("{message}: {bytes} bytes, at most {bytes_max} are read")]
    TooLarge {
        /// Which message.
        message: &'static str,
        /// How long it was.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Not JSON, or not of the message's shape; the problem names line and column.
    #[error("{message}: {problem}")]
    Unreadable {
        /// Which message.
        message: &'static str,
        /// What the parser met, and where.
        problem: String,
    },
    /// A field that the message cannot do without.
    #[error("{message}: `{path}` is missing: {expected}")]
    Missing {
        /// Which message.
        message: &'static str,
        /// Which field.
        path: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A field whose value makes no sense.
    #[error("{message}: `{path}`: {problem}")]
    Invalid {
        /// Which message.
        message: &'static str,
        /// Which field.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl WireError {
    pub(super) fn unreadable(message: &'static str, error: &serde_json::Error) -> Self {
        Self::Unreadable { message, problem: error.to_string() }
    }
}
