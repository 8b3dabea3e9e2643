//! CertReq for keys that were certified for the same applicant before: CertRes was lost on the way, and with
//! it perhaps the session. Whoever shows the keys gets the certificates that there are, without the bank: it has
//! said yes to these keys. Nothing is certified anew, and nothing is given to anybody else.

use super::Verdict;
use super::checks::{Checked, Complaint, KEY_USED};
use super::issuance::{CertReply, complete_status};
use crate::ca::{Applicant, AwaitingCertReq};
use crate::card::NonceCca;
use crate::identity::{Credentials, names_party};
use crate::ids::ExactBytes;
use crate::messages::cert::{CertReqData, CertStatus, CertStatusCode};
use crate::signed::carried;
use crate::{Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, Chain, Purpose};

/// A certificate that was issued for one of a CertReq's keys and that is in force.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// The certificate with the CAs above it.
    pub chain: Chain,
    /// For a cardholder's: the CA's half of PANSecret.
    pub nonce_cca: Option<NonceCca>,
    /// The certificate that it renewed.
    pub renews: Option<Thumbprint>,
}

/// Certificates that are given again.
#[derive(Debug)]
pub struct Again {
    reply: CertReply,
    chains: [Vec<ExactBytes>; 2],
    nonce_cca: Option<NonceCca>,
}

impl Again {
    /// CertRes with them.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the answer cannot be signed or sealed.
    pub fn answer(self, ctx: &mut Context<'_>, ca: &Credentials) -> Result<Vec<u8>, Rejection> {
        let status = CertStatus {
            nonce_cca: self.nonce_cca,
            ..complete_status()
        };
        self.reply.answer(ctx, ca, status, Some(self.chains))
    }
}

/// What there is for the keys of a CertReq that would be put before a bank otherwise, if all of it is the
/// applicant's and came of a request of the same kind.
pub(super) fn again(
    earlier: &[Earlier],
    now: Timestamp,
    session: &AwaitingCertReq,
    data: &CertReqData,
    verdict: Verdict,
) -> Checked<Verdict> {
    let reply = match &verdict {
        Verdict::AskIssuer(asked) => &asked.reply,
        Verdict::AskAcquirer(asked) => &asked.reply,
        Verdict::AskBrand(asked) => &asked.reply,
        Verdict::Again(_) | Verdict::Answer { .. } => return Ok(Ok(verdict)),
    };
    let find = |spki: Option<&ExactBytes>, purpose| {
        let Some(spki) = spki else {
            return Some((Vec::new(), None));
        };
        let key = Thumbprint::of(&spki.0);
        let found = earlier.iter().find(|one| {
            let leaf = one.chain.leaf();
            leaf.public_key().thumbprint() == key
                && leaf.purpose() == purpose
                && leaf.role() == session.request_type.role()
                && leaf.brand() == Some(&session.brand_id)
                && leaf.not_after() >= now.seconds()
                && one.renews == data.ee_thumb
                && names_applicant(leaf, one.nonce_cca.as_ref(), &verdict, session)
        });
        found.map(|one| (carried(&one.chain), one.nonce_cca))
    };
    let signature = find(data.public_key_s.as_ref(), Purpose::Signature);
    let key_exchange = find(data.public_key_e.as_ref(), Purpose::KeyExchange);
    let (Some((signature, nonce_cca)), Some((key_exchange, _))) = (signature, key_exchange) else {
        let complaint = Complaint::new(CertStatusCode::RejectedByCa, KEY_USED);
        return Ok(Err(complaint));
    };
    Ok(Ok(Verdict::Again(Box::new(Again {
        reply: reply.clone(),
        chains: [signature, key_exchange],
        nonce_cca,
    }))))
}

/// Whether a certificate was issued for the card, merchant or gateway that applies.
fn names_applicant(
    certificate: &Certificate,
    nonce_cca: Option<&NonceCca>,
    verdict: &Verdict,
    session: &AwaitingCertReq,
) -> bool {
    match (verdict, &session.applicant) {
        (Verdict::AskIssuer(asked), Applicant::Card { .. }) => nonce_cca.is_some_and(|nonce_cca| {
            let (pan, expiry) = (&asked.request.pan, asked.request.expiry);
            let pan_secret = asked.card_secret.pan_secret(nonce_cca);
            pan_secret.account_name(pan, expiry) == certificate.common_name()
        }),
        (_, Applicant::Party { id_data, .. }) => names_party(certificate, id_data),
        _ => false,
    }
}
