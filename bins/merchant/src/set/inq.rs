//! InqReq: a cardholder asks what became of its own order.

use std::sync::Arc;

use openset_pki::{Certificate, PathVerifier};
use openset_protocol::Rejection;
use openset_protocol::identity::Credentials;
use openset_protocol::merchant::inq::{self, VerifiedInqReq};
use openset_protocol::merchant::p::{Asked, p_res_of_all, without_results};
use openset_protocol::messages::p::{CompletionCode, PResPayload};
use openset_protocol::signed::request_digest;
use openset_protocol::wrapper::{AGE_SECONDS_MAX, MessageWrapper};

use super::{KEEP_SECONDS, Received, Recording, Sender};
use crate::failure::Failure;
use crate::gateway::authorization;
use crate::store::payments::{self, Payment};
use crate::{Merchant, offload};

pub(super) async fn handle(
    merchant: &Arc<Merchant>,
    received: &Received,
    wrapper: MessageWrapper,
) -> Result<Vec<u8>, Failure> {
    let verifier = merchant.verifier()?;
    let inquiry = verify(merchant, &verifier, &wrapper).await?;

    let mut connection = merchant.db.read().await?;
    let payment = payments::find(&mut connection, &inquiry.trans_ids.xid).await?;
    drop(connection);
    let payload = told(&inquiry, payment.as_ref())?;
    let outcome = payload.last().map(|payload| payload.completion_code);
    let answer = sign(merchant, received, &inquiry, payment.as_ref(), payload).await?;

    let sender = Sender {
        name: inquiry.payer.name().to_string(),
        keep_s: KEEP_SECONDS,
        age_s_max: AGE_SECONDS_MAX,
    };
    let recording = Recording {
        sender: &sender,
        wrapper: &wrapper,
        received,
        answer: Some(&answer),
    };
    let found = recording.commit(&merchant.db, Vec::new()).await?;
    if let Some(stored) = found.answered()? {
        return Ok(stored);
    }
    tracing::info!(
        set_message = "InqReq",
        xid = %inquiry.trans_ids.xid,
        lid_m = %inquiry.trans_ids.lid_m,
        rrpid = %inquiry.rrpid,
        outcome = ?outcome,
        "inquiry answered"
    );
    Ok(answer)
}

async fn verify(
    merchant: &Merchant,
    verifier: &Arc<PathVerifier>,
    wrapper: &MessageWrapper,
) -> Result<VerifiedInqReq, Rejection> {
    let (keyring, verifier) = (merchant.keyring.all(), Arc::clone(verifier));
    let wrapper = wrapper.clone();
    offload(move |ctx| {
        let ours: Vec<&Credentials> = keyring.iter().collect();
        inq::open(&wrapper, &ours, &verifier, ctx.now)
    })
    .await
}

/// What the asker may know: all of its own purchase, nothing of another's.
fn told(
    inquiry: &VerifiedInqReq,
    payment: Option<&Payment>,
) -> Result<Vec<PResPayload>, Rejection> {
    let Some(payment) = payment else {
        return Ok(vec![without_results(CompletionCode::OrderNotReceived)]);
    };
    inquiry.check_owner(&payment.payer, &payment.asked.trans_ids)?;
    Ok(authorization::told(payment))
}

async fn sign(
    merchant: &Merchant,
    received: &Received,
    inquiry: &VerifiedInqReq,
    payment: Option<&Payment>,
    payloads: Vec<PResPayload>,
) -> Result<Vec<u8>, Failure> {
    let certified = inquiry.payer.certificate().and_then(Certificate::brand);
    let brand = payment.map(|payment| &payment.brand).or(certified);
    let brand = brand.ok_or(Rejection::UnknownXid)?;
    let opened_with = payment.and_then(|payment| payment.asked.merchant.as_ref());
    let ours = merchant.answering(brand, opened_with).await?;
    let (wire, inquiry) = (received.bytes.clone(), inquiry.clone());
    let signed = offload(move |ctx| {
        let asked = Asked {
            trans_ids: &inquiry.trans_ids,
            rrpid: inquiry.rrpid,
            chall_c: inquiry.chall_c2,
            request: request_digest(&wire),
            inquiry: true,
        };
        p_res_of_all(ctx, &ours, &asked, payloads)
    });
    Ok(signed.await?)
}
