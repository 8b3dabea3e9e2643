//! What is kept of a registration that waits for an operator, and of one that waited: CertInqReq is answered
//! from it.

use super::application::CompleteError;
use super::issuance::{Approved, CertReply, Issuer, complete_status};
use crate::ca::Request;
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId};
use crate::messages::cert::{CertStatus, CertStatusCode};
use crate::messages::cert_inq::CertInqReqTbs;
use crate::signed::{Expected, Frame, Signer, Who, carried, verify};
use crate::wrapper::{Jws, Message, MessageIds};
use crate::{BrandId, Context, Rejection, possession};
use openset_jose::{ContentKey, Thumbprint, jws};
use openset_pki::{Certificate, Chain, PathVerifier, Purpose, Role};
use serde::{Deserialize, Serialize};

/// What a CertInqReq is verified with.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asker {
    /// The signature key that was to be certified.
    Key(ExactBytes),
    /// The signature certificate that the applicant had.
    Certificate(Thumbprint),
}

/// A registration from its requestPended on. It holds no card number, but for a cardholder the key of the
/// answers and NonceCCA: encrypt it at rest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    lid_ee: LocalId,
    lid_ca: LocalId,
    role: Role,
    brand: BrandId,
    asker: Asker,
    back_key: Option<ContentKey>,
    status: CertStatus,
    chains: Option<[Vec<ExactBytes>; 2]>,
    waits: Option<Box<Approved>>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({})", self.lid_ca)
    }
}

/// CertInqReq, read but not yet verified.
#[derive(Debug)]
pub struct Inquired {
    lid_ca: LocalId,
    jws: Jws,
}

/// The one field that says which registration a CertInqReq is about.
#[derive(Deserialize)]
struct Named {
    data: NamedData,
}

#[derive(Deserialize)]
struct NamedData {
    lid_ca: LocalId,
}

/// Reads which registration a CertInqReq is about. What cannot be read was not signed by an applicant of ours.
///
/// # Errors
/// [`Rejection`] of the signed object's form.
pub fn read_inquiry(request: &Request) -> Result<Inquired, Rejection> {
    let Message::CertInqReq(jws) = &request.wrapper.message else {
        return Err(request.wrapper.not_taken());
    };
    let object = jws::Unverified::parse(&jws.0)?;
    let named: Named = serde_json::from_slice(object.danger_unverified_payload())
        .map_err(|_| Rejection::Unauthentic)?;
    Ok(Inquired {
        lid_ca: named.data.lid_ca,
        jws: jws.clone(),
    })
}

impl Inquired {
    /// Our name for the registration, by which its record is found.
    #[must_use]
    pub fn lid_ca(&self) -> &LocalId {
        &self.lid_ca
    }

    /// Verifies CertInqReq with what the registration's CertReq was signed with.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn verify(
        self,
        ctx: &Context<'_>,
        ca: &Credentials,
        request: &Request,
        record: &Record,
        verifier: &PathVerifier,
    ) -> Result<CertReply, Rejection> {
        let frame = Frame {
            to: Who::Certificate(ca.key_exchange.thumbprint()),
            message: "CertInqReq",
            rrpid: request.rrpid()?,
            answers: None,
        };
        let data = match &record.asker {
            Asker::Key(spki) => self.by_key(ca, request, spki, &frame)?,
            Asker::Certificate(named) => {
                let signer = Signer {
                    role: record.role,
                    brand: Some(&record.brand),
                };
                let (data, certificate) =
                    self.by_certificate(ctx, request, signer, frame, verifier)?;
                if certificate.thumbprint() != *named {
                    return Err(Rejection::AnotherParty("applicant"));
                }
                data
            }
        };
        let ids = MessageIds::of_lid_c(&data.lid_ee);
        request.wrapper.check_ids(&ids, request.rrpid()?)?;
        if data.lid_ca != record.lid_ca || data.lid_ee != record.lid_ee {
            return Err(Rejection::UnknownLid);
        }
        CertReply::to_inquiry(request, &data, record.back_key.clone())
    }

    fn by_key(
        &self,
        ca: &Credentials,
        request: &Request,
        spki: &ExactBytes,
        frame: &Frame,
    ) -> Result<CertInqReqTbs, Rejection> {
        let provider = ca.key_exchange.key().public_key().provider();
        let key = provider
            .public_key_from_spki(&spki.0)
            .map_err(|_| Rejection::Internal)?;
        let date = request.wrapper.message_header.date;
        possession::verify(&self.jws, ContentType::CertInqReqTbs, &key, frame, date)
    }

    fn by_certificate(
        &self,
        ctx: &Context<'_>,
        request: &Request,
        signer: Signer<'_>,
        frame: Frame,
        verifier: &PathVerifier,
    ) -> Result<(CertInqReqTbs, Certificate), Rejection> {
        let expected = Expected {
            content: ContentType::CertInqReqTbs,
            signer,
            to: frame.to,
            message: frame.message,
            rrpid: frame.rrpid,
            answers: frame.answers,
            thumbs: None,
        };
        let verified = verify(&self.jws, &expected, verifier, ctx.now)?;
        request.wrapper.check_signed_date(verified.date)?;
        Ok((verified.data, verified.certificate))
    }
}

