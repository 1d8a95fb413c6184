//! Node and pod lists, from CSV text: what a line means, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sim::table::{ListError, Table};

/// A node as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// `sn`.
    pub name: Arc<str>,
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Memory.
    pub memory_mib: u32,
    /// How many GPUs.
    pub gpus: usize,
    /// Which, as a place in [`Nodes::models`].
    pub model: usize,
}

/// A node list, by name.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// The nodes, ordered by name: of equal places the first name wins.
    pub list: Vec<NodeSpec>,
    /// GPU models, in the order in which they first stand in the list.
    pub models: Vec<Arc<str>>,
}

/// A pod as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSpec {
    /// `name`.
    pub name: Arc<str>,
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Memory.
    pub memory_mib: u32,
    /// How many GPUs; 0 for a pod that needs none.
    pub gpus: usize,
    /// Of each of them, in thousandths; 1000 is a whole one.
    pub gpu_milli: u32,
    /// Models that it takes, one bit a place in [`Nodes::models`]; none for any.
    pub models: Option<u32>,
    /// Equal for pods that ask for the same.
    pub shape: usize,
    /// When it was created, in seconds, where the list says so.
    pub created_s: Option<u64>,
    /// When it was deleted.
    pub deleted_s: Option<u64>,
    /// When it found a node there.
    pub scheduled_s: Option<u64>,
}

/// A pod list, by name.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// The pods, ordered by name.
    pub list: Vec<PodSpec>,
    /// How many different shapes there are.
    pub shapes: usize,
}

impl Nodes {
    /// More is no trace of one cluster.
    pub const LINES_MAX: usize = 100_000;
    /// GPUs of a node.
    pub const GPUS_MAX: usize = 8;
    /// GPU models of a cluster.
    pub const MODELS_MAX: usize = 32;

    /// Reads `sn,cpu_milli,memory_mib,gpu,model`.
    ///
    /// # Errors
    /// The first line that is not of this form.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let table = Table::open(text, &["sn", "cpu_milli", "memory_mib", "gpu", "model"], Self::LINES_MAX)?;
        let mut nodes = Self::default();
        for row in table.rows() {
            let row = row?;
            let name = row.text("model")?;
            let model = match nodes.models.iter().position(|known| **known == *name) {
                Some(model) => model,
                None if nodes.models.len() == Self::MODELS_MAX => {
                    return Err(row.error(format!("more than {} GPU models", Self::MODELS_MAX)));
                }
                None => {
                    nodes.models.push(name.into());
                    nodes.models.len() - 1
                }
            };
            nodes.list.push(NodeSpec {
                name: row.text("sn")?.into(),
                cpu_milli: row.number("cpu_milli", AMOUNT_MAX)?,
                memory_mib: row.number("memory_mib", AMOUNT_MAX)?,
                gpus: row.number("gpu", Self::GPUS_MAX)?,
                model,
            });
        }
        nodes.list.sort_by(|a, b| a.name.cmp(&b.name));
        match nodes.list.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(ListError { line: 0, problem: format!("two nodes are named {}", pair[0].name) }),
            None => Ok(nodes),
        }
    }

    /// Every `step`-th node, the first one included: a smaller cluster of the same kinds.
    pub fn every(mut self, step: usize) -> Self {
        self.list = self.list.into_iter().step_by(step.max(1)).collect();
        self
    }

    /// Thousandths of all GPUs.
    pub fn capacity_milli(&self) -> u64 {
        self.list.iter().map(|node| node.gpus as u64 * 1000).sum()
    }
}

impl Pods {
    /// More is no trace of one cluster.
    pub const LINES_MAX: usize = 1_000_000;

    /// Reads `name,cpu_milli,memory_mib,num_gpu,gpu_milli` and, where they are there, `gpu_spec`, `creation_time`,
    /// `deletion_time` and `scheduled_time`.
    ///
    /// # Errors
    /// The first line that is not of this form.
    pub fn parse(text: &str, nodes: &Nodes) -> Result<Self, ListError> {
        let table = Table::open(text, &["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"], Self::LINES_MAX)?;
        let mut shapes: BTreeMap<(u32, u32, usize, u32, Option<u32>), usize> = BTreeMap::new();
        let mut list = Vec::new();
        for row in table.rows() {
            let row = row?;
            let gpus = row.number("num_gpu", Nodes::GPUS_MAX)?;
            let gpu_milli = row.number("gpu_milli", 1000)?;
            if (gpus == 0) != (gpu_milli == 0) || (gpus > 1 && gpu_milli != 1000) {
                let problem = format!("num_gpu {gpus} with gpu_milli {gpu_milli}: a pod asks for no GPU, a part of one, or whole ones");
                return Err(row.error(problem));
            }
            let models = row.optional("gpu_spec").map(|names| mask(names, nodes));
            let (cpu_milli, memory_mib) = (row.number("cpu_milli", AMOUNT_MAX)?, row.number("memory_mib", AMOUNT_MAX)?);
            let next = shapes.len();
            list.push(PodSpec {
                name: row.text("name")?.into(),
                cpu_milli,
                memory_mib,
                gpus,
                gpu_milli,
                models,
                shape: *shapes.entry((cpu_milli, memory_mib, gpus, gpu_milli, models)).or_insert(next),
                created_s: row.time("creation_time")?,
                deleted_s: row.time("deletion_time")?,
                scheduled_s: row.time("scheduled_time")?,
            });
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { list, shapes: shapes.len() })
    }
}

