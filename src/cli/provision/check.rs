//! `gangplank-provision check FILE...`: what is wrong with manifests that exist, and with `--fix` the same files with what
//! can be put right. No cluster is asked.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::{Advice, Console, Exit, Format, Run};
use crate::check::{self, Facts, Finding, Level, Text};

/// Arguments of `check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Manifests: files, or folders of .yaml, .yml and .json files; `-` reads stdin
    #[arg(required = true, value_name = "FILE|FOLDER")]
    files: Vec<PathBuf>,
    /// Write what can be put right into the files; comments and order stay. With stdin the text goes to stdout
    #[arg(long)]
    fix: bool,
    /// Nodes as `kubectl get nodes -o yaml` prints them: products are then those that they carry
    #[arg(long, value_name = "FILE")]
    nodes: Vec<PathBuf>,
    /// Gangplank serves the default scheduler of that cluster, with its admission
    #[arg(long)]
    gangplank: bool,
}

impl Run for CheckArgs {
    const NAME: &'static str = "check";
    const ABOUT: &'static str = "Say what would be refused, hang or run wrong in manifests, and put it right";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let mut facts = Facts { gangplank: self.gangplank, ..Facts::default() };
        for path in &self.nodes {
            let text = read(path)?;
            facts.read_nodes(&text.text).map_err(|error| unreadable((text.file, error)))?;
        }
        let mut texts = Vec::new();
        for path in &self.files {
            for path in files(path)? {
                texts.push(read(&path)?);
            }
        }
        let findings = if self.fix { write(&texts, &facts, console)? } else { check::check(&texts, &facts).map_err(unreadable)? };
        let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
        // With a fixed text on stdout the findings are talk.
        if self.fix && self.files.iter().any(|path| path == Path::new("-")) {
            console.talk(table(&findings).trim_end());
        } else if !(findings.is_empty() && console.format == Format::Table) {
            console.data(&findings, |findings| table(findings))?;
        }
        let fixable = findings.iter().filter(|finding| finding.fixable).count();
        if errors == 0 {
            return Ok(Exit::Ok);
        }
        let hint =
            if fixable > 0 { "gangplank-provision check --fix writes what can be put right" } else { "see docs/checks.md for the reasons" };
        Err(Advice::new(format!("{errors} of {} findings are errors", findings.len()), hint).into())
    }
}

/// Writes what can be put right; what is still wrong afterwards.
fn write(texts: &[Text], facts: &Facts, console: Console) -> anyhow::Result<Vec<Finding>> {
    let (fixed, left) = check::fix(texts, facts).map_err(unreadable)?;
    for (before, after) in texts.iter().zip(&fixed) {
        if before.file == STDIN {
            console.raw(&after.text)?;
        } else if before.text != after.text {
            fs::write(&after.file, &after.text).with_context(|| format!("cannot write {}", after.file))?;
            console.talk(&format!("fixed: {}", after.file));
        }
    }
    Ok(left)
}

fn table(findings: &[Finding]) -> String {
    let mut table = String::new();
    for finding in findings {
        let Finding { file, line, kind, name, field, rule, level, problem, fix, fixable } = finding;
        let mark = if *fixable { " (--fix)" } else { "" };
        let _ = writeln!(table, "{file}:{line}: {}: {problem} [{rule}]", level.word());
        let _ = writeln!(table, "    {kind}/{name} {field}");
        let _ = writeln!(table, "    fix: {fix}{mark}");
    }
    table
}

/// The files of a folder by name, folders in it likewise.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut inside = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    inside.sort();
    let mut all = Vec::new();
    for path in inside {
        let manifest = path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        // A link may lead back.
        if manifest || (path.is_dir() && !path.is_symlink()) {
            all.extend(files(&path)?);
        }
    }
    Ok(all)
}

fn read(path: &Path) -> anyhow::Result<Text> {
    let stdin = path == Path::new("-");
    let file = if stdin { STDIN.to_owned() } else { path.display().to_string() };
    let text = if stdin { std::io::read_to_string(std::io::stdin()) } else { fs::read_to_string(path) };
    let text = text.map_err(|error| Advice::new(format!("cannot read {file}: {error}"), "give the path of manifests, or `-` for stdin"))?;
    Ok(Text { file, text })
}

fn unreadable((file, error): (String, check::Unreadable)) -> anyhow::Error {
    let hint = "check reads manifests as kubectl takes them: render a chart or an overlay first";
    Advice::new(format!("{file}:{}: {}", error.line, error.problem), hint).into()
}

const STDIN: &str = "stdin";
