//! AuthRevReq is decoded, verified, decided, committed, answered: less is authorized from now on, or nothing.

use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::auth::Answering;
use openset_protocol::gateway::auth_rev::{self, Reversal, VerifiedAuthRevReq};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::{Context, Rejection};
use openset_service::offload::offload;
use openset_service::{clock, random};
use openset_store::Tx;

use crate::error::GatewayError;
use crate::set::{Received, Record, answer_of_first, answered, record, stored_answer};
use crate::store::pending::{self, Pending};
use crate::store::reversals::{self, Begun};
use crate::work::{Reverse, ReverseOrder, WorkRef, id_of};
use crate::{Gateway, worker};

/// Answers AuthRevReq.
pub(crate) async fn handle(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
    let verified = match verify(gateway, &received).await {
        Err(GatewayError::Rejected(Rejection::NotSealedForUs)) => {
            gateway.keyring.look_again().await?;
            verify(gateway, &received).await
        }
        verified => verified,
    };
    let request = verified?;
    let (merchant, rrpid) = (request.asker.merchant(), request.asker.rrpid());
    let id = id_of(&merchant, "AuthRevReq", &rrpid);
    let Some(_flight) = gateway.flights.take_off(&id) else {
        return answer_of_first(gateway, &id, (&rrpid, &received.digest)).await;
    };
    let now_s = received.at.seconds();
    let named = (&rrpid, &request.asker.brand_id);
    let mut signed: Option<(Reversal, SealedAnswer)> = None;
    let (tx, order) = loop {
        let mut tx = gateway.db.begin().await?;
        match record(&mut tx, &received, &merchant, named).await? {
            Record::New => {}
            Record::Answered(response) => return Ok(response),
            Record::AtWork => return Err(GatewayError::Working),
        }
        let reversal = match reversals::begin(&mut tx, &gateway.vault, &id, &request, now_s).await?
        {
            Begun::Asked(order) => break (tx, order),
            Begun::Decided(reversal) => reversal,
        };
        if let Some((_, response)) = signed.take().filter(|(of, _)| *of == reversal) {
            let code = match &reversal {
                Reversal::Approved(_) => AuthRevCode::Approved,
                Reversal::Refused(code) => *code,
            };
            commit(gateway, tx, &request, code, &response).await?;
            return Ok(response.wire);
        }
        // Signed while nobody waits for what is locked here, and decided once more then.
        tx.rollback().await?;
        let response = answer(gateway, &request, reversal.clone()).await?;
        signed = Some((reversal, response));
    };
    let reverse = Reverse { request, order };
    let pending = Pending {
        id: &id,
        wire_digest: &received.digest,
        work: WorkRef::Reverse(&reverse),
        next_attempt_at_ms: clock::now_ms().saturating_add(worker::LEASE_MS),
    };
    tx.commit_with(vec![pending::insert(&gateway.vault, &pending)?])
        .await?;
    if let Some(pause) = gateway.settings.danger_pause_before_issuer {
        tracing::warn!("DANGER: pausing before the issuer is asked");
        tokio::time::sleep(pause).await;
    }
    let settled = settle(gateway, &id, &reverse, &received.digest).await;
    if settled.is_err() {
        worker::postpone(gateway, &id).await;
    }
    settled
}

/// All that needs no database: seal, signature, paths, and the request against its token.
async fn verify(
    gateway: &Gateway,
    received: &Received,
) -> Result<VerifiedAuthRevReq, GatewayError> {
    let verifier = gateway.verifier()?;
    let keyring = gateway.keyring.all();
    let tokens = gateway.token_key.clone();
    let Received {
        wire, wrapper, at, ..
    } = received.clone();
    let mut request = offload(move || {
        let ours: Vec<_> = keyring.iter().collect();
        auth_rev::open(&wire, &wrapper, &ours, &tokens, &verifier, at)
    })
    .await?;
    if request.asker.acquirer_bin != gateway.settings.acquirer_bin.as_str() {
        // Another acquirer's merchant may have the same name as ours: nothing here is its own.
        request.refused = Some(AuthRevCode::InvalidTransaction);
    }
    Ok(request)
}

/// Asks the issuer and commits what it said with the answer, in one transaction.
pub(crate) async fn settle(
    gateway: &Gateway,
    id: &str,
    reverse: &Reverse,
    wire_digest: &[u8; 32],
) -> Result<Vec<u8>, GatewayError> {
    let (code, unsold) = ask(gateway, &reverse.order).await?;
    let reversal = match code {
        AuthRevCode::Approved => Reversal::Approved(reverse.order.receipt.clone()),
        refused => Reversal::Refused(refused),
    };
    let response = answer(gateway, &reverse.request, reversal).await?;
    let mut tx = gateway.db.begin().await?;
    if !pending::finish(&mut tx, id).await? {
        drop(tx);
        let rrpid = reverse.request.asker.rrpid();
        return stored_answer(gateway, (&rrpid, wire_digest)).await;
    }
    let merchant_id = reverse.request.asker.merchant_id();
    let said = (code, unsold.as_deref());
    let at_s = clock::now_seconds();
    reversals::end(&mut tx, merchant_id, &reverse.order, said, at_s).await?;
    commit(gateway, tx, &reverse.request, code, &response).await?;
    Ok(response.wire)
}

/// Asks the issuer to hold less; of a sale first to take back what it paid. Gives the code that refuses that, too.
async fn ask(
    gateway: &Gateway,
    order: &ReverseOrder,
) -> Result<(AuthRevCode, Option<String>), GatewayError> {
    let Some(sale) = &order.sale else {
        return Ok((gateway.issuer.reverse(order).await?, None));
    };
    if let Some(refused) = gateway.issuer.move_money(sale).await? {
        return Ok((AuthRevCode::InvalidTransaction, Some(refused)));
    }
    let code = match gateway.issuer.reverse(order).await? {
        // The hold ran out meanwhile: with the capture undone the issuer has nothing of it any more.
        AuthRevCode::InvalidTransaction => AuthRevCode::Approved,
        code => code,
    };
    Ok((code, None))
}

/// Commits the answer with what it tells.
async fn commit(
    gateway: &Gateway,
    tx: Tx,
    request: &VerifiedAuthRevReq,
    code: AuthRevCode,
    response: &SealedAnswer,
) -> Result<(), GatewayError> {
    let asker = &request.asker;
    let (sender, rrpid) = (asker.merchant(), asker.rrpid());
    let answered = answered(tx.packer(), (sender, rrpid), "AuthRevReq", response);
    tx.commit_with(vec![answered]).await?;
    gateway.metrics.count_reversal(code);
    tracing::info!(xid = %request.trans_ids.xid, set_message = "AuthRevReq", outcome = ?code, "answered");
    Ok(())
}

/// Signs and seals AuthRevRes, off the async workers.
async fn answer(
    gateway: &Gateway,
    request: &VerifiedAuthRevReq,
    reversal: Reversal,
) -> Result<SealedAnswer, GatewayError> {
    let ours = gateway.keyring.of_brand(&request.asker.brand_id);
    let ours = ours.ok_or(GatewayError::NotReady)?;
    let (request, tokens) = (request.clone(), gateway.token_key.clone());
    let verifier = gateway.verifier()?;
    let answer = offload(move || {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let with = Answering {
            ours: &ours,
            tokens: &tokens,
            state: &RevocationState::of(&verifier, &request.asker.brand_id),
        };
        auth_rev::answer(&mut ctx, with, &request, &reversal)
    });
    Ok(answer.await?)
}
