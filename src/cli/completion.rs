//! `completion SHELL` of both programs: a completion script, made from the same definition as the help.

use std::fmt::Debug;
use std::marker::PhantomData;

use clap::Args;
use clap_complete::Shell;

use super::{Console, Exit, Program, Run};

/// Whose commands are completed.
pub(super) trait Whose: Debug + Send + Sync + 'static {
    fn program() -> &'static Program;
}

/// Those of `gangplank`.
#[derive(Debug)]
pub(super) struct Operator;

impl Whose for Operator {
    fn program() -> &'static Program {
        &super::GANGPLANK
    }
}

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub(super) struct CompletionArgs<W: Whose> {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: Shell,
    #[arg(skip)]
    whose: PhantomData<W>,
}

impl<W: Whose> Run for CompletionArgs<W> {
    const NAME: &'static str = "completion";
    const ABOUT: &'static str = "Print a completion script for a shell";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let (program, mut script) = (W::program(), Vec::new());
        clap_complete::generate(self.shell, &mut super::command(program, program.name), program.name, &mut script);
        console.raw(&String::from_utf8(script)?)?;
        Ok(Exit::Ok)
    }
}
