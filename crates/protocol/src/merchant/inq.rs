//! InqReq: a cardholder asks about its own order, and about no other's.

use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{Challenge, Rrpid, TransIds};
use crate::messages::inq::{InqReqData, InqReqTbe};
use crate::sealed::open as open_sealed;
use crate::signed::{Expected, Signer, Verified, Who, verify};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier, Role};

/// An InqReq whose signature was verified; whose order it is, is still to be checked.
#[derive(Clone, Debug)]
pub struct VerifiedInqReq {
    /// Who asks.
    pub cardholder: Certificate,
    /// The request/response pair.
    pub rrpid: Rrpid,
    /// The purchase asked about.
    pub trans_ids: TransIds,
    /// To be repeated in InqRes.
    pub chall_c2: Challenge,
}

/// Opens and verifies InqReq.
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn open(
    wrapper: &MessageWrapper,
    ours: &[&Credentials],
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<VerifiedInqReq, Rejection> {
    let Message::InqReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let rrpid = wrapper.rrpid()?;
    let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
    let InqReqTbe { inq_req } = open_sealed(jwe, &keys, ContentType::InqReqTbe)?;
    let named = openset_jose::jwe::Sealed::parse(&jwe.0)?.header().x5t_s256;
    let expected = Expected {
        content: ContentType::InqReqData,
        signer: Signer {
            role: Role::Cardholder,
            brand: None,
        },
        to: Who::Certificate(named.ok_or(Rejection::NotSealedForUs)?),
        message: "InqReq",
        rrpid,
        answers: None,
        thumbs: None,
    };
    let Verified {
        certificate,
        date,
        data,
    }: Verified<InqReqData> = verify(&inq_req, &expected, verifier, now)?;
    wrapper.check_signed_date(date)?;
    wrapper.check_ids(&MessageIds::of(&data.trans_ids), rrpid)?;
    Ok(VerifiedInqReq {
        cardholder: certificate,
        rrpid,
        trans_ids: data.trans_ids,
        chall_c2: data.chall_c2,
    })
}

impl VerifiedInqReq {
    /// Checks that the asker is the cardholder of the purchase: `cardholder` is the thumbprint of the
    /// certificate that signed its PReq, `agreed` the purchase's names.
    ///
    /// # Errors
    /// [`Rejection::AnotherParty`] or [`Rejection::UnknownLid`].
    pub fn check_owner(&self, cardholder: &Thumbprint, agreed: &TransIds) -> Result<(), Rejection> {
        if self.cardholder.thumbprint() != *cardholder {
            return Err(Rejection::AnotherParty("cardholder"));
        }
        if self.trans_ids != *agreed {
            return Err(Rejection::UnknownLid);
        }
        Ok(())
    }
}
