//! Log set-up: which lines are written, and in which shape. Stderr only, so that stdout stays data.

use std::io::IsTerminal;

use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, Error)]
pub enum LogSetupError {
    /// The filter is not of the form `info,gangplank=debug`.
    #[error("`{filter}` is not a log filter (`info`, `gangplank=debug,warn`, ...)")]
    ParseFilter {
        /// The text as given.
        filter: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process has set up logs already.
    #[error("logs are set up already")]
    SetUp(#[source] TryInitError),
}

/// Sends the process's logs to stderr.
///
/// # Errors
/// A filter that cannot be read, or logs that are set up already.
pub fn logs(filter: &str, format: LogFormat) -> Result<(), LogSetupError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let parsed = EnvFilter::try_new(filter).map_err(|source| LogSetupError::ParseFilter { filter: filter.into(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LogSetupError::SetUp)
}
