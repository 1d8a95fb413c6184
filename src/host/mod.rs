//! The one door into the engine, and the only reader of the clock: every input passes [`Host::ask`] and is
//! journalled in the form it came in, so that any run can be replayed. Effects leave through a bounded queue.
//!
//! It decides when questions may be answered (every list in, this replica has the voice, no broken book), and what
//! happens when the engine breaks an invariant: the question is refused, the book is rebuilt, the process lives.
//! It does not decide placements, and knows neither HTTP nor a Kubernetes client.
//!
//! ```text
//! watches, verbs --Record--> Host --Input, now--> Engine --Output--> Host --answer--> caller
//!                             |                                       |
//!                             +--> journal ring, file                 +--> effects queue --> workers
//! ```

mod binder;
mod clock;
mod journal;
mod measure;
mod news;
mod profiles;
mod ready;
mod replay;
mod told;
mod verbs;
mod writer;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

pub use binder::{BindFailure, BindLimits, Binder};
pub use clock::Clock;
pub use journal::{Journal, JournalError, JournalLimits};
pub use news::NodeWithReport;
pub use profiles::{OwnPod, ProfileFiles};
pub use ready::{Part, Waiting};
pub use replay::{ReplayError, ReplayReport, replay};
pub use verbs::VerbFailure;
pub use writer::{BindWrite, PodRead, WriteError, Writer};

use crate::engine::{Answer, Effect, Engine, Input, Output};
use crate::model::{Classes, PodUid, Time};
use crate::policy::Profiles;
use crate::telemetry::{Effects, Metrics};
use crate::wire::journal::Record;

/// The engine with everything it is not allowed to have itself.
#[derive(Debug)]
pub struct Host {
    seat: Mutex<Seat>,
    classes: Arc<Classes>,
    clock: Clock,
    effects: mpsc::Sender<Effect>,
    metrics: Arc<Metrics>,
    ready: ready::Ready,
    /// The engine panicked: nothing is asked or told until [`Host::reset`].
    broken: AtomicBool,
    rebuild: Notify,
    /// Something was told that is worth working ahead on.
    behind: Notify,
    barred: Mutex<BTreeSet<PodUid>>,
    told: told::Told,
    /// What was last said of levels that are missing.
    fabric_told: Mutex<Option<String>>,
}

/// What the lock guards.
#[derive(Debug)]
struct Seat {
    engine: Engine,
    journal: Journal,
    now: Time,
}

/// Effects that wait for a worker, at most. Beyond it they are dropped and counted: losing one loses time, never truth.
pub const EFFECTS_MAX: usize = 16_384;
/// Planning waits while more effects than this do: at some hundreds a second it is a moment's work. What is planned long before it is
/// written cannot be planned better any more, and its deadlines would pass in our own queue.
const EFFECTS_AHEAD_MAX: usize = 256;
/// How long planning waits for writers.
const QUEUE_DRAINS: std::time::Duration = std::time::Duration::from_millis(20);
/// Pods whose questions made the engine panic, at most; beyond it the set starts anew.
pub const BARRED_MAX: usize = 256;

impl Host {
    /// A host with an empty book, that answers nothing before it is told that everything was listed; and the queue
    /// of what the engine wants done.
    pub fn new(
        profiles: impl Into<Profiles>,
        clock: Clock,
        metrics: Arc<Metrics>,
        journal: Journal,
    ) -> (Arc<Self>, mpsc::Receiver<Effect>) {
        let profiles = profiles.into();
        let (effects, queue) = mpsc::channel(EFFECTS_MAX);
        let seat = Seat { engine: Engine::new(profiles.clone()), journal, now: Time::default() };
        let host = Self {
            seat: Mutex::new(seat),
            classes: profiles.classes().clone(),
            clock,
            effects,
            metrics,
            ready: ready::Ready::default(),
            broken: AtomicBool::new(false),
            rebuild: Notify::new(),
            behind: Notify::new(),
            barred: Mutex::default(),
            told: told::Told::default(),
            fabric_told: Mutex::default(),
        };
        (Arc::new(host), queue)
    }

    /// What is managed, under whichever profile is in force.
    pub fn classes(&self) -> &Arc<Classes> {
        &self.classes
    }

