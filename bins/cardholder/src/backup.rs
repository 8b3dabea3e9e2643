//! POST /backup, POST /restore: the whole wallet in one file under a passphrase of its own.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use openset_service::offload::offload;
use openset_service::problem::{self, Json, Problem};
use openset_store::SecretString;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::sync::SemaphorePermit;
use utoipa::ToSchema;

use crate::{Wallet, body_too_large, taken, taken_up_to};

mod contents;
mod file;
mod merge;

/// Most bytes in a back-up file: some thousand purchases.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What JSON adds to a file around it.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The shortest passphrase of a back-up, in characters: the file lies where nobody counts the tries.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// The longest, in characters.
const PASSPHRASE_CHARS_MAX: usize = 1024;

pub(crate) fn router(wallet: &Arc<Wallet>) -> Router {
    let limit = DefaultBodyLimit::max(FILE_BYTES_MAX.saturating_add(JSON_BYTES_MAX));
    Router::new()
        .route("/backup", post(back_up))
        .route("/restore", post(restore).layer(limit))
        .with_state(Arc::clone(wallet))
}

/// Under which passphrase to make a back-up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupRequest {
    /// At least 12 characters; without it the file is lost.
    #[schema(value_type = String)]
    passphrase: SecretString,
}

/// A back-up and its passphrase.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreRequest {
    /// The file as POST /backup gave it.
    backup: String,
    #[schema(value_type = String)]
    passphrase: SecretString,
}

/// What a back-up has brought.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Restored {
    cards: Counts,
    purchases: Counts,
}

/// How the entries of a back-up compare with what the wallet held.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Counts {
    /// The wallet did not have them.
    added: u64,
    /// The back-up's state was newer.
    updated: u64,
    /// The wallet's own state is as new or newer, and stays.
    kept: u64,
}

/// Makes a back-up of cards, keys, certificates and purchases: an age file (age-encryption.org), armored.
#[utoipa::path(post, path = "/backup", request_body = BackupRequest,
    responses((status = 200, description = "The age file", content_type = "text/plain", body = String),
        (status = 422, description = "The passphrase is too short or too long")))]
pub(crate) async fn back_up(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let request: BackupRequest = problem::from_json(&taken(body)?)?;
    check_passphrase(&request.passphrase, PASSPHRASE_CHARS_MIN)?;
    let _alone = alone(&wallet)?;
    let contents = contents::read(&wallet).await?;
    let work_factor = wallet.danger_backup_log_n;
    let file = offload(move || file::write(&contents, request.passphrase, work_factor)).await?;
    if file.len() > FILE_BYTES_MAX {
        let detail = format!(
            "the back-up would have more than {FILE_BYTES_MAX} bytes, which no wallet restores"
        );
        return Err(Problem::conflict("backup-too-large", detail));
    }
    tracing::info!(bytes = file.len(), "back-up made");
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=us-ascii"),
        ),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"wallet.age\""),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, file).into_response())
}

/// Takes a back-up into this wallet, all of it or nothing. What the wallet has and knows better stays.
#[utoipa::path(post, path = "/restore", request_body = RestoreRequest,
    responses((status = 200, body = Restored),
        (status = 413, description = "The file is too large"),
        (status = 422, description = "Wrong passphrase, damaged file, another version: the wallet is as it was")))]
pub(crate) async fn restore(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Restored>, Problem> {
    wallet.require_owner(&headers)?;
    let body = taken_up_to(FILE_BYTES_MAX, body)?;
    let _alone = alone(&wallet)?;
    let contents = offload(move || {
        let request: RestoreRequest = problem::from_json(&body)?;
        drop(body);
        check_passphrase(&request.passphrase, 1)?;
        if request.backup.len() > FILE_BYTES_MAX {
            return Err(body_too_large(FILE_BYTES_MAX));
        }
        file::read(&request.backup, request.passphrase).map_err(Problem::from)
    })
    .await?;
    let restored = merge::into(&wallet, contents).await?;
    wallet.work.notify_one();
    tracing::info!(
        cards = restored.cards.added.saturating_add(restored.cards.updated),
        purchases = restored
            .purchases
            .added
            .saturating_add(restored.purchases.updated),
        "back-up restored"
    );
    Ok(Json(restored))
}

/// Back-ups take memory on purpose: one at a time.
fn alone(wallet: &Wallet) -> Result<SemaphorePermit<'_>, Problem> {
    wallet.backups.try_acquire().map_err(|_| {
        Problem::unavailable(
            "busy",
            "another back-up is being made or restored; try again",
        )
    })
}

fn check_passphrase(passphrase: &SecretString, min: usize) -> Result<(), Problem> {
    if (min..=PASSPHRASE_CHARS_MAX).contains(&passphrase.expose_secret().chars().count()) {
        return Ok(());
    }
    let detail = format!("{min} to {PASSPHRASE_CHARS_MAX} characters");
    Err(
        Problem::unprocessable("invalid-field", format!("mend the passphrase: {detail}"))
            .with_field("/passphrase", detail),
    )
}
