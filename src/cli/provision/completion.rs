//! `gangplank-provision completion SHELL`: a completion script, made from the same definition as the help.

use clap::Args;
use clap_complete::Shell;

use super::{Console, Exit, Run};

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub(super) struct CompletionArgs {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

impl Run for CompletionArgs {
    const NAME: &'static str = "completion";
    const ABOUT: &'static str = "Print a completion script for a shell";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        console.raw(&crate::cli::completion::script(&super::PROGRAM, self.shell)?)?;
        Ok(Exit::Ok)
    }
}
