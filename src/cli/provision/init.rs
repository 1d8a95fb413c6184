//! `gangplank-provision init`: a commented spec to begin with, from flags. What it writes is read back before it is given
//! out, so that nobody begins with a mistake.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{Advice, Console, Exit, Run};
use crate::recipe::{self, framework};

/// Arguments of `init`.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// What it is called
    #[arg(default_value = "train")]
    name: String,
    /// How the workers find each other
    #[arg(long, short, default_value = "pytorch", value_parser = PossibleValuesParser::new(framework::ALL.iter().map(|it| it.name)))]
    framework: String,
    /// The image
    #[arg(long)]
    image: Option<String>,
    /// How many workers: 4, or 2..8
    #[arg(long, short, default_value = "1")]
    workers: String,
    /// Accelerators of each: H100:8, gpu:0.5, tpu-v5e:4x4
    #[arg(long, short, default_value = "gpu:1")]
    accelerators: String,
    /// A claim that is only read, and where: training-data:/data
    #[arg(long, value_name = "CLAIM:PATH")]
    dataset: Option<String>,
    /// A claim that is written, and where: results:/output
    #[arg(long, value_name = "CLAIM:PATH")]
    results: Option<String>,
    /// Where to write it; stdout without it. A file that is there is kept
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The program and its arguments, behind --
    #[arg(last = true)]
    command: Vec<String>,
}

impl Run for InitArgs {
    const NAME: &'static str = "init";
    const ABOUT: &'static str = "Write a commented spec of a training job to begin with";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let text = self.text()?;
        // A flag may hold anything: what comes of it is read as if somebody had written it.
        recipe::read(&text).context("the flags make no spec")?;
        let Some(path) = &self.file else {
            console.raw(&text)?;
            return Ok(Exit::Ok);
        };
        let file = path.display();
        let mut created = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
            let hint =
                if path.exists() { "it is there already: name another one, or delete it" } else { "name a file in a folder that exists" };
            anyhow::Error::from(Advice::new(format!("cannot write {file}: {error}"), hint))
        })?;
        created.write_all(text.as_bytes()).with_context(|| format!("cannot write {file}"))?;
        console.talk(&format!("wrote {file}; next: gangplank-provision render {file} | kubectl apply -f -"));
        Ok(Exit::Ok)
    }
}

impl InitArgs {
    fn text(&self) -> anyhow::Result<String> {
        let framework = framework::ALL.iter().find(|it| it.name == self.framework).context("no such framework")?;
        let image = self.image.as_deref().unwrap_or(framework.image());
        let given: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let command = if given.is_empty() { framework.command() } else { &given };
        let mut text = String::new();
        let out = &mut text;
        writeln!(out, "# yaml-language-server: $schema=trainingjob.schema.json")?;
        writeln!(out, "# Editors complete by it once it is there: gangplank-provision schema TrainingJob > trainingjob.schema.json")?;
        writeln!(out, "# {}: {}", framework.name, framework.about)?;
        writeln!(out, "apiVersion: gangplank.dev/v1alpha1")?;
        writeln!(out, "kind: TrainingJob")?;
        writeln!(out, "metadata:")?;
        writeln!(out, "  name: {}", quoted(&self.name)?)?;
        writeln!(out, "spec:")?;
        writeln!(out, "  framework: {}", framework.name)?;
        writeln!(out, "  image: {}", quoted(image)?)?;
        writeln!(out, "  command: {}", serde_json::to_string(command)?)?;
        // A slice says it itself.
        if !self.accelerators.starts_with("tpu-") {
            writeln!(out, "  workers: {}                     # 4..16 for a program that can work with fewer", quoted(&self.workers)?)?;
        }
        writeln!(
            out,
            "  accelerators: {}            # each worker's; H100:8, A100|H100:4, 24GB..:2, gpu:0.5, tpu-v5e:4x4",
            quoted(&self.accelerators)?
        )?;
        writeln!(out, "  # cpu: 8                       # each worker's; a namespace with a quota wants both")?;
        writeln!(out, "  # memory: 64Gi")?;
        mount(out, "datasets", self.dataset.as_deref(), "/data: training-data     # only read; PATH: claim, or claim/folder")?;
        mount(out, "outputs", self.results.as_deref(), "/output: results         # written")?;
        writeln!(out, "  # topology: {{preferred: rack}}  # or required: wait until it can be had")?;
        writeln!(out, "  # checkpoint: {{path: /output/checkpoints, every: 30m}}")?;
        writeln!(out, "  # expectedDuration: 8h         # for queues and for filling gaps; nothing is ended by it")?;
        writeln!(out, "  # priority: high               # a PriorityClass")?;
        Ok(text)
    }
}

fn mount(out: &mut String, field: &str, given: Option<&str>, example: &str) -> anyhow::Result<()> {
    let Some(given) = given else {
        writeln!(out, "  # {field}:")?;
        return Ok(writeln!(out, "  #   {example}")?);
    };
    let Some((claim, path)) = given.split_once(':') else {
        return Err(
            Advice::new(format!("`{given}` does not say where it is mounted"), "write CLAIM:PATH, such as training-data:/data").into()
        );
    };
    Ok(writeln!(out, "  {field}:\n    {}: {}", quoted(path)?, quoted(claim)?)?)
}

/// A text as YAML takes it: as it is where that is plain, else in quotes.
fn quoted(text: &str) -> anyhow::Result<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:|".contains(&byte));
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
    Ok(if plain && begins && !text.ends_with(':') { text.to_owned() } else { serde_json::to_string(text)? })
}
