//! What the gateway's answers and steps take in its database.

use std::collections::{HashMap, HashSet};

use openset_protocol::messages::batch_admin::BatchOperation;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred::{CapRev, Cred, CredRev};
use openset_store::sqlx::{self, Row as _};

use crate::bank::Bank;
use crate::batches::operate;
use crate::purchase::{SHOP, administer, claim, undo};
use crate::sale::Sale;
use crate::service::{Premises, Service};

/// The first byte of a value that is stored as what its sealed object says (`store::packed`).
const SEALED: u8 = 5;

/// A purchase with all that may come after it: each request with its answer.
async fn purchase(service: &Service) -> Vec<(Vec<u8>, Vec<u8>)> {
    let sale = Sale::authorized(service, 1000).await;
    let mut asked = vec![(sale.asked.wire.clone(), sale.answer.clone())];
    let token = Some(sale.asked.token(&sale.answer));
    let taken = sale.asked.take_back(&sale.bought, token, 900);
    let capture = sale.asked.capture(&sale.bought, &sale.answer, 900);
    let claimed = claim(&SHOP, vec![capture]);
    for wire in [taken.wire, claimed.wire.clone()] {
        let answer = service.set(&wire).await.taken();
        asked.push((wire, answer));
    }
    let place = claimed.read(&asked[2].1)[0].batch.clone();
    let given = undo(&SHOP, Cred, vec![sale.item(300, place.as_ref())]);
    let answer = service.set(&given.wire).await.taken();
    let credited = given.read(&answer)[0].batch.clone();
    asked.push((given.wire, answer));
    for (which, minor, of) in [(CredRev, 300, &credited), (CapRev, 900, &place)] {
        let undone = undo(&SHOP, which, vec![sale.item(minor, of.as_ref())]);
        let answer = service.set(&undone.wire).await.taken();
        asked.push((undone.wire, answer));
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_stored_as_what_they_say_and_repeats_get_them_byte_for_byte() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(purchase(&service).await);
    }
    let opening = administer(&SHOP, operate(BatchOperation::Open));
    let answer = service.set(&opening.wire).await.taken();
    asked.push((opening.wire, answer));
    // From memory, and as another replica would.
    for (wire, answer) in &asked {
        assert_eq!(service.set(wire).await.taken(), *answer);
    }
    let premises = service.stop().await;
    let service = premises.start().await;
    for (wire, answer) in &asked {
        assert_eq!(service.set(wire).await.taken(), *answer);
    }
    let db = service.stop().await.open_database().await;
    let rows = sqlx::query("SELECT message, digest, response FROM exchanges")
        .fetch_all(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(rows.len(), asked.len());
    let digests = asked
        .iter()
        .map(|(wire, answer)| (openset_jose::sha256(wire).to_vec(), answer));
    let answers: HashMap<_, _> = digests.collect();
    let mut messages = HashSet::new();
    for row in rows {
        let (message, digest): (String, Vec<u8>) = (row.get(0), row.get(1));
        let stored: Vec<u8> = row.get(2);
        assert_eq!(stored[0], SEALED, "{message}");
        // Also where the other tests of this process have crowded out its sample.
        let (stored, whole) = (stored.len(), answers[&digest].len());
        assert!(stored * 3 < whole * 2, "{message}: {stored} of {whole}");
        messages.insert(message);
    }
    assert_eq!(messages.len(), 7, "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_packed_and_shown_as_they_were() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    let mut views = Vec::new();
    for _ in 0..3 {
        let sale = Sale::captured(&service, 1000).await.0;
        views.push((service.authorization(&sale.asked.xid).await, sale.asked.xid));
    }
    let steps = |view: &serde_json::Value| view["steps"].as_array().unwrap().clone();
    for (view, xid) in &views {
        let numbers: Vec<_> = steps(view)
            .iter()
            .map(|step| step["step"].clone())
            .collect();
        assert_eq!(numbers, [9, 9, 10, 11], "{xid}");
    }
    let service = service.stop().await.start().await;
    for (view, xid) in &views {
        assert_eq!(steps(&service.authorization(xid).await), steps(view));
    }
    let db = service.stop().await.open_database().await;
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT steps, steps_packed FROM authorizations")
            .fetch_all(&mut *db.read().await.unwrap())
            .await
            .unwrap();
    assert_eq!(rows.len(), views.len());
    let whole = serde_json::to_vec(&steps(&views[0].0)).unwrap().len();
    for (steps, packed) in rows {
        assert_eq!(steps, "");
        assert!(packed.len() * 3 < whole * 2, "{} of {whole}", packed.len());
    }
}