impl Approved {
    /// Answers with requestPended, and keeps what an operator has to decide about.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the answer cannot be signed or sealed.
    pub fn pend(
        self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        ee_message: &str,
    ) -> Result<(Vec<u8>, Record), Rejection> {
        let status = status(CertStatusCode::RequestPended, ee_message);
        let wire = self.reply.answer(ctx, ca, status.clone(), None)?;
        let asker = match (&self.signature, self.signer) {
            (Some(key), _) => Asker::Key(key.clone()),
            (None, Some(signer)) => Asker::Certificate(signer),
            (None, None) => return Err(Rejection::Internal),
        };
        let record = Record {
            lid_ee: self.reply.lid_ee.clone(),
            lid_ca: self.reply.lid_ca.clone(),
            role: self.role,
            brand: self.brand.clone(),
            asker,
            back_key: self.reply.back_key.clone(),
            status,
            chains: None,
            waits: Some(Box::new(self)),
        };
        Ok((wire, record))
    }
}

fn status(code: CertStatusCode, ee_message: &str) -> CertStatus {
    CertStatus {
        cert_status_code: code,
        ee_message: Some(ee_message.to_owned()),
        ..complete_status()
    }
}

impl Record {
    /// What is left to certify, while it waits.
    #[must_use]
    pub fn waits(&self) -> Option<&Approved> {
        self.waits.as_deref()
    }

    /// Issues the certificates: they and the record are stored in one transaction.
    ///
    /// # Errors
    /// [`CompleteError`]; [`Rejection::OutOfOrder`] in it when nothing waits.
    pub fn issue(
        self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
    ) -> Result<(Self, Vec<Certificate>), CompleteError> {
        let Some(approved) = &self.waits else {
            return Err(Rejection::OutOfOrder("this registration is decided already").into());
        };
        let (certificates, chains) = approved.certify_all(ctx, issuer)?;
        let status = CertStatus {
            nonce_cca: approved.nonce_cca,
            ..complete_status()
        };
        let ended = Self {
            status,
            chains: Some(chains),
            waits: None,
            ..self
        };
        Ok((ended, certificates))
    }

    /// The certificates were issued, though the record does not say so: it is older than they are.
    #[must_use]
    pub fn found(self, certificates: &[Chain]) -> Self {
        let of = |purpose| {
            let found = certificates
                .iter()
                .find(|chain| chain.leaf().purpose() == purpose);
            found.map(carried).unwrap_or_default()
        };
        let status = CertStatus {
            nonce_cca: self.waits.as_ref().and_then(|approved| approved.nonce_cca),
            ..complete_status()
        };
        Self {
            status,
            chains: Some([of(Purpose::Signature), of(Purpose::KeyExchange)]),
            waits: None,
            ..self
        }
    }

    /// There will be no certificates.
    #[must_use]
    pub fn reject(self, ee_message: &str) -> Self {
        Self {
            status: status(CertStatusCode::RejectedByCa, ee_message),
            waits: None,
            ..self
        }
    }

    /// CertInqRes.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the answer cannot be signed or sealed.
    pub fn answer(
        &self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        reply: &CertReply,
    ) -> Result<Vec<u8>, Rejection> {
        reply.answer(ctx, ca, self.status.clone(), self.chains.clone())
    }
}
