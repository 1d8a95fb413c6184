//! `gangplank-provision`: hands its arguments to [`gangplank::cli::provision`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gangplank::cli::main(&gangplank::cli::provision::PROGRAM, std::env::args_os())
}
