//! One connection's time limits, which hyper's single header time-out cannot express: an idle connection may stay for
//! longer than kube-scheduler's client keeps it (90 s), but a request head that has begun must be whole within seconds.
//!
//! ```text
//! Idle --first byte--> Head --request parsed--> Answering --response done--> Idle
//!  |  IDLE_MAX          |  HEAD_MAX              (limits of body and handler)
//!  +------- closed <----+
//! ```

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// How long a connection may wait for its next request: kube-scheduler's client drops idle ones after 90 s, and must
/// be the one that does (a POST on a connection that we just closed is not retried).
pub(super) const IDLE_MAX: Duration = Duration::from_secs(180);
/// How long a request's head may take from its first byte.
pub(super) const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a peer may leave a reply lying.
pub(super) const WRITE_MAX: Duration = Duration::from_secs(10);

/// What a connection is doing, shared between its socket, its handler and the accept loop.
#[derive(Debug)]
pub(super) struct State {
    phase: AtomicU8,
    /// Requests answered.
    served: AtomicU64,
    opened: Instant,
    /// Milliseconds after `opened` of the last change of phase.
    changed_ms: AtomicU64,
    /// Told to give up its place.
    pub(super) evict: Notify,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const ANSWERING: u8 = 2;

impl State {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(IDLE),
            served: AtomicU64::new(0),
            opened: Instant::now(),
            changed_ms: AtomicU64::new(0),
            evict: Notify::new(),
        })
    }

    pub(super) fn request_begins(&self) {
        self.enter(ANSWERING);
    }

    pub(super) fn request_ends(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// Which connection goes first when there are too many: never one that is being answered; then those that never
    /// asked anything; then the one that has been quiet for longest.
    pub(super) fn expendable(&self) -> Option<(bool, Duration)> {
        let quiet = self.opened.elapsed().saturating_sub(Duration::from_millis(self.changed_ms.load(Ordering::Relaxed)));
        (self.phase.load(Ordering::Acquire) != ANSWERING).then(|| (self.served.load(Ordering::Relaxed) == 0, quiet))
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
        let since_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.changed_ms.store(since_ms, Ordering::Relaxed);
    }
}

/// A socket that ends by itself when its time is up.
#[derive(Debug)]
pub(super) struct Timed<S> {
    socket: S,
    state: Arc<State>,
    deadline: Pin<Box<Sleep>>,
    /// The phase that `deadline` was set for.
    armed: u8,
    /// Runs while the peer does not take what we write.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(socket: S, state: Arc<State>) -> Self {
        Self { socket, state, deadline: Box::pin(tokio::time::sleep(IDLE_MAX)), armed: IDLE, stalled: None }
    }

    fn arm(&mut self, phase: u8) {
        if self.armed == phase {
            return;
        }
        self.armed = phase;
        let limit = match phase {
            HEAD => HEAD_MAX,
            IDLE => IDLE_MAX,
            // Bodies and handlers have limits of their own.
            _ => return,
        };
        self.deadline.as_mut().reset(tokio::time::Instant::now() + limit);
    }

    /// A write that makes no headway for too long ends the connection.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_MAX)));
        if stalled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::from(ErrorKind::TimedOut)));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        let phase = self.state.phase.load(Ordering::Acquire);
        if polled.is_ready() {
            if buf.filled().len() > before && phase == IDLE {
                self.state.enter(HEAD);
                // Of a busy connection each request may be there before the socket was ever found empty.
                self.armed = IDLE;
                self.arm(HEAD);
            }
            return polled;
        }
        self.arm(phase);
        if phase != ANSWERING && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::from(ErrorKind::TimedOut)));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch_write(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[std::io::IoSlice<'_>]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
