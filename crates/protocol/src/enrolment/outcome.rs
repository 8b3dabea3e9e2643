//! CertRes at a merchant or gateway: the certificates, or why there are none.

use super::{AwaitingCertRes, FormReceived, Pended};
use crate::identity::names_party;
use crate::ids::ExactBytes;
use crate::messages::cert::{CertRes, CertResData, CertStatus, CertStatusCode};
use crate::signed::verify_whole_chain;
use crate::{Context, Rejection};
use openset_pki::{Chain, Expect, PathVerifier, Purpose};

/// How a registration goes on after CertRes or CertInqRes.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The certificates are there.
    Enrolled(Box<Enrolled>),
    /// Answers have to be mended: submit the form again.
    Mend(Box<FormReceived>, CertStatus),
    /// The CA's operator has to decide: ask again later, with [`Pended::inquire`].
    Pended(Box<Pended>, CertStatus),
    /// There will be no certificates; the registration ends.
    Refused(CertStatus),
}

/// Certificates for the keys that were shown.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The signature certificate's chain, if one was asked for.
    pub signature: Option<Chain>,
    /// The key-exchange certificate's chain, if one was asked for.
    pub key_exchange: Option<Chain>,
}

impl Enrolled {
    /// Both chains: signature, key exchange.
    ///
    /// # Errors
    /// [`Rejection::MissingCertificate`] when not both were asked for.
    pub fn both(self) -> Result<(Chain, Chain), Rejection> {
        self.signature
            .zip(self.key_exchange)
            .ok_or(Rejection::MissingCertificate("of two that were asked for"))
    }
}

impl AwaitingCertRes {
    /// Verifies CertRes or CertInqRes, whichever is waited for.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<Outcome, Rejection> {
        let exchange = &self.form.exchange;
        let wrapper = exchange.read(&self.pending, wire)?;
        let CertRes::Signed(jws) = self.awaited.take(&wrapper)? else {
            return Err(Rejection::OutOfOrder(
                "CertRes to a merchant or gateway is signed, not sealed",
            ));
        };
        let answer = exchange.verify::<CertResData>(
            &self.pending,
            (&wrapper, jws),
            &self.awaited.kind(),
            verifier,
            ctx.now,
        )?;
        self.form.ca.check(&answer, &answer.data.lid_ca)?;
        let data = answer.data;
        exchange.check_lid_ee(&data.lid_ee)?;
        if data.chall_ee3 != self.chall_ee3 {
            return Err(Rejection::ChallengeMismatch("chall_ee3"));
        }
        match data.cert_status.cert_status_code {
            CertStatusCode::RequestComplete => {
                let signature =
                    self.certificate(ctx, &data.signature, Purpose::Signature, verifier)?;
                let key_exchange =
                    self.certificate(ctx, &data.key_exchange, Purpose::KeyExchange, verifier)?;
                Ok(Outcome::Enrolled(Box::new(Enrolled {
                    signature,
                    key_exchange,
                })))
            }
            CertStatusCode::RequestPended | CertStatusCode::RequestInProgress => {
                let pended = Pended {
                    signature: self.signature,
                    key_exchange: self.key_exchange,
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

    /// The chain, if its leaf is for our key and in our name; none if none was asked for.
    fn certificate(
        &self,
        ctx: &Context<'_>,
        carried: &[ExactBytes],
        purpose: Purpose,
        verifier: &PathVerifier,
    ) -> Result<Option<Chain>, Rejection> {
        let (ours, name) = if purpose == Purpose::Signature {
            (self.signature, "signature")
        } else {
            (self.key_exchange, "key_exchange")
        };
        let Some(ours) = ours else {
            return if carried.is_empty() {
                Ok(None)
            } else {
                Err(Rejection::Disagreement(name))
            };
        };
        let party = &self.form.party;
        let expect = Expect {
            role: party.role(),
            purpose,
            brand: Some(&party.brand_id),
        };
        let chain = verify_whole_chain(carried, &expect, verifier, ctx.now)?;
        let certificate = chain.leaf();
        if certificate.public_key().thumbprint() != ours {
            return Err(Rejection::Disagreement("the certified key"));
        }
        if !names_party(certificate, &party.id_data) {
            return Err(Rejection::Disagreement("the certified name"));
        }
        Ok(Some(chain))
    }
}
