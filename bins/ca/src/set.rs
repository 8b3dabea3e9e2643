//! `POST /set`: registrations. Each handler reads: decode, verify, decide, commit, answer.
//!
//! Messages before CertReq come from anybody, so a session keeps the answer to its last message alone.
//! The end of a registration, certificates or a refusal, is recorded under the key that asked. Where an operator
//! has to approve, CertInqReq is answered from what is kept of the registration.

mod cert;
mod cert_inq;
mod init;
mod reg_form;
pub(crate) mod region;

use std::sync::Arc;

use openset_jose::sha256;
use openset_protocol::ca::Request;
use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_protocol::{Context, Rejection, Timestamp};
use openset_service::offload::offload;
use openset_service::server::SET_BODY_LIMIT_BYTES;
use openset_service::set_endpoint::{MediaType, Rejection as Unread, SetHandler, SetReply, Wire};
use openset_service::{clock, random, set_errors};
use openset_store::exchanges;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Ca;
use crate::store::sessions;

/// A request that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// What it says.
    pub(crate) request: Arc<Request>,
    /// SHA-256 of its bytes.
    pub(crate) digest: [u8; 32],
    /// When it came.
    pub(crate) at: Timestamp,
}

/// The CA's side of `POST /set` and `POST /regions/{region}/set`.
#[derive(Debug)]
pub(crate) struct SetEndpoint {
    pub(crate) ca: Arc<CertificateAuthority>,
    /// The region's name in URLs; the first one's if absent.
    pub(crate) region: Option<String>,
}

impl SetHandler for SetEndpoint {
    const MEDIA_TYPE: MediaType = MediaType::Registration;

    async fn handle(&self, wire: Wire) -> SetReply {
        let (ca, region) = (&self.ca, self.region.as_deref());
        let digest = sha256(&wire.bytes);
        let request = match Request::decode(&wire.bytes) {
            Ok(request) => Arc::new(request),
            Err(rejection) => return reply_to(rejection.into(), None),
        };
        match ca.known(&request.wrapper, &digest).await {
            Ok(None) => {}
            Ok(Some(response)) => return SetReply::Answer(response),
            Err(error) => return reply_to(error, None),
        }
        if let Some(heard) = set_errors::hear(&request.wrapper) {
            return heard;
        }
        let received = Received {
            request: Arc::clone(&request),
            digest,
            at: clock::now(),
        };
        // Another process may have made the CA that is asked, or retired it.
        if let Err(error) = ca.authorities.refresh().await {
            tracing::error!(error = format!("{error:#}"), "the hierarchy was not read");
        }
        let wrapper = &request.wrapper;
        let answered = match &wrapper.message {
            Message::CardCInitReq(init) => {
                Box::pin(init::card(ca, received, (&init.brand_id, region))).await
            }
            Message::MeAqCInitReq(init) => {
                Box::pin(init::party(ca, received, (init, region))).await
            }
            Message::RegFormReq(sealed) => Box::pin(reg_form::handle(ca, received, sealed)).await,
            Message::CertReq(sealed) => Box::pin(cert::handle(ca, received, sealed)).await,
            Message::CertInqReq(_) => Box::pin(cert_inq::handle(ca, received)).await,
            _ => Err(wrapper.not_taken().into()),
        };
        match answered {
            Ok(response) => SetReply::Answer(response),
            // The same bytes may have been answered since: what they ask for is then done already.
            Err(error) => match ca.known(wrapper, &digest).await {
                Ok(Some(response)) => SetReply::Answer(response),
                _ => reply_to(error, Some(wrapper)),
            },
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

impl CertificateAuthority {
    /// The stored answer to these bytes.
    async fn known(
        &self,
        wrapper: &MessageWrapper,
        digest: &[u8; 32],
    ) -> Result<Option<Vec<u8>>, CaError> {
        let mut conn = self.db.read().await?;
        let recorded = match wrapper.rrpid() {
            Ok(rrpid) => exchanges::find_same(&mut conn, &rrpid.to_string(), digest).await?,
            Err(_) => None,
        };
        match recorded.and_then(|recorded| recorded.response) {
            Some(response) => Ok(Some(response)),
            None => Ok(sessions::answer_to(&mut conn, digest).await?),
        }
    }
}

/// Runs a step of the protocol beside the async workers, with a context of its own.
pub(crate) async fn step<T: Send + 'static>(
    at: Timestamp,
    work: impl FnOnce(&mut Context<'_>) -> T + Send + 'static,
) -> T {
    offload(move || {
        let mut rng = random::system();
        work(&mut Context {
            now: at,
            rng: &mut rng,
        })
    })
    .await
}

/// The credentials of an issuing CA; only such are looked up.
pub(crate) fn credentials(ca: &Ca) -> Result<&openset_protocol::identity::Credentials, Rejection> {
    ca.credentials.as_ref().ok_or(Rejection::Internal)
}

/// SET's Error for what is the sender's to mend; for all else, "send the same bytes again".
fn reply_to(error: CaError, refused: Option<&MessageWrapper>) -> SetReply {
    let set_message = refused.map_or("unread", |wrapper| wrapper.message.name());
    match error {
        CaError::Rejected(rejection) if rejection != Rejection::Internal => {
            tracing::warn!(set_message, outcome = "refused", error = %rejection, "SET message refused");
            SetReply::Error(error_message(&rejection, refused))
        }
        other => {
            let error = format!("{:#}", anyhow::Error::from(other));
            tracing::error!(
                set_message,
                outcome = "failed",
                error,
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
