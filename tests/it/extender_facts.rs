//! How kube-scheduler 1.36 treats an extender, seen with the real one: what Gangplank relies on and must hear of when an
//! upgrade changes it. The answers come from a script, not from Gangplank, so a failure here is never ours.
//! docs/extender.md says which decision rests on which fact.

mod bindings;
mod groups;
mod nominations;
mod pins;
mod preemption;
mod recorder;
mod requests;
mod retries;
mod scene;
