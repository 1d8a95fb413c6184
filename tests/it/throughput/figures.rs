//! Figures of runs, and the table of their medians.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use kube::Client;

/// What one run showed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// From the start to each pod's Binding, ascending.
    pub(super) took: Vec<Duration>,
    /// How long the test's own burst took.
    pub(super) burst: Option<Duration>,
    pub(super) writes: Requests,
    pub(super) pods: usize,
}

impl Seen {
    fn last_s(&self) -> f64 {
        self.took.last().map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn median_s(&self) -> f64 {
        self.took.get(self.took.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// Requests that the API server has answered, by verb and resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(BTreeMap<String, f64>);

impl Requests {
    pub(super) fn since(&self, before: &Self) -> Self {
        let more = |(what, count): (&String, &f64)| (what.clone(), count - before.0.get(what).copied().unwrap_or(0.0));
        Self(self.0.iter().map(more).filter(|(_, count)| *count > 0.0).collect())
    }

    fn writes(&self) -> f64 {
        self.0.iter().filter(|(what, _)| !what.starts_with("GET ")).map(|(_, count)| count).sum()
    }
}

/// Reads and writes of pods and Events, from the API server's own metrics.
pub(super) async fn api_requests(client: &Client) -> Result<Requests> {
    let text = client.request_text(axum::http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            let from = line.find(&format!(",{name}=\"")).or_else(|| line.find(&format!("{{{name}=\"")))? + name.len() + 3;
            line[from..].split('"').next()
        };
        let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else { continue };
        if !matches!(resource, "pods" | "events") || matches!(verb, "WATCH" | "LIST" | "DELETECOLLECTION") {
            continue;
        }
        if (verb, resource, label("subresource").unwrap_or_default()) == ("POST", "pods", "") {
            continue; // The test's own.
        }
        let subresource = label("subresource").filter(|name| !name.is_empty()).map(|name| format!("/{name}")).unwrap_or_default();
        let code = label("code").filter(|code| !code.starts_with('2')).map(|code| format!(" {code}")).unwrap_or_default();
        let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        *counts.entry(format!("{verb} {resource}{subresource}{code}")).or_default() += count;
    }
    Ok(Requests(counts))
}

/// Runs by arm, in the order in which arms were first seen.
pub(super) struct Table {
    title: String,
    arms: Vec<(&'static str, Vec<Seen>)>,
}

impl Table {
    pub(super) fn new(title: &str, pods: usize, nodes: u32) -> Self {
        Self { title: format!("{title}: {pods} pods over {nodes} nodes"), arms: Vec::new() }
    }

    pub(super) fn add(&mut self, arm: &'static str, seen: Seen) {
        match self.arms.iter_mut().find(|(name, _)| *name == arm) {
            Some((_, runs)) => runs.push(seen),
            None => self.arms.push((arm, vec![seen])),
        }
    }

    /// One run in one line.
    pub(super) fn line(arm: &str, seen: &Seen) -> String {
        let pods = seen.pods as f64;
        let each: Vec<String> = seen.writes.0.iter().map(|(what, count)| format!("{what} {:.2}", count / pods)).collect();
        format!(
            "{arm}: last bound after {:.2} s, half of them after {:.2} s, {:.0} pods/s; burst {:.2} s; a pod: {}",
            seen.last_s(),
            seen.median_s(),
            pods / seen.last_s(),
            seen.burst.map_or(0.0, |burst| burst.as_secs_f64()),
            each.join(", ")
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; medians", self.title)?;
        writeln!(f, "| arm | runs | last bound s | half bound s | pods/s | ratio to the first arm | writes a pod |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        let of = |runs: &[Seen], pick: &dyn Fn(&Seen) -> f64| median(runs.iter().map(pick).collect());
        let first = self.arms.first().map_or(f64::NAN, |(_, runs)| of(runs, &Seen::last_s));
        for (arm, runs) in &self.arms {
            let last = of(runs, &Seen::last_s);
            writeln!(
                f,
                "| {arm} | {} | {last:.2} | {:.2} | {:.0} | {:.2} | {:.2} |",
                runs.len(),
                of(runs, &Seen::median_s),
                of(runs, &|seen| seen.pods as f64 / seen.last_s()),
                first / last,
                of(runs, &|seen| seen.writes.writes() / seen.pods as f64),
            )?;
        }
        Ok(())
    }
}
