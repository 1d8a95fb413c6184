//! `gangplank-agent`: hands its arguments to [`gangplank::cli::agent`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gangplank::cli::main(&gangplank::cli::agent::PROGRAM, std::env::args_os())
}
