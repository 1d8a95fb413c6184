//! `gangplank queue`: asks a running server what each queue has, which gangs wait, in which order, and for what.

use clap::Args;
use serde_json::Value;

use super::console::columns;
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
    const ABOUT: &'static str = "Show what the queues of a running cluster have, and which gangs wait, in which order and for what";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let mut client = Client::new(&self.server);
        let mut view = super::view(&client.get("/api/v1/gangs")?)?;
        view["queues"] = super::view(&client.get("/api/v1/queues")?)?["queues"].take();
        if let (Some(namespace), Some(gangs)) = (&self.namespace, view["gangs"].as_array_mut()) {
            gangs.retain(|gang| gang["gang"].as_str().and_then(|name| name.split_once('/')).is_some_and(|(of, _)| of == namespace));
        }
        console.data(&view, table)?;
        Ok(Exit::Ok)
    }
}

fn table(view: &Value) -> String {
    let queues = queues(view);
    if queues.is_empty() { gangs(view) } else { format!("{queues}\n\n{}", gangs(view)) }
}

/// A line for each class of each queue.
fn queues(view: &Value) -> String {
    let mut rows = vec![["QUEUE", "CLASS", "IN USE", "BORROWED", "GUARANTEED", "MAXIMUM", "SHARE", "WAITING"].map(String::from)];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let devices = |milli: &Value| milli.as_u64().map_or_else(|| "-".into(), |milli| (milli as f64 / 1000.0).to_string());
    let amount = |amount: &Value| match (amount["devices"].as_u64(), amount["boxes"].as_u64()) {
        (Some(devices), _) => devices.to_string(),
        (None, Some(boxes)) => format!("{boxes} boxes"),
        (None, None) => "-".into(),
    };
    let percent = |permille: &Value| permille.as_u64().unwrap_or(0) as f64 / 10.0;
    for queue in view["queues"].as_array().into_iter().flatten() {
        let share = format!("{}% ({}%)", percent(&queue["sharePermille"]), percent(&queue["weightPermille"]));
        let waiting = queue["waiting"].to_string();
        let classes = queue["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (at, class) in classes.iter().chain(classes.is_empty().then_some(&Value::Null)).enumerate() {
            let first = |text: &String| if at == 0 { text.clone() } else { String::new() };
            rows.push([
                first(&text(&queue["queue"])),
                text(&class["class"]),
                devices(&class["inUseMilli"]),
                devices(&class["borrowedMilli"]),
                amount(&class["guaranteed"]),
                amount(&class["maximum"]),
                first(&share),
                first(&waiting),
            ]);
        }
    }
    if rows.len() == 1 { String::new() } else { columns(&rows).join("\n") }
}

fn gangs(view: &Value) -> String {
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
    let mut lines: Vec<String> = Vec::new();
    for (row, gang) in columns(&rows).into_iter().zip(std::iter::once(None).chain(gangs.iter().map(Some))) {
        lines.push(row);
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

    #[test]
    fn a_line_for_each_class_of_each_queue_with_its_share_and_that_of_its_weight() {
        let view = json!({"gangs": [], "queues": [
            {"queue": "org", "waiting": 3, "sharePermille": 750, "weightPermille": 500, "classes": [
                {"class": "amd-gpu", "inUseMilli": 500, "borrowedMilli": 500},
                {"class": "nvidia-gpu", "guaranteed": {"boxes": 4}, "maximum": {"devices": 64}, "inUseMilli": 40_000, "borrowedMilli": 8000}]},
            {"queue": "default", "waiting": 0, "sharePermille": 0, "weightPermille": 500, "classes": []},
        ]});
        let expected = "\
QUEUE    CLASS       IN USE  BORROWED  GUARANTEED  MAXIMUM  SHARE      WAITING
org      amd-gpu     0.5     0.5       -           -        75% (50%)  3
         nvidia-gpu  40      8         4 boxes     64
default  -           -       -         -           -        0% (50%)   0

no gang waits";
        assert_eq!(table(&view), expected);
    }
}
