//! `gangplank queue`: asks a running server which gangs wait, in which order, and for what.

use clap::Args;
use serde_json::Value;

use super::http::Client;
use super::{Console, Exit, Run};

/// Arguments of `queue`.
#[derive(Args, Debug)]
pub(super) struct QueueArgs {
    /// Only gangs of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// The server, as HOST:PORT or http://HOST:PORT
    #[arg(long, env = "GANGPLANK_SERVER", default_value = super::SERVER_DEFAULT)]
    server: String,
}

impl Run for QueueArgs {
    const NAME: &'static str = "queue";
    const ABOUT: &'static str = "Show which gangs of a running cluster wait, in which order and for what";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let mut view = super::view(&Client::new(&self.server).get("/api/v1/gangs")?)?;
        if let (Some(namespace), Some(gangs)) = (&self.namespace, view["gangs"].as_array_mut()) {
            gangs.retain(|gang| gang["gang"].as_str().and_then(|name| name.split_once('/')).is_some_and(|(of, _)| of == namespace));
        }
        console.data(&view, table)?;
        Ok(Exit::Ok)
    }
}

fn table(view: &Value) -> String {
    let gangs: Vec<&Value> = view["gangs"].as_array().into_iter().flatten().collect();
    if gangs.is_empty() {
        return "no gang waits".into();
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut rows = vec![["GANG", "PHASE", "PRIORITY", "MEMBERS", "REASON"].map(String::from)];
    for gang in &gangs {
        let members = gang["members"].as_array().map_or(0, Vec::len);
        let size = gang["size"].as_u64().map_or_else(|| "?".into(), |size| size.to_string());
        let reason = gang["refusal"]["reason"].as_str().unwrap_or("-").to_owned();
        rows.push([text(&gang["gang"]), text(&gang["phase"]), gang["priority"].to_string(), format!("{members}/{size}"), reason]);
    }
    let widths: Vec<usize> = (0..5).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = Vec::new();
    for (row, gang) in rows.iter().zip(std::iter::once(None).chain(gangs.iter().map(Some))) {
        lines.push(line(row));
        if let Some(refusal) = gang.map(|gang| &gang["refusal"]).filter(|refusal| refusal.is_object()) {
            lines.push(format!("    needs {}; {}", text(&refusal["needed"]), text(&refusal["there"])));
            lines.push(format!("    what would change it: {}", text(&refusal["remedy"])));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_a_gang_with_what_it_lacks() {
        let view = json!({"gangs": [
            {"gang": "ml/train", "phase": "queued", "priority": 10, "size": 16, "members": vec![Value::Null; 16], "refusal":
                {"reason": "group-does-not-fit", "needed": "16 members", "there": "15 of 16 fit", "remedy": "free room"}},
            {"gang": "ml/tune", "phase": "collecting", "priority": 0, "members": [Value::Null]},
        ]});
        let expected = "\
GANG      PHASE       PRIORITY  MEMBERS  REASON
ml/train  queued      10        16/16    group-does-not-fit
    needs 16 members; 15 of 16 fit
    what would change it: free room
ml/tune   collecting  0         1/?      -";
        assert_eq!(table(&view), expected);
        assert_eq!(table(&json!({"gangs": []})), "no gang waits");
    }
}
