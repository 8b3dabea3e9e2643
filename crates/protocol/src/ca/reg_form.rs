//! RegFormReq: the cardholder tells which card it is, sealed, and gets the form for it.

use super::{
    AccountKey, Applicant, AwaitingCertReq, AwaitingRegFormReq, Kind, Reply, Request, check_serves,
    form, respond,
};
use crate::card::Bin;
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{Challenge, Language, LocalId};
use crate::messages::reg_form::{
    ReferralData, RegFormData, RegFormOrReferral, RegFormReqTbe, RegFormResTbs, RequestType,
};
use crate::sealed;
use crate::thumbs::{Receiver, RevocationState};
use crate::wrapper::{Message, MessageIds};
use crate::{Context, Rejection};
use openset_pki::Role;

const REG_FORM_RES: Kind = Kind {
    content: ContentType::RegFormResTbs,
    name: "RegFormRes",
    wrap: Message::RegFormRes,
};

/// RegFormReq, opened but not yet checked. It holds the card number and is not to be kept.
#[derive(Debug)]
pub struct Opened(RegFormReqTbe);

/// What the CA offers cardholders.
#[derive(Clone, Copy, Debug)]
pub struct CardTerms<'a> {
    /// The form.
    pub form: &'a RegFormData,
    /// Where the card belongs, if not here; no address where nobody is known to serve it.
    pub refers_to: Option<&'a [String]>,
    /// For remembering the card without its number.
    pub account_key: &'a AccountKey,
    /// The brand's newest revocations, for wallets that lack them.
    pub state: &'a RevocationState,
}

/// Opens RegFormReq.
///
/// # Errors
/// As [`sealed::open`].
pub fn open(ca: &Credentials, request: &Request) -> Result<Opened, Rejection> {
    let Message::RegFormReq(jwe) = &request.wrapper.message else {
        return Err(request.wrapper.not_taken());
    };
    sealed::open(jwe, &[&ca.key_exchange], ContentType::RegFormReqTbe).map(Opened)
}

impl Opened {
    /// Our name for the registration, by which its session is found.
    #[must_use]
    pub fn lid_ca(&self) -> &LocalId {
        &self.0.lid_ca
    }

    /// In which language, and for what, the form is wanted.
    #[must_use]
    pub fn wanted(&self) -> (&Language, RequestType) {
        (&self.0.language, self.0.request_type)
    }

    /// Whose card it is.
    #[must_use]
    pub fn bin(&self) -> Bin {
        self.0.pan_only.pan.bin()
    }

    /// Answers with the form, or with a referral when another CA serves the card's issuer; then there is
    /// no session to go on with.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        request: &Request,
        session: AwaitingRegFormReq,
        terms: &CardTerms<'_>,
    ) -> Result<Reply<Option<AwaitingCertReq>>, Rejection> {
        self.check(ca, request, &session)?;
        let asked = &self.0;
        let chall_ca = Challenge::generate(ctx.rng);
        let form = form::asked(terms.form, asked.request_type);
        let reg_form_or_referral = match terms.refers_to {
            None => RegFormOrReferral::RegForm(form.clone()),
            Some(referral_urls) => RegFormOrReferral::Referral(ReferralData {
                reason: "This certificate authority does not serve the bank that issued the card."
                    .to_owned(),
                referral_urls: referral_urls.to_vec(),
            }),
        };
        let data = RegFormResTbs {
            lid_ee: asked.lid_ee.clone(),
            chall_ee2: asked.chall_ee2,
            lid_ca: asked.lid_ca.clone(),
            chall_ca,
            request_type: asked.request_type,
            reg_form_or_referral,
        };
        let receiver = Receiver::asking(asked.thumbs.as_ref(), terms.state);
        let signed = (&receiver, &data);
        let wire = respond(ctx, ca, request, &asked.lid_ee, &REG_FORM_RES, signed)?;
        let session = terms.refers_to.is_none().then(|| AwaitingCertReq {
            lid_ee: session.lid_ee,
            brand_id: session.brand_id,
            chall_ca,
            request_type: asked.request_type,
            form,
            applicant: Applicant::Card {
                account: terms
                    .account_key
                    .digest(&session.lid_ca, &asked.pan_only.pan),
            },
            lid_ca: session.lid_ca,
        });
        Ok(Reply { wire, session })
    }

    fn check(
        &self,
        ca: &Credentials,
        request: &Request,
        session: &AwaitingRegFormReq,
    ) -> Result<(), Rejection> {
        let asked = &self.0;
        request
            .wrapper
            .check_ids(&MessageIds::of_lid_c(&asked.lid_ee), asked.rrpid)?;
        if asked.date != request.wrapper.message_header.date {
            return Err(Rejection::HeaderMismatch("date"));
        }
        if asked.lid_ca != session.lid_ca || asked.lid_ee != session.lid_ee {
            return Err(Rejection::UnknownLid);
        }
        check_serves(ca, Role::CardholderCa, &session.brand_id)?;
        if asked.request_type.role() != Role::Cardholder {
            return Err(Rejection::Disagreement("request_type"));
        }
        Ok(())
    }
}
