//! The commands of `gangplank-agent`: one file a command, one line each in [`PROGRAM`]'s list. What a GPU's state means is
//! decided in `agent`; here is decided what is asked for and what is printed.

mod discover;
mod matrix;

use super::completion::{CompletionArgs, Whose};
use super::{Command, Program};

/// The agent's program.
pub static PROGRAM: Program = Program {
    name: "gangplank-agent",
    about: "Says what a node's accelerators are, and how they are linked",
    all: &[Command::of::<discover::DiscoverArgs>(), Command::of::<CompletionArgs<Agent>>()],
};

/// Those whom the agent's completion is for.
#[derive(Debug)]
struct Agent;

impl Whose for Agent {
    fn program() -> &'static Program {
        &PROGRAM
    }
}

/// Names of its commands, for tests and documents.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROGRAM.all.iter().map(|command| command.name)
}
