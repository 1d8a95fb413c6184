//! `gangplank-provision run` on the real control plane: live specs become workloads and come to their end, whatever happens meanwhile.

mod companion;
mod kills;
mod many;
mod passage;
mod training_job;
