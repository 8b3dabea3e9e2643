//! A sale: AuthRes brings the capture, too.

use openset_protocol::balance::{Kind, Progress};
use openset_protocol::ids::Xid;
use openset_protocol::messages::auth::CapResPayload;
use openset_service::clock;
use openset_store::{StoreError, Tx};

use super::asking::refusal;
use crate::store::authorizations::Authorization;
use crate::store::movements::{self, End, New};

/// The name of its capture, which is not asked for by a request of its own.
pub(super) fn id_of_capture(one: &Authorization) -> String {
    format!("{}-sale", one.awaiting.rrpid())
}

/// Records the capture that came with an approval, or that it was refused: then it may be asked for by itself. The
/// caller holds the payment.
pub(super) async fn book(
    tx: &mut Tx,
    xid: &Xid,
    one: &Authorization,
    sold: &CapResPayload,
) -> Result<(), StoreError> {
    let at_ms = clock::now_ms();
    let id = id_of_capture(one);
    let capture = New {
        id: &id,
        xid,
        auth_number: one.number,
        kind: &Kind::Capture,
        amount_minor: one.amount.minor(),
        progress: Progress::Asked,
        rest: None,
        awaiting: None,
        at_ms,
    };
    movements::insert(tx, &capture).await?;
    let end = End {
        amount_minor: sold.cap_amt.minor(),
        refusal: (!sold.captured()).then(|| refusal("capture", &sold.cap_code)),
        batch: sold.batch.clone(),
    };
    movements::end(tx, &id, &end, at_ms).await
}
