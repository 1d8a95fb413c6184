//! Which spec is looked at when. Each stands in it once, so that it is never longer than there are specs; one that fails waits longer each
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::store::Key;
use crate::cluster::jittered;

/// Specs beyond this are looked at when everything is looked at again.
const WAITING_MAX: usize = 100_000;
const PAUSE_FIRST: Duration = Duration::from_millis(400);
/// Without anything due it looks again after this.
const IDLE: Duration = Duration::from_secs(60);

/// Specs that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    due: BTreeMap<Key, Instant>,
    looked_at: BTreeSet<Key>,
    /// How often in a row it failed, and since when it may be tried again.
    failed: BTreeMap<Key, (u32, Instant)>,
}

impl Queue {
    /// It is to be looked at then, or earlier if that was wanted; not before its pause is over.
    pub(super) fn add(&self, key: Key, at: Instant) {
        let mut inside = self.lock();
        let at = inside.failed.get(&key).map_or(at, |(_, pause)| at.max(*pause));
        if inside.due.len() >= WAITING_MAX && !inside.due.contains_key(&key) {
            return;
        }
        inside.due.entry(key).and_modify(|due| *due = at.min(*due)).or_insert(at);
        drop(inside);
        self.changed.notify_one();
    }

    /// The next one that is due and is not being looked at.
    pub(super) async fn take(&self) -> Key {
        loop {
            let first = {
                let mut inside = self.lock();
                let free = inside.due.iter().filter(|(key, _)| !inside.looked_at.contains(key));
                let first = free.min_by_key(|(_, at)| **at).map(|(key, at)| (key.clone(), *at));
                if let Some((key, at)) = &first
                    && *at <= Instant::now()
                {
                    inside.due.remove(key);
                    inside.looked_at.insert(key.clone());
                    return key.clone();
                }
                first.map(|(_, at)| at)
            };
            let pause = first.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// It is no longer looked at.
    pub(super) fn done(&self, key: &Key) {
        self.lock().looked_at.remove(key);
        self.changed.notify_one();
    }

    /// Its writes were taken.
    pub(super) fn went_well(&self, key: &Key) {
        self.lock().failed.remove(key);
    }

    /// It is tried again, later each time, within these bounds. How often in a row it failed.
    pub(super) fn went_wrong(&self, key: &Key, (least, most): (Duration, Duration)) -> u32 {
        let mut inside = self.lock();
        let tries = inside.failed.get(key).map_or(0, |(tries, _)| *tries).saturating_add(1);
        let doubled = PAUSE_FIRST.saturating_mul(1 << (tries - 1).min(10)).min(most);
        let at = Instant::now() + jittered(doubled).max(least);
        inside.failed.insert(key.clone(), (tries, at));
        // Also one that wanted to be woken earlier.
        inside.due.insert(key.clone(), at);
        drop(inside);
        self.changed.notify_one();
        tries
    }

    /// It is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.lock().failed.remove(key);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().due.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { resource: 0, namespace: "team".into(), name: name.into() }
    }

    #[tokio::test]
    async fn each_stands_in_it_once_and_is_never_looked_at_twice_at_a_time() {
        let queue = Queue::default();
        let now = Instant::now();
        for _ in 0..3 {
            queue.add(key("a"), now);
        }
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.take().await, key("a"));
        queue.add(key("a"), now);
        queue.add(key("b"), now);
        assert_eq!(queue.take().await, key("b"), "the other one is being looked at");
        queue.done(&key("a"));
        assert_eq!(queue.take().await, key("a"));
    }

    fn bounds(least: u64) -> (Duration, Duration) {
        (Duration::from_secs(least), Duration::from_secs(60))
    }

    #[test]
    fn who_fails_waits_longer_each_time_whatever_is_new() {
        let queue = Queue::default();
        let mut before = Duration::ZERO;
        for tries in 1..=5 {
            assert_eq!(queue.went_wrong(&key("a"), bounds(0)), tries);
            queue.add(key("a"), Instant::now());
            let waits = queue.lock().due[&key("a")].saturating_duration_since(Instant::now());
            assert!(waits > before / 2 && waits > Duration::from_millis(150), "{waits:?}");
            before = waits;
        }
        assert_eq!(queue.went_wrong(&key("b"), bounds(30)), 1);
        let waits = queue.lock().due[&key("b")].saturating_duration_since(Instant::now());
        assert!(waits > Duration::from_secs(29), "as long as the server wants: {waits:?}");
        queue.went_well(&key("a"));
        assert_eq!(queue.went_wrong(&key("a"), bounds(0)), 1);
    }
}
