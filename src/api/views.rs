//! What probes, Prometheus and people read. Nothing here changes anything.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{Api, reply};
use crate::engine::Engine;
use crate::model::{NodeName, Time};
use crate::preempt::Wanted;
use crate::preempt::rules::PRIORITY_USER_MAX;
use crate::wire::api::{
    BookView, DefragView, DigestView, GangsView, GoneView, JournalView, NodesView, PodView, PreemptionsView, QueuesView, StartsView,
};

/// Alive: the process answers.
pub(super) async fn healthz() -> Response {
    reply::text(StatusCode::OK, "ok\n".into())
}

/// Ready to answer, or to take over where another replica has the voice: what it waits for otherwise.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    match (api.host.able(), api.host.ready()) {
        (Err(waiting), _) => reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {waiting}\n")),
        (Ok(()), Err(waiting)) => reply::text(StatusCode::OK, format!("ok, silent: {waiting}\n")),
        (Ok(()), Ok(())) => reply::text(StatusCode::OK, "ok\n".into()),
    }
}

/// The exposition text.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    reply::exposition(api.host.metrics().render())
}

/// Every node with its devices and who holds them.
pub(super) async fn nodes(State(api): State<Api>) -> Response {
    view_json(&api.host.look(NodesView::of))
}

/// Who holds what, and who waits.
pub(super) async fn book(State(api): State<Api>) -> Response {
    view_json(&api.host.look(BookView::of))
}

/// Equal for equal durable facts.
pub(super) async fn digest(State(api): State<Api>) -> Response {
    view_json(&DigestView { digest: api.host.look(Engine::digest) })
}

/// Why the last decision on a pod came out as it did.
pub(super) async fn pod(State(api): State<Api>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let look = |engine: &Engine, now: Time| {
        let pod = PodView::of(engine, now, &namespace, &name);
        let gone = if pod.is_none() { GoneView::of(engine, now, &namespace, &name) } else { None };
        (pod, gone)
    };
    match api.host.look_now(look) {
        (Some(view), _) => view_json(&view),
        (None, Some(gone)) => view_json(&gone),
        (None, None) => reply::problem(StatusCode::NOT_FOUND, "no pod of this name asks for an accelerator, as far as was seen"),
    }
}

/// Gangs that are not bound yet, in the order of their turns.
pub(super) async fn gangs(State(api): State<Api>) -> Response {
    view_json(&api.host.look(GangsView::queue))
}

/// The queues of the profile, and what each has.
pub(super) async fn queues(State(api): State<Api>) -> Response {
    view_json(&api.host.look(QueuesView::of))
}

/// Whose room was taken for whom.
pub(super) async fn preemptions(State(api): State<Api>) -> Response {
    view_json(&api.host.look(PreemptionsView::of))
}

/// Gangs of one name, and where their members are.
pub(super) async fn gang(State(api): State<Api>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let view = api.host.look_now(|engine, now| GangsView::named(engine, now, &namespace, &name));
    if view.gangs.is_empty() {
        return reply::problem(StatusCode::NOT_FOUND, "no gang of this name, as far as was seen");
    }
    view_json(&view)
}

/// When gangs of one name that wait could start. It is searched for beside the engine, which goes on.
pub(super) async fn starts(State(api): State<Api>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let searches = api.host.look_now(|engine, now| engine.searches_for_start(now, &namespace, &name));
    match tokio::task::spawn_blocking(|| StartsView::of(searches)).await {
        Ok(view) => view_json(&view),
        Err(error) => reply::problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// `?count=100`.
#[derive(Debug, Deserialize)]
pub(super) struct Newest {
    #[serde(default = "hundred")]
    count: usize,
}

fn hundred() -> usize {
    100
}

/// The newest inputs of the engine.
pub(super) async fn journal(State(api): State<Api>, Query(newest): Query<Newest>) -> Response {
    let view = api.host.journal(|journal| JournalView { evicted: journal.evicted(), entries: journal.newest(newest.count) });
    view_json(&view)
}

/// `?open=rack&nodes=4&resource=nvidia.com/gpu&priority=1000`.
#[derive(Debug, Deserialize)]
pub(super) struct Opened {
    open: String,
    nodes: Option<u32>,
    resource: Option<String>,
    priority: Option<String>,
    /// Names of nodes, with commas between.
    on: Option<String>,
}

/// The cheapest moves that open a block. Nothing moves: it is a plan. It is made beside the engine, which goes on.
pub(super) async fn defrag(State(api): State<Api>, Query(opened): Query<Opened>) -> Response {
    let wanted = match Wanted::of(&opened.open, opened.nodes, opened.resource.as_deref()) {
        Ok(wanted) => wanted.on(opened.on.iter().flat_map(|on| on.split(',')).filter(|name| !name.is_empty()).map(NodeName::from)),
        Err(problem) => return reply::problem(StatusCode::BAD_REQUEST, problem),
    };
    let survey = api.host.look_now(|engine, now| {
        let priority = opened.priority.as_deref().map_or(Some(PRIORITY_USER_MAX), |text| engine.priority_of(text));
        priority.map(|priority| engine.survey(now, wanted, priority))
    });
    let Some(survey) = survey else {
        return reply::problem(StatusCode::BAD_REQUEST, "no PriorityClass of this name, and no number");
    };
    match tokio::task::spawn_blocking(|| DefragView::from(survey.plan())).await {
        Ok(view) => view_json(&view),
        Err(error) => reply::problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn view_json(view: &impl Serialize) -> Response {
    match serde_json::to_vec(view) {
        Ok(body) => reply::json(StatusCode::OK, body),
        Err(error) => reply::problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
