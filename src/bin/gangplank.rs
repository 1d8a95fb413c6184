//! `gangplank`, also installed as `kubectl-gangplank`: hands its arguments to [`gangplank::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gangplank::cli::main(std::env::args_os())
}