    /// The metrics of this process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Asks or tells the engine one thing. The lock is held for the step and the journal's bookkeeping alone.
    pub fn ask(&self, input: Input<'_>, record: Record) -> Output {
        if self.is_broken() {
            return Output { answer: Answer::NotReady, ..Output::default() };
        }
        let (kind, subject) = (input.kind(), subject(&input));
        let bytes = journal::held_bytes(&record);
        let mut seat = self.lock();
        seat.now = seat.now.max(self.clock.read());
        let now = seat.now;
        let started = self.metrics.step.start_timer();
        let engine = &mut seat.engine;
        let stepped = catch_unwind(AssertUnwindSafe(|| engine.step(now, input)));
        started.observe_duration();
        let entry = seat.journal.keep(now, (record, bytes), stepped.as_ref().ok().map(|output| &output.answer));
        if stepped.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        let behind = seat.engine.wants_to_prepare() || seat.engine.wants_to_plan();
        drop(seat);
        if behind {
            self.behind.notify_one();
        }
        let Ok(mut output) = stepped else {
            self.broke(kind, subject, entry);
            return Output { answer: Answer::NotReady, ..Output::default() };
        };
        for effect in output.effects.drain(..) {
            self.queue(effect);
        }
        output
    }

    /// Reads the engine: for explain, digests and metrics.
    pub fn look<T>(&self, read: impl FnOnce(&Engine) -> T) -> T {
        read(&self.lock().engine)
    }

    /// Reads the engine as of now, where what it says depends on the time.
    pub fn look_now<T>(&self, read: impl FnOnce(&Engine, Time) -> T) -> T {
        let seat = self.lock();
        read(&seat.engine, seat.now.max(self.clock.read()))
    }

    /// Reads the journal's ring, oldest entry first.
    pub fn journal<T>(&self, read: impl FnOnce(&Journal) -> T) -> T {
        read(&self.lock().journal)
    }

