//! CertReq of a merchant or gateway: keys, answers, and the certificates that are there already.

use super::exchange::{Awaited, countersign};
use super::{AwaitingCertRes, FormReceived, Pended, Step};
use crate::content_type::ContentType;
use crate::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use crate::ids::{Challenge, ExactBytes, Rrpid};
use crate::messages::cert::{CertReqData, CertReqTbe};
use crate::messages::reg_form::{FormAnswer, policy_digest};
use crate::sealed::seal;
use crate::signed::{Frame, Who, carried, sign};
use crate::wrapper::Message;
use crate::{Context, Rejection, possession};
use openset_jose::{PrivateKey, PublicKey};

/// The keys to be certified, and the certificates that are there: which of them there must be is the request
/// type's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys<'a> {
    /// The signature key to be certified.
    pub signature: Option<&'a PrivateKey>,
    /// The key-exchange key to be certified: that of Me-AqCInitReq.
    pub key_exchange: Option<&'a PublicKey>,
    /// The signature certificate that is renewed, or that signs for a key-exchange key alone.
    pub held: Option<&'a SigningIdentity>,
    /// The key-exchange certificate that is renewed alone.
    pub renewed: Option<&'a KeyExchangeIdentity>,
}

impl FormReceived {
    /// Makes CertReq of a first registration of both keys.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the key cannot sign or the CA's cannot seal.
    pub fn submit(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        signature: &PrivateKey,
        key_exchange: &PublicKey,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        let keys = Keys {
            signature: Some(signature),
            key_exchange: Some(key_exchange),
            ..Keys::default()
        };
        self.submit_keys(ctx, answers, &keys)
    }

    /// Makes CertReq of a renewal of both certificates: the new keys, and the old credentials' word for them.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_renewal(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        signature: &PrivateKey,
        key_exchange: &PublicKey,
        old: &Credentials,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        let keys = Keys {
            signature: Some(signature),
            key_exchange: Some(key_exchange),
            held: Some(&old.signature),
            ..Keys::default()
        };
        self.submit_keys(ctx, answers, &keys)
    }

    /// Makes CertReq of a registration of any type.
    ///
    /// # Errors
    /// [`Rejection::MissingCertificate`] or [`Rejection::Possession`] when what the type needs is not there;
    /// else as [`Self::submit`].
    pub fn submit_keys(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        keys: &Keys<'_>,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        let asked = self.request_type;
        let spki = |key: &PublicKey| ExactBytes(key.spki_der().to_vec());
        let renewed = if asked.certifies_signature() {
            keys.held.map(SigningIdentity::thumbprint)
        } else {
            keys.renewed.map(KeyExchangeIdentity::thumbprint)
        };
        if asked.renews() && renewed.is_none() {
            return Err(Rejection::MissingCertificate("the one to be renewed"));
        }
        let chall_ee3 = Challenge::generate(ctx.rng);
        let data = CertReqData {
            lid_ee: self.exchange.lid_ee.clone(),
            chall_ee3,
            lid_ca: self.ca.lid_ca.clone(),
            chall_ca: self.chall_ca,
            request_type: asked,
            request_date: ctx.now,
            reg_form_id: self.form.reg_form_id.clone(),
            reg_form: answers,
            policy_accepted: Some(policy_digest(&self.form)),
            ca_back_key_data: None,
            public_key_s: keys.signature.map(|key| spki(key.public_key())),
            public_key_e: keys.key_exchange.map(spki),
            key_exchange_proof: self.proof,
            acct_info_digest: None,
            ee_thumb: renewed.filter(|_| asked.renews()),
            thumbs: self.thumbs.clone(),
        };
        let ca = self.ca.key_exchange()?;
        let rrpid = Rrpid::generate(&mut ctx.again());
        let frame = Frame {
            to: Who::Certificate(ca.thumbprint()),
            message: "CertReq",
            rrpid,
            answers: None,
        };
        let content = ContentType::CertReqData;
        let cert_req = match (asked.certifies_signature(), keys.signature, keys.held) {
            (true, Some(key), _) => possession::sign(ctx, key, content, frame.clone(), &data)?,
            (false, None, Some(held)) => sign(ctx, held, content, frame.clone(), &data)?,
            _ => return Err(Rejection::Possession("signature")),
        };
        let renewal = match keys.held {
            Some(old) if asked.renews() && asked.certifies_signature() => {
                Some(countersign(ctx, old, frame, &cert_req)?)
            }
            _ => None,
        };
        let renewed = match keys.renewed {
            Some(old) if asked.renews() && !asked.certifies_signature() => carried(old.chain()),
            _ => Vec::new(),
        };
        let tbe = CertReqTbe {
            cert_req,
            renewal,
            renewed,
            acct_info: None,
        };
        let sealed = seal(ctx, &ca, ContentType::CertReqTbe, &tbe)?;
        let thumbs = self.thumbs.clone();
        let message = Message::CertReq(sealed);
        let (pending, wire) = self.exchange.send(ctx, rrpid, message, thumbs);
        Ok(Step {
            state: AwaitingCertRes {
                pending,
                awaited: Awaited::CertRes,
                chall_ee3,
                signature: keys.signature.map(|key| key.public_key().thumbprint()),
                key_exchange: keys.key_exchange.map(PublicKey::thumbprint),
                form: self,
            },
            wire,
        })
    }
}

impl Pended {
    /// Makes CertInqReq, signed with the new signature key or, if none is to be certified, with the certificate
    /// that is there. Nothing is lost with one that is not answered: make another.
    ///
    /// # Errors
    /// [`Rejection::Possession`] when the key is not the one that CertReq showed, or missing.
    pub fn inquire(
        &self,
        ctx: &mut Context<'_>,
        keys: &Keys<'_>,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        let content = ContentType::CertInqReqTbs;
        let inquiry = self
            .form
            .exchange
            .inquire(ctx, &self.form.ca, |ctx, frame, data| {
                match (self.signature, keys.signature, keys.held) {
                    (Some(shown), Some(key), _) if key.public_key().thumbprint() == shown => {
                        possession::sign(ctx, key, content, frame, data)
                    }
                    (None, _, Some(held)) => sign(ctx, held, content, frame, data),
                    _ => Err(Rejection::Possession("signature")),
                }
            })?;
        Ok(Step {
            state: AwaitingCertRes {
                pending: inquiry.pending,
                awaited: Awaited::CertInqRes,
                chall_ee3: inquiry.chall_ee3,
                signature: self.signature,
                key_exchange: self.key_exchange,
                form: self.form.clone(),
            },
            wire: inquiry.wire,
        })
    }
}
