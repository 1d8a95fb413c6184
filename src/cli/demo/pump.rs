//! What the engine wants done, carried out between two questions and not whenever a thread gets to it: a run is a function
//! of its input then.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::memory::Memory;
use crate::cluster::carry_out;
use crate::engine::{Effect, Engine};
use crate::host::Host;

/// Plans, works ahead and carries out effects when told to.
#[derive(Debug)]
pub(in crate::cli) struct Pump {
    pub(super) host: Arc<Host>,
    pub(super) memory: Arc<Memory>,
    pub(super) effects: mpsc::Receiver<Effect>,
}

impl Pump {
    /// Until there is nothing to do.
    pub(super) fn settle(&mut self) {
        loop {
            while let Ok(effect) = self.effects.try_recv() {
                self.memory.write_effect(&effect);
            }
            if self.host.look(Engine::wants_to_plan) {
                self.host.plan();
            } else if self.host.look(Engine::wants_to_prepare) {
                self.host.prepare();
            } else if self.effects.is_empty() {
                break;
            }
        }
    }

    /// From here on as in a cluster: by itself.
    pub(super) fn run_by_itself(self, runtime: &Runtime) {
        let metrics = Arc::clone(self.host.metrics());
        runtime.spawn(carry_out(self.effects, self.memory, metrics, Arc::downgrade(&self.host)));
        runtime.spawn(async move { self.host.work_ahead().await });
    }
}
