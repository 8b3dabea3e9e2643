//! CardCInitReq and Me-AqCInitReq: a registration begins.

use std::sync::Arc;

use openset_pki::Role;
use openset_protocol::ca::{Reply, Session, card_c_init, me_aq_c_init};
use openset_protocol::messages::me_aq_c_init::MeAqCInitReq;
use openset_protocol::{BrandId, Rejection};

use super::{Received, credentials, step};
use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Ca;
use crate::store::sessions::{self, Answered};

/// Answers a cardholder.
pub(super) async fn card(
    ca: &CertificateAuthority,
    received: Received,
    (brand, region): (&BrandId, Option<&str>),
) -> Result<Vec<u8>, CaError> {
    let issuing = serving(ca, Role::CardholderCa, brand, region)?;
    let request = Arc::clone(&received.request);
    request.wrapper.check_date(received.at)?;
    let state = ca.revocations(brand).await?;
    let reply = step(received.at, move |ctx| {
        let reply = card_c_init::handle(ctx, credentials(&issuing)?, &request, &state)?;
        Ok::<_, Rejection>(Reply {
            wire: reply.wire,
            session: Session::AwaitingRegFormReq(reply.session),
        })
    });
    begin(ca, &received, reply.await?).await
}

/// Answers a merchant or a gateway.
pub(super) async fn party(
    ca: &CertificateAuthority,
    received: Received,
    (init, region): (&MeAqCInitReq, Option<&str>),
) -> Result<Vec<u8>, CaError> {
    let role = me_aq_c_init::serving_role(init)?;
    let issuing = serving(ca, role, &init.brand_id, region)?;
    let forms = &ca.settings.forms;
    let form = forms
        .choose(&init.brand_id, &init.language, init.request_type)
        .into_owned();
    let request = Arc::clone(&received.request);
    request.wrapper.check_date(received.at)?;
    let state = ca.revocations(&init.brand_id).await?;
    let reply = step(received.at, move |ctx| {
        let own = credentials(&issuing)?;
        let reply = me_aq_c_init::handle(ctx, own, &request, &form, &state)?;
        Ok::<_, Rejection>(Reply {
            wire: reply.wire,
            session: Session::AwaitingCertReq(Box::new(reply.session)),
        })
    });
    begin(ca, &received, reply.await?).await
}

fn serving(
    ca: &CertificateAuthority,
    role: Role,
    brand: &BrandId,
    region: Option<&str>,
) -> Result<Arc<Ca>, Rejection> {
    let hierarchy = ca.hierarchy();
    let issuing = match region {
        None => hierarchy.issuing(role, brand),
        Some(region) => hierarchy.issuing_in(region, role, brand),
    };
    issuing.cloned().ok_or(Rejection::NotServed("this brand"))
}

async fn begin(
    ca: &CertificateAuthority,
    received: &Received,
    reply: Reply<Session>,
) -> Result<Vec<u8>, CaError> {
    let answered = Answered {
        digest: &received.digest,
        response: &reply.wire,
    };
    let mut tx = ca.db.begin().await?;
    let begun = sessions::begin(&mut tx, &reply.session, answered, received.at.seconds()).await?;
    tx.commit().await?;
    if begun {
        Ok(reply.wire)
    } else {
        Err(CaError::Overtaken)
    }
}
