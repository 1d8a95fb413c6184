//! Whether an event still finds whom it is for: dead processes hear nothing, stopped ones hear it later.

use super::run::Run;
use super::timeline::{Event, Ms, Watcher};

/// What becomes of an event.
pub(super) enum Gate {
    Open,
    Later(Ms),
    Lost,
}

/// The gate of an event.
pub(super) fn of(run: &Run, event: &Event) -> Gate {
    match event {
        Event::Watch { to: Watcher::Replica(at), life, .. }
        | Event::List { to: Watcher::Replica(at), life, .. }
        | Event::Tick { replica: at, life }
        | Event::Voice { replica: at, life }
        | Event::Relist { replica: at, life }
        | Event::Compare { replica: at, life }
        | Event::Plan { replica: at, life }
        | Event::Flow { replica: at, life, .. }
        | Event::Called { replica: at, life, .. }
        | Event::Effect { replica: at, life, .. } => replica(run, *at, Some(*life)),
        Event::Asked { replica: at, .. } => replica(run, *at, None),
        Event::Watch { to: Watcher::Scheduler(at), life, .. }
        | Event::List { to: Watcher::Scheduler(at), life, .. }
        | Event::Cycle { scheduler: at, life }
        | Event::Flush { scheduler: at, life }
        | Event::Lease { scheduler: at, life }
        | Event::Bind { scheduler: at, life, .. }
        | Event::Bound { scheduler: at, life, .. } => {
            let scheduler = &run.schedulers[*at];
            gate(scheduler.alive && scheduler.life == *life, scheduler.paused_until, run.now)
        }
        _ => Gate::Open,
    }
}

/// The Gangplank that an event makes speak.
pub(super) fn speaker(event: &Event) -> Option<usize> {
    match event {
        Event::Cycle { scheduler: at, .. }
        | Event::Asked { replica: at, .. }
        | Event::Flow { replica: at, .. }
        | Event::Called { replica: at, .. }
        | Event::Plan { replica: at, .. }
        | Event::Compare { replica: at, .. } => Some(*at),
        _ => None,
    }
}

fn replica(run: &Run, at: usize, life: Option<u64>) -> Gate {
    let replica = &run.replicas[at];
    gate(replica.alive && life.is_none_or(|life| replica.life == life), replica.paused_until, run.now)
}

fn gate(there: bool, paused_until: Ms, now: Ms) -> Gate {
    match there {
        false => Gate::Lost,
        true if paused_until > now => Gate::Later(paused_until),
        true => Gate::Open,
    }
}
