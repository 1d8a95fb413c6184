//! `gangplank-provision logs FILE...`: what all workers say, as one text in the order of time, each line with its rank.

use std::cmp::Ordering;

use anyhow::Context;
use clap::Args;
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde::Serialize;
use serde_json::Value;

use super::target::{Target, advised, block_on};
use super::{Advice, Console, Exit, Format, Run};

/// Arguments of `logs`.
#[derive(Args, Debug)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    target: Target,
    /// Stay, and show what comes
    #[arg(long, short)]
    follow: bool,
    /// So many of the last lines of each worker
    #[arg(long)]
    tail: Option<i64>,
}

/// A line of a worker.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    /// Its rank, or the end of its name.
    worker: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    time: String,
    text: String,
}

/// A pod that says something.
struct Speaker {
    worker: String,
    namespace: String,
    pod: String,
    container: String,
}

impl Run for LogsArgs {
    const NAME: &'static str = "logs";
    const ABOUT: &'static str = "Show what all workers say, merged by time, each line with its rank";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let files = self.target.read()?;
        block_on(async {
            let mut cluster = self.target.cluster().await?;
            let objects = self.target.there(&files, &mut cluster, console).await?;
            let mut speakers: Vec<Speaker> = Vec::new();
            for object in objects.iter().chain(&self.target.elsewhere(&files)) {
                let Some(now) = cluster.get(object).await.map_err(advised)? else { continue };
                for speaker in cluster.pods(&now).await.map_err(advised)?.iter().filter_map(speaker) {
                    // A TrainJob and the JobSet that Trainer makes of it have the same pods.
                    if !speakers.iter().any(|known| (&known.namespace, &known.pod) == (&speaker.namespace, &speaker.pod)) {
                        speakers.push(speaker);
                    }
                }
            }
            if speakers.is_empty() {
                return Err(Advice::new("no worker has begun", "gangplank-provision status says what they wait for").into());
            }
            speakers.sort_by(|a, b| by_rank(&a.worker, &b.worker));
            let client = cluster.client();
            if self.follow { self.follow(&client, &speakers, console).await } else { self.all(&client, &speakers, console).await }
        })
    }
}

impl LogsArgs {
    fn parameters(&self, speaker: &Speaker) -> LogParams {
        LogParams {
            container: Some(speaker.container.clone()),
            timestamps: true,
            tail_lines: self.tail,
            follow: self.follow,
            ..LogParams::default()
        }
    }

    async fn all(&self, client: &kube::Client, speakers: &[Speaker], console: Console) -> anyhow::Result<Exit> {
        let ask = |speaker: &Speaker| {
            let (api, pod, worker) =
                (Api::<Pod>::namespaced(client.clone(), &speaker.namespace), speaker.pod.clone(), speaker.worker.clone());
            let parameters = self.parameters(speaker);
            async move { (worker, api.logs(&pod, &parameters).await) }
        };
        let asked: Vec<_> = speakers.iter().map(ask).collect();
        let told: Vec<_> = futures::stream::iter(asked).buffered(AT_A_TIME).collect().await;
        let mut texts = Vec::new();
        for (worker, text) in told {
            match text {
                Ok(text) => texts.push((worker, text)),
                Err(error) => console.talk(&format!("[{worker}] cannot be read: {error}")),
            }
        }
        let lines = merged(&texts);
        let width = width(speakers);
        console.data(&lines, |lines| lines.iter().map(|line| shown(line, width, console.color) + "\n").collect())?;
        Ok(if texts.is_empty() {
            return Err(Advice::new("no worker's log can be read", "gangplank-provision status says how far they are").into());
        } else {
            Exit::Ok
        })
    }

    /// Lines as they come: the order between workers is that of their arrival.
    async fn follow(&self, client: &kube::Client, speakers: &[Speaker], console: Console) -> anyhow::Result<Exit> {
        let mut streams = Vec::new();
        for speaker in speakers {
            let api: Api<Pod> = Api::namespaced(client.clone(), &speaker.namespace);
            let worker = speaker.worker.clone();
            match api.log_stream(&speaker.pod, &self.parameters(speaker)).await {
                Ok(stream) => streams.push(stream.lines().map_ok(move |text| line(&worker, &text)).boxed()),
                Err(error) => console.talk(&format!("[{worker}] cannot be read: {error}")),
            }
        }
        let width = width(speakers);
        let mut all = futures::stream::select_all(streams);
        while let Some(line) = all.next().await {
            let line = line.context("a log ended")?;
            match console.format {
                Format::Table => console.raw(&(shown(&line, width, console.color) + "\n"))?,
                // One object a line, for a stream has no end to close a list at.
                Format::Json | Format::Yaml => console.raw(&(serde_json::to_string(&line)? + "\n"))?,
            }
        }
        Ok(Exit::Ok)
    }
}

