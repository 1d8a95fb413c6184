//! The command line: one file a command, one [`ALL`] list, from which help, completions and tests are made.
//!
//! Here is decided what holds for every command: `-o table|json|yaml`, exit codes, what goes to stdout (data) and
//! stderr (talk), and how an error reads. What a command does is decided in its own file.

mod advice;
#[cfg(feature = "agent")]
pub mod agent;
mod bench;
mod completion;
mod console;
mod defrag;
mod demo;
mod draw;
mod explain;
mod http;
mod policy;
pub mod provision;
mod queue;
pub mod report;
mod scene;
mod schema;
mod serve;
pub mod simulate;
mod stay;
mod topo;
mod uninstall;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Args, FromArgMatches};

pub use advice::Advice;
pub use console::{Console, Format};
pub use serve::{ServeArgs, run as serve};

/// Every command, in the order that help shows.
pub static ALL: &[Command] = &[
    Command::of::<demo::DemoArgs>(),
    Command::of::<ServeArgs>(),
    Command::of::<simulate::SimulateArgs>(),
    Command::of::<explain::ExplainArgs>(),
    Command::of::<queue::QueueArgs>(),
    Command::of::<topo::TopoArgs>(),
    Command::of::<defrag::DefragArgs>(),
    Command::of::<policy::PolicyArgs>(),
    Command::of::<schema::SchemaArgs>(),
    Command::of::<uninstall::UninstallArgs>(),
    Command::of::<bench::BenchArgs>(),
    Command::of::<completion::CompletionArgs<completion::Operator>>(),
];

/// A command: its arguments are the type, and running it is what the arguments do.
pub trait Run: Args + Sized {
    /// What people type.
    const NAME: &'static str;
    /// One line for help, no full stop.
    const ABOUT: &'static str;

    /// Runs it. The data goes to [`Console::data`], the rest to [`Console::talk`].
    ///
    /// # Errors
    /// What stopped it, with [`Advice`] in the chain where there is something that the user can do.
    fn run(self, console: Console) -> anyhow::Result<Exit>;
}

/// A line of [`ALL`].
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// What people type.
    pub name: &'static str,
    /// One line for help.
    pub about: &'static str,
    augment: fn(clap::Command) -> clap::Command,
    run: fn(&ArgMatches, Console) -> anyhow::Result<Exit>,
}

impl Command {
    const fn of<R: Run>() -> Self {
        Self {
            name: R::NAME,
            about: R::ABOUT,
            augment: R::augment_args,
            run: |matches, console| R::from_arg_matches(matches)?.run(console),
        }
    }
}

/// How a command ended, apart from errors (1) and wrong usage (2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or everything fits.
    Ok,
    /// 3: done, and something does not fit.
    DoesNotFit,
    /// 4: not done in time.
    Timeout,
    /// 5: compared, and not the same.
    Differs,
}

impl Exit {
    /// The code that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::DoesNotFit => 3,
            Self::Timeout => 4,
            Self::Differs => 5,
        }
    }
}

/// Arguments that every command takes.
#[derive(Args, Debug)]
struct Global {
    /// How data is printed on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// A program with commands.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    about: &'static str,
    all: &'static [Command],
}

/// The operator's program.
pub static GANGPLANK: Program = Program { name: "gangplank", about: "Gives a stock kube-scheduler eyes for accelerators", all: ALL };

/// The whole command line as clap sees it; `bin_name` is what people typed to get here.
pub fn command(program: &Program, bin_name: &str) -> clap::Command {
    let root = clap::Command::new(program.name)
        .bin_name(bin_name)
        .display_name(program.name)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXIT_CODES)
        .subcommand_required(true)
        .arg_required_else_help(true);
    // After the arguments: their own doc comment would stand here otherwise.
    let root = Global::augment_args(root).about(program.about);
    program.all.iter().fold(root, |root, entry| root.subcommand((entry.augment)(clap::Command::new(entry.name)).about(entry.about)))
}

/// Parses the arguments and runs the command that they name.
pub fn main(program: &Program, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let matches = match command(program, &bin_name(program, args.first())).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version come this way too; clap knows which stream and code each belongs to. A closed pipe is nobody's error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(program, &matches) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if console::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            Console::new(Format::Table).talk(&advice::render(&error));
            ExitCode::from(1)
        }
    }
}

fn run(program: &Program, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let global = Global::from_arg_matches(matches)?;
    let console = Console::new(global.output);
    let (name, matches) = matches.subcommand().ok_or_else(|| anyhow::anyhow!("no command was given"))?;
    let entry = program.all.iter().find(|entry| entry.name == name).ok_or_else(|| anyhow::anyhow!("`{name}` is not a command"))?;
    (entry.run)(matches, console)
}

/// kubectl runs `kubectl-gangplank` for `kubectl gangplank`; usage lines say what was typed.
fn bin_name(program: &Program, typed: Option<&OsString>) -> String {
    let stem = typed.and_then(|typed| Path::new(typed).file_stem()).and_then(|stem| stem.to_str());
    let plugin = stem.is_some_and(|stem| stem.starts_with("kubectl-") || stem.starts_with("kubectl_"));
    format!("{}{}", if plugin { "kubectl " } else { "" }, program.name)
}

/// A name as one segment of a path. Kubernetes names need no escape; what does is nobody's name.
fn segment(name: &str) -> String {
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-._".contains(*letter)).collect()
}

/// The JSON of an answer, or what the server has against the question.
fn view(reply: &http::Reply) -> anyhow::Result<serde_json::Value> {
    let parsed = serde_json::from_slice::<serde_json::Value>(&reply.body);
    if reply.status == 200 {
        return Ok(parsed?);
    }
    let text = parsed.ok().and_then(|problem| problem["error"].as_str().map(String::from));
    anyhow::bail!("the server answers with status {}: {}", reply.status, text.unwrap_or_else(|| "no text".into()))
}

/// Where `gangplank serve` listens.
const SERVER_DEFAULT: &str = "127.0.0.1:9377";
const EXIT_CODES: &str = "Exit codes: 0 ok or fits, 1 error, 2 wrong usage, 3 does not fit, 4 timeout, 5 differs.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command(&GANGPLANK, "gangplank").debug_assert();
        command(&provision::PROGRAM, "gangplank-provision").debug_assert();
        #[cfg(feature = "agent")]
        command(&agent::PROGRAM, "gangplank-agent").debug_assert();
    }

    #[test]
    fn every_command_is_listed_once() {
        for program in [&GANGPLANK, &provision::PROGRAM] {
            let mut names: Vec<_> = program.all.iter().map(|entry| entry.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", program.name);
        }
    }

    #[test]
    fn as_a_kubectl_plugin_it_goes_by_the_name_that_was_typed() {
        for (program, expected) in [
            ("gangplank", "gangplank"),
            ("/usr/local/bin/kubectl-gangplank", "kubectl gangplank"),
            ("kubectl_gangplank.exe", "kubectl gangplank"),
            ("", "gangplank"),
        ] {
            assert_eq!(bin_name(&GANGPLANK, Some(&OsString::from(program))), expected, "{program}");
        }
    }
}
