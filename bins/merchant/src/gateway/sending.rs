//! What was committed to the outbox is sent at once by who committed it, and by the worker after that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use openset_pki::Role;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred;
use openset_protocol::messages::error::{Asked, ErrorMessage};
use openset_protocol::wrapper::{AGE_SECONDS_MAX, Message, MessageWrapper, SKEW_SECONDS_MAX};
use openset_protocol::{BrandId, Rejection};
use openset_service::client::SetAnswer;
use openset_service::outbox_worker::{LEASE, OutboxHandler, backoff};
use openset_service::set_endpoint::MediaType;
use openset_service::{clock, set_errors};
use openset_store::Write;
use openset_store::outbox::{self, Outgoing};

use super::{asking, authorization, batches};
use crate::{Merchant, offload};

/// The kind of an authorization request in the outbox.
pub(crate) const AUTH_REQ: &str = "AuthReq";
/// The kind of a sale's, as earlier versions stored it.
const SALE_REQ: &str = "AuthReq with captureNow";
/// The kind of a reversal request in the outbox.
pub(crate) const AUTH_REV_REQ: &str = "AuthRevReq";
/// The kind of a capture request in the outbox.
pub(crate) const CAP_REQ: &str = "CapReq";
const CAP_REV_REQ: &str = CapRevOrCred::CapRev.request();
const CRED_REQ: &str = CapRevOrCred::Cred.request();
const CRED_REV_REQ: &str = CapRevOrCred::CredRev.request();
/// The kind of a request about a batch in the outbox.
pub(crate) const BATCH_ADMIN_REQ: &str = "BatchAdminReq";
/// So long the same AuthReq is sent again. The gateway takes a new one for ten minutes only, but it
/// may have taken this one before it was lost, and then answers it as long as it remembers. After that the
/// authorization is given back, of a sale with what was captured.
const AUTHORIZATION_WAITS: Duration = Duration::from_secs(24 * 60 * 60);
/// So long all else is asked, which moves money: as long as the gateway remembers its answers.
pub(super) const ASKED_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// For so long an Error that nobody signed is no answer to a request: it may be anybody's, while the gateway, which takes
/// the request for so long, may have acted on it.
const ERROR_DOUBTED: Duration =
    Duration::from_secs((AGE_SECONDS_MAX + SKEW_SECONDS_MAX).unsigned_abs());

/// How an answer came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Took {
    /// Sent and answered here, in this time.
    Inline(Duration),
    /// By the outbox worker, after any number of attempts.
    Resent,
}

impl Took {
    /// The time from asking to the answer.
    pub(crate) fn lasted(self, outgoing: &Outgoing) -> Duration {
        match self {
            Self::Inline(lasted) => lasted,
            Self::Resent => age(outgoing),
        }
    }
}

/// How long a request of this kind is sent again.
fn deadline(kind: &str) -> Duration {
    if kind == AUTH_REQ {
        AUTHORIZATION_WAITS
    } else {
        ASKED_FOR
    }
}

/// The time since a request was stored.
fn age(outgoing: &Outgoing) -> Duration {
    let left_ms = outgoing.deadline_at_ms.saturating_sub(clock::now_ms());
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
    deadline(&outgoing.kind).saturating_sub(left)
}

/// Whether an Error about this request says nothing yet.
pub(crate) fn is_error_doubted(outgoing: &Outgoing) -> bool {
    age(outgoing) < ERROR_DOUBTED
}

/// A request as it will stand in the outbox.
pub(crate) fn outgoing(
    merchant: &Merchant,
    kind: &str,
    rrpid: Rrpid,
    reference: String,
    body: Vec<u8>,
) -> Outgoing {
    let now_ms = clock::now_ms();
    Outgoing {
        id: rrpid.to_string(),
        kind: kind.to_owned(),
        reference,
        url: merchant.settings.gateway_set_url.to_string(),
        media_type: MediaType::Payment.name().to_owned(),
        body,
        next_attempt_at_ms: now_ms,
        deadline_at_ms: now_ms.saturating_add(millis(deadline(kind))),
    }
}

/// Puts a request into the outbox, held by this replica, which sends it right after the commit.
pub(crate) fn enqueue(merchant: &Merchant, outgoing: &Outgoing) -> Write {
    let (now_ms, lease_ms) = (outgoing.next_attempt_at_ms, millis(LEASE));
    outbox::leased(outgoing, &merchant.replica, now_ms, lease_ms)
}

/// Sends once and settles the answer; gives back what was answered to the wallet, if there was
/// somebody to answer. Without an answer the worker goes on with the same bytes.
pub(crate) async fn send_now(merchant: Arc<Merchant>, outgoing: Outgoing) -> Option<Vec<u8>> {
    let error = match attempt(&merchant, &outgoing).await {
        Ok(answered) => return answered,
        Err(error) => format!("{error:#}"),
    };
    tracing::warn!(error, kind = %outgoing.kind, "no answer yet; it is sent again");
    let at_ms = clock::now_ms().saturating_add(millis(backoff(1)));
    let postponed = async {
        let mut tx = merchant.db.begin().await?;
        outbox::retry_at(&mut tx, &outgoing.id, at_ms).await?;
        tx.commit().await
    };
    if let Err(error) = postponed.await {
        // The lease runs out by itself.
        tracing::error!(error = %error, "the next attempt could not be set");
    }
    None
}

async fn attempt(merchant: &Arc<Merchant>, outgoing: &Outgoing) -> anyhow::Result<Option<Vec<u8>>> {
    let begin = Instant::now();
    let url = &merchant.settings.gateway_set_url;
    let body = outgoing.body.clone();
    let answer = merchant
        .client
        .post_set(url, MediaType::Payment, body)
        .await?;
    settle(merchant, outgoing, &answer, Took::Inline(begin.elapsed())).await
}

