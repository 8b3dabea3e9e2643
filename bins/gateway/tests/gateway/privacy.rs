//! What lies in the database and in the logs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::bank::{Bank, Mood};
use crate::purchase::{ORDER_DESCRIPTION, PAN, SHOP, buy, claim};
use crate::service::{LOG, Premises};

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// A text in the shapes in which it could be written down.
fn shapes(text: &str) -> Vec<Vec<u8>> {
    let hash = openset_jose::sha256(text.as_bytes());
    let mut shapes = vec![text.as_bytes().to_vec(), hash.to_vec()];
    for bytes in [text.as_bytes(), &hash[..]] {
        shapes.push(hex::encode(bytes).into_bytes());
        shapes.push(STANDARD.encode(bytes).into_bytes());
        shapes.push(URL_SAFE_NO_PAD.encode(bytes).into_bytes());
    }
    shapes
}

#[tokio::test(flavor = "multi_thread")]
async fn card_number_and_order_stand_neither_in_database_nor_in_logs() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let answer = service.set(&asked.wire).await.taken();
    let claimed = claim(&SHOP, vec![asked.capture(&bought, &answer, 4200)]);
    service.set(&claimed.wire).await.taken();
    bank.set_mood(Mood::Decline("insufficientFunds"));
    service.set(&buy(&SHOP, 1).ask().wire).await.taken();
    // One that stays asked: all that is needed to ask again is stored.
    bank.set_answering(false);
    let open = buy(&SHOP, 2).ask();
    tokio::select! {
        _ = service.set(&open.wire) => panic!("the issuer has not answered"),
        () = bank.asked(4) => {}
    }
    let database = service.kill().await.database();
    let log = LOG.bytes();
    assert!(
        holds(&database, asked.xid.as_bytes()),
        "the database is the one that was written"
    );
    assert!(
        holds(&log, b"AuthReq"),
        "the log is the one that was written"
    );
    for shape in shapes(PAN).iter().chain(&shapes(ORDER_DESCRIPTION)) {
        assert!(
            !holds(&database, shape),
            "{} in the database",
            String::from_utf8_lossy(shape)
        );
        assert!(
            !holds(&log, shape),
            "{} in the log",
            String::from_utf8_lossy(shape)
        );
    }
}
