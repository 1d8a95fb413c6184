//! `gangplank defrag --open BLOCK`: which moves of preemptible work would open a block, what they cost, and what cannot move. It asks a
//! running server, or plans on manifests; [`execute`] carries the plan out.

mod execute;

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::console::columns;
use super::http::Client;
use super::simulate::{read, simulate};
use super::{Advice, Console, Exit, Run, policy};
use crate::preempt::Wanted;
use crate::preempt::rules::PRIORITY_USER_MAX;
use crate::wire::api::DefragView;

/// Arguments of `defrag`.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["dry_run", "execute"])))]
pub(super) struct DefragArgs {
    /// What to open: `node` or `node=NAME` (a whole box), a level of the fabric (`rack`, `rack=NAME`), or a TPU slice (`4x4x4`)
    #[arg(long, value_name = "BLOCK")]
    open: String,
    /// So many whole nodes, all in one domain of that level; without it all of the domain, or one node
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// Only nodes with devices of this resource
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Only work of a lower priority moves: a number or a `PriorityClass`; without it, all that users can ask for below 1000000000
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,
    /// Plan, and move nothing
    #[arg(long)]
    dry_run: bool,
    /// Carry the plan out, one move after the other, with your own rights; the block's nodes carry the taint `gangplank.dev/defrag`
    /// meanwhile
    #[arg(long, conflicts_with = "cluster")]
    execute: bool,
    /// Leave the taint on the nodes of the block when it is open, for whoever tolerates it
    #[arg(long, requires = "execute")]
    keep_closed: bool,
    /// How long a move may take, until the work runs elsewhere; with --execute
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    patience_seconds: u64,
    /// Which cluster to change; without it $KUBECONFIG, ~/.kube/config, or the pod's service account; with --execute
    #[arg(long, value_name = "FILE", requires = "execute")]
    kubeconfig: Option<PathBuf>,
    /// Plan on what `kubectl get nodes,pods,... -o yaml` prints, not on a running server; `-` reads stdin
    #[arg(long, num_args = 1.., value_name = "FILE")]
    cluster: Vec<PathBuf>,
    /// Manifests that shall run there before; with --cluster
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "cluster")]
    workloads: Vec<PathBuf>,
    /// Policy profiles: files, folders, or names of built-in ones; with --cluster
    #[arg(long, visible_alias = "policy", value_name = "FILE|FOLDER|NAME", requires = "cluster")]
    profile: Vec<PathBuf>,
    /// The server, as HOST:PORT or http://HOST:PORT
    #[arg(long, env = "GANGPLANK_SERVER", default_value = super::SERVER_DEFAULT)]
    server: String,
}

impl Run for DefragArgs {
    const NAME: &'static str = "defrag";
    const ABOUT: &'static str = "Open a whole box, a rack or a TPU slice by the cheapest moves";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let wanted = Wanted::of(&self.open, self.nodes, self.resource.as_deref());
        let wanted = wanted.map_err(|problem| Advice::new(problem, "see `gangplank defrag --help`"))?;
        if self.execute {
            return execute::execute(&self, console);
        }
        let view = if self.cluster.is_empty() { self.ask(&[])? } else { self.offline(console, wanted)? };
        console.data(&view, table)?;
        let opens = view["plan"]["movesOnly"].as_bool().unwrap_or(false);
        Ok(if opens { Exit::Ok } else { Exit::DoesNotFit })
    }
}

impl DefragArgs {
    /// What the server answers; for these nodes alone, if any are named.
    fn ask(&self, on: &[String]) -> anyhow::Result<Value> {
        let mut path = format!("/api/v1/defrag?open={}", escaped(&self.open));
        let nodes = self.nodes.map(|nodes| nodes.to_string());
        let on = (!on.is_empty()).then(|| on.join(","));
        for (name, value) in [("nodes", &nodes), ("resource", &self.resource), ("priority", &self.priority), ("on", &on)] {
            if let Some(value) = value {
                path = format!("{path}&{name}={}", escaped(value));
            }
        }
        super::view(&Client::new(&self.server).get(&path)?)
    }

