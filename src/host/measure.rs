//! What the book looks like in numbers, and whether it holds: read now and then, in between two questions.

use std::sync::PoisonError;

use super::Host;
use crate::engine::Engine;
use crate::policy::QueueAmount;

impl Host {
    /// Sets the gauges from the book.
    pub fn measure(&self) {
        let census = self.look(Engine::census);
        let metrics = self.metrics();
        metrics.nodes.set(count(census.nodes as u64));
        metrics.nodes_quarantined.set(count(census.quarantined as u64));
        for (state, holders) in census.holders {
            metrics.holders.with_label_values(&[state]).set(count(holders as u64));
        }
        metrics.holders.with_label_values(&["waiting"]).set(count(census.pods_waiting as u64));
        for (phase, gangs) in census.gangs {
            metrics.gangs.with_label_values(&[phase]).set(count(gangs as u64));
        }
        for ((class, state), devices) in census.devices {
            metrics.devices.with_label_values(&[&*class, state]).set(count(devices));
        }
        self.measure_queues();
        for (kind, total) in census.drift {
            let counter = metrics.drift.with_label_values(&[kind]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        for (reason, total) in census.refused {
            let counter = metrics.refused.with_label_values(&[reason]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        for (victim, total) in census.preemptions {
            let counter = metrics.preemptions.with_label_values(&[victim]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        self.tell_of_fabric();
        metrics.holds_expired.inc_by(census.holds_expired.saturating_sub(metrics.holds_expired.get()));
    }

    /// Sets the gauges of the profile's queues; those of queues that it no longer has go.
    fn measure_queues(&self) {
        let (queues, metrics) = (self.look(Engine::queues), self.metrics());
        metrics.queue_devices.reset();
        metrics.queue_waiting.reset();
        metrics.queue_share.reset();
        for queue in queues {
            let name = &*queue.name;
            metrics.queue_waiting.with_label_values(&[name]).set(count(queue.waiting as u64));
            metrics.queue_share.with_label_values(&[name]).set(queue.share_permille as f64 / 1000.0);
            for class in queue.classes {
                let set = |kind: &str, devices: f64| metrics.queue_devices.with_label_values(&[name, &*class.class, kind]).set(devices);
                set("in-use", class.in_use_milli as f64 / 1000.0);
                set("borrowed", class.borrowed_milli as f64 / 1000.0);
                for (kind, amount) in [("guaranteed", class.guaranteed), ("maximum", class.maximum)] {
                    match amount {
                        Some(QueueAmount::Devices(devices)) => set(kind, f64::from(devices)),
                        Some(QueueAmount::Boxes(boxes)) => set(&format!("{kind}-boxes"), f64::from(boxes)),
                        None => {}
                    }
                }
            }
        }
    }

    /// Says when levels that the profile takes from objects are missing, and when they are there again: once each.
    fn tell_of_fabric(&self) {
        let problem = self.look(|engine| engine.fabric_problem().map(str::to_owned));
        let mut told = self.fabric_told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != problem {
            if let Some(problem) = &problem {
                tracing::warn!(problem, "the profile's fabric has no level but `node`");
            } else {
                tracing::info!("the profile's fabric has its levels");
            }
            *told = problem;
        }
    }

    /// Checks the invariants; what does not hold is counted and logged, and nothing else: the next relist heals
    /// what differs from the API objects, and what two writers did to one device is for people.
    pub fn check(&self) {
        let violations = self.lock().engine.violations();
        for violation in &violations {
            self.metrics().violations.with_label_values(&[violation.kind]).inc();
            tracing::error!(kind = violation.kind, what = violation.text, "an invariant does not hold");
        }
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
