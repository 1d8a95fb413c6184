//! What the programs that stay have in common: threads to run on, and the signal that ends them.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;

/// Whatever a task still waits for must not hold up the end.
const END_MAX: Duration = Duration::from_millis(200);

/// Runs a program until it ends by itself.
pub(super) fn stay(program: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(program)?;
    runtime.shutdown_timeout(END_MAX);
    Ok(Exit::Ok)
}

/// The signal that ends the process.
pub(super) async fn terminated() -> anyhow::Result<&'static str> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}
