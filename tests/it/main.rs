//! Tests that need the whole crate: a real control plane, real sockets, the files that people install.
#![cfg(feature = "io")]

mod admission;
mod bench;
mod boarding;
mod burst;
mod cli;
mod control_plane;
mod defrag;
mod deploy;
mod driven;
mod extender_facts;
mod fabric;
mod gangs;
mod http;
mod install;
mod interrupted;
mod jobs;
mod openb;
mod packing;
mod profiles;
mod provision;
mod queues;
mod restart;
mod serve;
mod support;
mod throughput;
mod topology;
mod uninstall;
mod workloads;
