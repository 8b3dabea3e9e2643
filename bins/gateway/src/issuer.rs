//! What the gateway asks the issuer over REST. Every request has an idempotency key: asked again, it is one effect.

use openset_protocol::balance::Kind;
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;
use openset_protocol::messages::initiation::Money;
use openset_protocol::{BrandId, Timestamp};
use openset_service::client::{self, CallError, HttpClient};
use openset_store::{SecretString, StoreError};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::error::GatewayError;
use crate::store::authorizations::name_of;
use crate::store::settlements::{Batch, Part};
use crate::work::{Authorize, Order, ReverseOrder};

/// The issuer's REST interface.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    client: HttpClient,
    url: Url,
    token: SecretString,
}

#[derive(Serialize)]
struct AuthorizationRequest<'a> {
    pan: &'a Pan,
    expiry: CardExpiry,
    brand: &'a BrandId,
    amount: Money,
    merchant_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant_name: Option<&'a str>,
    reference: String,
}

/// Answers may grow fields.
#[derive(Deserialize)]
struct AuthorizationAnswer {
    authorization_id: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
enum Outcome {
    Approved {
        approval_code: String,
        expires_at: Timestamp,
    },
    Declined {
        reason: RespReason,
    },
}

#[derive(Serialize)]
struct CaptureRequest {
    amount: Money,
}

#[derive(Serialize)]
struct NoFields {}

/// What the issuer said to an authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// It holds the amount.
    Approved {
        /// Its id of the hold.
        issuer_authorization: String,
        /// Its approval code.
        approval_code: String,
        /// When the hold runs out.
        expires_at: Timestamp,
    },
    /// It does not.
    Declined {
        /// Its id of the refusal, if it has one.
        issuer_authorization: Option<String>,
        /// What the merchant is told.
        code: AuthCode,
        /// Why.
        reason: Option<RespReason>,
    },
}

/// Whether the issuer may have been asked before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Nobody has asked it: what it refuses, it does not hold.
    First,
    /// It may hold the amount already.
    Again,
}

impl Issuer {
    pub(crate) fn new(client: HttpClient, url: Url, token: SecretString) -> Self {
        Self { client, url, token }
    }

    /// Asks for a hold.
    ///
    /// # Errors
    /// [`GatewayError::Unknown`] unless the issuer said what it did.
    pub(crate) async fn authorize(
        &self,
        key: &str,
        work: &Authorize,
        attempt: Attempt,
    ) -> Result<Word, GatewayError> {
        let Authorize { asker, payment, .. } = work;
        let request = AuthorizationRequest {
            pan: &payment.pan,
            expiry: payment.card_expiry,
            brand: &asker.brand_id,
            amount: asker.amount.into(),
            merchant_id: asker.merchant_id(),
            merchant_name: work.merchant_name.as_deref(),
            reference: asker.auth_tags.trans_ids.xid.to_string(),
        };
        let url = client::join(&self.url, "authorizations");
        let answer = self
            .client
            .post_json(&url, Some(&self.token), Some(key), &request)
            .await;
        match answer {
            Ok(AuthorizationAnswer {
                authorization_id,
                outcome,
            }) => Ok(word(authorization_id, outcome)),
            // Refused before it was looked at: nothing is held, and asking again would not help. Later it may
            // only mean that the issuer's configuration has changed since it took the request.
            Err(error)
                if attempt == Attempt::First && problem_code(&error) == Some("invalid-field") =>
            {
                Ok(Word::Declined {
                    issuer_authorization: None,
                    code: AuthCode::SystemError,
                    reason: None,
                })
            }
            Err(error) => Err(GatewayError::Unknown(error)),
        }
    }

    /// Asks it to hold less.
    ///
    /// # Errors
    /// [`GatewayError::Unknown`] unless the issuer said what it did.
    pub(crate) async fn reverse(&self, order: &ReverseOrder) -> Result<AuthRevCode, GatewayError> {
        let path = format!("authorizations/{}/reverse", order.issuer_authorization);
        let url = client::join(&self.url, &path);
        let request = CaptureRequest {
            amount: order.new_amount.into(),
        };
        let key = Some(order.movement_id.as_str());
        let answer: Result<serde::de::IgnoredAny, _> = self
            .client
            .post_json(&url, Some(&self.token), key, &request)
            .await;
        match answer {
            Ok(_) => Ok(AuthRevCode::Approved),
            Err(error) => match problem_code(&error) {
                Some("not-held" | "already-captured" | "no-such-authorization") => {
                    Ok(AuthRevCode::InvalidTransaction)
                }
                Some("above-hold") => Ok(AuthRevCode::InvalidAmount),
                Some("wrong-currency") => Ok(AuthRevCode::AmountError),
                Some("invalid-field") => Ok(AuthRevCode::SystemError),
                _ => Err(GatewayError::Unknown(error)),
            },
        }
    }

