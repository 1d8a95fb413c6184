//! Figures of runs, and the table of their medians.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, fs};

use anyhow::Result;
use kube::Client;

/// What one run showed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// From the start to each pod's Binding, ascending.
    pub(super) took: Vec<Duration>,
    /// From each pod's creation to its Binding, ascending.
    pub(super) from_creation: Vec<Duration>,
    /// How long the test's own burst took.
    pub(super) burst: Option<Duration>,
    /// From the start to the last Binding.
    pub(super) writes: Requests,
    /// What each program spent of the processors in that time, by name.
    pub(super) cpu_s: BTreeMap<String, f64>,
    pub(super) pods: usize,
}

impl Seen {
    fn last_s(&self) -> f64 {
        self.took.last().map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn median_s(&self) -> f64 {
        self.took.get(self.took.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn waited_s(&self) -> f64 {
        self.from_creation.get(self.from_creation.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// What the control plane and we spent a pod: unlike seconds, it does not depend on what else the machine does.
    fn cpu_ms_a_pod(&self) -> f64 {
        let others = |name: &str| name.starts_with("it-") || name == "kwok";
        1000.0 * self.cpu_s.iter().filter(|(name, _)| !others(name)).map(|(_, cpu_s)| cpu_s).sum::<f64>() / self.pods as f64
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

/// Seconds of processor time that each program which this test started has used so far, by its name; our own beside them.
pub(super) fn cpu_used_s() -> BTreeMap<String, f64> {
    let processes: BTreeMap<u32, (u32, String, f64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let fields: Vec<i64> = rest.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
            // One binary is all of the control plane's components: its first argument says which.
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let mut words = command.split('\0');
            let program = words.next().and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty());
            let component = if program == Some("control-plane") { words.next() } else { program };
            // proc_pid_stat(5): ppid is the 4th field, utime and stime are the 14th and 15th, in hundredths of a second.
            let (parent, ticks) = (fields.first()?, fields.get(10)? + fields.get(11)?);
            Some((pid, (u32::try_from(*parent).ok()?, component.unwrap_or(name).to_owned(), ticks as f64 / 100.0)))
        })
        .collect();
    let ours =
        |pid: u32| std::iter::successors(Some(pid), |pid| processes.get(pid).map(|process| process.0)).any(|pid| pid == std::process::id());
    let mut used = BTreeMap::new();
    for (_, (_, name, cpu_s)) in processes.iter().filter(|(pid, _)| ours(**pid)) {
        *used.entry(name.clone()).or_default() += cpu_s;
    }
    used
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
        let spent: Vec<String> = seen.cpu_s.iter().map(|(name, cpu_s)| format!("{name} {:.2}", 1000.0 * cpu_s / pods)).collect();
        format!(
            "{arm}: last bound after {:.2} s, half of them after {:.2} s, {:.0} pods/s; burst {:.2} s; a pod: {}; CPU ms a pod: {}",
            seen.last_s(),
            seen.median_s(),
            pods / seen.last_s(),
            seen.burst.map_or(0.0, |burst| burst.as_secs_f64()),
            each.join(", "),
            spent.join(", ")
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
        writeln!(
            f,
            "| arm | runs | last bound s | half bound s | pods/s | ratio to the first arm | half bound, from creation s | writes a pod | CPU ms a pod |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        let of = |runs: &[Seen], pick: &dyn Fn(&Seen) -> f64| median(runs.iter().map(pick).collect());
        let first = self.arms.first().map_or(f64::NAN, |(_, runs)| of(runs, &Seen::last_s));
        for (arm, runs) in &self.arms {
            let last = of(runs, &Seen::last_s);
            writeln!(
                f,
                "| {arm} | {} | {last:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
                runs.len(),
                of(runs, &Seen::median_s),
                of(runs, &|seen| seen.pods as f64 / seen.last_s()),
                first / last,
                of(runs, &Seen::waited_s),
                of(runs, &|seen| seen.writes.writes() / seen.pods as f64),
                of(runs, &Seen::cpu_ms_a_pod),
            )?;
        }
        Ok(())
    }
}