    /// Plans gangs whose turn it is, and works ahead, whenever there is anything to do: a little at a time, so that no
    /// question waits long, and gangs first.
    pub async fn work_ahead(&self) -> std::convert::Infallible {
        loop {
            self.behind.notified().await;
            loop {
                if self.look(Engine::wants_to_plan) {
                    if self.effects.capacity() < EFFECTS_MAX - EFFECTS_AHEAD_MAX {
                        tokio::time::sleep(QUEUE_DRAINS).await;
                    } else {
                        self.plan();
                    }
                } else if !self.look(Engine::wants_to_prepare) || !self.prepare() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Resolves when the book must be rebuilt from a fresh list of everything.
    pub async fn rebuild_wanted(&self) {
        while !self.broken.load(Ordering::Acquire) {
            self.rebuild.notified().await;
        }
    }

    /// Starts over with an empty book. Only for whoever feeds this host, after it has stopped feeding it: news from
    /// before the list that follows would stay in the new book for ever.
    pub fn reset(&self) {
        self.ready.set(self, Part::Lists, Some("the lists of a rebuilt book".into()));
        self.told.clear();
        let mut seat = self.lock();
        seat.engine = Engine::new(seat.engine.profiles().clone());
        let now = seat.now;
        seat.journal.keep(now, (Record::Reset, 0), None);
        self.broken.store(false, Ordering::Release);
    }

    /// Says what of its readiness a part waits for; `None` when it waits for nothing any more.
    pub fn wait_for(&self, part: Part, what: Option<String>) {
        self.ready.set(self, part, what);
    }

    /// Until when the voice lasts without being given anew. A process that was stopped for longer finds that out when it wakes,
    /// before it plans, answers or binds as one whose turn is over.
    pub fn voice_lasts(&self, until: Option<Instant>) {
        self.ready.voice_lasts(until);
    }

    /// Gives up a voice that has run out.
    fn lapse(&self) {
        if self.ready.has_lapsed() {
            self.ready.set(self, Part::Voice, Some("a look at the lease, which may have run out while this process stood still".into()));
        }
    }

    /// Whether the scheduler's verbs are answered.
    ///
    /// # Errors
    /// What is waited for, for people.
    pub fn ready(&self) -> Result<(), Waiting> {
        if self.is_broken() {
            return Err(Waiting::one("the book to be rebuilt after an internal error"));
        }
        self.lapse();
        self.ready.check()
    }

    /// Whether what it is told now is lost.
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Since when the scheduler's verbs are answered, this time.
    pub(super) fn ready_since(&self) -> Option<Instant> {
        self.ready.since()
    }

    /// Whether this replica could answer, were it given the voice.
    ///
    /// # Errors
    /// What is waited for, for people.
    pub fn able(&self) -> Result<(), Waiting> {
        if self.is_broken() {
            return self.ready();
        }
        self.ready.check_but_voice()
    }

    fn lock(&self) -> MutexGuard<'_, Seat> {
        // A poisoned lock means a panic outside of the engine's step, which leaves the seat whole.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, effect: Effect) {
        let kind = effect.kind();
        if self.effects.try_send(effect).is_err() {
            self.metrics.effects.with_label_values(&[kind, Effects::Dropped.label()]).inc();
        }
    }

    fn broke(&self, kind: &'static str, subject: Option<PodUid>, journal_seq: u64) {
        self.metrics.panics.inc();
        tracing::error!(
            input = kind,
            pod_uid = subject.as_ref().map(PodUid::as_str),
            journal_seq,
            "the engine broke an invariant: the book is rebuilt"
        );
        if let Some(uid) = subject {
            let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
            if barred.len() >= BARRED_MAX {
                barred.clear();
            }
            barred.insert(uid);
        }
        self.rebuild.notify_waiters();
        self.rebuild.notify_one();
    }

    /// A pod whose last question broke the engine is refused at the door: it would break it again on every retry.
    fn is_barred(&self, uid: &PodUid) -> bool {
        self.barred.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }
}

/// The pod that a question is about.
fn subject(input: &Input<'_>) -> Option<PodUid> {
    match input {
        Input::Filter(query) | Input::Prioritize(query) => Some(query.pod.uid.clone()),
        Input::Preempt(query) => Some(query.pod.uid.clone()),
        Input::Bind(query) => Some(query.pod.uid.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::policy::Profile;

    fn host() -> Arc<Host> {
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::new(JournalLimits::default(), metrics.clone());
        Host::new(Arc::new(Profile::shipped()), Clock::simulated(Time::default()), metrics, journal).0
    }

    fn filter(host: &Host, uid: &str) -> Result<Vec<u8>, VerbFailure> {
        let body = format!(r#"{{"Pod":{{"metadata":{{"name":"a","namespace":"b","uid":"{uid}"}}}},"NodeNames":["n"]}}"#);
        host.filter(&Bytes::from(body))
    }

    /// What [`Host::ask`] does when the engine panics.
    fn break_engine(host: &Host, uid: &str) {
        host.broken.store(true, Ordering::Release);
        host.broke("filter", Some(uid.into()), 0);
    }

    #[test]
    fn a_broken_book_answers_nothing_until_it_is_listed_anew_and_the_pod_that_broke_it_stays_out() {
        let host = host();
        host.wait_for(Part::Lists, None);
        assert!(filter(&host, "u-1").is_ok());
        break_engine(&host, "u-1");
        assert!(matches!(filter(&host, "u-2"), Err(VerbFailure::NotReady(_))));
        assert!(host.able().is_err());
        host.reset();
        assert!(matches!(filter(&host, "u-2"), Err(VerbFailure::NotReady(_))), "the new book is empty still");
        host.wait_for(Part::Lists, None);
        assert!(filter(&host, "u-2").is_ok());
        assert!(matches!(filter(&host, "u-1"), Err(VerbFailure::Barred)));
        assert_eq!(host.metrics().panics.get(), 1);
    }

    #[test]
    fn a_voice_that_has_run_out_is_given_up_before_the_next_word() {
        let host = host();
        host.wait_for(Part::Lists, None);
        host.voice_lasts(Some(Instant::now() + std::time::Duration::from_secs(3600)));
        assert!(filter(&host, "u-1").is_ok());
        host.voice_lasts(Some(Instant::now()));
        assert!(matches!(filter(&host, "u-1"), Err(VerbFailure::NotReady(_))));
        host.wait_for(Part::Voice, None);
        assert!(filter(&host, "u-1").is_ok(), "given anew");
        host.voice_lasts(Some(Instant::now()));
        host.tick();
        assert!(!host.look(|engine| engine.census().synced), "time alone must not move a gang on either");
    }

    #[test]
    fn barred_pods_are_bounded() {
        let host = host();
        for index in 0..3 * BARRED_MAX {
            break_engine(&host, &index.to_string());
            assert!(host.barred.lock().unwrap().len() <= BARRED_MAX);
        }
    }

    #[tokio::test]
    async fn whoever_feeds_the_host_learns_that_the_book_is_broken_before_or_after_asking() {
        let host = host();
        break_engine(&host, "u-1");
        host.rebuild_wanted().await;
        host.reset();
        let waiting = tokio::spawn({
            let host = host.clone();
            async move { host.rebuild_wanted().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "woken by an old break");
        break_engine(&host, "u-2");
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }

    #[test]
    fn the_engine_never_sees_time_run_backwards() {
        let host = host();
        host.clock.set(Time::from_unix_ms(2000));
        host.tick();
        host.clock.set(Time::from_unix_ms(1000));
        host.tick();
        let told: Vec<u64> = host.journal(|journal| journal.newest(2)).iter().map(|line| line.now_ms).collect();
        assert_eq!(told, [2000, 2000]);
    }
}
