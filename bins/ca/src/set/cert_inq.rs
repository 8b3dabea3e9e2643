//! CertInqReq: what became of a registration that waits for an operator, or waited.
//!
//! It changes nothing, so it is not recorded: the same bytes again are answered by what holds then.

use std::sync::Arc;

use openset_protocol::Rejection;
use openset_protocol::ca::cert;

use super::{Received, credentials, step};
use crate::CertificateAuthority;
use crate::error::CaError;
use crate::store::registrations;

pub(super) async fn handle(
    ca: &Arc<CertificateAuthority>,
    received: Received,
) -> Result<Vec<u8>, CaError> {
    let inquired = cert::read_inquiry(&received.request)?;
    let now_s = received.at.seconds();
    let found = registrations::find(&mut *ca.db.read().await?, inquired.lid_ca(), now_s)
        .await?
        .ok_or(Rejection::UnknownLid)?;
    let record = found.record(&ca.authorities.vault)?;
    let issuing = ca
        .hierarchy()
        .by_id(&found.authority)
        .cloned()
        .ok_or(Rejection::NotServed("this brand any more"))?;
    let verifier = ca.verifier().await?;
    let request = Arc::clone(&received.request);
    let answered = step(received.at, move |ctx| {
        let own = credentials(&issuing)?;
        let reply = inquired.verify(ctx, own, &request, &record, &verifier)?;
        request.wrapper.check_date(ctx.now)?;
        record.answer(ctx, own, &reply)
    });
    let wire = answered.await?;
    tracing::info!(set_message = "CertInqReq", outcome = ?found.state, "registration asked about");
    Ok(wire)
}
