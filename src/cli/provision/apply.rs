//! `gangplank-provision apply FILE...`: makes the cluster have what the specs say, and with --wait stays until it runs.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use super::target::{Target, advised, block_on, time};
use super::trials::{Trial, drive, is_halving, table as table_of_trials};
use super::{Advice, Console, Exit, Run};
use crate::cli::console::columns;
use crate::provision::{Applied, Cluster, Phase, State, name, state};
use crate::recipe::Spec;

/// Arguments of `apply`.
#[derive(Args, Debug)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    target: Target,
    /// Stay until everything runs, and show how far it is
    #[arg(long)]
    wait: bool,
    /// How long to stay; exit code 4 after that
    #[arg(long, default_value = "30m", value_parser = time)]
    timeout: Duration,
    /// Ask the API server what would become of it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// An object, or a trial of a sweep that was driven.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Object(&'a Row),
    Trial(&'a Trial),
}

/// One object, and what became of it.
#[derive(Serialize)]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    done: &'static str,
    #[serde(flatten)]
    state: Option<State>,
}

impl Run for ApplyArgs {
    const NAME: &'static str = "apply";
    const ABOUT: &'static str = "Apply specs to a cluster, and with --wait stay until they run";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let driven = |spec: &Spec| self.wait && !self.dry_run && is_halving(spec);
        let files = self.target.read()?;
        let objects = self.target.objects(&files, console, false, |spec| !driven(spec))?;
        block_on(async {
            let mut cluster = self.target.cluster().await?;
            let mut rows = Vec::with_capacity(objects.len());
            for object in &objects {
                let applied = cluster.apply(object, self.dry_run).await.map_err(advised)?;
                let done = match (applied, self.dry_run) {
                    (Applied::Created, false) => "created",
                    (Applied::Changed, false) => "changed",
                    (Applied::Created, true) => "would be created",
                    (Applied::Changed, true) => "would be changed",
                    (Applied::Unchanged, _) => "as it was",
                };
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                let namespace = cluster.namespace(object).to_owned();
                rows.push(Row { kind, namespace, name: name(object).to_owned(), done, state: None });
            }
            let mut exit =
                if self.wait && !self.dry_run { self.follow(&mut cluster, &objects, &mut rows, console).await? } else { Exit::Ok };
            let mut trials = Vec::new();
            for spec in files.iter().flat_map(|file| &file.specs).filter(|spec| driven(spec)) {
                exit = self.drive(&mut cluster, spec, &mut trials, console).await?;
            }
            let shown: Vec<Shown<'_>> = rows.iter().map(Shown::Object).chain(trials.iter().map(Shown::Trial)).collect();
            console.data(&shown, |_| tables(&rows, &trials))?;
            if exit == Exit::Ok && !trials.is_empty() && !trials.iter().any(|trial| trial.best) {
                return Err(Advice::new("no trial ended with a metric", "gangplank-provision logs shows what they said").into());
            }
            let failed = rows.iter().filter(|row| row.state.as_ref().is_some_and(|state| state.phase == Phase::Failed)).count();
            if failed > 0 {
                return Err(Advice::new(
                    format!("{failed} of {} objects failed", rows.len()),
                    "gangplank-provision logs shows what they said",
                )
                .into());
            }
            Ok(exit)
        })
    }
}

impl ApplyArgs {
    /// Until nothing more is to be tried, or the time is over.
    async fn drive(&self, cluster: &mut Cluster, spec: &Spec, all: &mut Vec<Trial>, console: Console) -> anyhow::Result<Exit> {
        let mut own = Vec::new();
        let outcome = tokio::time::timeout(self.timeout, drive(cluster, spec, &mut own, console)).await;
        all.append(&mut own);
        if let Ok(done) = outcome {
            return done.map(|()| Exit::Ok);
        }
        console.talk("the time is over; what runs goes on, and gangplank-provision apply --wait goes on from there");
        Ok(Exit::Timeout)
    }

    /// Until everything runs or something failed, or the time is over.
    async fn follow(&self, cluster: &mut Cluster, objects: &[Value], rows: &mut [Row], console: Console) -> anyhow::Result<Exit> {
        let progress = Progress::new(rows, console);
        let round = async {
            loop {
                for (at, (object, row)) in objects.iter().zip(rows.iter_mut()).enumerate() {
                    let now = look(cluster, object).await?;
                    progress.tell(at, row, &now, console);
                    row.state = Some(now);
                }
                let states = || rows.iter().filter_map(|row| row.state.as_ref());
                if states().all(State::is_reached) || states().any(|state| state.phase == Phase::Failed) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let outcome = tokio::time::timeout(self.timeout, round).await;
        progress.end();
        if let Ok(done) = outcome {
            return done.map(|()| Exit::Ok);
        }
        console.talk("the time is over; what was applied stays, and goes on: gangplank-provision status says how far it is");
        Ok(Exit::Timeout)
    }
}

/// How far an object is.
pub(super) async fn look(cluster: &mut Cluster, object: &Value) -> anyhow::Result<State> {
    let Some(now) = cluster.get(object).await.map_err(advised)? else { return Ok(State::missing()) };
    let pods = cluster.pods(&now).await.map_err(advised)?;
    Ok(state(&now, &pods))
}

/// A line an object on a terminal; elsewhere a line whenever something changes.
struct Progress(Option<Vec<ProgressBar>>);

impl Progress {
    fn new(rows: &[Row], console: Console) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let all = MultiProgress::new();
        let template = if console.color { "{spinner:.cyan} {prefix} {wide_msg}" } else { "{spinner} {prefix} {wide_msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bars = rows.iter().map(|row| {
            let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_prefix(format!("{} {}", row.kind, row.name));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self(Some(bars.collect()))
    }

    fn tell(&self, at: usize, row: &Row, now: &State, console: Console) {
        match &self.0 {
            Some(bars) => bars[at].set_message(now.text.clone()),
            None if row.state.as_ref() != Some(now) => console.talk(&format!("{} {}: {}", row.kind, row.name, now.text)),
            None => {}
        }
    }

    fn end(&self) {
        self.0.iter().flatten().for_each(ProgressBar::finish);
    }
}

fn tables(rows: &[Row], trials: &[Trial]) -> String {
    let tables = [(!rows.is_empty()).then(|| table(rows)), (!trials.is_empty()).then(|| table_of_trials(trials))];
    tables.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn table(rows: &[Row]) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "DONE", "STATE"].map(String::from);
    let row = |row: &Row| {
        let state = row.state.as_ref().map(|state| state.text.clone()).unwrap_or_default();
        [row.kind.clone(), row.namespace.clone(), row.name.clone(), row.done.to_owned(), state]
    };
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(row)).collect();
    columns(&lines).join("\n")
}

const LOOK_AGAIN: Duration = Duration::from_millis(500);
