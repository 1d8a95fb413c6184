//! `gangplank bench NAME`: what it costs on this machine. One file a benchmark, one line in [`Bench`].
//!
//! Times are medians over several runs in one process, after a warm-up; a single run says little on a busy machine.

mod gangs;
mod jobs;
mod openb;
mod percentiles;
mod preempt;
mod topology;
mod tpu;
mod wire;

use clap::{Args, Subcommand};

use super::{Console, Exit, Run};

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

/// Every benchmark.
#[derive(Debug, Subcommand)]
enum Bench {
    /// The extender protocol over loopback HTTP: filter, prioritize and bind at several cluster sizes
    Wire(wire::WireArgs),
    /// Packing: the published openb experiment, our engine beside the published policies, run by the same code
    Openb(openb::OpenbArgs),
    /// Devices inside one node: every choice against the best that the free devices allow, empty and under churn
    Topology(topology::TopologyArgs),
    /// Gangs: plans of whole ones, proof that one cannot fit, and what single pods cost
    Gangs(gangs::GangsArgs),
    /// Jobs of a Muri trace on 8 nodes of 8 GPUs: completion times and waits under our orders, beside what was published
    Muri(jobs::MuriArgs),
    /// Jobs of the Philly trace: waits, beside first come, first served
    Philly(jobs::PhillyArgs),
    /// TPU slices on whole pods until the first refusal, beside a plain first-fit
    Tpu(tpu::TpuArgs),
}

impl Run for BenchArgs {
    const NAME: &'static str = "bench";
    const ABOUT: &'static str = "Measure what it costs on this machine";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        match self.bench {
            Bench::Wire(args) => wire::run(&args, console),
            Bench::Openb(args) => openb::run(&args, console),
            Bench::Topology(args) => topology::run(&args, console),
            Bench::Gangs(args) => gangs::run(&args, console),
            Bench::Muri(args) => jobs::muri(&args, console),
            Bench::Philly(args) => jobs::philly(&args, console),
            Bench::Tpu(args) => tpu::run(&args, console),
        }
    }
}
