//! CertReq: keys are checked, the bank is asked, the keys are certified.
//!
//! The bank is asked outside any transaction. After a crash between its word and the commit the applicant
//! sends the same bytes again, the bank gives the same word for the same keys, and the certificates are
//! issued then: none was stored before.

use std::sync::Arc;

use openset_jose::Thumbprint;
use openset_protocol::ca::cert::{
    self, Approved, CertReply, Earlier, Inquiry, Issued, Issuer, Record, Verdict,
};
use openset_protocol::ca::sealed_for;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::Jwe;
use openset_protocol::{Context, Rejection};
use openset_store::exchanges;

use super::region::elsewhere;
use super::{Received, credentials, step};
use crate::error::CaError;
use crate::hierarchy::Ca;
use crate::journal::RecordedTx;
use crate::store::certificates::{self, Origin};
use crate::store::earlier::{self, Certified};
use crate::store::registrations;
use crate::store::sessions::{self, Answered, Stored};
use crate::{CertificateAuthority, bank};

/// How long the end of a registration is remembered: far beyond the window in which a message's date is
/// accepted.
const KEEP_S: i64 = 30 * 86_400;

/// What every step of one CertReq needs.
struct Work {
    ca: Arc<CertificateAuthority>,
    /// The CA that the request is sealed for, which answers.
    issuing: Arc<Ca>,
    /// Its generation that issues.
    issuer: Arc<Ca>,
    received: Received,
    found: Stored,
    /// The signature key that asks: its owner was verified.
    key: Thumbprint,
}

/// What applicants are told while an operator has to approve.
const PENDED: &str =
    "An operator of the certificate authority looks at the request. Ask again later.";

/// What a cardholder is told whose BIN is not served any more.
const NOT_SERVED: &str =
    "The bank that issued the card is not served here any more. Register the card again.";

/// How CertReq is answered in the end.
enum End {
    /// With certificates.
    Issued(Issued),
    /// An operator decides: CertRes, and what is kept until then.
    Pended(Vec<u8>, Box<Record>),
    /// With certificates that there are already.
    Again(Vec<u8>),
    /// The bank has said no.
    Refused(Vec<u8>),
}

impl End {
    fn wire(&self) -> &[u8] {
        match self {
            Self::Issued(issued) => &issued.wire,
            Self::Pended(wire, _) | Self::Again(wire) | Self::Refused(wire) => wire,
        }
    }

    fn report(&self, work: &Work) {
        match self {
            Self::Issued(issued) => {
                for certificate in &issued.certificates {
                    work.ca.metrics.count_certificate(certificate);
                    tracing::info!(kind = %work.issuer.id, outcome = "issued", "certificate issued");
                }
            }
            Self::Pended(..) => {
                tracing::info!(kind = %work.issuer.id, outcome = "pended", "an operator has to approve");
            }
            Self::Again(_) => {
                tracing::info!(kind = %work.issuer.id, outcome = "repeated", "certificates given again");
            }
            Self::Refused(_) => {}
        }
    }
}

pub(super) async fn handle(
    ca: &Arc<CertificateAuthority>,
    received: Received,
    sealed: &Jwe,
) -> Result<Vec<u8>, CaError> {
    let issuing = ca
        .hierarchy()
        .sealed_for(&sealed_for(sealed)?)
        .cloned()
        .ok_or(Rejection::NotSealedForUs)?;
    let issuer = ca
        .hierarchy()
        .current_of(&issuing)
        .cloned()
        .ok_or(Rejection::NotServed("this brand any more"))?;
    let (request, opener) = (Arc::clone(&received.request), Arc::clone(&issuing));
    let opened = step(received.at, move |_| {
        cert::open(credentials(&opener)?, &request)
    })
    .await?;
    let (keys, renews) = (opened.keys(), opened.renews());
    let (found, certified_before, earlier, renewed_before) = {
        let mut conn = ca.db.read().await?;
        let found = sessions::find(&mut conn, opened.lid_ca(), received.at.seconds()).await?;
        (
            found.ok_or(Rejection::UnknownLid)?,
            certificates::any_certified(&mut conn, &keys).await?,
            earlier::of_keys(&mut conn, &ca.authorities.vault, &keys).await?,
            match &renews {
                Some(renews) => certificates::renewed(&mut conn, renews).await?,
                None => false,
            },
        )
    };
    let earlier = with_chains(ca, earlier);
    let paths = ca.verifier().await?;
    let session = found.session.clone().awaiting_cert_req()?;
    let key = *keys.first().ok_or(Rejection::Internal)?;
    let (request, held, verifier) = (
        Arc::clone(&received.request),
        Arc::clone(ca),
        Arc::clone(&issuing),
    );
    let verdict = step(received.at, move |ctx| {
        let inquiry = Inquiry {
            account_key: &held.hierarchy().account_key,
            certified_before,
            earlier: &earlier,
            renewed_before,
            verifier: &paths,
            state: &RevocationState::of(&paths, &session.brand_id),
        };
        opened.verify(ctx, credentials(&verifier)?, &request, &session, &inquiry)
    });
    let verdict = verdict.await?;
    received.request.wrapper.check_date(received.at)?;
    let work = Work {
        ca: Arc::clone(ca),
        issuer,
        issuing,
        received,
        found,
        key,
    };
    Box::pin(work.decide(verdict)).await
}

