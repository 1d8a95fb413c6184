//! `gangplank-provision delete FILE...`: takes what the specs made out of a cluster, and stays until it is gone. Claims hold
//! data: they stay unless it is said that they go, too.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::target::{Target, advised, block_on, time};
use super::{Console, Exit, Run};
use crate::cli::console::columns;
use crate::provision::{Cluster, name};

/// Arguments of `delete`.
#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    target: Target,
    /// Claims and the data on them, too
    #[arg(long)]
    claims: bool,
    /// How long to stay until everything is gone; exit code 4 after that
    #[arg(long, default_value = "5m", value_parser = time)]
    timeout: Duration,
}

/// One object, and what became of it.
#[derive(Serialize)]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    done: &'static str,
}

impl Run for DeleteArgs {
    const NAME: &'static str = "delete";
    const ABOUT: &'static str = "Take what specs made out of a cluster; claims stay unless --claims is given";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        // Before anybody is asked: what is wrong with a spec is wrong without a cluster.
        let files = self.target.read()?;
        block_on(async {
            let mut cluster = self.target.cluster().await?;
            let mut objects = self.target.there(&files, &mut cluster, console).await?;
            // Last made, first gone.
            objects.reverse();
            let mut rows = Vec::with_capacity(objects.len());
            let mut going = Vec::new();
            for object in &objects {
                let done = if object["kind"] == "PersistentVolumeClaim" && !self.claims {
                    "kept"
                } else if cluster.delete(object).await.map_err(advised)? {
                    going.push(object);
                    "deleted"
                } else {
                    "not there"
                };
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                rows.push(Row { kind, namespace: cluster.namespace(object).to_owned(), name: name(object).to_owned(), done });
            }
            let gone = tokio::time::timeout(self.timeout, gone(&mut cluster, &going)).await;
            console.data(&rows, |rows| table(rows))?;
            if let Ok(outcome) = gone {
                return outcome.map(|()| Exit::Ok);
            }
            console.talk("the time is over; what is left has finalizers or pods that do not end: gangplank-provision status shows it");
            Ok(Exit::Timeout)
        })
    }
}

/// Returns when the objects and their pods are gone.
async fn gone(cluster: &mut Cluster, objects: &[&Value]) -> anyhow::Result<()> {
    for object in objects {
        while cluster.get(object).await.map_err(advised)?.is_some() || !cluster.pods(object).await.map_err(advised)?.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "DONE"].map(String::from);
    let row = |row: &Row| [row.kind.clone(), row.namespace.clone(), row.name.clone(), row.done.to_owned()];
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(rows.iter().map(row)).collect();
    columns(&lines).join("\n")
}

const LOOK_AGAIN: Duration = Duration::from_millis(300);
