//! InqReq: a cardholder asks about its own order, and about no other's.

use super::p::{Payer, PayerName};
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{Challenge, Rrpid, TransIds};
use crate::messages::inq::{InqReqData, InqReqTbe};
use crate::sealed::open as open_sealed;
use crate::signed::{Expected, Signer, Verified, Who, verify};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{Rejection, Timestamp};
use openset_pki::{PathVerifier, Role};

/// An InqReq whose signature was verified; whose order it is, is still to be checked.
#[derive(Clone, Debug)]
pub struct VerifiedInqReq {
    /// Who asks.
    pub payer: Payer,
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
    let opened: InqReqTbe = open_sealed(jwe, &keys, ContentType::InqReqTbe)?;
    let named = openset_jose::jwe::Sealed::parse(&jwe.0)?.header().x5t_s256;
    let to = Who::Certificate(named.ok_or(Rejection::NotSealedForUs)?);
    let (payer, date, data) = match (opened.inq_req, opened.unsigned) {
        (Some(inq_req), None) => {
            let expected = Expected {
                content: ContentType::InqReqData,
                signer: Signer {
                    role: Role::Cardholder,
                    brand: None,
                },
                to,
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
            (Payer::Certified(Box::new(certificate)), date, data)
        }
        (None, Some(unsigned)) => {
            if unsigned.rrpid != rrpid {
                return Err(Rejection::HeaderMismatch("rrpid"));
            }
            let od_salt = unsigned.od_salt;
            (Payer::Unsigned { od_salt }, unsigned.date, unsigned.data)
        }
        _ => {
            let neither = "neither a signed inquiry nor an unsigned one alone";
            return Err(Rejection::Malformed(neither.to_owned()));
        }
    };
    wrapper.check_signed_date(date)?;
    wrapper.check_ids(&MessageIds::of(&data.trans_ids), rrpid)?;
    Ok(VerifiedInqReq {
        payer,
        rrpid,
        trans_ids: data.trans_ids,
        chall_c2: data.chall_c2,
    })
}

impl VerifiedInqReq {
    /// Checks that the asker is the one who made the purchase: `payer` is the name of who sent its PReq, `agreed` the
    /// purchase's names.
    ///
    /// # Errors
    /// [`Rejection::AnotherParty`] or [`Rejection::UnknownLid`].
    pub fn check_owner(&self, payer: &PayerName, agreed: &TransIds) -> Result<(), Rejection> {
        if self.payer.name() != *payer {
            return Err(Rejection::AnotherParty("cardholder"));
        }
        if self.trans_ids != *agreed {
            return Err(Rejection::UnknownLid);
        }
        Ok(())
    }
}
