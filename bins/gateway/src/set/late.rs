//! A request that comes for the first time when its date has passed, from a merchant that was verified: it will never be
//! done, and the merchant may count on that. Error says so, signed, and is kept as the request's answer.

use openset_protocol::messages::error::{ErrorMessage, Refused};
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_protocol::{Context, Rejection};
use openset_service::offload::offload;
use openset_service::set_endpoint::SetReply;
use openset_service::{clock, random};
use openset_store::exchanges::{self, Opened};

use super::{Received, open};
use crate::Gateway;
use crate::error::{GatewayError, TooLate};

/// Stores the signed Error as the answer to this request, unless it has one; gives what is stored.
pub(super) async fn refuse(
    gateway: &Gateway,
    received: &Received,
    whose: &TooLate,
) -> Result<Vec<u8>, GatewayError> {
    let ours = gateway.keyring.of_brand(&whose.brand);
    let ours = ours.ok_or(GatewayError::NotReady)?;
    let (request, late) = (received.clone(), whose.clone());
    let error = offload(move || {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let refused = Refused {
            wire: &request.wire,
            wrapper: &request.wrapper,
            sender: late.sender,
            rrpid: late.rrpid,
        };
        ErrorMessage::answer_signed(&mut ctx, &ours.signature, &Rejection::TooOld, &refused)
    })
    .await?
    .encode();
    let mut tx = gateway.db.begin().await?;
    match open(&mut tx, received, &whose.sender, &whose.rrpid).await? {
        Opened::New => {}
        Opened::Same { response } => return response.ok_or(GatewayError::Working),
        Opened::Different => return Err(Rejection::RrpidReused.into()),
    }
    let (sender, rrpid) = (whose.sender.to_string(), whose.rrpid.to_string());
    let set_message = received.wrapper.message.name();
    exchanges::answer(&mut tx, &sender, set_message, &rrpid, &error).await?;
    tx.commit().await?;
    tracing::warn!(set_message, rrpid, outcome = "refused", error = %Rejection::TooOld, "SET message refused for good");
    Ok(error)
}

/// A stored answer, which may be an Error.
pub(super) fn as_stored(response: Vec<u8>) -> SetReply {
    let is_error = MessageWrapper::decode(&response)
        .is_ok_and(|wrapper| matches!(wrapper.message, Message::Error(_)));
    if is_error {
        SetReply::Error(response)
    } else {
        SetReply::Answer(response)
    }
}
