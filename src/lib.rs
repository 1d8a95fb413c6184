//! Gangplank: an HTTP scheduler extender that gives a stock kube-scheduler eyes for accelerators.
//!
//! The modules below stand in ORDER: a module may name only modules above it (`tests/tidy.rs` checks).
//! The first block is pure: it builds without the `io` feature, reads no clock, file, socket or environment.
#![doc = include_str!("../docs/architecture.md")]

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod model;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod topology;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod book;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod value;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod policy;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod gang;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod queue;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod preempt;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod engine;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod recipe;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod drive;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod check;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod sim;

#[cfg(feature = "io")]
pub mod telemetry;

#[cfg(feature = "io")]
pub mod wire;

#[cfg(feature = "io")]
pub mod host;

#[cfg(feature = "io")]
pub mod cluster;

#[cfg(feature = "agent")]
pub mod agent;

#[cfg(feature = "io")]
pub mod provision;

#[cfg(feature = "io")]
pub mod api;

#[cfg(feature = "io")]
pub mod cli;