/// Certificates with the CAs above them.
fn with_chains(ca: &CertificateAuthority, certified: Vec<Certified>) -> Vec<Earlier> {
    let hierarchy = ca.hierarchy();
    let earlier = |one: Certified| {
        Some(Earlier {
            chain: hierarchy.chain_of(&one.authority, &one.certificate)?,
            nonce_cca: one.nonce_cca,
            renews: one.renews,
        })
    };
    certified.into_iter().filter_map(earlier).collect()
}

impl Work {
    async fn decide(self, verdict: Verdict) -> Result<Vec<u8>, CaError> {
        let (client, settings) = (&self.ca.client, &self.ca.settings);
        let end = match verdict {
            Verdict::Answer { wire, code } => return self.go_on(wire, code).await,
            Verdict::AskIssuer(application)
                if elsewhere(&self.ca, &self.issuing, &application.request.pan.bin()).is_some() =>
            {
                self.not_served(application.reply).await?
            }
            Verdict::Again(again) => {
                let issuing = Arc::clone(&self.issuing);
                let answered = step(self.received.at, move |ctx| {
                    again.answer(ctx, credentials(&issuing)?)
                });
                End::Again(answered.await?)
            }
            Verdict::AskIssuer(application) => {
                match bank::issuer(client, settings, &application.request).await? {
                    Ok(word) => self.approved(|ctx| application.approved(ctx, word)).await?,
                    Err(reason) => {
                        self.refuse(application.reply, CertStatusCode::RejectedByIssuer, &reason)
                            .await?
                    }
                }
            }
            Verdict::AskAcquirer(application) => {
                match bank::acquirer(client, settings, &application.request).await? {
                    Ok(word) => self.approved(|_| application.approved(word)).await?,
                    Err(reason) => {
                        self.refuse(
                            application.reply,
                            CertStatusCode::RejectedByAcquirer,
                            &reason,
                        )
                        .await?
                    }
                }
            }
            Verdict::AskBrand(application) => {
                match bank::brand(&self.ca.db, settings, &application.request).await? {
                    Ok(word) => self.approved(|_| application.approved(word)).await?,
                    Err(reason) => {
                        self.refuse(application.reply, CertStatusCode::RejectedByCa, &reason)
                            .await?
                    }
                }
            }
        };
        self.end(end).await
    }

    /// Stores an answer after which the applicant may try again.
    async fn go_on(self, wire: Vec<u8>, code: CertStatusCode) -> Result<Vec<u8>, CaError> {
        let answered = Answered {
            digest: &self.received.digest,
            response: &wire,
        };
        let mut tx = self.ca.db.begin().await?;
        let now_s = self.received.at.seconds();
        let went_on =
            sessions::go_on(&mut tx, &self.found, &self.found.session, answered, now_s).await?;
        tx.commit().await?;
        if !went_on {
            return Err(CaError::Overtaken);
        }
        tracing::info!(set_message = "CertReq", outcome = ?code, "registration not complete");
        Ok(wire)
    }

