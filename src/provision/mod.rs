//! The shell around recipes: files in, definitions for the API server out, objects into a cluster and how far they are.
//! What a spec means is decided in `recipe`, what a live one needs next in `drive` (`run` does it), what is printed in `cli::provision`.

mod cluster;
pub mod definition;
mod files;
pub mod run;
mod state;

pub use cluster::{Applied, Cluster, ClusterError, name};
pub use files::{FilesError, SpecFile, read};
pub use state::{Phase, State, state};
