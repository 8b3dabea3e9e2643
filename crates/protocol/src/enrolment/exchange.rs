//! What every answer of a registration is checked against, whoever applies (reference section 2, "every
//! response at EE").

use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::{SigningIdentity, same_party};
use crate::ids::{Challenge, ExactBytes, LocalId, Rrpid};
use crate::messages::cert::{CertRes, RenewalData};
use crate::messages::cert_inq::CertInqReqTbs;
use crate::signed::{Expected, Frame, Signer, Who, request_digest, sign, verify, verify_chain};
use crate::thumbs::Thumbs;
use crate::wrapper::{Jws, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, Expect, PathVerifier, Purpose, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A registration, as the applicant knows it from its beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub(crate) lid_ee: LocalId,
    pub(crate) brand_id: BrandId,
    pub(crate) ca_role: Role,
}

/// A request that waits for its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pending {
    rrpid: Rrpid,
    request: Digest,
    /// The thumbs that the request named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    thumbs: Option<Thumbs>,
}

/// The CA that this registration is with, as its first answer showed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ca {
    /// Its name for the registration.
    pub(crate) lid_ca: LocalId,
    key_exchange: ExactBytes,
}

/// CertInqReq, and what its answer must fit.
pub(crate) struct Inquiry {
    pub(crate) pending: Pending,
    pub(crate) chall_ee3: Challenge,
    pub(crate) wire: Vec<u8>,
}

/// What a first answer tells of the CA.
pub(crate) struct CaTold<'a> {
    pub(crate) lid_ca: &'a LocalId,
    pub(crate) cae_thumb: &'a Thumbprint,
    pub(crate) ca_key_exchange: &'a [ExactBytes],
}

/// A kind of signed answer.
pub(crate) struct Kind {
    pub(crate) content: ContentType,
    pub(crate) name: &'static str,
}

/// Which answer is waited for: it says what became of the request for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Awaited {
    /// CertRes.
    #[default]
    CertRes,
    /// CertInqRes.
    CertInqRes,
}

impl Awaited {
    /// The answer, if it is the one that is waited for.
    pub(crate) fn take(self, wrapper: &MessageWrapper) -> Result<&CertRes, Rejection> {
        match (self, &wrapper.message) {
            (Self::CertRes, Message::CertRes(answer))
            | (Self::CertInqRes, Message::CertInqRes(answer)) => Ok(answer),
            _ => Err(wrapper.not_taken()),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        Kind {
            content: ContentType::CertResData,
            name: match self {
                Self::CertRes => "CertRes",
                Self::CertInqRes => "CertInqRes",
            },
        }
    }
}

/// An answer's signed data and who signed them.
pub(crate) struct Answer<T> {
    pub(crate) signer: Certificate,
    pub(crate) data: T,
}

impl Exchange {
    /// Wraps a request, which names these thumbs, and remembers what its answer must fit.
    pub(crate) fn send(
        &self,
        ctx: &Context<'_>,
        rrpid: Rrpid,
        message: Message,
        thumbs: Option<Thumbs>,
    ) -> (Pending, Vec<u8>) {
        let wire =
            MessageWrapper::new(ctx, MessageIds::of_lid_c(&self.lid_ee), rrpid, message).encode();
        (
            Pending {
                rrpid,
                request: request_digest(&wire),
                thumbs,
            },
            wire,
        )
    }

    /// Reads an answer: its header must name this registration and the request that waits.
    pub(crate) fn read(&self, pending: &Pending, wire: &[u8]) -> Result<MessageWrapper, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        if wrapper.rrpid()? != pending.rrpid {
            return Err(Rejection::UnknownRrpid);
        }
        wrapper.check_ids(&MessageIds::of_lid_c(&self.lid_ee), pending.rrpid)?;
        Ok(wrapper)
    }

