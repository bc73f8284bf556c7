//! What can be asked, and the answers.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::gate::Gate;
use super::problem::Problem;
use super::{Node, PairOrder, ReloadError};
use crate::net::source;
use crate::types::Secret;

/// Where a request came from, and to which of our addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    pub(super) source: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Over TCP: whoever reaches the port may read.
    Tcp,
    /// Over the unix socket: its file mode is the guard.
    Unix,
}

type Shared = Arc<dyn Node>;

/// Every route. `token` permits writes over TCP, where `gate` knows what this
/// node is called.
pub(super) fn router(node: Shared, token: Option<Secret>, gate: Gate) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/readyz", get(readyz))
        .route("/v1/config", get(config))
        .route("/v1/dns", get(dns))
        .route("/v1/events", get(events))
        .route("/v1/pair", get(pair))
        .route("/v1/pair/handover", post(handover))
        .route("/v1/pair/hold", post(hold))
        .route("/v1/pools", get(pools))
        .route("/v1/pools/{pool}", get(pool))
        .route("/v1/pools/{pool}/{backend}", get(backend))
        .route("/v1/reload", post(reload))
        .route("/v1/status", get(status))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(token, guard))
        .layer(from_fn_with_state(Arc::new(gate), greet))
        .with_state(node)
}

/// Over TCP only who means this node is answered, and no page of the web.
async fn greet(
    State(gate): State<Arc<Gate>>,
    Extension(via): Extension<Via>,
    Extension(at): Extension<At>,
    request: Request,
    next: Next,
) -> Response {
    let checked = match via {
        Via::Tcp => gate.check(&request, at.local, source::is_here),
        Via::Unix => Ok(()),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err((status, why)) => Problem::new(status, why).into_response(),
    }
}

/// Reading is free for whoever gets here; writing over TCP needs the token.
async fn guard(
    State(token): State<Option<Secret>>,
    Extension(via): Extension<Via>,
    request: Request,
    next: Next,
) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_read || via == Via::Unix {
        return next.run(request).await;
    }
    let Some(token) = token else {
        let detail = "writes over TCP need admin.token in lb.yaml; use the unix socket";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    };
    if is_authorized(request.headers(), &token) {
        return next.run(request).await;
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "send the token of lb.yaml: `Authorization: Bearer TOKEN`",
    );
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, problem).into_response()
}

fn is_authorized(headers: &HeaderMap, token: &Secret) -> bool {
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    sent.is_some_and(|sent| verify_slices_are_equal(sent, token.expose().as_bytes()).is_ok())
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(node): State<Shared>) -> Response {
    if node.is_ready() {
        "ready\n".into_response()
    } else {
        let detail = "not every backend has been probed yet";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
    }
}

async fn metrics(State(node): State<Shared>) -> Response {
    match node.metrics() {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(why) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

async fn status(State(node): State<Shared>) -> Response {
    Json(node.status()).into_response()
}

async fn config(State(node): State<Shared>) -> Response {
    Json(node.config()).into_response()
}

async fn dns(State(node): State<Shared>) -> Response {
    match node.dns() {
        Some(dns) => Json(dns).into_response(),
        None => {
            let detail = "nobody tells the world: there is no pair in lb.yaml, or pair.dns is off";
            Problem::new(StatusCode::NOT_FOUND, detail).into_response()
        }
    }
}

#[derive(Deserialize)]
struct EventsQuery {
    #[serde(default)]
    after: u64,
}

async fn events(State(node): State<Shared>, Query(query): Query<EventsQuery>) -> Response {
    Json(json!({ "events": node.events(query.after) })).into_response()
}

async fn pair(State(node): State<Shared>) -> Response {
    match node.pair() {
        Some(pair) => Json(pair).into_response(),
        None => no_pair().into_response(),
    }
}

fn no_pair() -> Problem {
    let detail = "this node is alone: there is no pair in lb.yaml";
    Problem::new(StatusCode::NOT_FOUND, detail)
}

#[derive(Deserialize)]
struct HandoverQuery {
    #[serde(default)]
    to: Option<String>,
}

async fn handover(State(node): State<Shared>, Query(query): Query<HandoverQuery>) -> Response {
    order(&node, PairOrder::Handover(query.to)).await
}

#[derive(Deserialize)]
struct HoldQuery {
    #[serde(default)]
    off: Option<String>,
}

async fn hold(State(node): State<Shared>, Query(query): Query<HoldQuery>) -> Response {
    order(&node, PairOrder::Hold(query.off.is_none())).await
}

async fn order(node: &Shared, order: PairOrder) -> Response {
    if node.pair().is_none() {
        return no_pair().into_response();
    }
    match node.order(order).await {
        Ok(()) => Json(json!({ "ordered": true })).into_response(),
        Err(why) => Problem::new(StatusCode::CONFLICT, why).into_response(),
    }
}

async fn pools(State(node): State<Shared>) -> Response {
    Json(json!({ "pools": node.status().pools })).into_response()
}

async fn pool(State(node): State<Shared>, Path(name): Path<String>) -> Response {
    let pools = node.status().pools;
    match pools.into_iter().find(|pool| pool.name == name) {
        Some(pool) => Json(pool).into_response(),
        None => no_pool(&name).into_response(),
    }
}

async fn backend(
    State(node): State<Shared>,
    Path((name, backend)): Path<(String, String)>,
) -> Response {
    let pools = node.status().pools;
    let Some(pool) = pools.into_iter().find(|pool| pool.name == name) else {
        return no_pool(&name).into_response();
    };
    let mut backends = pool.backends.into_iter();
    match backends.find(|it| it.name == backend) {
        Some(backend) => Json(backend).into_response(),
        None => {
            let detail = format!("pool {name:?} has no backend {backend:?}");
            Problem::new(StatusCode::NOT_FOUND, detail).into_response()
        }
    }
}

fn no_pool(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no pool {name:?}"))
}

#[derive(Deserialize)]
struct ReloadQuery {
    #[serde(default)]
    dry_run: Option<String>,
}

async fn reload(State(node): State<Shared>, Query(query): Query<ReloadQuery>) -> Response {
    let dry_run = match query.dry_run.as_deref() {
        None | Some("0" | "false") => false,
        Some("" | "1" | "true") => true,
        Some(other) => {
            let detail = format!("dry_run is 0 or 1, not {other:?}");
            return Problem::new(StatusCode::BAD_REQUEST, detail).into_response();
        }
    };
    match node.reload(dry_run).await {
        Ok(changes) => Json(json!({ "dry_run": dry_run, "changes": changes })).into_response(),
        Err(ReloadError::Refused(why)) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why).into_response()
        }
        Err(error @ ReloadError::Stopping) => {
            Problem::new(StatusCode::CONFLICT, error.to_string()).into_response()
        }
    }
}

async fn not_found(request: Request) -> Problem {
    let detail = format!("there is nothing at {:?}", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    let detail = format!("{path:?} does not take {method}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
