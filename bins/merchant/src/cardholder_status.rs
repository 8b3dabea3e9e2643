//! Step 7: is the cardholder's certificate revoked? The CRLs were asked by the path's verification; this is the
//! OCSP responder's word, stapled by the wallet or asked for here.

use std::sync::{Arc, Mutex, PoisonError};

use openset_jose::Thumbprint;
use openset_pki::ocsp::Response;
use openset_pki::{Certificate, PathError, PathVerifier, Role};
use openset_protocol::Rejection;
use openset_protocol::merchant::p::VerifiedPReq;
use openset_service::clock;
use openset_service::ocsp::{self, OcspError};

use crate::Merchant;
use crate::config::OcspPolicy;
use crate::failure::Failure;
use crate::store::learned_revocations;

/// The most answers of the responder that are remembered.
const ANSWERS_MAX: usize = 4096;

/// What a stapled response comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Staple {
    /// It says that the certificate is good.
    Good,
    /// There is none, or it has run out since: the responder has to be asked.
    Absent,
    /// It does not hold, or says that the certificate is revoked.
    Refused(PathError),
}

/// Judges what the wallet stapled to its PReq.
pub(crate) fn judge(p_req: &VerifiedPReq, verifier: &PathVerifier, now_s: i64) -> Staple {
    let (Some(der), Some(cardholder)) = (&p_req.ocsp, p_req.payer.certificate()) else {
        return Staple::Absent;
    };
    let judged = Response::from_der(&der.0)
        .map_err(PathError::from)
        .and_then(|response| verifier.check_ocsp(&response, cardholder, None, now_s));
    match judged {
        Ok(_) => Staple::Good,
        // A PReq that is sent again after an outage has its old staple.
        Err(PathError::OcspStale(_)) => Staple::Absent,
        Err(error) => Staple::Refused(error),
    }
}

/// Certificates that the responder said to be good, and until when.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Vec<(Thumbprint, i64)>>);

impl Answers {
    fn good(&self, certificate: &Thumbprint, now_s: i64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, until_s)| now_s < *until_s);
        all.iter().any(|(known, _)| known == certificate)
    }

    fn keep(&self, certificate: Thumbprint, until_s: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < ANSWERS_MAX {
            all.push((certificate, until_s));
        }
    }
}

/// Fails if a replica has learned that the cardholder's certificate is revoked. A payment that begins counts on that it has not.
pub(crate) async fn check_learned(
    merchant: &Merchant,
    cardholder: &Certificate,
) -> Result<(), Failure> {
    let thumbprint = cardholder.thumbprint();
    let learned =
        learned_revocations::contains(&mut *merchant.db.read().await?, &thumbprint).await?;
    if learned {
        merchant.verifier()?.mark_revoked(&thumbprint);
        return Err(refused(PathError::Revoked(Role::Cardholder)));
    }
    Ok(())
}

/// Fails unless the responder says, or has said, that the cardholder's certificate is good, as far as the merchant's policy
/// demands it.
pub(crate) async fn check(
    merchant: &Arc<Merchant>,
    cardholder: &Certificate,
    staple: Staple,
) -> Result<(), Failure> {
    match staple {
        Staple::Good => Ok(()),
        Staple::Refused(error) => refuse(merchant, cardholder, error).await,
        Staple::Absent => ask(merchant, cardholder).await,
    }
}

async fn ask(merchant: &Arc<Merchant>, cardholder: &Certificate) -> Result<(), Failure> {
    let thumbprint = cardholder.thumbprint();
    if merchant
        .ocsp_answers
        .good(&thumbprint, clock::now_seconds())
    {
        return Ok(());
    }
    // What is known is not asked, and needs no responder.
    check_learned(merchant, cardholder).await?;
    let trust = merchant.trust.get();
    let trust = trust.ok_or(Failure::NotReady(
        "the certificate authority was not reached yet",
    ))?;
    match ocsp::ask(&merchant.client, trust, cardholder).await {
        Ok(good) => {
            merchant
                .ocsp_answers
                .keep(thumbprint, good.window.next_update);
            Ok(())
        }
        Err(OcspError::Refused(error @ PathError::Revoked(_))) => {
            refuse(merchant, cardholder, error).await
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            let policy = merchant.settings.ocsp_policy;
            tracing::warn!(step = 7, error, outcome = ?policy, "the cardholder's revocation status is not known");
            match policy {
                OcspPolicy::Open => Ok(()),
                OcspPolicy::Closed => Err(Failure::RevocationUnknown),
            }
        }
    }
}

/// A revocation is remembered for all replicas before it is told.
async fn refuse(
    merchant: &Merchant,
    cardholder: &Certificate,
    error: PathError,
) -> Result<(), Failure> {
    if matches!(error, PathError::Revoked(_)) {
        let mut tx = merchant.db.begin().await?;
        learned_revocations::put(&mut tx, cardholder).await?;
        tx.commit().await?;
        merchant.verifier()?.mark_revoked(&cardholder.thumbprint());
        tracing::warn!(
            step = 7,
            outcome = "revoked",
            "a cardholder's certificate is revoked"
        );
    }
    Err(refused(error))
}

fn refused(error: PathError) -> Failure {
    Rejection::Certificate(error).into()
}
