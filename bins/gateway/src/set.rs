//! `POST /set`: AuthReq, AuthRevReq, and the requests that move money, exactly once each.

mod late;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use openset_jose::{Thumbprint, sha256};
use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::cap::VerifiedCapReq;
use openset_protocol::gateway::cap_rev_or_cred::VerifiedCapRevOrCredReq;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_protocol::{BrandId, Context, Rejection, Timestamp};
use openset_service::server::SET_BODY_LIMIT_BYTES;
use openset_service::set_endpoint::{MediaType, Rejection as Unread, SetHandler, SetReply, Wire};
use openset_service::{clock, random, set_errors};
use openset_store::packed::Packer;
use openset_store::{StoreError, Tx, Write, exchanges};

use crate::error::{GatewayError, TooLate};
use crate::store::pending;
use crate::{Gateway, auth, auth_rev, batch_admin, items, p_cert};

/// How long a repeated request waits for the answer to its first copy.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How long answers are kept: far beyond the window in which a message's date is accepted.
const KEEP_S: i64 = 30 * 24 * 60 * 60;

/// A message that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// As it came.
    pub(crate) wire: Bytes,
    /// SHA-256 of that.
    pub(crate) digest: [u8; 32],
    /// What it says.
    pub(crate) wrapper: Arc<MessageWrapper>,
    /// When it came.
    pub(crate) at: Timestamp,
    /// The same, for measuring.
    pub(crate) started: Instant,
}

/// The gateway's side of `POST /set`.
#[derive(Debug)]
pub(crate) struct SetEndpoint(pub(crate) Arc<Gateway>);

impl SetHandler for SetEndpoint {
    const MEDIA_TYPE: MediaType = MediaType::Payment;

    async fn handle(&self, wire: Wire) -> SetReply {
        let started = Instant::now();
        let digest = sha256(&wire.bytes);
        let wrapper = match MessageWrapper::decode(&wire.bytes) {
            Ok(wrapper) => Arc::new(wrapper),
            Err(rejection) => return reply_to(rejection.into(), None),
        };
        if let Ok(rrpid) = wrapper.rrpid() {
            match known(&self.0, (&rrpid, &digest)).await {
                Ok(None) => {}
                Ok(Some(response)) => return late::as_stored(response),
                Err(error) => return reply_to(error, None),
            }
        }
        if let Some(heard) = set_errors::hear(&wrapper) {
            return heard;
        }
        let at = clock::now();
        let received = Received {
            wire: wire.bytes,
            digest,
            wrapper: Arc::clone(&wrapper),
            at,
            started,
        };
        let mut answered = self.answer(received.clone()).await;
        if let Err(GatewayError::Rejected(refusal)) = &answered
            && self.0.has_news_after(refusal).await
        {
            answered = self.answer(received.clone()).await;
        }
        match answered {
            Ok(response) => SetReply::Answer(response),
            Err(GatewayError::TooLate(whose)) => late::refuse(&self.0, &received, &whose)
                .await
                .map_or_else(|error| reply_to(error, Some(&wrapper)), late::as_stored),
            Err(error) => reply_to(error, Some(&wrapper)),
        }
    }

    async fn refuse(&self, rejection: Unread) -> SetReply {
        let rejection = match rejection {
            Unread::TooLarge => Rejection::TooBig {
                limit_bytes: SET_BODY_LIMIT_BYTES,
            },
            Unread::Incomplete => return SetReply::Busy,
            _ => Rejection::MediaType,
        };
        SetReply::Error(error_message(&rejection, None))
    }
}

impl SetEndpoint {
    async fn answer(&self, received: Received) -> Result<Vec<u8>, GatewayError> {
        match &received.wrapper.message {
            Message::AuthReq(_) => Box::pin(auth::handle(&self.0, received)).await,
            Message::AuthRevReq(_) => Box::pin(auth_rev::handle(&self.0, received)).await,
            Message::CapReq(_) => {
                Box::pin(items::handle::<VerifiedCapReq>(&self.0, received)).await
            }
            Message::CapRevReq(_) | Message::CredReq(_) | Message::CredRevReq(_) => {
                Box::pin(items::handle::<VerifiedCapRevOrCredReq>(&self.0, received)).await
            }
            Message::BatchAdminReq(_) => Box::pin(batch_admin::handle(&self.0, received)).await,
            Message::PCertReq(_) => p_cert::handle(&self.0, received).await,
            _ => Err(received.wrapper.not_taken().into()),
        }
    }
}

/// By what bytes that come again are known: the RRPID in their header, and their SHA-256.
pub(crate) type Same<'a> = (&'a Rrpid, &'a [u8; 32]);

/// The stored answer to these bytes. If they are known and not answered yet, their answer is waited for.
async fn known(gateway: &Gateway, same: Same<'_>) -> Result<Option<Vec<u8>>, GatewayError> {
    let recorded = recorded_before(gateway, same).await?;
    match recorded {
        None => Ok(None),
        Some(recorded) => match recorded.response {
            Some(response) => Ok(Some(response)),
            None => join(gateway, same).await.map(Some),
        },
    }
}

async fn recorded_before(
    gateway: &Gateway,
    (rrpid, digest): Same<'_>,
) -> Result<Option<exchanges::Recorded>, StoreError> {
    let mut reader = gateway.db.read().await?;
    exchanges::find_same(&mut reader, &rrpid.to_string(), digest).await
}

