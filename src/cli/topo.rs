//! `gangplank topo [NODE]`: asks a running server for a node's devices, and who holds them.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::http::Client;
use super::{Advice, Console, Exit, Run};

/// Arguments of `topo`.
#[derive(Args, Debug)]
pub(super) struct TopoArgs {
    /// The node; without it, every node with accelerators
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// The server, as HOST:PORT or http://HOST:PORT
    #[arg(long, env = "GANGPLANK_SERVER", default_value = super::SERVER_DEFAULT)]
    server: String,
}

impl Run for TopoArgs {
    const NAME: &'static str = "topo";
    const ABOUT: &'static str = "Show the devices of a node of a running cluster, and who holds them";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let mut client = Client::new(&self.server);
        let mut view = super::view(&client.get("/api/v1/nodes")?)?;
        let book = super::view(&client.get("/api/v1/book")?)?;
        if let Some(node) = &self.node {
            let nodes: Vec<Value> =
                view["nodes"].as_array().into_iter().flatten().filter(|entry| entry["name"] == node.as_str()).cloned().collect();
            if nodes.is_empty() {
                let problem = format!("{} has not seen a node {node} with accelerators", self.server);
                return Err(Advice::new(problem, "list those that it has seen with `gangplank topo`").into());
            }
            view = json!({"nodes": nodes});
        }
        console.data(&view, |view| table(view, &book))?;
        Ok(Exit::Ok)
    }
}

fn table(view: &Value, book: &Value) -> String {
    let pods: BTreeMap<&str, &str> = book["holders"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|holder| Some((holder["uid"].as_str()?, holder["pod"].as_str()?)))
        .collect();
    let mut lines = Vec::new();
    for node in view["nodes"].as_array().into_iter().flatten() {
        let state = match (node["ready"].as_bool(), node["unschedulable"].as_bool(), node["quarantine"]["why"].as_str()) {
            (Some(false), _, _) => "  not ready".to_owned(),
            (_, Some(true), _) => "  cordoned".to_owned(),
            (_, _, Some(why)) => format!("  in quarantine after {why}"),
            _ => String::new(),
        };
        for pool in node["pools"].as_array().into_iter().flatten() {
            let name = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            lines.push(format!(
                "{}{state}  {}  {}  {} of {} free",
                name(&node["name"]),
                name(&pool["resource"]),
                name(&pool["product"]),
                pool["free"],
                pool["allocatable"]
            ));
            for device in pool["devices"].as_array().into_iter().flatten() {
                let holders: Vec<String> = device["holders"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|uid| uid.as_str().map_or_else(|| "-".to_owned(), |uid| (*pods.get(uid).unwrap_or(&uid)).to_owned()))
                    .collect();
                let used = match device["usedMilli"].as_u64().unwrap_or(0) {
                    0 if device["healthy"] == false => "unhealthy".to_owned(),
                    0 => "free".to_owned(),
                    1000 => "held".to_owned(),
                    milli => format!("{milli} of 1000 held"),
                };
                lines.push(format!("  {:<8} {used}  {}", name(&device["id"]), holders.join(", ")).trim_end().to_owned());
            }
            if let Some(unnamed) = pool["unnamed"].as_u64().filter(|unnamed| *unnamed > 0) {
                lines.push(format!("  {unnamed} more held by pods whose devices nobody recorded"));
            }
        }
        lines.extend(node["cuts"].as_array().into_iter().flatten().map(cut));
    }
    lines.join("\n")
}

/// `  GPU-6c1b: 3g.40gb at 4; room for 2 x 1g.10gb`
fn cut(cut: &Value) -> String {
    let list = |field: &str| cut[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let (parent, instances, room) = (cut["parent"].as_str().unwrap_or("-"), list("instances"), list("room"));
    let room = if room.is_empty() { String::new() } else { format!("; room for {room}") };
    let impossible = cut["impossible"].as_str().map_or_else(String::new, |why| format!("; reported, but impossible: {why}"));
    format!("  {parent}: {instances}{room}{impossible}")
}