    /// As of the latest time that the manifests mention: nobody's work is older than that.
    fn offline(&self, console: Console, wanted: Wanted) -> anyhow::Result<Value> {
        let simulated = simulate(read(&self.cluster)?, read(&self.workloads)?, policy::load(&self.profile)?, 0)?;
        for note in &simulated.notes {
            console.talk(&format!("note: {note}"));
        }
        let engine = simulated.engine();
        let unknown = |text: &str| Advice::new(format!("no PriorityClass {text}"), "give a number, or add the class to --cluster");
        let priority = match &self.priority {
            Some(text) => engine.priority_of(text).ok_or_else(|| unknown(text))?,
            None => PRIORITY_USER_MAX,
        };
        Ok(serde_json::to_value(DefragView::from(engine.survey(simulated.latest(), wanted, priority).plan()))?)
    }
}

/// As a part of a query. Names of Kubernetes need little of it.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn list(value: &Value) -> String {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// Thousandths of accelerators.
fn accelerators(milli: &Value) -> String {
    (milli.as_f64().unwrap_or(0.0) / 1000.0).to_string()
}

fn table(view: &Value) -> String {
    let mut lines = vec![format!("wanted  {}", text(&view["wanted"]))];
    let (plan, refusal) = (&view["plan"], &view["refusal"]);
    if refusal.is_object() {
        for (name, field) in [("reason", "text"), ("there ", "there"), ("remedy", "remedy")] {
            lines.push(format!("{name}  {}", text(&refusal[field])));
        }
    } else {
        lines.push(format!("opens   {}: {}", text(&plan["block"]), list(&plan["nodes"])));
        lines.extend(moves(plan));
    }
    for stays in view["stays"].as_array().into_iter().flatten().take(STAYS_SHOWN) {
        lines.push(format!("stays   {} on {}: {}", text(&stays["who"]), list(&stays["nodes"]), text(&stays["why"])));
    }
    let shown = view["stays"].as_array().map_or(0, Vec::len);
    let more = shown.saturating_sub(STAYS_SHOWN) as u64 + view["staysLeftOut"].as_u64().unwrap_or(0);
    if more > 0 {
        lines.push(format!("stays   {more} more"));
    }
    lines.join("\n")
}

/// How much of what stays a table shows.
const STAYS_SHOWN: usize = 8;

fn moves(plan: &Value) -> Vec<String> {
    let moves: Vec<&Value> = plan["moves"].as_array().into_iter().flatten().collect();
    let awaited = list(&plan["awaited"]);
    let mut lines = Vec::new();
    if !awaited.is_empty() {
        lines.push(format!("waits   for what is going already: {awaited}"));
    }
    if moves.is_empty() {
        lines.push("costs   nothing: nobody has to move".into());
        return lines;
    }
    let only = plan["movesOnly"] == true;
    lines.push(format!(
        "costs   {} accelerator-seconds of work since its last checkpoints; {} pods, {} gangs, {} accelerators",
        plan["lostSeconds"],
        plan["pods"],
        plan["gangs"],
        accelerators(&plan["acceleratorsMilli"])
    ));
    lines.push(
        match (only, plan["proven"] == true) {
            (true, true) => "proven  no other set of moves costs less",
            (true, false) => "proven  no: the best that was found",
            (false, true) => "proven  no set of moves opens it, and no other set of evictions costs less",
            (false, false) => "proven  no: no set of moves was found, and this is the cheapest set of evictions that was",
        }
        .into(),
    );
    let mut rows = vec![["WHO", "PRIORITY", "ACCELERATORS", "LOST SECONDS", "FROM", "TO"].map(String::from)];
    for going in moves {
        let to = if going["to"].is_array() { list(&going["to"]) } else { "nowhere: evicted, and waits".into() };
        let milli = accelerators(&going["acceleratorsMilli"]);
        rows.push([text(&going["who"]), going["priority"].to_string(), milli, going["lostSeconds"].to_string(), list(&going["from"]), to]);
    }
    lines.extend(columns(&rows));
    lines
}
