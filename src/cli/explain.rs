//! `gangplank explain POD|GANG`: asks a running server why its last decision on a pod came out as it did, or how far a gang is.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::http::Client;
use super::{Advice, Console, Exit, Run};
use crate::model::duration;

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The pod or the gang, as NAMESPACE/NAME or NAME
    #[arg(value_name = "POD|GANG")]
    pod: String,
    /// Its namespace, where the name does not say it
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The server, as HOST:PORT or http://HOST:PORT
    #[arg(long, env = "GANGPLANK_SERVER", default_value = super::SERVER_DEFAULT)]
    server: String,
}

impl Run for ExplainArgs {
    const NAME: &'static str = "explain";
    const ABOUT: &'static str = "Ask a running server why a pod or a gang was placed as it was, or waits";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let (namespace, name) = self.pod.split_once('/').unwrap_or((&self.namespace, &self.pod));
        let path = format!("/api/v1/pods/{}/{}", super::segment(namespace), super::segment(name));
        let mut client = Client::new(&self.server);
        let reply = client.get(&path)?;
        if reply.status == 404 {
            let gang = client.get(&format!("/api/v1/gangs/{}/{}", super::segment(namespace), super::segment(name)))?;
            if gang.status == 200 {
                let mut view = super::view(&gang)?;
                view["starts"] = starts(&mut client, namespace, name)?;
                console.data(&view, gangs)?;
                return Ok(Exit::Ok);
            }
            let problem = format!("{} has not seen a pod or a gang {namespace}/{name} that asks for accelerators", self.server);
            return Err(Advice::new(
                problem,
                "look with `kubectl get pod`, and whether its namespace is labelled gangplank.dev/managed=true",
            )
            .into());
        }
        let mut view = super::view(&reply)?;
        view["starts"] = starts(&mut client, namespace, name)?;
        console.data(&view, table)?;
        Ok(Exit::Ok)
    }
}

/// When it could start, if it waits for room; nothing from a server that is older than the question.
pub(super) fn starts(client: &mut Client, namespace: &str, name: &str) -> anyhow::Result<Value> {
    let reply = client.get(&format!("/api/v1/starts/{}/{}", super::segment(namespace), super::segment(name)))?;
    Ok(if reply.status == 200 { super::view(&reply)?["starts"].take() } else { Value::Array(Vec::new()) })
}

/// The same for people.
pub(super) fn start_line(start: &Value) -> String {
    let time = |value: &Value| duration::text(Duration::from_secs(value.as_u64().unwrap_or_default()));
    let basis = start["basis"].as_str().unwrap_or_default();
    match start["when"].as_str() {
        Some("now") => "now".into(),
        Some("after-evictions") => basis.into(),
        Some("expected") => format!("expected in {} to {}, by {basis}", time(&start["fromSeconds"]), time(&start["untilSeconds"])),
        Some("never") => "not as things are: it does not fit, even if all that runs ends".into(),
        _ => format!("not predictable: {basis}"),
    }
}

fn start_lines(view: &Value) -> impl Iterator<Item = String> {
    view["starts"].as_array().into_iter().flatten().map(|start| format!("start    {}", start_line(start)))
}

/// Who holds what it waits for.
fn held(view: &Value) -> impl Iterator<Item = String> {
    view["heldBy"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|line| format!("held by  {line}"))
}

/// What was done so that there are nodes for it.
fn nodes_asked(view: &Value) -> Option<String> {
    view["nodesAsked"].as_str().map(|asked| format!("nodes    {asked}"))
}

/// For whom it made room, why it and no other, what that cost, and when it is expected back.
fn made_room(view: &Value) -> Vec<String> {
    let (room, text) = (&view["madeRoom"], |value: &Value| value.as_str().unwrap_or("-").to_owned());
    if !room.is_object() {
        return Vec::new();
    }
    vec![
        format!("made room for {}: {}", text(&room["preemptor"]), text(&room["why"])),
        format!("cost     {} accelerator-seconds of its work", room["lostSeconds"]),
        format!("back     {}", text(&room["back"])),
    ]
}

/// A paragraph a gang: how far it is, and where its members are.
fn gangs(view: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| if value.is_null() { "-".into() } else { value.to_string() }, String::from);
    let mut lines = Vec::new();
    for gang in view["gangs"].as_array().into_iter().flatten() {
        lines.push(format!("gang     {} ({})", text(&gang["gang"]), text(&gang["kind"])));
        lines.push(format!("phase    {}", text(&gang["phase"])));
        lines.push(format!("members  {} wanted, {} can start", text(&gang["size"]), text(&gang["min"])));
        if gang["domains"].is_string() {
            lines.push(format!("in       {}", text(&gang["domains"])));
        }
        let refusal = &gang["refusal"];
        if refusal.is_object() {
            for (name, field) in [("reason  ", "text"), ("needed  ", "needed"), ("there   ", "there"), ("remedy  ", "remedy")] {
                lines.push(format!("{name} {}", text(&refusal[field])));
            }
        }
        lines.extend(nodes_asked(gang));
        lines.extend(held(gang));
        lines.extend(made_room(gang));
        for member in gang["members"].as_array().into_iter().flatten() {
            lines.push(format!(
                "rank {:<4}{:<8} {} {}",
                text(&member["rank"]),
                text(&member["state"]),
                text(&member["node"]),
                text(&member["pod"])
            ));
        }
    }
    lines.extend(start_lines(view));
    lines.join("\n")
}

fn table(view: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| if value.is_null() { "-".into() } else { value.to_string() }, String::from);
    let trace = &view["trace"];
    let mut lines = vec![
        format!("pod      {}", text(&view["pod"])),
        format!("state    {}", text(&view["state"])),
        format!("node     {}", text(&view["node"])),
    ];
    if trace.is_object() {
        lines.push(format!("decided  {} of {} nodes passed {}", trace["passed"], trace["offered"], text(&trace["verb"])));
        for device in trace["devices"].as_array().into_iter().flatten() {
            let milli = device["milli"].as_u64().filter(|milli| *milli < 1000).map(|milli| format!(" ({milli} milli)")).unwrap_or_default();
            lines.push(format!("device   {} {}{milli}", text(&device["container"]), text(&device["id"])));
        }
        for refused in trace["refused"].as_array().into_iter().flatten() {
            lines.push(format!("refused  {} nodes: {}", refused["nodes"], text(&refused["reason"])));
        }
        lines.extend(trace["lines"].as_array().into_iter().flatten().map(|line| format!("         {}", text(line))));
        let refusal = &trace["refusal"];
        if refusal.is_object() {
            lines.push(format!("reason   {}", text(&refusal["text"])));
            lines.push(format!("needed   {}", text(&refusal["needed"])));
            lines.push(format!("there    {}", text(&refusal["there"])));
            lines.push(format!("remedy   {}", text(&refusal["remedy"])));
        }
    }
    lines.extend(nodes_asked(view));
    lines.extend(held(view));
    lines.extend(start_lines(view));
    lines.extend(made_room(view));
    if !trace.is_object() && view["state"] != "evicted" {
        lines.push(
            "decided  nothing yet: kube-scheduler has not asked. Its own checks may refuse the pod before; see `kubectl describe pod`"
                .into(),
        );
    }
    lines.join("\n")
}