    /// Verifies that a CA of the right kind and brand signed the answer to the request that waits, for us.
    pub(crate) fn verify<T: DeserializeOwned>(
        &self,
        pending: &Pending,
        (wrapper, jws): (&MessageWrapper, &Jws),
        kind: &Kind,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Answer<T>, Rejection> {
        let expected = Expected {
            content: kind.content,
            signer: Signer {
                role: self.ca_role,
                brand: Some(&self.brand_id),
            },
            to: Who::Exchange(self.lid_ee.clone()),
            message: kind.name,
            rrpid: pending.rrpid,
            answers: Some(pending.request),
            thumbs: pending.thumbs.as_ref(),
        };
        let verified = verify(jws, &expected, verifier, now)?;
        wrapper.check_signed_date(verified.date)?;
        Ok(Answer {
            signer: verified.certificate,
            data: verified.data,
        })
    }

    /// Takes in the CA's key-exchange certificate: of the signer's own, for key exchange, and the one that
    /// the signed thumbprint names.
    pub(crate) fn meet(
        &self,
        signer: &Certificate,
        told: &CaTold<'_>,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Ca, Rejection> {
        let expect = Expect {
            role: self.ca_role,
            purpose: Purpose::KeyExchange,
            brand: Some(&self.brand_id),
        };
        let certificate = verify_chain(told.ca_key_exchange, &expect, verifier, now)?;
        if certificate.thumbprint() != *told.cae_thumb {
            return Err(Rejection::DigestMismatch("cae_thumb"));
        }
        if !same_party(&certificate, signer) {
            return Err(Rejection::AnotherParty("certificate authority"));
        }
        Ok(Ca {
            lid_ca: told.lid_ca.clone(),
            key_exchange: ExactBytes(certificate.der().to_vec()),
        })
    }

    /// Makes CertInqReq; `sign` signs it as this registration's CertReq was.
    pub(crate) fn inquire(
        &self,
        ctx: &mut Context<'_>,
        ca: &Ca,
        sign: impl FnOnce(&mut Context<'_>, Frame, &CertInqReqTbs) -> Result<Jws, Rejection>,
    ) -> Result<Inquiry, Rejection> {
        let rrpid = Rrpid::generate(&mut ctx.again());
        let chall_ee3 = Challenge::generate(ctx.rng);
        let data = CertInqReqTbs {
            lid_ee: self.lid_ee.clone(),
            chall_ee3,
            lid_ca: ca.lid_ca.clone(),
        };
        let frame = Frame {
            to: Who::Certificate(ca.key_exchange()?.thumbprint()),
            message: "CertInqReq",
            rrpid,
            answers: None,
        };
        let jws = sign(ctx, frame, &data)?;
        let (pending, wire) = self.send(ctx, rrpid, Message::CertInqReq(jws), None);
        Ok(Inquiry {
            pending,
            chall_ee3,
            wire,
        })
    }

    /// Checks that an answer names us as we named ourselves.
    pub(crate) fn check_lid_ee(&self, lid_ee: &LocalId) -> Result<(), Rejection> {
        if *lid_ee == self.lid_ee {
            Ok(())
        } else {
            Err(Rejection::Disagreement("lid_ee"))
        }
    }
}

impl Ca {
    /// The certificate to seal for.
    pub(crate) fn key_exchange(&self) -> Result<Certificate, Rejection> {
        Certificate::from_der(&self.key_exchange.0).map_err(|_| Rejection::Internal)
    }

    /// Checks that a later answer is by the CA that the registration was begun with, under its name.
    pub(crate) fn check<T>(&self, answer: &Answer<T>, lid_ca: &LocalId) -> Result<(), Rejection> {
        if !same_party(&answer.signer, &self.key_exchange()?) {
            return Err(Rejection::AnotherParty("certificate authority"));
        }
        if *lid_ca == self.lid_ca {
            Ok(())
        } else {
            Err(Rejection::Disagreement("lid_ca"))
        }
    }
}

/// The second signature of a renewal, by the certificate that is renewed.
pub(crate) fn countersign(
    ctx: &mut Context<'_>,
    old: &SigningIdentity,
    frame: Frame,
    cert_req: &Jws,
) -> Result<Jws, Rejection> {
    let data = RenewalData {
        cert_req: digest(ContentType::CertReqData, cert_req.0.as_bytes()),
    };
    sign(ctx, old, ContentType::RenewalData, frame, &data)
}
