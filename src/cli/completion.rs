//! `gangplank completion SHELL`: a completion script, made from the same definition as the help.

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
        console.raw(&script(&super::GANGPLANK, self.shell)?)?;
        Ok(Exit::Ok)
    }
}

/// The script of a program.
pub(super) fn script(program: &super::Program, shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(program, program.name), program.name, &mut script);
    Ok(String::from_utf8(script)?)
}
