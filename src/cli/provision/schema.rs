//! `gangplank-provision schema KIND`: the JSON Schema of a spec, or its CustomResourceDefinition.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{Advice, Console, Exit, Format, Run};
use crate::provision::definition::definition;
use crate::recipe::{KINDS, Kind};

/// Arguments of `schema`.
#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Of which kind of spec
    #[arg(value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)), ignore_case = true)]
    kind: String,
    /// The CustomResourceDefinition instead
    #[arg(long)]
    crd: bool,
}

impl Run for SchemaArgs {
    const NAME: &'static str = "schema";
    const ABOUT: &'static str = "Print the JSON Schema of a kind of spec, or its CustomResourceDefinition";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let kind = Kind::named(&self.kind).ok_or_else(|| anyhow::anyhow!("`{}` is no kind of spec", self.kind))?;
        let (made, usual) = if self.crd {
            let advice = || Advice::new(format!("a {} is never an object in a cluster", kind.name), "leave out --crd");
            (definition(kind).ok_or_else(advice)?, Format::Yaml)
        } else {
            ((kind.schema)(), Format::Json)
        };
        let format = if console.format == Format::Table { usual } else { console.format };
        Console { format, ..console }.data(&made, ToString::to_string)?;
        Ok(Exit::Ok)
    }
}
