//! `gangplank-provision render FILE...`: the Kubernetes objects of specs, as `kubectl apply -f -` takes them. No cluster
//! is asked: the same spec gives the same bytes.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Console, Exit, Format, Run};

/// Arguments of `render`.
#[derive(Args, Debug)]
pub(super) struct RenderArgs {
    /// Specs; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Another form than plain Kubernetes objects, for kinds that have it
    #[arg(long = "as", value_name = "FORM")]
    form: Option<String>,
    /// Leave out what is said on stderr about what is left open
    #[arg(long, short)]
    quiet: bool,
}

impl Run for RenderArgs {
    const NAME: &'static str = "render";
    const ABOUT: &'static str = "Print the Kubernetes objects of specs, for kubectl apply -f -";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let objects = super::objects(&super::specs(&self.files)?, self.form.as_deref(), console, self.quiet, |_| true)?;
        match console.format {
            Format::Json => console.data(&json!({"apiVersion": "v1", "kind": "List", "items": objects}), |_| String::new())?,
            // One document an object, in either word: it is what kubectl reads and what people compare.
            Format::Table | Format::Yaml => console.raw(&documents(&objects)?)?,
        }
        Ok(Exit::Ok)
    }
}

fn documents(objects: &[Value]) -> anyhow::Result<String> {
    let texts = objects.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("---\n"))
}
