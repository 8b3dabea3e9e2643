//! Once a request that writes has been taken in, it runs to its end, whoever hangs up.
//!
//! A handler is otherwise dropped at its next `await` when its client goes away or runs out of
//! patience. Here each request is a task of its own: reads are aborted with their client, all
//! others go on. A request is taken in once its body has arrived: what clients hold back keeps nobody else waiting.
//! It is also where a request gets its id and where a panic ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument;

use crate::body::{self, DeadlineBody};
use crate::peer::{Peer, Shares};
use crate::problem::Problem;
use crate::random;
use crate::server::{
    BODY_READ_TIMEOUT, MAX_BODIES_IN_ARRIVAL, MAX_BODIES_IN_ARRIVAL_PER_PEER, MAX_WRITES_IN_FLIGHT,
    REQUEST_TIMEOUT,
};

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The header under which an answer carries its request id.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The id of the request that this task answers.
#[must_use]
pub fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// The requests at work in a service; clones share them.
#[derive(Debug, Clone)]
pub struct Detached {
    bodies: Arc<Shares>,
    writes: Arc<Semaphore>,
    tasks: TaskTracker,
    body_time: Duration,
    patience: Duration,
}

impl Default for Detached {
    fn default() -> Self {
        Self::with_times(BODY_READ_TIMEOUT, REQUEST_TIMEOUT)
    }
}

impl Detached {
    /// With other times than [`BODY_READ_TIMEOUT`] and [`REQUEST_TIMEOUT`].
    #[must_use]
    pub fn with_times(body_time: Duration, patience: Duration) -> Self {
        let bodies = Shares::new(MAX_BODIES_IN_ARRIVAL, MAX_BODIES_IN_ARRIVAL_PER_PEER);
        Self {
            bodies: Arc::new(bodies),
            writes: Arc::new(Semaphore::new(MAX_WRITES_IN_FLIGHT)),
            tasks: TaskTracker::new(),
            body_time,
            patience,
        }
    }

    /// The router with every request as a task of its own.
    pub fn wrap(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), run))
    }

    /// Waits until the last request has ended, `deadline` at most.
    pub async fn finish(&self, deadline: Duration) {
        self.tasks.close();
        if timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests without a client were still at work at the drain deadline");
        }
    }

    /// The request with its body, which has arrived.
    async fn take_in(&self, request: Request) -> Result<Request, Problem> {
        let (parts, body) = request.into_parts();
        if body.is_end_stream() {
            return Ok(Request::from_parts(parts, body));
        }
        let peer = parts.extensions.get::<Peer>().copied();
        let share = timeout(self.body_time, self.bodies.take(peer)).await;
        let share = share.ok().flatten().ok_or_else(busy)?;
        let body = body::take_in(DeadlineBody::new(body, self.body_time), share).await;
        Ok(Request::from_parts(parts, body))
    }

    /// The handler's answer, or the reason why there is none (yet).
    async fn answer(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let reads = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let (slot, request) = if reads {
            let deadline = |body| Body::new(DeadlineBody::new(body, self.body_time));
            (None, request.map(deadline))
        } else {
            let request = self.take_in(request).await?;
            let slot = Arc::clone(&self.writes).try_acquire_owned();
            (Some(slot.map_err(|_| busy())?), request)
        };
        let id = request_id().unwrap_or_default();
        let work = REQUEST_ID.scope(id, next.run(request)).in_current_span();
        let task = self.tasks.spawn(async move {
            let response = work.await;
            drop(slot);
            response
        });
        let outcome = if reads {
            timeout(self.patience, AbortOnDropHandle::new(task)).await
        } else {
            timeout(self.patience, task).await
        };
        match outcome {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(panicked(&error)),
            Err(_) => Err(Problem::unavailable(
                "still-working",
                "the work goes on; send the same request again to get its answer",
            )),
        }
    }
}

/// Whoever is told so has done nothing yet.
fn busy() -> Problem {
    Problem::unavailable("busy", "too much at once; try again")
}

async fn run(State(detached): State<Detached>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = random::hex_id::<8>();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str);
    let quiet = matches!(route, "/healthz" | "/readyz" | "/metrics");
    let span = tracing::info_span!("request", request_id = %id, method = %request.method(), route);
    let answer = async {
        let answer = detached.answer(request, next).await;
        let response = answer.unwrap_or_else(IntoResponse::into_response);
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        if quiet {
            tracing::debug!(status, duration_ms, "answered");
        } else {
            tracing::info!(status, duration_ms, "answered");
        }
        response
    };
    let mut response = REQUEST_ID.scope(id.clone(), answer).instrument(span).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    response
}

/// The panic hook has logged where; what it said may hold data of the request.
fn panicked(error: &JoinError) -> Problem {
    tracing::error!(
        outcome = "panic",
        "the handler ended early: {}",
        if error.is_panic() {
            "it panicked"
        } else {
            "the service stops"
        }
    );
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the service failed; its log has the reason under this request id",
    )
}
