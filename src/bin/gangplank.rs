//! `gangplank`, also installed as `kubectl-gangplank`: hands its arguments to [`gangplank::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gangplank::cli::main(&gangplank::cli::GANGPLANK, std::env::args_os())
}
