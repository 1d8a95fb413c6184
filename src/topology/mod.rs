//! Where devices are, relative to each other. A graph where it is built and explained, tables and bit masks where
//! placement reads it.

mod graph;
mod table;

pub use graph::LinkGraph;
pub use table::{LinkTable, LinkTables, Subset};
