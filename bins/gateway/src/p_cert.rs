//! PCertReq is decoded, verified, answered: which certificates to seal for. Nothing is stored; asked again, it is answered
//! again, and for a minute with the same bytes: nothing in it is secret, and whoever saw it can send it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use openset_protocol::Context;
use openset_protocol::gateway::p_cert;
use openset_protocol::thumbs::RevocationState;
use openset_service::offload::offload;
use openset_service::{clock, random};

use crate::Gateway;
use crate::error::GatewayError;
use crate::set::Received;

/// How long an answer is given again.
const KEEP_MS: i64 = 60_000;
/// Answers kept at once: some 10 MB.
const ANSWERS_MAX: usize = 1000;

/// What was answered in the last minute, by the request's SHA-256.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<HashMap<[u8; 32], Kept>>);

/// Until when, and the answer.
type Kept = (i64, Vec<u8>);

impl Answers {
    fn find(&self, digest: &[u8; 32], now_ms: i64) -> Option<Vec<u8>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until_ms, answer) = kept.get(digest)?;
        (now_ms < *until_ms).then(|| answer.clone())
    }

    fn keep(&self, digest: [u8; 32], answer: &[u8], now_ms: i64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (until_ms, _)| now_ms < *until_ms);
        if kept.len() < ANSWERS_MAX {
            let until_ms = now_ms.saturating_add(KEEP_MS);
            kept.insert(digest, (until_ms, answer.to_vec()));
        }
    }
}

/// Answers PCertReq.
pub(crate) async fn handle(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
    let digest = received.digest;
    if let Some(answer) = gateway.p_certs.find(&digest, clock::now_ms()) {
        return Ok(answer);
    }
    let answer = answer(gateway, received).await?;
    gateway.p_certs.keep(digest, &answer, clock::now_ms());
    Ok(answer)
}

async fn answer(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
    let verifier = gateway.verifier()?;
    let held = gateway.keyring.pairs();
    let bin = gateway.settings.acquirer_bin.as_str().to_owned();
    let answer = offload(move || {
        let Received {
            wire, wrapper, at, ..
        } = received;
        let current = held.iter().filter(|pair| pair.current);
        let ours: Vec<_> = current.map(|pair| &pair.credentials).collect();
        let request = p_cert::open(&wire, &wrapper, (&ours, &bin), &verifier, at)?;
        wrapper.check_date(at)?;
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let state = RevocationState::of(&verifier, &request.brand_id);
        p_cert::answer(&mut ctx, &ours, &bin, &request, &state)
    });
    Ok(answer.await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn answers_are_kept_for_a_minute_and_not_without_end() {
        let answers = Answers::default();
        answers.keep([1; 32], b"one", 0);
        assert_eq!(answers.find(&[1; 32], KEEP_MS - 1).unwrap(), b"one");
        assert_eq!(answers.find(&[1; 32], KEEP_MS), None);
        assert_eq!(answers.find(&[2; 32], 0), None);
        for number in 0..2 * ANSWERS_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            answers.keep(digest, b"", 1);
        }
        assert_eq!(answers.0.lock().unwrap().len(), ANSWERS_MAX);
        answers.keep([3; 32], b"three", KEEP_MS + 1);
        assert_eq!(answers.0.lock().unwrap().len(), 1);
    }
}