    /// After the bank's yes: the certificates, unless an operator has to approve too.
    async fn approved(
        &self,
        approved: impl FnOnce(&mut Context<'_>) -> Approved + Send + 'static,
    ) -> Result<End, CaError> {
        let issuing = Arc::clone(&self.issuing);
        // A registration that began with a CA which was renewed since ends with the new one's certificates.
        let (issuer, ca) = (Arc::clone(&self.issuer), Arc::clone(&self.ca));
        let ended = step(self.received.at, move |ctx| {
            let approved = approved(ctx);
            let credentials = credentials(&issuing)?;
            if ca.settings.pends(approved.role()) {
                let (wire, record) = approved.pend(ctx, credentials, PENDED)?;
                return Ok(End::Pended(wire, Box::new(record)));
            }
            let issuer = Issuer {
                credentials,
                authority: &issuer.authority,
                certificate_seconds: ca.settings.certificate_seconds,
                card_cert_required: ca
                    .settings
                    .card_cert_required(issuer.authority.certificate().brand()),
            };
            approved.issue(ctx, &issuer).map(End::Issued)
        });
        Ok(ended.await?)
    }

    /// The card has come to belong to another region, or to nobody, since its form was given out.
    async fn not_served(&self, reply: CertReply) -> Result<End, CaError> {
        tracing::info!(
            set_message = "CertReq",
            outcome = "refused",
            "the card's BIN is not served any more"
        );
        let issuing = Arc::clone(&self.issuing);
        let code = CertStatusCode::InvalidBin;
        let wire = step(self.received.at, move |ctx| {
            reply.refuse(ctx, credentials(&issuing)?, code, NOT_SERVED)
        })
        .await?;
        Ok(End::Refused(wire))
    }

    async fn refuse(
        &self,
        reply: CertReply,
        code: CertStatusCode,
        reason: &str,
    ) -> Result<End, CaError> {
        let by = match code {
            CertStatusCode::RejectedByIssuer => "issuer",
            CertStatusCode::RejectedByAcquirer => "acquirer",
            _ => "brand",
        };
        self.ca.metrics.count_refusal(by, reason);
        tracing::info!(
            set_message = "CertReq",
            kind = by,
            outcome = "refused",
            error = reason,
            "registration refused"
        );
        let text = told(by, reason);
        let issuing = Arc::clone(&self.issuing);
        let wire = step(self.received.at, move |ctx| {
            reply.refuse(ctx, credentials(&issuing)?, code, &text)
        })
        .await?;
        Ok(End::Refused(wire))
    }

    /// Stores certificates and answer and ends the session, all of it or nothing.
    async fn end(self, end: End) -> Result<Vec<u8>, CaError> {
        let mut tx = self.ca.authorities.begin().await?;
        match self.record(&mut tx, &end).await? {
            None => {
                tx.commit().await?;
                end.report(&self);
                Ok(end.wire().to_vec())
            }
            Some(stored) => {
                tx.rollback().await?;
                Ok(stored)
            }
        }
    }

    /// What is stored; or the answer that was there already.
    async fn record(&self, tx: &mut RecordedTx, end: &End) -> Result<Option<Vec<u8>>, CaError> {
        let now_s = self.received.at.seconds();
        let (sender, rrpid) = (
            format!("key:{}", self.key),
            self.received.request.wrapper.rrpid()?.to_string(),
        );
        let received = exchanges::Received {
            sender: &sender,
            message: "CertReq",
            rrpid: &rrpid,
            digest: self.received.digest,
            received_at: now_s,
            keep_until: now_s.saturating_add(KEEP_S),
        };
        match exchanges::open(tx, &received).await? {
            exchanges::Opened::New => {}
            exchanges::Opened::Same {
                response: Some(response),
            } => return Ok(Some(response)),
            exchanges::Opened::Same { response: None } => return Err(CaError::Overtaken),
            exchanges::Opened::Different => return Err(Rejection::RrpidReused.into()),
        }
        // A key or certificate that was used since we looked: the same bytes again will be told so.
        let stored = match end {
            End::Issued(issued) => {
                let origin = Origin {
                    renews: issued.renews,
                    signed_by: issued.signer,
                    nonce_cca: issued.certificates.first().zip(issued.nonce_cca).map(
                        |(certificate, nonce)| {
                            earlier::seal(&self.ca.authorities.vault, certificate, &nonce)
                        },
                    ),
                };
                certificates::issue(
                    tx,
                    &self.issuer.id,
                    &issued.certificates,
                    (&issued.shown, &origin),
                    now_s,
                )
                .await?
            }
            End::Pended(_, record) => {
                let approved = record.waits().ok_or(Rejection::Internal)?;
                certificates::hold_all_unrevoked(tx, approved.shown()).await?
                    && registrations::insert(
                        tx,
                        &self.ca.authorities.vault,
                        &self.issuing.id,
                        (approved, record),
                        now_s,
                    )
                    .await?
            }
            End::Again(_) | End::Refused(_) => true,
        };
        if !stored {
            return Err(CaError::Overtaken);
        }
        if !sessions::end(tx, &self.found).await? {
            return Err(CaError::Overtaken);
        }
        exchanges::answer(tx, &sender, "CertReq", &rrpid, end.wire()).await?;
        Ok(None)
    }
}

/// Why, as the applicant is told, who may be anybody. What is known only to who knew the code and all that belongs to
/// it is told. For the rest there is one text: it shows neither whether there is such a card, merchant or gateway, nor
/// whether a code is wrong, used or locked.
fn told(by: &str, reason: &str) -> String {
    match reason {
        "blockedCard" | "expiredCard" => format!("The {by} refuses: {reason}."),
        _ => format!(
            "The {by} does not approve. Check what you entered and try again, after some attempts an hour \
             later; if all of it is right, ask the {by} for a fresh activation code."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn reasons_that_help_to_guess_are_told_in_one_text() {
        let one = told("issuer", "wrongCode");
        for reason in [
            "unknownCard",
            "codeUsed",
            "codeLocked",
            "detailsDiffer",
            "new",
        ] {
            assert_eq!(told("issuer", reason), one);
        }
        assert_eq!(
            told("issuer", "expiredCard"),
            "The issuer refuses: expiredCard."
        );
    }
}
