//! The commands of `gangplank-provision`: one file a command, one line each in [`PROGRAM`]'s list. What a spec means is
//! decided in `recipe`; here is decided what is asked for and what is printed.

mod apply;
mod check;
mod delete;
mod init;
mod logs;
mod plan;
mod render;
mod run;
mod schema;
mod start;
mod status;
mod target;
mod trials;

use std::path::PathBuf;

use serde_json::Value;

use super::completion::{CompletionArgs, Whose};
use super::{Advice, Command, Console, Exit, Format, Program, Run};
use crate::provision::{self, SpecFile};
use crate::recipe::Spec;

/// The companion's program.
pub static PROGRAM: Program = Program {
    name: "gangplank-provision",
    about: "Turns short specs into training jobs and model servers",
    all: &[
        Command::of::<init::InitArgs>(),
        Command::of::<check::CheckArgs>(),
        Command::of::<render::RenderArgs>(),
        Command::of::<plan::PlanArgs>(),
        Command::of::<apply::ApplyArgs>(),
        Command::of::<status::StatusArgs>(),
        Command::of::<logs::LogsArgs>(),
        Command::of::<delete::DeleteArgs>(),
        Command::of::<run::RunArgs>(),
        Command::of::<schema::SchemaArgs>(),
        Command::of::<CompletionArgs<Companion>>(),
    ],
};

/// Those whom the companion's completion is for.
#[derive(Debug)]
struct Companion;

impl Whose for Companion {
    fn program() -> &'static Program {
        &PROGRAM
    }
}

/// Names of its commands, for tests and documents.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROGRAM.all.iter().map(|command| command.name)
}

/// The objects of the wanted specs in files, in the order in which they are to be created; what is left open is said on stderr.
fn objects(
    files: &[SpecFile],
    form: Option<&str>,
    console: Console,
    quiet: bool,
    wanted: impl Fn(&Spec) -> bool,
) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in files {
        for spec in file.specs.iter().filter(|spec| wanted(spec)) {
            let rendered = spec.render(form).map_err(|error| error.in_file(file.file.as_str()))?;
            objects.extend(rendered.objects);
            for note in rendered.notes.iter().filter(|_| !quiet) {
                console.talk(&format!("note: {} {}: {note}", spec.kind.name, spec.named.name));
            }
        }
    }
    Ok(objects)
}

/// The specs of files that were named.
fn specs(files: &[PathBuf]) -> anyhow::Result<Vec<SpecFile>> {
    provision::read(files).map_err(|error| match error {
        provision::FilesError::Spec(error) => error.into(),
        provision::FilesError::Unreadable { file, source } => {
            let hint = "give the path of a spec, `-` for stdin, or begin with `gangplank-provision init`";
            Advice::new(format!("cannot read {file}: {source}"), hint).into()
        }
    })
}
