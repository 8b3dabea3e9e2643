//! Accounts: opened with a card and an activation code, shown, blocked.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::BrandId;
use openset_protocol::Timestamp;
use openset_protocol::card::{Bin, CardExpiry, NotAnExpiry, Pan};
use openset_protocol::money::Currency;
use openset_service::problem::{Json, Problem};
use openset_service::random;
use openset_store::Tx;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::account_view::{self, AccountView};
use crate::Issuer;
use crate::answer::{Answer, Call};
use crate::error::IssuerError;
use crate::fresh;
use crate::ledger;
use crate::money::{self, PositiveMinor};
use crate::request::{Decoded, IdempotencyKey, Operator};
use crate::store::accounts::{self, Account, Card};
use crate::store::codes;

/// The longest name of a holder.
const HOLDER_CHARS_MAX: usize = 60;
/// Card numbers that are tried before a BIN counts as full.
const PAN_TRIES_MAX: u8 = 8;

/// A request for an account with a card.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountRequest {
    /// The person's name, as it stands on the card.
    #[schema(examples("Alice Example"))]
    holder: String,
    /// One of the configured brands.
    #[schema(value_type = String, examples("Visa"))]
    brand: BrandId,
    /// ISO 4217 letters.
    #[serde(deserialize_with = "money::currency")]
    #[schema(value_type = String, examples("EUR"))]
    currency: Currency,
    /// Minor units of the currency.
    #[schema(value_type = i64, minimum = 1, examples(500000))]
    credit_limit: PositiveMinor,
    /// The card's last month, `YYYYMM`; some years ahead unless given. A past one makes an expired card.
    #[serde(default)]
    #[schema(value_type = Option<String>, examples("202912"))]
    expiry: Option<CardExpiry>,
}

/// A new account. The card number and the activation code are told this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenedAccount {
    account_id: String,
    holder: String,
    #[schema(value_type = String)]
    brand: BrandId,
    #[schema(value_type = String)]
    currency: Currency,
    /// Minor units of the currency.
    credit_limit: i64,
    card: IssuedCard,
    /// Proves to the certificate authority, once, that the wallet is the cardholder's.
    #[schema(examples("K7QWE-2MX9A"))]
    activation_code: String,
}

/// A new card.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedCard {
    #[schema(value_type = String, examples("4000001234567899"))]
    pan: Pan,
    #[schema(value_type = String, examples("202912"))]
    expiry: CardExpiry,
    #[schema(value_type = String)]
    brand: BrandId,
}

/// Opens an account with a card and an activation code.
#[utoipa::path(
    post, path = "/accounts", tag = "operator",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request one account")),
    request_body = AccountRequest,
    responses(
        (status = 201, body = OpenedAccount),
        (status = 422, description = "A field must be mended"),
    )
)]
pub(crate) async fn open(
    State(issuer): State<Arc<Issuer>>,
    operator: Operator,
    key: Option<IdempotencyKey>,
    body: Decoded<AccountRequest>,
) -> Result<Answer, Problem> {
    let bin = body.value.verify(&issuer)?;
    let vault = &issuer.vault;
    let call =
        key.map(|key| Call::new(vault, &operator.0, "open-account", key, "", body.text.get()));
    let now = issuer.clock.now();
    let mut tx = issuer.db.begin().await?;
    if let Some(call) = &call
        && let Some(answer) = call.claim(&mut tx, vault, now.seconds()).await?
    {
        return Ok(answer);
    }
    let opened = issue(&issuer, &mut tx, &body.value, &bin, now).await?;
    let answer = Answer::json(StatusCode::CREATED, &opened)?;
    if let Some(call) = &call {
        call.complete(&mut tx, vault, &answer).await?;
    }
    tx.commit().await?;
    tracing::info!(outcome = "opened", "account");
    Ok(answer)
}

async fn issue(
    issuer: &Issuer,
    tx: &mut Tx,
    request: &AccountRequest,
    bin: &Bin,
    now: Timestamp,
) -> Result<OpenedAccount, IssuerError> {
    let expiry = match request.expiry {
        Some(expiry) => expiry,
        None => years_ahead(now, issuer.settings.expiry_years)
            .map_err(|_| IssuerError::ExpiryOutOfRange)?,
    };
    let (pan, pan_index) = free_pan(issuer, tx, bin).await?;
    let card_id = random::hex_id::<16>();
    let pan_context = accounts::pan_context(&card_id);
    let account = Account {
        id: random::hex_id::<16>(),
        holder: request.holder.trim().to_owned(),
        brand: request.brand.clone(),
        currency: request.currency,
        credit_limit_minor: request.credit_limit.get(),
        held_minor: 0,
        owed_minor: 0,
        blocked: false,
        opened_at_s: now.seconds(),
        card: Card {
            pan_sealed: issuer
                .vault
                .seal(&pan_context, pan.danger_digits().as_bytes()),
            id: card_id,
            expiry,
            pan_index,
        },
    };
    accounts::insert(tx, &account).await?;
    ledger::open(tx, &account.id, account.currency).await?;
    let activation_code = fresh::activation_code();
    let code_hash = issuer.code_hash(&account.card.id, &activation_code);
    codes::insert(tx, &account.card.id, &code_hash).await?;
    Ok(OpenedAccount {
        account_id: account.id,
        holder: account.holder,
        currency: account.currency,
        credit_limit: account.credit_limit_minor,
        card: IssuedCard {
            pan,
            expiry,
            brand: account.brand.clone(),
        },
        brand: account.brand,
        activation_code,
    })
}

