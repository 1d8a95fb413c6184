//! The journal: what the engine was told, in the form it came in, with the time it was told. A ring in memory,
//! bounded in entries and bytes, for people; and a file, if one is asked for, from which a run can be replayed.
//!
//! It decides what is kept. Objects are kept by reference and become JSON only when somebody reads them: in the
//! file's own thread, or for the caller who dumps the ring. The engine never waits for a disk: an entry that the
//! file's thread cannot take is lost, counted, and shows as a gap.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use crate::engine::Answer;
use crate::model::Time;
use crate::telemetry::Metrics;
use crate::wire::journal::{Line, Record};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// Entries of the ring.
    pub entries_max: usize,
    /// Bytes that the ring's entries hold, as estimated by [`Journal`].
    pub bytes_max: usize,
    /// Bytes of the file; what comes later is not written.
    pub file_bytes_max: u64,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self { entries_max: 16_384, bytes_max: 32 << 20, file_bytes_max: 1 << 30 }
    }
}

/// Why a journal file cannot be written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file cannot be created.
    #[error("the journal {path} cannot be created")]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that writes it cannot be started.
    #[error("the journal's thread cannot be started")]
    Spawn(#[source] std::io::Error),
}

/// The ring and, where there is one, the way to the file.
pub struct Journal {
    limits: JournalLimits,
    ring: VecDeque<(Line, usize)>,
    bytes: usize,
    seq: u64,
    evicted: u64,
    hashing: bool,
    file: Option<FileSink>,
    metrics: Arc<Metrics>,
}

struct FileSink {
    lines: Option<SyncSender<Line>>,
    /// The newest line while more of its kind may come.
    open: Option<Line>,
    thread: Option<JoinHandle<()>>,
}

/// Lines on their way to the file, at most.
const FILE_QUEUE_MAX: usize = 8192;
/// How long a written line may stay in the process.
const FILE_FLUSH: Duration = Duration::from_millis(200);
/// What an entry takes beside its body or object.
const ENTRY_BYTES: usize = 256;

impl Journal {
    /// A journal in memory.
    pub fn new(limits: JournalLimits, metrics: Arc<Metrics>) -> Self {
        Self { limits, ring: VecDeque::new(), bytes: 0, seq: 0, evicted: 0, hashing: false, file: None, metrics }
    }

    /// A journal in memory and in a new file.
    ///
    /// # Errors
    /// A file that cannot be created.
    pub fn with_file(limits: JournalLimits, path: &Path, metrics: Arc<Metrics>) -> Result<Self, JournalError> {
        let file = File::create(path).map_err(|source| JournalError::Create { path: path.into(), source })?;
        let (lines, queue) = sync_channel(FILE_QUEUE_MAX);
        let counted = metrics.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_lines(&queue, file, limits.file_bytes_max, &counted))
            .map_err(JournalError::Spawn)?;
        Ok(Self { file: Some(FileSink { lines: Some(lines), open: None, thread: Some(thread) }), ..Self::new(limits, metrics).hashing() })
    }

    /// Keeps a hash of each answer, for a replay to compare with. Costs a walk over the answer.
    pub(super) fn hashing(self) -> Self {
        Self { hashing: true, ..self }
    }

    /// Keeps one entry; returns its place in the order.
    pub(super) fn keep(&mut self, now: Time, (input, bytes): (Record, usize), answer: Option<&Answer>) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        let answer = answer.filter(|_| self.hashing).and_then(answer_hash);
        let line = Line { seq, now_ms: now.unix_ms(), answer, input };
        if let Some(file) = &mut self.file {
            file.take(line.clone(), &self.metrics);
        }
        // Working ahead takes a hundred steps after one answer: a line each would push everything else out within seconds.
        if self.ring.back_mut().is_some_and(|(last, _)| joins(last, &line)) {
            return seq;
        }
        // A relist of a large cluster would push everything else out, and itself with it.
        if bytes > self.limits.bytes_max / 4 {
            self.evicted += 1;
            return seq;
        }
        self.bytes += bytes;
        self.ring.push_back((line, bytes));
        self.metrics.journal.with_label_values(&["ring"]).inc();
        while self.ring.len() > self.limits.entries_max || self.bytes > self.limits.bytes_max {
            let Some((_, bytes)) = self.ring.pop_front() else { break };
            self.bytes -= bytes;
            self.evicted += 1;
        }
        seq
    }

    /// The newest entries, oldest first; cheap to clone.
    pub fn newest(&self, count: usize) -> Vec<Line> {
        let skip = self.ring.len().saturating_sub(count);
        self.ring.iter().skip(skip).map(|(line, _)| line.clone()).collect()
    }

    /// Entries that the ring no longer has: a dump is a whole run only when there are none.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Bytes that the ring's entries are taken to hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries in the ring.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing was kept yet.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} entries, {} bytes, {} evicted)", self.ring.len(), self.bytes, self.evicted)
    }
}

impl FileSink {
    fn take(&mut self, line: Line, metrics: &Metrics) {
        if self.open.as_mut().is_some_and(|open| joins(open, &line)) {
            return;
        }
        if let Some(open) = self.open.take() {
            self.send(open, metrics);
        }
        match line.input {
            Record::Prepare { .. } => self.open = Some(line),
            _ => self.send(line, metrics),
        }
    }

    fn send(&self, line: Line, metrics: &Metrics) {
        let sent = self.lines.as_ref().is_some_and(|lines| lines.try_send(line).is_ok());
        metrics.journal.with_label_values(&[if sent { "file" } else { "lost" }]).inc();
    }
}

