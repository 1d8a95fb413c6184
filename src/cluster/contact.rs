//! Contact: which feeds are listed, which are broken and since when, and whether the API server answers at all.
//! It decides what readiness waits for, and when a refused credential ends the process (the next one reads it anew).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;

use crate::host::{Host, Part};

/// A feed in error for this long, or an API server silent for this long, closes the door.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(15);
/// A credential refused for this long ends the process.
pub(super) const UNAUTHORIZED_MAX: Duration = Duration::from_secs(25);
/// An error older than this with none after it is over: a broken feed tries again at least this often.
const ERROR_MEMORY: Duration = Duration::from_secs(12);
const BEAT: Duration = Duration::from_secs(3);
const BEAT_MAX: Duration = Duration::from_secs(4);

/// What is known of the connection to the API server.
#[derive(Debug)]
pub(super) struct Contact {
    host: Arc<Host>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    feeds: BTreeMap<&'static str, Feed>,
    heartbeat: Feed,
    unauthorized_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Feed {
    listed: bool,
    /// A list is under way: what was missed in the meantime is not in the book yet.
    listing: bool,
    /// First and last error of the present streak.
    error: Option<(Instant, Instant, String)>,
}

impl Feed {
    fn failed(&mut self, text: String) {
        let now = Instant::now();
        let first = self.error.as_ref().map_or(now, |(first, _, _)| *first);
        self.error = Some((first, now, text));
    }

    /// The error of a feed that has been broken for too long and is not over.
    fn broken(&self) -> Option<String> {
        let (first, last, error) = self.error.as_ref()?;
        (first.elapsed() >= SILENCE_MAX && (self.listing || last.elapsed() < ERROR_MEMORY)).then(|| error.clone())
    }
}

impl Contact {
    /// Expects one feed of each name.
    pub(super) fn new(host: Arc<Host>, feeds: &[&'static str]) -> Arc<Self> {
        let feeds = feeds.iter().map(|name| (*name, Feed::default())).collect();
        let contact = Self { host, state: Mutex::new(State { feeds, heartbeat: Feed::default(), unauthorized_since: None }) };
        contact.judge();
        Arc::new(contact)
    }

    /// The feed's whole list is in the book; or there is nothing to list, because its kind is not installed.
    pub(super) fn listed(&self, feed: &'static str) {
        self.with(feed, |feed| (feed.listed, feed.listing, feed.error) = (true, false, None));
        self.judge();
    }

    /// The feed begins a list, its first one or one after a break.
    pub(super) fn listing(&self, feed: &'static str) {
        self.with(feed, |feed| feed.listing = true);
    }

    /// The feed delivered something.
    pub(super) fn heard(&self, feed: &'static str) {
        self.with(feed, |feed| feed.error = None);
    }

    /// The feed broke, and tries again.
    pub(super) fn failed(&self, feed: &'static str, error: String) {
        self.with(feed, |feed| feed.failed(error));
    }

    /// For how long signs of life have been refused with 401. Open watches say nothing of it: they live on.
    pub(super) fn unauthorized_for(&self) -> Option<Duration> {
        self.lock().unauthorized_since.map(|since| since.elapsed())
    }

    fn beat(&self, answer: Result<(), (bool, String)>) {
        let mut state = self.lock();
        match answer {
            Ok(()) => (state.heartbeat.error, state.unauthorized_since) = (None, None),
            Err((unauthorized, error)) => {
                if unauthorized {
                    state.unauthorized_since.get_or_insert_with(Instant::now);
                }
                state.heartbeat.failed(error);
            }
        }
    }

    /// Asks the API server for a sign of life now and then; ends only when the credential is refused for good.
    pub(super) async fn keep(&self, client: &Client) {
        loop {
            self.beat(match tokio::time::timeout(BEAT_MAX, client.apiserver_version()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(kube::Error::Api(status))) => Err((status.code == 401, format!("{} {}", status.code, status.message))),
                Ok(Err(error)) => Err((false, error.to_string())),
                Err(_) => Err((false, "no answer in time".into())),
            });
            self.judge();
            if self.unauthorized_for().is_some_and(|since| since >= UNAUTHORIZED_MAX) {
                return;
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    fn judge(&self) {
        let state = self.lock();
        let unlisted: Vec<String> = state
            .feeds
            .iter()
            .filter(|(_, feed)| !feed.listed)
            .map(|(name, feed)| feed.error.as_ref().map_or_else(|| (*name).to_string(), |(_, _, error)| format!("{name} ({error})")))
            .collect();
        let lists = (!unlisted.is_empty()).then(|| format!("the first list of {}", unlisted.join(", ")));
        let silent = state
            .feeds
            .iter()
            .filter(|(_, feed)| feed.listed)
            .find_map(|(name, feed)| feed.broken().map(|error| format!("the watch of {name} ({error})")));
        let silent = silent.or_else(|| state.heartbeat.broken().map(|error| format!("the API server ({error})")));
        drop(state);
        self.host.wait_for(Part::Lists, lists);
        self.host.wait_for(Part::Contact, silent);
    }

    fn with(&self, feed: &'static str, change: impl FnOnce(&mut Feed)) {
        if let Some(feed) = self.lock().feeds.get_mut(feed) {
            change(feed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_break_is_over_when_its_list_is_whole_and_not_before() {
        let ago = |span| Instant::now().checked_sub(span).unwrap();
        let mut feed = Feed { listed: true, listing: false, error: Some((ago(SILENCE_MAX * 2), ago(ERROR_MEMORY), "gone".into())) };
        assert_eq!(feed.broken(), None, "a watch that went on where it was says nothing until there is news");
        feed.listing = true;
        assert_eq!(feed.broken(), Some("gone".into()), "half a list is no book");
        feed.error = Some((ago(Duration::from_secs(1)), Instant::now(), "blip".into()));
        assert_eq!(feed.broken(), None, "a short break closes no door");
    }
}