fn speaker(pod: &Value) -> Option<Speaker> {
    let metadata = &pod["metadata"];
    let phase = pod["status"]["phase"].as_str()?;
    if phase == "Pending" {
        return None;
    }
    let name = metadata["name"].as_str()?;
    let rank = metadata["labels"]["batch.kubernetes.io/job-completion-index"].as_str();
    let worker = rank.unwrap_or_else(|| name.rsplit('-').next().unwrap_or(name));
    // Trainer calls it otherwise than the rest: it is the first.
    let container = pod["spec"]["containers"][0]["name"].as_str()?;
    let namespace = metadata["namespace"].as_str()?.to_owned();
    Some(Speaker { worker: worker.to_owned(), namespace, pod: name.to_owned(), container: container.to_owned() })
}

/// 2 before 10.
fn by_rank(a: &str, b: &str) -> Ordering {
    let number = |text: &str| text.parse::<u64>().ok();
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

/// All lines in the order of time; of the same moment, in that of ranks. A line without a time belongs to the one before it.
fn merged(texts: &[(String, String)]) -> Vec<Line> {
    let mut all = Vec::new();
    for (order, (worker, text)) in texts.iter().enumerate() {
        let mut time = String::new();
        for (at, text) in text.lines().enumerate() {
            let line = line(worker, text);
            if !line.time.is_empty() {
                time.clone_from(&line.time);
            }
            all.push(((time.clone(), order, at), line));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.into_iter().map(|(_, line)| line).collect()
}

/// `2026-01-01T00:00:00.123456789Z text`; times of one length are in the order of their letters.
fn line(worker: &str, text: &str) -> Line {
    let (time, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_time = time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[4] == b'-' && time.as_bytes()[10] == b'T';
    let (time, text) = if is_time { (padded(time), rest) } else { (String::new(), text) };
    Line { worker: worker.to_owned(), time, text: text.to_owned() }
}

/// Nanoseconds lose their zeros at the end.
fn padded(time: &str) -> String {
    let (seconds, fraction) = time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    format!("{seconds}.{fraction:0<9}Z")
}

fn width(speakers: &[Speaker]) -> usize {
    speakers.iter().map(|speaker| speaker.worker.len()).max().unwrap_or(0)
}

fn shown(line: &Line, width: usize, color: bool) -> String {
    let label = format!("[{:>width$}]", line.worker);
    if !color {
        return format!("{label} {}", line.text);
    }
    let sum = line.worker.bytes().fold(0_usize, |sum, byte| sum * 10 + usize::from(byte));
    format!("\x1b[{}m{label}\x1b[0m {}", COLORS[sum % COLORS.len()], line.text)
}

const AT_A_TIME: usize = 32;
const COLORS: [u8; 6] = [36, 33, 32, 35, 34, 31];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_workers_stand_in_the_order_of_time() {
        let texts = [
            ("0".to_owned(), "2026-01-01T00:00:00.1Z a\n2026-01-01T00:00:02Z c\n  of c\n".to_owned()),
            ("1".to_owned(), "2026-01-01T00:00:01.000000001Z b\n2026-01-01T00:00:02Z d\n".to_owned()),
        ];
        let lines: Vec<String> = merged(&texts).iter().map(|line| shown(line, 2, false)).collect();
        assert_eq!(lines, ["[ 0] a", "[ 1] b", "[ 0] c", "[ 0]   of c", "[ 1] d"]);
    }

    #[test]
    fn ranks_are_numbers_and_a_text_that_looks_like_a_time_stays() {
        let mut ranks = ["10", "2", "0", "x9"];
        ranks.sort_by(|a, b| by_rank(a, b));
        assert_eq!(ranks, ["x9", "0", "2", "10"]);
        assert_eq!(line("0", "epoch 1").text, "epoch 1");
        assert!(shown(&line("0", "x"), 1, true).starts_with("\x1b["));
    }
}
