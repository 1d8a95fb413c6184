//! The agent of a node: what the driver says about its GPUs, and what of that is published.
//!
//! `nvml` and `sysfs` read, and decide nothing. What they read is [`Machine`], plain data. [`report`] makes the
//! `AcceleratorNode` of it, and reads nothing. `raw` is the only module of the crate that calls foreign code itself.

mod facts;
mod health;
mod links;
mod nvml;
#[expect(unsafe_code, reason = "what nvml-wrapper lacks or gets wrong is called through the bindings below it")]
mod raw;
mod report;
mod sysfs;

pub use facts::{Brakes, ComputeMode, Gone, Gpu, Instance, Machine, NvLink, Pair, Remote, Rows, Seat};
pub use nvml::{Driver, DriverError};
pub use report::report;
pub use sysfs::{PciBus, Sysfs};
