//! Settlement: the bank pays a gateway what its movements come to.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use openset_protocol::Timestamp;
use openset_protocol::money::Currency;
use openset_service::problem::Problem;
use openset_store::Tx;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Issuer;
use crate::answer::{Answer, Call};
use crate::ledger;
use crate::money;
use crate::request::{Gateway, IdempotencyKey, Long};
use crate::store::settlements::{self, Settlement};

/// Movements of one part at most.
const ITEMS_MAX: usize = 1000;
/// The longest name of a batch.
const BATCH_ID_CHARS_MAX: usize = 100;

/// A part of a batch that is to be paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettlementRequest {
    /// The gateway's name for its batch: letters, digits, `.`, `_` and `-`.
    batch_id: String,
    /// Which part of the batch.
    part: u32,
    /// No part of the batch comes after it.
    last: bool,
    /// ISO 4217 letters.
    #[serde(deserialize_with = "money::currency")]
    #[schema(value_type = String, examples("EUR"))]
    currency: Currency,
    /// What the items come to, in minor units: captures less credits. Below zero, the gateway pays.
    #[schema(examples(4200))]
    net_minor: i64,
    /// 1000 at most, each settled once.
    items: Vec<SettledItem>,
}

/// A movement that is to be settled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettledItem {
    /// The Idempotency-Key under which the capture, credit or reversal of one was made.
    movement: String,
    /// The authorization's id: by it captures are found of which the key was not kept then.
    #[serde(default)]
    authorization: Option<String>,
}

/// A part of a batch, paid.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettlementAnswer {
    batch_id: String,
    part: u32,
    #[schema(value_type = String)]
    currency: Currency,
    net_minor: i64,
    #[schema(value_type = String, format = DateTime)]
    settled_at: Timestamp,
}

/// Pays a gateway what a part of its batch comes to, once. The same part again brings the same answer.
#[utoipa::path(
    post, path = "/settlements", tag = "gateway",
    params(("Idempotency-Key" = String, Header, description = "New for each new effect")),
    request_body = SettlementRequest,
    responses(
        (status = 200, body = SettlementAnswer, description = "Paid"),
        (status = 409, description = "The gateway has no such movement (`no-such-movement`), another part has settled it \
                                      (`already-settled`), or the movements come to something else (`net-mismatch`)"),
        (status = 422, description = "The part was settled with another content (`part-reused`), or a field must be mended"),
    )
)]
pub(crate) async fn settle(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    Long(body): Long<SettlementRequest>,
) -> Result<Answer, Problem> {
    body.value.verify()?;
    let call = Call::new(
        &issuer.vault,
        &gateway.0,
        "settle",
        key,
        "",
        body.text.get(),
    );
    let now = issuer.clock.now();
    let mut tx = issuer.db.begin().await?;
    if let Some(answer) = call.claim(&mut tx, &issuer.vault, now.seconds()).await? {
        return Ok(answer);
    }
    let asked = body.value.settlement(&gateway.0.name, now);
    let settled = if settlements::insert(&mut tx, &asked).await? {
        pay(&mut tx, &asked, &body.value.items).await?;
        asked
    } else {
        let known = settlements::find(&mut tx, &asked.gateway, &asked.batch_id, asked.part).await?;
        let same = known.filter(|known| known.content == asked.content);
        same.ok_or_else(part_reused)?
    };
    let answer = Answer::json(StatusCode::OK, &SettlementAnswer::of(&settled))?;
    call.complete(&mut tx, &issuer.vault, &answer).await?;
    tx.commit().await?;
    tracing::info!(outcome = "settled", items = settled.items, "settlement");
    Ok(answer)
}

