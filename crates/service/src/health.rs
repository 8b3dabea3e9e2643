//! `/healthz` (the process answers) and `/readyz` (it can do its work).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::problem::{Json, Problem};

/// A check that takes longer has failed.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> Outcome + Send + Sync>;
type Outcome = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The named checks that `/readyz` runs.
#[derive(Clone, Default)]
pub struct Health(Vec<(&'static str, Check)>);

impl Health {
    /// No checks yet: ready as soon as it answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check; its error tells what is missing.
    pub fn add<F, Fut>(&mut self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.0
            .push((name, Arc::new(move || Box::pin(check()) as Outcome)));
    }

    /// The two routes.
    pub fn router(self) -> Router {
        Router::new()
            .route(
                "/healthz",
                get(|| async { Json(json!({"status": "alive"})) }),
            )
            .route(
                "/readyz",
                get(move || {
                    let health = self.clone();
                    async move { health.readiness().await }
                }),
            )
    }

    async fn readiness(&self) -> Response {
        let mut problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-ready",
            "the checks listed under errors fail",
        );
        for (name, check) in &self.0 {
            match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => problem = problem.with_field(format!("/{name}"), why),
                Err(_) => problem = problem.with_field(format!("/{name}"), "takes too long"),
            }
        }
        if problem.errors.is_empty() {
            let names: Vec<_> = self.0.iter().map(|(name, _)| name).collect();
            Json(json!({"status": "ready", "checks": names})).into_response()
        } else {
            problem.into_response()
        }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}