/// Whether the newest line takes in the one that comes after it.
fn joins(last: &mut Line, line: &Line) -> bool {
    last.seq + last.input.times() == line.seq && last.input.absorbs(&line.input)
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let (Some(line), Some(lines)) = (self.open.take(), &self.lines) {
            let _ = lines.send(line);
        }
        // Closing the queue first lets the thread write what it has and end.
        drop(self.lines.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What an entry keeps alive, about: a body's length, an object's length as JSON. To be called without the lock.
pub(super) fn held_bytes(record: &Record) -> usize {
    ENTRY_BYTES
        + match record {
            Record::Filter { body } | Record::Prioritize { body } | Record::Preempt { body } => body.0.len(),
            Record::PodApplied { .. }
            | Record::NodeApplied { .. }
            | Record::QuotaApplied { .. }
            | Record::BudgetApplied { .. }
            | Record::PriorityClassApplied { .. }
            | Record::VolumeApplied { .. }
            | Record::GangApplied { .. }
            | Record::CreationFailed { .. }
            | Record::NodeFailed { .. }
            | Record::ProvisioningApplied { .. }
            | Record::EndedListed { .. }
            | Record::Bind { .. }
            | Record::TopologyApplied { .. }
            | Record::HyperNodeApplied { .. }
            | Record::ProfilesReplaced { .. }
            | Record::Relisted { .. } => json_length(record),
            Record::PodDeleted { .. }
            | Record::NodeDeleted { .. }
            | Record::QuotaDeleted { .. }
            | Record::BudgetDeleted { .. }
            | Record::PriorityClassDeleted { .. }
            | Record::VolumeDeleted { .. }
            | Record::GangDeleted { .. }
            | Record::ProvisioningServed { .. }
            | Record::ProvisioningDeleted { .. }
            | Record::TopologyDeleted { .. }
            | Record::HyperNodeDeleted { .. }
            | Record::Synced
            | Record::Desynced
            | Record::Tick
            | Record::Prepare { .. }
            | Record::Plan
            | Record::Reset
            | Record::BindOutcome { .. } => 0,
        }
}

fn json_length(record: &Record) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Nothing that was read from JSON fails to become JSON; if it did, the length so far is as good as any.
    let _ = serde_json::to_writer(&mut counter, record);
    counter.0
}

/// FNV-1a over the answer's debug form: equal answers, equal text.
fn answer_hash(answer: &Answer) -> Option<String> {
    struct Fnv(u64);
    impl fmt::Write for Fnv {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            Ok(())
        }
    }
    if matches!(answer, Answer::None) {
        return None;
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    fmt::Write::write_fmt(&mut hash, format_args!("{answer:?}")).ok()?;
    Some(format!("{:016x}", hash.0))
}

fn write_lines(queue: &Receiver<Line>, file: File, bytes_max: u64, metrics: &Metrics) {
    let (mut file, mut bytes, mut stopped) = (BufWriter::new(file), 0_u64, false);
    loop {
        match queue.recv_timeout(FILE_FLUSH) {
            Ok(_) if stopped => metrics.journal.with_label_values(&["lost"]).inc(),
            Ok(line) => match serde_json::to_vec(&line) {
                Ok(mut text) => {
                    text.push(b'\n');
                    bytes += text.len() as u64;
                    let full = bytes > bytes_max;
                    let failed = if full { None } else { file.write_all(&text).err() };
                    if full || failed.is_some() {
                        stopped = true;
                        tracing::error!(bytes_max, error = failed.map(tracing::field::display), "the journal file ends here");
                    }
                }
                Err(error) => tracing::error!(%error, seq = line.seq, "a journal entry cannot be written"),
            },
            Err(RecvTimeoutError::Timeout) => {
                let _ = file.flush();
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = file.flush();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::journal::Body;

    fn journal(entries_max: usize, bytes_max: usize) -> Journal {
        Journal::new(JournalLimits { entries_max, bytes_max, ..JournalLimits::default() }, Arc::default())
    }

    #[test]
    fn the_ring_keeps_the_newest_within_its_entries() {
        let mut journal = journal(3, 1 << 20);
        for _ in 0..10 {
            journal.keep(Time::default(), (Record::Tick, 256), None);
        }
        assert_eq!(journal.newest(100).iter().map(|line| line.seq).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!((journal.len(), journal.evicted()), (3, 7));
    }

    #[test]
    fn work_ahead_is_counted_and_pushes_nothing_out() {
        let mut journal = journal(4, 1 << 20);
        for _ in 0..3 {
            journal.keep(Time::default(), (Record::Tick, 256), None);
            for _ in 0..1000 {
                journal.keep(Time::default(), (Record::Prepare { times: 1 }, 256), None);
            }
        }
        let lines = journal.newest(100);
        assert_eq!(
            lines.iter().map(|line| (line.seq, line.input.times())).collect::<Vec<_>>(),
            [(1001, 1), (1002, 1000), (2002, 1), (2003, 1000)]
        );
        // What came between is not in the ring, being too large; the steps around it were not told in a row.
        journal.keep(Time::default(), (Record::Synced, 1 << 20), None);
        journal.keep(Time::default(), (Record::Prepare { times: 1 }, 256), None);
        assert_eq!(journal.newest(1)[0].seq, 3004);
    }

    #[test]
    fn the_ring_stays_within_its_bytes_even_when_one_entry_would_not() {
        let mut journal = journal(1000, 10_000);
        for size in [1000, 2000, 2000, 2000, 2000, 50_000, 2000] {
            let record = Record::Filter { body: Body(Bytes::from(vec![b' '; size])) };
            let bytes = held_bytes(&record);
            journal.keep(Time::default(), (record, bytes), None);
            assert!(journal.bytes() <= 10_000, "{journal:?}");
        }
        assert_eq!(journal.newest(100).iter().map(|line| line.seq).collect::<Vec<_>>(), [2, 3, 4, 6], "the huge one pushes nothing out");
    }
}
