//! RegFormReq: the form is given out.

use std::sync::Arc;

use openset_protocol::Rejection;
use openset_protocol::ca::reg_form::{self, CardTerms};
use openset_protocol::ca::{Session, sealed_for};
use openset_protocol::wrapper::Jwe;

use super::region::elsewhere;
use super::{Received, credentials, step};
use crate::CertificateAuthority;
use crate::error::CaError;
use crate::store::sessions::{self, Answered};

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
    let (request, opener) = (Arc::clone(&received.request), Arc::clone(&issuing));
    let opened = step(received.at, move |_| {
        reg_form::open(credentials(&opener)?, &request)
    })
    .await?;
    received.request.wrapper.check_date(received.at)?;
    let now_s = received.at.seconds();
    let found = sessions::find(&mut *ca.db.read().await?, opened.lid_ca(), now_s).await?;
    let found = found.ok_or(Rejection::UnknownLid)?;
    let session = found.session.clone().awaiting_reg_form_req()?;
    let state = ca.revocations(&session.brand_id).await?;
    let (request, held) = (Arc::clone(&received.request), Arc::clone(ca));
    let reply = step(received.at, move |ctx| {
        let (language, request_type) = opened.wanted();
        let forms = &held.settings.forms;
        let form = forms.choose(&session.brand_id, language, request_type);
        let refers_to = elsewhere(&held, &issuing, &opened.bin());
        let terms = CardTerms {
            form: &form,
            refers_to: refers_to.as_deref(),
            account_key: &held.hierarchy().account_key,
            state: &state,
        };
        opened.handle(ctx, credentials(&issuing)?, &request, session, &terms)
    });
    let reply = reply.await?;
    // After a referral the session stays as it was, so that the same bytes get the same answer.
    let next = reply.session.map_or_else(
        || found.session.clone(),
        |next| Session::AwaitingCertReq(Box::new(next)),
    );
    let answered = Answered {
        digest: &received.digest,
        response: &reply.wire,
    };
    let mut tx = ca.db.begin().await?;
    let went_on = sessions::go_on(&mut tx, &found, &next, answered, now_s).await?;
    tx.commit().await?;
    if went_on {
        Ok(reply.wire)
    } else {
        Err(CaError::Overtaken)
    }
}