impl PodSpec {
    /// Thousandths of GPUs, all together.
    pub fn milli(&self) -> u64 {
        self.gpus as u64 * u64::from(self.gpu_milli)
    }

    /// Whether it asks for a part of one GPU.
    pub fn is_share(&self) -> bool {
        self.gpus == 1 && self.gpu_milli < 1000
    }

    /// Whether it takes this model.
    pub fn takes(&self, model: usize) -> bool {
        self.models.is_none_or(|models| models & 1 << model != 0)
    }
}

/// Models that no node has are left out: a pod that wants nothing else fits nowhere.
fn mask(names: &str, nodes: &Nodes) -> u32 {
    let bit = |name: &str| nodes.models.iter().position(|known| **known == *name.trim()).map_or(0, |model| 1 << model);
    names.split('|').map(bit).fold(0, |mask, bit| mask | bit)
}

/// The largest CPU or memory amount that a list may name.
const AMOUNT_MAX: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\nb,64000,262144,2,P100\na,96000,393216,8,G2\n";
    const HEADER: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n";

    #[test]
    fn lists_are_read_by_column_and_ordered_by_name() {
        let nodes = Nodes::parse(NODES).unwrap();
        assert_eq!(nodes.list.iter().map(|node| (&*node.name, node.gpus, node.model)).collect::<Vec<_>>(), [("a", 8, 1), ("b", 2, 0)]);
        assert_eq!(nodes.capacity_milli(), 10_000);
        assert_eq!(nodes.clone().every(2).list, nodes.list[..1]);
        let text = format!("{HEADER}y,1000,2048,1,460,G2|T4,5,9\nx,1000,2048,1,460,,,\nz,1000,2048,1,460,T4,0,1\nw,500,1,0,0,,7.0,8.0\n");
        let pods = Pods::parse(&text, &nodes).unwrap();
        let read: Vec<_> = pods.list.iter().map(|pod| (&*pod.name, pod.milli(), pod.models, pod.created_s)).collect();
        let expected = [("w", 0, None, Some(7)), ("x", 460, None, None), ("y", 460, Some(2), Some(5)), ("z", 460, Some(0), Some(0))];
        assert_eq!(read, expected);
        assert_eq!(pods.shapes, 4);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let nodes = Nodes::parse(NODES).unwrap();
        let problem = |line: &str| Pods::parse(&format!("{HEADER}ok,1,1,0,0,,,\n{line}\n"), &nodes).unwrap_err().to_string();
        assert_eq!(problem("x,many,1,0,0,,,"), "line 3: cpu_milli: `many` is not a whole number of at most 1073741824");
        assert_eq!(problem("x,1,1,9,1000,,,"), "line 3: num_gpu: `9` is not a whole number of at most 8");
        assert_eq!(problem("x,1,1,1,1001,,,"), "line 3: gpu_milli: `1001` is not a whole number of at most 1000");
        assert_eq!(problem("x,1,1,2,500,,,"), "line 3: num_gpu 2 with gpu_milli 500: a pod asks for no GPU, a part of one, or whole ones");
        assert_eq!(problem("x,1,1,0,0"), "line 3: 5 values for 8 columns");
        assert_eq!(problem(",1,1,0,0,,,"), "line 3: name is empty");
        assert_eq!(problem("x,1,1,0,0,,now,"), "line 3: creation_time: `now` is not a whole number of seconds");
        assert_eq!(
            Nodes::parse("name,gpu\n").unwrap_err().to_string(),
            "line 1: no column `sn`; there must be sn, cpu_milli, memory_mib, gpu, model"
        );
        let many: String =
            (0..33).fold("sn,cpu_milli,memory_mib,gpu,model\n".to_owned(), |text, at| text + &format!("n{at},1,1,1,m{at}\n"));
        assert_eq!(Nodes::parse(&many).unwrap_err().to_string(), "line 34: more than 32 GPU models");
    }
}