async fn settle(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    answer: &SetAnswer,
    took: Took,
) -> anyhow::Result<Option<Vec<u8>>> {
    match outgoing.kind.as_str() {
        AUTH_REQ | SALE_REQ => authorization::settle(merchant, outgoing, answer, took).await,
        AUTH_REV_REQ | CAP_REQ | CAP_REV_REQ | CRED_REQ | CRED_REV_REQ => {
            asking::settle(merchant, outgoing, answer, took).await?;
            Ok(None)
        }
        BATCH_ADMIN_REQ => {
            batches::settle(merchant, outgoing, answer).await?;
            Ok(None)
        }
        other => bail!("the outbox holds a {other}, which the merchant does not send"),
    }
}

/// What is wrong with an answer that was refused; the next attempt may find it good. The gateway is told.
pub(super) async fn unusable(
    merchant: &Merchant,
    message: &str,
    answer: &SetAnswer,
    refusal: &Rejection,
) -> anyhow::Error {
    merchant.has_news_after(refusal).await;
    let url = &merchant.settings.gateway_set_url;
    set_errors::tell(
        &merchant.client,
        url,
        MediaType::Payment,
        &answer.body,
        refusal,
    );
    anyhow!("{message} refused: {refusal}")
}

/// Whether the answer is none of the gateway's Errors: for what is asked again anyway, whoever signed it.
///
/// # Errors
/// What the Error says.
pub(super) fn check_taken(answer: &SetAnswer) -> anyhow::Result<()> {
    if answer.status == 200 {
        return Ok(());
    }
    match MessageWrapper::decode(&answer.body)?.message {
        Message::Error(error) => {
            let said = error.claim().context("the gateway's Error is unreadable")?;
            bail!(
                "the gateway refused ({:?}): {}",
                said.error_code,
                said.error_text
            )
        }
        other => bail!(
            "the gateway answered with {} and status {}",
            other.name(),
            answer.status
        ),
    }
}

/// The gateway's Error about a request. Its text goes to the log and to the operator.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Signed by the gateway, about these very bytes: nothing was done, and nothing will be.
    Signed(String),
    /// Anybody's: the gateway may have done what was asked.
    Unsigned(String),
}

/// The Error about the request, if the answer is one.
pub(crate) async fn refusal(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    brand: &BrandId,
    answer: &SetAnswer,
) -> anyhow::Result<Option<Refusal>> {
    if answer.status == 200 {
        return Ok(None);
    }
    let wrapper = MessageWrapper::decode(&answer.body)?;
    let Message::Error(error) = wrapper.message else {
        bail!(
            "the gateway answered with {} and status {}",
            wrapper.message.name(),
            answer.status
        );
    };
    let said = error.claim().context("the gateway's Error is unreadable")?;
    let rrpid: Rrpid = outgoing.id.parse().context("the outbox names no request")?;
    if said.error_msg.rrpid != Some(rrpid) {
        bail!(
            "the gateway's Error is about another message: {}",
            said.error_text
        );
    }
    let reason = format!(
        "the gateway refused the request ({:?}): {}",
        said.error_code, said.error_text
    );
    if matches!(error, ErrorMessage::Unsigned(_)) {
        return Ok(Some(Refusal::Unsigned(reason)));
    }
    match verify(merchant, outgoing, rrpid, brand, error).await {
        Ok(()) => Ok(Some(Refusal::Signed(reason))),
        Err(refusal) => {
            merchant.has_news_after(&refusal).await;
            bail!("Error refused: {refusal}")
        }
    }
}

/// Whether the gateway signed it, for the one of our certificates that signed the request.
async fn verify(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    rrpid: Rrpid,
    brand: &BrandId,
    error: ErrorMessage,
) -> Result<(), Rejection> {
    let verifier = merchant.verifier().map_err(|_| Rejection::Internal)?;
    let gateway = merchant.gateways.of_brand(brand, &verifier);
    let gateway = gateway.ok_or(Rejection::MissingCertificate("the gateway's"))?;
    let ours = merchant.keyring.all();
    let (wire, brand) = (outgoing.body.clone(), brand.clone());
    offload(move |ctx| {
        let asked = Asked {
            party: gateway.leaf(),
            role: Role::Gateway,
            brand: &brand,
        };
        let of_brand = ours.iter().map(|pair| &pair.signature);
        let of_brand = of_brand.filter(|signature| signature.brand() == Some(&brand));
        let mut verified = Err(Rejection::NotForUs);
        for signature in of_brand {
            let request = (wire.as_slice(), rrpid, signature.thumbprint());
            verified = error.verify(request, &asked, &verifier, ctx.now);
            if verified != Err(Rejection::NotForUs) {
                break;
            }
        }
        verified.map(drop)
    })
    .await
}

/// The outbox worker's way into [`settle`].
#[derive(Debug)]
pub(crate) struct Resending(pub(crate) Arc<Merchant>);

impl OutboxHandler for Resending {
    async fn answered(&self, outgoing: &Outgoing, answer: SetAnswer) -> anyhow::Result<()> {
        Box::pin(settle(&self.0, outgoing, &answer, Took::Resent))
            .await
            .map(drop)
    }

    async fn gave_up(&self, outgoing: &Outgoing) -> anyhow::Result<()> {
        match outgoing.kind.as_str() {
            AUTH_REQ | SALE_REQ => Box::pin(authorization::give_up(&self.0, outgoing)).await,
            AUTH_REV_REQ | CAP_REQ | CAP_REV_REQ | CRED_REQ | CRED_REV_REQ | BATCH_ADMIN_REQ => {
                asking::give_up(&self.0, outgoing).await
            }
            other => bail!("the outbox holds a {other}, which the merchant does not send"),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
