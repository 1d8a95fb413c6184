//! docs/tutorial.md, followed word for word: its commands run in their order against the real control plane, and print what the page
//! shows. What the page marks as not run is what the test stands in for: the machine's own cluster, and what only kubelets can tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Taint};

use super::root;
use crate::support::{ControlPlane, Installed, NodeTemplate, Options, create_nodes};

const PAGE: &str = "docs/tutorial.md";

/// A fenced block of the page.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    /// Of its first line, from 1.
    line: usize,
    language: &'a str,
    /// What the HTML comment right above it says.
    comment: &'a str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut comment, mut open) = ("", None::<Block<'_>>);
    for (number, line) in (1..).zip(page.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some(Block { line: number + 1, language, comment, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => comment = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")).unwrap_or_default(),
        }
    }
    blocks
}

/// The machines of kind-config.yaml, with their names, labels and pretended GPUs.
fn machines() -> Vec<Node> {
    let machine = |gpu_count, product: &str, memory_mib, name: &str| {
        NodeTemplate { gpu_count, gpu_product: product.into(), gpu_memory_mib: memory_mib, ..NodeTemplate::default() }.named(name)
    };
    let mut first = machine(0, "", 0, "gangplank-control-plane");
    let taint = Taint { key: "node-role.kubernetes.io/control-plane".into(), effect: "NoSchedule".into(), ..Taint::default() };
    first.spec.get_or_insert_default().taints = Some(vec![taint]);
    vec![
        first,
        machine(8, "NVIDIA-H100-80GB-HBM3", 81_559, "gangplank-worker"),
        machine(8, "Tesla-V100-SXM2-16GB", 16_384, "gangplank-worker2"),
    ]
}

/// A shell as a newcomer has it, in a folder of its own.
#[derive(Clone)]
struct Shell {
    folder: PathBuf,
    kubeconfig: PathBuf,
    path: String,
}

impl Shell {
    fn open(control_plane: &ControlPlane) -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tutorial-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let ours = Path::new(env!("CARGO_BIN_EXE_gangplank-provision")).parent().context("a folder")?;
        let kubectl = control_plane.binary().parent().context("a folder")?;
        let path = format!("{}:{}:{}", ours.display(), kubectl.display(), std::env::var("PATH").unwrap_or_default());
        Ok(Self { folder, kubeconfig: control_plane.kubeconfig().to_owned(), path })
    }

    fn run(&self, text: &str) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["180", "bash", "-euo", "pipefail", "-c", text]).current_dir(&self.folder).env("HOME", &self.folder);
        Ok(command.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env("NO_COLOR", "1").output()?)
    }
}

/// The page with what was seen in place of what it shows.
fn rewritten(page: &str, seen: &[(Block<'_>, String)]) -> String {
    let mut all: Vec<&str> = page.lines().collect();
    for (block, is) in seen.iter().rev() {
        let first = block.line - 1;
        if lines(is) != lines(&block.text) {
            all.splice(first..first + block.text.lines().count(), is.lines().map(str::trim_end));
        }
    }
    all.join("\n") + "\n"
}

/// What is to be equal: all but what blanks a line ends in, and the five letters that Kubernetes puts behind names of pods.
fn lines(text: &str) -> Vec<String> {
    let named = |word: &str| {
        let letters = |end: &str| end.len() == 5 && end.bytes().all(|letter| b"bcdfghjklmnpqrstvwxz2456789".contains(&letter));
        match word.rsplit_once('-') {
            Some((name, end)) if letters(end) => format!("{name}-xxxxx"),
            _ => word.to_owned(),
        }
    };
    text.lines().map(|line| line.trim_end().split(' ').map(named).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_who_follows_the_tutorial_sees_what_it_shows() -> Result<()> {
    let Some(control_plane) = ControlPlane::start_or_skip("the tutorial", &Options::default()) else { return Ok(()) };
    let client = control_plane.client().await?;
    create_nodes(&client, machines()).await?;
    let installed = Installed::start(&control_plane, &client).await?;
    let shell = Shell::open(&control_plane)?;
    let page = fs::read_to_string(root().join(PAGE))?;
    let (mut ran, mut printed, mut seen) = (0, None::<String>, Vec::new());
    for block in blocks(&page) {
        let at = format!("{PAGE}:{}", block.line);
        match block.language {
            "sh" if block.comment.starts_with("not run by the test: ") => printed = None,
            "sh" => {
                let (shell, text) = (shell.clone(), block.text.clone());
                let output = tokio::task::spawn_blocking(move || shell.run(&text)).await??;
                let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
                ensure!(
                    output.status.success(),
                    "{at}: {}\n{}\n{stdout}{stderr}\n{}",
                    output.status,
                    block.text,
                    installed.gangplank.log()
                );
                (ran, printed) = (ran + 1, Some(stdout));
            }
            "text" => {
                let printed = printed.take().with_context(|| format!("{at}: shows what no command before it printed"))?;
                seen.push((block, printed));
            }
            _ => {
                let file = block.comment.strip_prefix("the file ").with_context(|| format!("{at}: neither a command nor a file"))?;
                let text = fs::read_to_string(shell.folder.join(file))?;
                seen.push((block, text));
            }
        }
    }
    ensure!(ran >= 9 && seen.len() >= 7, "{ran} blocks were run, {} looked at", seen.len());
    fs::remove_dir_all(&shell.folder)?;
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join(PAGE), rewritten(&page, &seen))?;
        return Ok(());
    }
    let wrong = seen.iter().find(|(block, is)| lines(is) != lines(&block.text));
    let update = "if that is right: UPDATE=1 cargo test --test it tutorial";
    ensure!(wrong.is_none(), "{PAGE} shows {:#?}; {update}", wrong.map(|(block, is)| (block.line, &block.text, is)));
    Ok(())
}

#[test]
fn what_the_tutorial_does_not_run_makes_the_cluster_or_asks_its_kubelets() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let blocks = blocks(&page);
    let by_hand = blocks.iter().filter(|block| block.comment.starts_with("not run"));
    let first: Vec<&str> = by_hand.map(|block| block.text.split(" -n ").next().unwrap().split_once(' ').unwrap().0).collect();
    assert_eq!(first, ["cargo", "for", "gangplank-provision", "kind"]);
    // A newcomer's cluster is the one that install.md describes.
    let install = fs::read_to_string(root().join("docs/install.md")).unwrap();
    for line in blocks[0].text.lines().skip(1) {
        assert!(install.contains(line), "docs/install.md has no `{line}`");
    }
}