/// A card number that no card has yet, with its blind index.
async fn free_pan(issuer: &Issuer, tx: &mut Tx, bin: &Bin) -> Result<(Pan, [u8; 32]), IssuerError> {
    for _ in 0..PAN_TRIES_MAX {
        let pan = fresh::pan(bin)?;
        let index = issuer
            .vault
            .index(accounts::PAN_INDEX, pan.danger_digits().as_bytes());
        if accounts::find_by_pan(&mut *tx, &index).await?.is_none() {
            return Ok((pan, index));
        }
    }
    Err(IssuerError::BinExhausted(bin.to_string()))
}

fn years_ahead(now: Timestamp, years: u8) -> Result<CardExpiry, NotAnExpiry> {
    let (year, month) = now.year_month();
    let year = u16::try_from(year).map_err(|_| NotAnExpiry)?;
    CardExpiry::new(year.saturating_add(u16::from(years)), month)
}

/// An account: what is owed, held and available, its holds and its postings.
#[utoipa::path(
    get, path = "/accounts/{id}", tag = "operator",
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, body = AccountView),
        (status = 404, description = "There is no such account"),
    )
)]
pub(crate) async fn show(
    State(issuer): State<Arc<Issuer>>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<AccountView>, Problem> {
    let view = account_view::of(&issuer, &id).await?;
    view.map(Json).ok_or_else(no_such_account)
}

/// Blocks an account: its card is declined from now on. Holds taken before may still be captured.
#[utoipa::path(
    post, path = "/accounts/{id}/block", tag = "operator",
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, body = AccountView, description = "It is blocked"),
        (status = 404, description = "There is no such account"),
    )
)]
pub(crate) async fn block(
    State(issuer): State<Arc<Issuer>>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<AccountView>, Problem> {
    set_blocked(&issuer, &id, true).await
}

/// Unblocks an account.
#[utoipa::path(
    post, path = "/accounts/{id}/unblock", tag = "operator",
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, body = AccountView, description = "It is not blocked"),
        (status = 404, description = "There is no such account"),
    )
)]
pub(crate) async fn unblock(
    State(issuer): State<Arc<Issuer>>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<AccountView>, Problem> {
    set_blocked(&issuer, &id, false).await
}

/// Done twice it is still done: no Idempotency-Key is needed.
async fn set_blocked(
    issuer: &Issuer,
    id: &str,
    blocked: bool,
) -> Result<Json<AccountView>, Problem> {
    let mut tx = issuer.db.begin().await?;
    if !accounts::set_blocked(&mut tx, id, blocked).await? {
        return Err(no_such_account());
    }
    tx.commit().await?;
    tracing::info!(
        outcome = if blocked { "blocked" } else { "unblocked" },
        "account"
    );
    let view = account_view::of(issuer, id).await?;
    view.map(Json).ok_or_else(no_such_account)
}

pub(super) fn no_such_account() -> Problem {
    Problem::not_found(
        "no-such-account",
        "use the account_id that POST /accounts answered",
    )
}

impl AccountRequest {
    /// The BIN for the card, if all is well.
    fn verify(&self, issuer: &Issuer) -> Result<Bin, Problem> {
        let refuse = |pointer: &str, detail: String| {
            Problem::unprocessable("invalid-field", detail.clone()).with_field(pointer, detail)
        };
        let holder = self.holder.trim();
        let length = holder.chars().count();
        if !(1..=HOLDER_CHARS_MAX).contains(&length) || holder.contains(char::is_control) {
            let detail = format!("give the name of a person, 1 to {HOLDER_CHARS_MAX} characters");
            return Err(refuse("/holder", detail));
        }
        issuer.settings.bin(&self.brand).cloned().ok_or_else(|| {
            let issued = issuer.settings.brands.iter();
            let issued: Vec<&str> = issued.map(|issued| issued.brand.as_str()).collect();
            refuse("/brand", format!("this bank issues {}", issued.join(", ")))
        })
    }
}

impl Issuer {
    /// An activation code as it is stored and compared.
    pub(super) fn code_hash(&self, card_id: &str, typed: &str) -> [u8; 32] {
        let code = fresh::normal_code(typed);
        self.vault
            .index(&codes::hash_context(card_id), code.as_bytes())
    }
}
