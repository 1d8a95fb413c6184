//! A digest of durable facts: what a restart must find again from the API objects alone.

use std::fmt::Write as _;

use super::{Book, HolderState};
use crate::model::{Amount, Health};

impl Book {
    /// Equal books of bound holders and inventories have equal digests, whatever order they were told in.
    /// Tentative holds and times do not count.
    pub fn digest(&self) -> String {
        let mut hash = Fnv::default();
        let mut line = String::new();
        for entry in self.nodes() {
            for pool in &entry.node.pools {
                line.clear();
                let _ = write!(line, "node {} {} {}", entry.node.name, pool.resource, pool.allocatable);
                for device in &pool.devices {
                    let _ = write!(line, " {}{}", device.id, if device.health == Health::Healthy { "" } else { "!" });
                }
                hash.line(&line);
            }
        }
        for holder in self.holders().filter(|holder| holder.state == HolderState::Bound) {
            line.clear();
            let _ = write!(line, "pod {} {}", holder.uid, holder.node);
            for take in &holder.takes {
                let _ = write!(line, " {} {}", take.resource, take.device.as_ref().map_or("?", |id| id.as_str()));
                if let Amount::Share { milli, memory_mib } = take.amount {
                    let _ = write!(line, " {milli} {}", memory_mib.unwrap_or(0));
                }
            }
            hash.line(&line);
        }
        format!("{:032x}", hash.0)
    }
}

/// FNV-1a, 128 bits: short, stable across builds, and nobody gains by a collision.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn line(&mut self, text: &str) {
        for byte in text.bytes().chain([b'\n']) {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