    /// Asks it to move money: to pay, to take back, to pay after all. Gives the code that refuses it, as the wire spells
    /// it, or none.
    ///
    /// # Errors
    /// [`GatewayError::Unknown`] unless the issuer said what it did.
    pub(crate) async fn move_money(&self, order: &Order) -> Result<Option<String>, GatewayError> {
        let base = format!("authorizations/{}", order.issuer_authorization);
        let path = match &order.kind {
            Kind::Capture => format!("{base}/capture"),
            Kind::CaptureReversal(_) => format!("{base}/capture/reverse"),
            Kind::Credit => format!("{base}/credit"),
            // The issuer knows a refund by the key under which it was asked for.
            Kind::CreditReversal(credit) => format!("{base}/credits/{credit}/reverse"),
            Kind::Reversal => return Err(StoreError::Corrupt("movements.kind").into()),
        };
        let url = client::join(&self.url, &path);
        let key = Some(order.movement_id.as_str());
        let (client, token) = (&self.client, Some(&self.token));
        let amount: Money = order.amount.into();
        let answer: Result<serde::de::IgnoredAny, _> = match order.kind {
            Kind::Capture | Kind::Credit => {
                let request = CaptureRequest { amount };
                client.post_json(&url, token, key, &request).await
            }
            _ => client.post_json(&url, token, key, &NoFields {}).await,
        };
        match answer {
            Ok(_) => Ok(None),
            Err(error) => match problem_code(&error).and_then(|code| refusal(&order.kind, code)) {
                Some(Ok(code)) => Ok(Some(name_of(code)?)),
                Some(Err(code)) => Ok(Some(name_of(code)?)),
                None => Err(GatewayError::Unknown(error)),
            },
        }
    }
}

/// What the issuer said to a part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It pays.
    Yes,
    /// It does not agree; its problem's code.
    No(String),
}

#[derive(Serialize)]
struct SettlementRequest<'a> {
    batch_id: &'a str,
    part: i64,
    last: bool,
    currency: &'a str,
    /// Above zero: the issuer owes it; below: it is owed.
    net_minor: i64,
    items: Vec<SettlementItem<'a>>,
}

#[derive(Serialize)]
struct SettlementItem<'a> {
    movement: &'a str,
    /// By which the issuer finds a capture of before it kept our keys.
    authorization: &'a str,
}

impl Issuer {
    /// Asks it to settle a part of a closed batch.
    ///
    /// # Errors
    /// [`GatewayError::Unknown`] unless the issuer said what it did.
    pub(crate) async fn settle(
        &self,
        batch: &Batch,
        number: i64,
        part: &Part,
    ) -> Result<Settled, GatewayError> {
        let request = SettlementRequest {
            batch_id: &batch.id,
            part: number,
            last: number.saturating_add(1) == batch.parts,
            currency: &batch.currency,
            net_minor: part.net_minor,
            items: part
                .movements
                .iter()
                .map(|(movement, authorization)| SettlementItem {
                    movement,
                    authorization,
                })
                .collect(),
        };
        let url = client::join(&self.url, "settlements");
        let key = format!("{}-{number}", batch.id);
        let answer: Result<serde::de::IgnoredAny, _> = self
            .client
            .post_json(&url, Some(&self.token), Some(&key), &request)
            .await;
        match answer {
            Ok(_) => Ok(Settled::Yes),
            Err(error) => match problem_code(&error) {
                Some(
                    code @ ("net-mismatch" | "no-such-movement" | "already-settled"
                    | "wrong-currency" | "part-reused" | "invalid-field"),
                ) => Ok(Settled::No(code.to_owned())),
                _ => Err(GatewayError::Unknown(error)),
            },
        }
    }
}

/// What the issuer's problem is in SET's words; none where it does not say that nothing was done.
fn refusal(kind: &Kind, problem: &str) -> Option<Result<CapCode, CapRevOrCredCode>> {
    use CapRevOrCredCode as Other;
    if *kind == Kind::Capture {
        return match problem {
            "not-held" => Some(Ok(CapCode::AuthExpired)),
            "no-such-authorization" => Some(Ok(CapCode::AuthDataMissing)),
            "above-hold" | "wrong-currency" | "invalid-field" => Some(Ok(CapCode::InvalidAuthData)),
            _ => None,
        };
    }
    match problem {
        "no-such-authorization" | "no-such-credit" | "not-captured" => {
            Some(Err(Other::OriginalNotFound))
        }
        "credited" | "credit-reversed" => Some(Err(Other::OriginalProcessed)),
        "above-capture" | "wrong-currency" | "invalid-field" => Some(Err(Other::CapDataMismatch)),
        // The cardholder has spent the refund.
        "insufficient-funds" => Some(Err(Other::UnspecifiedFailure)),
        _ => None,
    }
}

fn word(issuer_authorization: String, outcome: Outcome) -> Word {
    match outcome {
        Outcome::Approved {
            approval_code,
            expires_at,
        } => Word::Approved {
            issuer_authorization,
            approval_code,
            expires_at,
        },
        Outcome::Declined { reason } => Word::Declined {
            issuer_authorization: Some(issuer_authorization),
            code: match reason {
                RespReason::ExpiredCard => AuthCode::ExpiredCard,
                _ => AuthCode::Declined,
            },
            reason: Some(reason),
        },
    }
}

/// The problem that the issuer names, if it is the issuer that answered.
fn problem_code(error: &CallError) -> Option<&str> {
    match error {
        CallError::Status {
            problem: Some(problem),
            ..
        } => Some(&problem.code),
        _ => None,
    }
}