/// Waits for the answer to a request that is at work, or asks the issuer again if nobody does.
async fn join(gateway: &Gateway, same: Same<'_>) -> Result<Vec<u8>, GatewayError> {
    let (_, digest) = same;
    let id = pending::find_by_digest(&mut *gateway.db.read().await?, digest).await?;
    if let Some(id) = id {
        match gateway.flights.take_off(&id) {
            Some(flight) => Box::pin(gateway.settle(&flight, &id)).await?,
            None => return answer_of_first(gateway, &id, same).await,
        }
    }
    stored_answer(gateway, same).await
}

/// Waits for the answer that another task of this process is at.
pub(crate) async fn answer_of_first(
    gateway: &Gateway,
    id: &str,
    same: Same<'_>,
) -> Result<Vec<u8>, GatewayError> {
    gateway.flights.landed(id, JOIN_PATIENCE).await;
    stored_answer(gateway, same).await
}

/// The answer to these bytes, once somebody has stored it.
pub(crate) async fn stored_answer(
    gateway: &Gateway,
    same: Same<'_>,
) -> Result<Vec<u8>, GatewayError> {
    let recorded = recorded_before(gateway, same).await?;
    recorded
        .and_then(|recorded| recorded.response)
        .ok_or(GatewayError::Working)
}

/// Stores the answer to a request as what it says, beside the key that makes it again. In clear: the other tables tell as much,
/// but for HOD, which is a salted digest; tokens and the text for the cardholder are sealed in it once more.
pub(crate) fn answered(
    packer: &Packer,
    (sender, rrpid): (Thumbprint, Rrpid),
    message: &str,
    answer: &SealedAnswer,
) -> Write {
    let (sender, rrpid) = (sender.to_string(), rrpid.to_string());
    let sealed = (answer.wire.as_slice(), &answer.key);
    exchanges::answered_sealed(packer, (&sender, message, &rrpid), sealed)
}

/// What the record of requests says of one whose signature was verified.
pub(crate) enum Record {
    /// It is new, recorded in this transaction, and its date is in the window.
    New,
    /// It was answered before.
    Answered(Vec<u8>),
    /// It is at work.
    AtWork,
}

/// Records a verified request.
pub(crate) async fn record(
    tx: &mut Tx,
    received: &Received,
    sender: &Thumbprint,
    (rrpid, brand): (&Rrpid, &BrandId),
) -> Result<Record, GatewayError> {
    match open(tx, received, sender, rrpid).await? {
        exchanges::Opened::Different => Err(Rejection::RrpidReused.into()),
        exchanges::Opened::Same {
            response: Some(response),
        } => Ok(Record::Answered(response)),
        exchanges::Opened::Same { response: None } => Ok(Record::AtWork),
        exchanges::Opened::New => match received.wrapper.check_date(received.at) {
            Ok(()) => Ok(Record::New),
            Err(Rejection::TooOld) => Err(GatewayError::TooLate(Box::new(TooLate {
                sender: *sender,
                rrpid: *rrpid,
                brand: brand.clone(),
            }))),
            Err(other) => Err(other.into()),
        },
    }
}

/// Opens the exchange that a verified request is the first half of.
async fn open(
    tx: &mut Tx,
    received: &Received,
    sender: &Thumbprint,
    rrpid: &Rrpid,
) -> Result<exchanges::Opened, StoreError> {
    let names = (&*sender.to_string(), &*rrpid.to_string());
    exchanges::open(tx, &exchange(received, names)).await
}

/// Records a verified request that is new, or else nothing is kept.
pub(crate) fn recorded(
    packer: &Packer,
    received: &Received,
    (sender, rrpid): (&Thumbprint, &Rrpid),
) -> Write {
    let names = (&*sender.to_string(), &*rrpid.to_string());
    exchanges::received(packer, &exchange(received, names), None)
}

fn exchange<'a>(
    received: &'a Received,
    (sender, rrpid): (&'a str, &'a str),
) -> exchanges::Received<'a> {
    exchanges::Received {
        sender,
        message: received.wrapper.message.name(),
        rrpid,
        digest: received.digest,
        received_at: received.at.seconds(),
        keep_until: received.at.seconds().saturating_add(KEEP_S),
    }
}

/// SET's Error for what is the sender's to mend; for all else, "send the same bytes again".
fn reply_to(error: GatewayError, refused: Option<&MessageWrapper>) -> SetReply {
    let set_message = refused.map_or("unread", |wrapper| wrapper.message.name());
    match error {
        GatewayError::Rejected(rejection) if rejection != Rejection::Internal => {
            tracing::warn!(set_message, outcome = "refused", error = %rejection, "SET message refused");
            SetReply::Error(error_message(&rejection, refused))
        }
        GatewayError::Working | GatewayError::NotReady => {
            tracing::info!(set_message, outcome = "working", error = %error, "SET message not answered yet");
            SetReply::Busy
        }
        other => {
            tracing::error!(
                set_message,
                outcome = "failed",
                error = other.chain(),
                "SET message not answered"
            );
            SetReply::Busy
        }
    }
}

fn error_message(rejection: &Rejection, refused: Option<&MessageWrapper>) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    ErrorMessage::answer(&mut ctx, rejection, refused).encode()
}
