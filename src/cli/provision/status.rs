//! `gangplank-provision status FILE...`: how far what the specs say is, in the words of whoever holds it up.

use clap::Args;
use serde::Serialize;

use super::apply::look;
use super::target::{Target, block_on};
use super::{Console, Exit, Run};
use crate::cli::console::columns;
use crate::provision::{State, name};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    target: Target,
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
        let objects = self.target.objects(console, true)?;
        let rows = block_on(async {
            let mut cluster = self.target.cluster().await?;
            let mut rows = Vec::with_capacity(objects.len());
            for object in &objects {
                let state = look(&mut cluster, object).await?;
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                rows.push(Row { kind, namespace: cluster.namespace(object).to_owned(), name: name(object).to_owned(), state });
            }
            Ok(rows)
        })?;
        console.data(&rows, |rows| table(rows))?;
        Ok(Exit::Ok)
    }
}

fn table(rows: &[Row]) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "PHASE", "STATE"].map(String::from);
    let row = |row: &Row| {
        let phase = format!("{:?}", row.state.phase).to_lowercase();
        [row.kind.clone(), row.namespace.clone(), row.name.clone(), phase, row.state.text.clone()]
    };
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(row)).collect();
    columns(&lines).join("\n")
}
