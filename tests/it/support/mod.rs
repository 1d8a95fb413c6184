//! What the integration tests share.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "helpers wait for the tests that use them")]

mod control_plane;
mod gangplank;
mod http;
pub mod installed;
pub mod manifests;
mod memory;
mod nodes;
mod objects;
mod ports;
mod second_scheduler;
pub mod volumes;

pub use control_plane::{ControlPlane, Options, send_signal};
pub use gangplank::{Gangplank, program, scheduler_config};
pub use http::{HttpClient, Reply};
pub use installed::Installed;
pub use memory::{Fault, MemoryCluster, MemoryOptions, MemoryServer, MemoryWriter, memory_node};
pub use nodes::{NodeTemplate, create_kwok_nodes, create_nodes};
pub use objects::{apply_yaml, create_namespace, wait_until};
pub use ports::free_address;
pub use second_scheduler::SecondScheduler;
