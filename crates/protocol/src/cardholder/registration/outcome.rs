//! CertRes at the wallet: the certificate, or why there is none.

use super::{AwaitingCertRes, CardSecret, FormReceived, NonceCca, PanSecret, Pended};
use crate::content_type::ContentType;
use crate::messages::cert::{CertRes, CertResData, CertStatus, CertStatusCode};
use crate::sealed::open_direct;
use crate::signed::verify_whole_chain;
use crate::wrapper::Jws;
use crate::{Context, Rejection};
use openset_jose::default_provider;
use openset_pki::{Certificate, Chain, Expect, PathVerifier, Purpose, Role};

/// How a registration goes on after CertRes or CertInqRes.
#[derive(Debug)]
pub enum Outcome {
    /// The card is registered.
    Registered(Box<Registered>),
    /// Answers have to be mended: submit the form again.
    Mend(Box<FormReceived>, CertStatus),
    /// The CA's operator has to decide: ask again later, with [`Pended::inquire`].
    Pended(Box<Pended>, CertStatus),
    /// There will be no certificate; the registration ends.
    Refused(CertStatus),
}

/// A card that is registered: to be stored with its key, encrypted.
pub struct Registered {
    /// The signature certificate's chain.
    pub chain: Chain,
    /// The cardholder's half of PANSecret.
    pub card_secret: CardSecret,
    /// The CA's half.
    pub nonce_cca: NonceCca,
    /// The key of the certificate's account name.
    pub pan_secret: PanSecret,
    /// The CA's words for the person.
    pub ee_message: Option<String>,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registered([redacted])")
    }
}

impl AwaitingCertRes {
    /// Opens and verifies CertRes or CertInqRes, whichever is waited for.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<Outcome, Rejection> {
        let wrapper = self.form.exchange.read(&self.pending, wire)?;
        let CertRes::Sealed(jwe) = self.awaited.take(&wrapper)? else {
            return Err(Rejection::OutOfOrder(
                "CertRes to a cardholder must be sealed",
            ));
        };
        let jws: Jws = open_direct(
            jwe,
            default_provider(),
            &self.back_key,
            ContentType::CertResTbe,
        )?;
        let answer = self.form.exchange.verify::<CertResData>(
            &self.pending,
            (&wrapper, &jws),
            &self.awaited.kind(),
            verifier,
            ctx.now,
        )?;
        self.form.ca.check(&answer, &answer.data.lid_ca)?;
        let data = answer.data;
        self.form.exchange.check_lid_ee(&data.lid_ee)?;
        if data.chall_ee3 != self.chall_ee3 {
            return Err(Rejection::ChallengeMismatch("chall_ee3"));
        }
        match data.cert_status.cert_status_code {
            CertStatusCode::RequestComplete => self.registered(ctx, data, verifier),
            CertStatusCode::RequestPended | CertStatusCode::RequestInProgress => {
                let pended = Pended {
                    back_key: self.back_key,
                    card_secret: self.card_secret,
                    key: self.key,
                    form: self.form,
                };
                Ok(Outcome::Pended(Box::new(pended), data.cert_status))
            }
            CertStatusCode::RegFormAnswerMalformed => {
                Ok(Outcome::Mend(Box::new(self.form), data.cert_status))
            }
            _ => Ok(Outcome::Refused(data.cert_status)),
        }
    }

    fn registered(
        self,
        ctx: &Context<'_>,
        data: CertResData,
        verifier: &PathVerifier,
    ) -> Result<Outcome, Rejection> {
        if !data.key_exchange.is_empty() {
            return Err(Rejection::Disagreement("key_exchange"));
        }
        let nonce_cca = data
            .cert_status
            .nonce_cca
            .ok_or(Rejection::Disagreement("nonce_cca"))?;
        let brand = Some(&self.form.exchange.brand_id);
        let expect = Expect {
            role: Role::Cardholder,
            purpose: Purpose::Signature,
            brand,
        };
        let chain = verify_whole_chain(&data.signature, &expect, verifier, ctx.now)?;
        let pan_secret = self.card_secret.pan_secret(&nonce_cca);
        self.check_certificate(chain.leaf(), &pan_secret)?;
        Ok(Outcome::Registered(Box::new(Registered {
            chain,
            card_secret: self.card_secret,
            nonce_cca,
            pan_secret,
            ee_message: data.cert_status.ee_message,
        })))
    }

    /// The certificate is for our key, our card, and no longer than the card.
    fn check_certificate(
        &self,
        certificate: &Certificate,
        pan_secret: &PanSecret,
    ) -> Result<(), Rejection> {
        if certificate.public_key().thumbprint() != self.key {
            return Err(Rejection::Disagreement("the certified key"));
        }
        let card = &self.form.card;
        if certificate.common_name() != pan_secret.account_name(&card.pan, card.card_expiry) {
            return Err(Rejection::Disagreement("the account name"));
        }
        if certificate.not_after() >= card.card_expiry.ends_at().seconds() {
            return Err(Rejection::Disagreement("the certificate's end"));
        }
        Ok(())
    }
}
