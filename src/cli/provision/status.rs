//! `gangplank-provision status FILE...`: how far what the specs say is, in the words of whoever holds it up; of a sweep that
//! names its metric, which trial is the best.

use clap::Args;
use serde::Serialize;

use super::apply::look;
use super::target::{Target, block_on};
use super::trials::{Trial, is_halving, table as table_of_trials, trials};
use super::{Console, Exit, Run};
use crate::cli::console::columns;
use crate::provision::{State, name};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    target: Target,
}

/// An object, or a trial of a sweep.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Object(Row),
    Trial(Trial),
}

/// One object, and how far it is.
#[derive(Serialize)]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    #[serde(flatten)]
    state: State,
}

impl Run for StatusArgs {
    const NAME: &'static str = "status";
    const ABOUT: &'static str = "Show how far what specs say is in a cluster, and what holds it up";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let files = self.target.read()?;
        // Of a sweep that halves the trials are told, and not that most of them have nothing on most rungs.
        let objects = self.target.objects(&files, console, true, |spec| !is_halving(spec))?;
        let rows = block_on(async {
            let mut cluster = self.target.cluster().await?;
            let mut rows = Vec::with_capacity(objects.len());
            for object in &objects {
                let state = look(&mut cluster, object).await?;
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                let row = Row { kind, namespace: cluster.namespace(object).to_owned(), name: name(object).to_owned(), state };
                rows.push(Shown::Object(row));
            }
            for spec in files.iter().flat_map(|file| &file.specs) {
                let Some(sweep) = spec.sweep().filter(|sweep| sweep.metric().is_some()) else { continue };
                rows.extend(trials(&mut cluster, spec, sweep, &[]).await?.into_iter().map(Shown::Trial));
            }
            Ok(rows)
        })?;
        console.data(&rows, |rows| table(rows))?;
        Ok(Exit::Ok)
    }
}

fn table(rows: &[Shown]) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "PHASE", "STATE"].map(String::from);
    let row = |row: &Shown| {
        let Shown::Object(row) = row else { return None };
        let phase = format!("{:?}", row.state.phase).to_lowercase();
        Some([row.kind.clone(), row.namespace.clone(), row.name.clone(), phase, row.state.text.clone()])
    };
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().filter_map(row)).collect();
    let trial = |row: &Shown| if let Shown::Trial(trial) = row { Some(trial.clone()) } else { None };
    let trials: Vec<Trial> = rows.iter().filter_map(trial).collect();
    let tables = [(lines.len() > 1).then(|| columns(&lines).join("\n")), (!trials.is_empty()).then(|| table_of_trials(&trials))];
    tables.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}