/// Settles each movement and books the payment. A refusal is not kept: nothing has happened, and the batch may be mended.
async fn pay(tx: &mut Tx, asked: &Settlement, items: &[SettledItem]) -> Result<(), Problem> {
    let mut named: Vec<(usize, &SettledItem)> = items.iter().enumerate().collect();
    named.sort_unstable_by_key(|(_, item)| &item.movement);
    let settled_by = format!("{}/{}", asked.batch_id, asked.part);
    let mut net_minor = 0_i64;
    for (place, item) in named {
        let refuse = |status, code, detail: &str| {
            let pointer = format!("/items/{place}/movement");
            Err(Problem::new(status, code, detail).with_field(pointer, detail))
        };
        let found = settlements::lock_movement(tx, &asked.gateway, item.names()).await?;
        let Some(found) = found else {
            return refuse(
                StatusCode::CONFLICT,
                "no-such-movement",
                "name the Idempotency-Key of a capture, a credit or a reversal of one that this gateway has made",
            );
        };
        if found.currency != asked.currency {
            return refuse(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-currency",
                "settle movements of one currency together",
            );
        }
        if found.settled_by.is_some() {
            return refuse(
                StatusCode::CONFLICT,
                "already-settled",
                "another part has settled this movement; leave it out",
            );
        }
        settlements::settle_movement(tx, &asked.gateway, &found.id, &settled_by).await?;
        // A thousand amounts below 10^12 do not overflow.
        net_minor = net_minor.saturating_add(found.amount_minor);
    }
    if net_minor != asked.net_minor {
        let detail = format!(
            "the items come to {net_minor} minor units; compare them with your own movements"
        );
        return Err(
            Problem::conflict("net-mismatch", detail.clone()).with_field("/net_minor", detail)
        );
    }
    if net_minor != 0 {
        ledger::pay(tx, asked).await?;
    }
    Ok(())
}

impl SettledItem {
    fn names(&self) -> (&str, Option<&str>) {
        (&self.movement, self.authorization.as_deref())
    }
}

fn part_reused() -> Problem {
    Problem::unprocessable(
        "part-reused",
        "this part of the batch was settled with another content; send what was sent then, or a new part",
    )
}

impl SettlementRequest {
    fn verify(&self) -> Result<(), Problem> {
        let refuse = |pointer: String, detail: String| {
            Err(Problem::unprocessable("invalid-field", detail.clone()).with_field(pointer, detail))
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length = self.batch_id.len();
        if !(1..=BATCH_ID_CHARS_MAX).contains(&length) || !self.batch_id.bytes().all(plain) {
            let detail = format!(
                "give 1 to {BATCH_ID_CHARS_MAX} letters, digits, dots, underscores or dashes"
            );
            return refuse("/batch_id".to_owned(), detail);
        }
        if self.items.len() > ITEMS_MAX {
            let detail = format!("settle at most {ITEMS_MAX} movements in a part; make more parts");
            return refuse("/items".to_owned(), detail);
        }
        let mut seen = std::collections::HashSet::new();
        let doubled = self
            .items
            .iter()
            .position(|item| !seen.insert(&item.movement));
        match doubled {
            None => Ok(()),
            Some(place) => refuse(
                format!("/items/{place}/movement"),
                "name each movement once".to_owned(),
            ),
        }
    }

    fn settlement(&self, gateway: &str, now: Timestamp) -> Settlement {
        Settlement {
            gateway: gateway.to_owned(),
            batch_id: self.batch_id.clone(),
            part: self.part,
            last: self.last,
            currency: self.currency,
            net_minor: self.net_minor,
            // ITEMS_MAX at most.
            items: u32::try_from(self.items.len()).unwrap_or(u32::MAX),
            content: self.content(),
            settled_at_s: now.seconds(),
        }
    }

    /// The digest of what is asked for, whatever the order of the items and the spaces between them.
    fn content(&self) -> [u8; 32] {
        let mut movements: Vec<&str> = self
            .items
            .iter()
            .map(|item| item.movement.as_str())
            .collect();
        movements.sort_unstable();
        let (currency, last) = (self.currency.alpha(), self.last.to_string());
        let net_minor = self.net_minor.to_string();
        let mut lines = vec![currency, net_minor.as_str(), last.as_str()];
        lines.append(&mut movements);
        // As JSON, so that no name runs into the next.
        let content = serde_json::Value::from(lines).to_string();
        openset_jose::sha256(content.as_bytes())
    }
}

impl SettlementAnswer {
    fn of(settled: &Settlement) -> Self {
        Self {
            batch_id: settled.batch_id.clone(),
            part: settled.part,
            currency: settled.currency,
            net_minor: settled.net_minor,
            settled_at: Timestamp::from_seconds(settled.settled_at_s),
        }
    }
}
