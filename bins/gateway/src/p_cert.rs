//! PCertReq is decoded, verified, answered: which certificates to seal for. Nothing is stored; asked again, it is answered
//! again.

use openset_protocol::Context;
use openset_protocol::gateway::p_cert;
use openset_protocol::thumbs::RevocationState;
use openset_service::offload::offload;
use openset_service::{clock, random};

use crate::Gateway;
use crate::error::GatewayError;
use crate::set::Received;

/// Answers PCertReq.
pub(crate) async fn handle(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
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
