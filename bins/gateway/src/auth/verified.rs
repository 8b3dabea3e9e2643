//! All that is verified of an AuthReq before its payment is locked.

use openset_protocol::Rejection;
use openset_protocol::gateway::auth::{self, Asker, Refusal, Shown, VerifiedPayment};
use openset_protocol::messages::auth::{AuthCode, AuthTokenData};
use openset_service::offload::offload_brief;

use crate::Gateway;
use crate::error::GatewayError;
use crate::set::Received;
use crate::store::payments;

/// What holds once an AuthReq with a payment instruction was verified, in the order of the checks.
const WITH_PI: &[&str] = &[
    "merchant certificate: path, role, brand, revocation",
    "merchant signature",
    "digests of PI and dual signature",
    "merchant id",
    "cardholder certificate: path, role, brand, revocation",
    "dual signature over both halves",
    "trans_ids equal in both halves",
    "order digest equal in both halves (HOI)",
    "order and amount digest equal in both halves (HOD)",
    "card belongs to certificate",
    "amount is within what was signed",
];
/// What holds once an AuthReq with a payment instruction that nobody signed was.
const WITH_UNSIGNED_PI: &[&str] = &[
    "merchant certificate: path, role, brand, revocation",
    "merchant signature",
    "digest of PI",
    "merchant id",
    "a payment without a certificate may be made here",
    "payment instruction is for this merchant and this gateway",
    "trans_ids equal in both halves",
    "order digest equal in both halves (HOI)",
    "order and amount digest equal in both halves (HOD)",
    "amount is within what was instructed",
];
/// What holds once an AuthReq with a token was.
const WITH_TOKEN: &[&str] = &[
    "merchant certificate: path, role, brand, revocation",
    "merchant signature",
    "digest of the token",
    "merchant id",
    "token: our own, for this merchant, brand and purchase",
    "cardholder certificate, kept since the first authorization: path, expiry, revocation",
    "card not past its expiry",
    "token not used up",
    "amount is within what is left of the amount signed",
];

/// With what a verified authorization is asked for.
#[derive(Debug)]
pub(super) enum By {
    /// The payment instruction.
    Pi {
        /// Whether a cardholder signed it.
        signed: bool,
    },
    /// A token.
    Token {
        /// Our id of the payment.
        payment_id: String,
        /// How many authorizations were approved when it was given.
        approvals: usize,
    },
}

impl By {
    /// What was verified, for people.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Pi { .. } => "both halves verified",
            Self::Token { .. } => "token, card and certificate verified",
        }
    }

    /// The checks, in their order.
    pub(super) fn verified(&self) -> &'static [&'static str] {
        match self {
            Self::Pi { signed: true } => WITH_PI,
            Self::Pi { signed: false } => WITH_UNSIGNED_PI,
            Self::Token { .. } => WITH_TOKEN,
        }
    }
}

/// A payment after all checks but those of amounts and of what was done with it before.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) payment: VerifiedPayment,
    pub(super) by: By,
}

type Judged = Result<Verified, AuthCode>;

/// Seals, signatures, paths, both halves or the token and what it stands for, and whether it is our merchant.
pub(super) async fn verify(
    gateway: &Gateway,
    received: &Received,
) -> Result<(Asker, Judged), GatewayError> {
    let verifier = gateway.verifier()?;
    let keyring = gateway.keyring.all();
    let tokens = gateway.token_key.clone();
    let accepts_unsigned = gateway.settings.accept_unsigned;
    let Received {
        wire, wrapper, at, ..
    } = received.clone();
    let (asker, shown) = offload_brief(move || {
        let ours: Vec<_> = keyring.iter().collect();
        let opened = auth::open(&wire, &wrapper, &ours, &verifier, at)?;
        let asker = opened.asker.clone();
        let shown = opened.verify((&ours, accepts_unsigned), &tokens, &verifier, at)?;
        Ok::<_, Rejection>((asker, shown))
    })
    .await?;
    let judged = match shown {
        Ok(Shown::Pi(payment)) => Ok(Verified {
            by: By::Pi {
                signed: payment.cardholder.is_some(),
            },
            payment: *payment,
        }),
        Ok(Shown::Token(token)) => recall(gateway, received, &asker, &token).await?,
        Err(refusal) => Err(refused(refusal)),
    };
    let ours = judge_merchant(gateway, &asker);
    Ok((asker, judged.and_then(|verified| ours.map(|()| verified))))
}

/// Finds what a token stands for and verifies anew what may have ended since.
async fn recall(
    gateway: &Gateway,
    received: &Received,
    asker: &Asker,
    token: &AuthTokenData,
) -> Result<Judged, GatewayError> {
    let whose = (asker.merchant_id(), &asker.brand_id);
    let mut connection = gateway.db.read().await?;
    let found = payments::find(&mut connection, &gateway.vault, whose, &token.hpi).await?;
    drop(connection);
    let (payment_id, payment) = match found {
        None => return Ok(Err(refused(Refusal::AuthToken))),
        Some((_, None)) => return Ok(Err(refused(Refusal::Cardholder))),
        Some((payment_id, Some(payment))) => (payment_id, payment),
    };
    let verifier = gateway.verifier()?;
    let (brand, at) = (asker.brand_id.clone(), received.at);
    let (payment, good) = offload_brief(move || {
        let good = payment.verify_again(&brand, &verifier, at)?;
        Ok::<_, Rejection>((payment, good))
    })
    .await?;
    let by = By::Token {
        payment_id,
        approvals: usize::try_from(token.approvals).unwrap_or(usize::MAX),
    };
    Ok(good.map(|()| Verified { payment, by }).map_err(refused))
}

fn refused(refusal: Refusal) -> AuthCode {
    tracing::warn!(outcome = "refused", error = %refusal, "payment refused");
    refusal.code()
}

/// A merchant of ours, who may take this brand. Another acquirer's may have the same name.
fn judge_merchant(gateway: &Gateway, asker: &Asker) -> Result<(), AuthCode> {
    let ours = asker.acquirer_bin == gateway.settings.acquirer_bin.as_str();
    match gateway
        .settings
        .merchant(asker.merchant_id(), &asker.brand_id)
    {
        Some(merchant) if ours && asker.capture_now && !merchant.capture_now => {
            Err(AuthCode::CaptureNotSupported)
        }
        Some(_) if ours => Ok(()),
        _ => Err(AuthCode::InvalidTransaction),
    }
}
