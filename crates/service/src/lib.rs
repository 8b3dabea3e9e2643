//! The shell that all services share: configuration, HTTP, errors, telemetry.
//!
//! A service's `main.rs` is one call of [`shell::main`]; its `run` opens a
//! [`shell::Shell`], builds its routes and hands them to [`shell::Shell::serve`].

pub mod auth;
mod body;
pub mod client;
pub mod clock;
pub mod config;
pub mod detached;
pub mod enrolment;
pub mod health;
pub mod ocsp;
pub mod offload;
pub mod openapi;
pub mod outbox_worker;
pub mod paging;
pub mod peer;
pub mod problem;
pub mod random;
pub mod server;
pub mod set_endpoint;
pub mod set_errors;
pub mod shell;
pub mod step_report;
pub mod telemetry;
pub mod trust;

pub use tokio_util::sync::CancellationToken;
