//! AuthRevReq gives an authorization back, or a part of it; AuthRevRes says what is authorized now.

use std::sync::Arc;

use anyhow::Context as _;
use openset_protocol::merchant::auth_rev::{self, AwaitingAuthRevRes, Reverse};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::money::CurrencyAmount;
use openset_service::client::SetAnswer;

use super::asking::{Draft, Told, Waiting, refusal};
use super::sending::{AUTH_REV_REQ, unusable};
use crate::failure::Failure;
use crate::store::authorizations::{Authorization, Said};
use crate::store::movements::End;
use crate::store::payments::Payment;
use crate::{Merchant, offload};

/// Makes AuthRevReq for so much to stay authorized.
pub(super) async fn draft(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    one: &Authorization,
    new_amount: CurrencyAmount,
) -> Result<Draft, Failure> {
    let reverse = Reverse {
        trans_ids: payment.asked.trans_ids.clone(),
        auth_rrpid: one.awaiting.rrpid(),
        hod: one.awaiting.hod(),
        new_amount,
        // None if no answer ever came.
        cap_token: one
            .answer
            .as_ref()
            .and_then(|(_, baggage)| baggage.cap_token.clone()),
    };
    let ours = merchant.credentials(&payment.brand)?;
    let verifier = merchant.verifier()?;
    let gateway = merchant.gateways.of_brand(&payment.brand, &verifier);
    let gateway = gateway.ok_or(Failure::NotReady(
        "the gateway's certificate is not here yet",
    ))?;
    let made =
        offload(move |ctx| auth_rev::request(ctx, &ours, gateway.leaf(), reverse, &verifier)).await;
    let (awaiting, wire) = made?;
    Ok(Draft {
        rrpid: awaiting.rrpid(),
        message: AUTH_REV_REQ,
        awaiting: serde_json::to_string(&awaiting)
            .map_err(|error| Failure::Internal(error.into()))?,
        wire,
    })
}

/// How much was to stay authorized.
pub(super) fn wanted(awaiting: &str) -> anyhow::Result<CurrencyAmount> {
    let awaiting: AwaitingAuthRevRes =
        serde_json::from_str(awaiting).context("movements.awaiting")?;
    Ok(awaiting.new_amount())
}

/// Verifies AuthRevRes.
pub(super) async fn verify(
    merchant: &Arc<Merchant>,
    waiting: &Waiting,
    answer: &SetAnswer,
) -> anyhow::Result<Told> {
    let awaiting: AwaitingAuthRevRes =
        serde_json::from_str(&waiting.awaiting).context("movements.awaiting")?;
    let keyring = merchant.keyring.all();
    let verifier = merchant.verifier()?;
    let wire = answer.body.clone();
    let verified = offload(move |ctx| {
        let ours: Vec<_> = keyring.iter().collect();
        awaiting.handle(&wire, &ours, &verifier, ctx.now)
    })
    .await;
    let answer = match verified {
        Ok(answer) => answer,
        Err(refusal) => return Err(unusable(merchant, "AuthRevRes", answer, &refusal).await),
    };
    let receipt = answer.receipt.map(|(jws, _)| jws);
    let end = if answer.code == AuthRevCode::Approved {
        let one = &waiting.one;
        End {
            amount_minor: match one.said {
                Said::Approved => one
                    .remaining_minor()
                    .saturating_sub(answer.new_amount.minor()),
                _ => waiting.movement.amount_minor,
            },
            refusal: None,
            batch: None,
        }
    } else {
        End {
            amount_minor: 0,
            refusal: Some(refusal("reverse", &answer.code)),
            batch: None,
        }
    };
    Ok(Told {
        end,
        released_minor: 0,
        ran_out: false,
        receipt,
        verified: None,
    })
}
