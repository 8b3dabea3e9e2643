//! Exchanges and idempotency keys.

use openset_store::exchanges::{self, Opened, Received, Recorded};
use openset_store::idempotency::{self, Claim, Keyed};
use openset_store::{Db, StoreError};

use crate::place::{Place, note, notes};

const DIGEST: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

fn auth_req(rrpid: &str) -> Received<'_> {
    Received {
        sender: "merchant",
        message: "AuthReq",
        rrpid,
        digest: DIGEST,
        received_at: 1_000,
        keep_until: 2_000,
    }
}

async fn open_and_answer(db: &Db, rrpid: &str, response: &[u8]) {
    let mut tx = db.begin().await.unwrap();
    assert_eq!(
        exchanges::open(&mut tx, &auth_req(rrpid)).await.unwrap(),
        Opened::New
    );
    exchanges::answer(&mut tx, "merchant", "AuthReq", rrpid, response)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn open(db: &Db, received: &Received<'_>) -> Opened {
    let mut tx = db.begin().await.unwrap();
    let opened = exchanges::open(&mut tx, received).await.unwrap();
    tx.commit().await.unwrap();
    opened
}

async fn find(db: &Db, digest: &[u8; 32]) -> Option<Recorded> {
    exchanges::find_same(&mut db.read().await.unwrap(), "1", digest)
        .await
        .unwrap()
}

pub(crate) async fn the_same_bytes_again_get_the_stored_response(place: Place) {
    let db = place.open().await;
    assert_eq!(find(&db, &DIGEST).await, None);
    assert_eq!(open(&db, &auth_req("1")).await, Opened::New);
    assert_eq!(
        open(&db, &auth_req("1")).await,
        Opened::Same { response: None }
    );
    let recorded = find(&db, &DIGEST).await.unwrap();
    assert_eq!((recorded.digest, recorded.response), (DIGEST, None));
    let mut conn = db.read().await.unwrap();
    let of_another = exchanges::find_same(&mut conn, "2", &DIGEST).await;
    assert_eq!(of_another.unwrap(), None);
    drop(conn);

    let mut tx = db.begin().await.unwrap();
    exchanges::answer(&mut tx, "merchant", "AuthReq", "1", b"yes")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let response = Some(b"yes".to_vec());
    assert_eq!(
        open(&db, &auth_req("1")).await,
        Opened::Same {
            response: response.clone()
        }
    );
    assert_eq!(find(&db, &DIGEST).await.unwrap().response, response);
    assert_eq!(find(&db, &OTHER).await, None);
}

pub(crate) async fn other_bytes_under_the_same_rrpid_are_refused(place: Place) {
    let db = place.open().await;
    open_and_answer(&db, "1", b"yes").await;
    let altered = Received {
        digest: OTHER,
        ..auth_req("1")
    };
    assert_eq!(open(&db, &altered).await, Opened::Different);
    assert_eq!(find(&db, &OTHER).await, None);
}

pub(crate) async fn sender_message_and_rrpid_each_make_another_exchange(place: Place) {
    let db = place.open().await;
    for received in [
        auth_req("1"),
        auth_req("2"),
        Received {
            sender: "another",
            ..auth_req("1")
        },
        Received {
            message: "CapReq",
            ..auth_req("1")
        },
    ] {
        assert_eq!(open(&db, &received).await, Opened::New);
    }
}

pub(crate) async fn concurrent_opens_of_one_rrpid_have_one_new(place: Place) {
    let replicas = [place.open().await, place.open().await];
    for round in 0..5 {
        let rrpid = format!("round {round}");
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let (db, rrpid) = (replicas[number % 2].clone(), rrpid.clone());
                tokio::spawn(async move {
                    let mut tx = db.begin().await.unwrap();
                    let opened = exchanges::open(&mut tx, &auth_req(&rrpid)).await.unwrap();
                    if opened == Opened::New {
                        note(&mut tx, &rrpid).await;
                        tokio::task::yield_now().await;
                        exchanges::answer(&mut tx, "merchant", "AuthReq", &rrpid, b"yes")
                            .await
                            .unwrap();
                    }
                    tx.commit().await.unwrap();
                    opened
                })
            })
            .collect();
        let mut new = 0;
        for task in tasks {
            match task.await.unwrap() {
                Opened::New => new += 1,
                same => assert_eq!(
                    same,
                    Opened::Same {
                        response: Some(b"yes".to_vec())
                    }
                ),
            }
        }
        assert_eq!(new, 1);
    }
    assert_eq!(notes(&replicas[0]).await.len(), 5);
}

pub(crate) async fn a_response_is_never_overwritten(place: Place) {
    let db = place.open().await;
    open_and_answer(&db, "1", b"").await;
    let mut tx = db.begin().await.unwrap();
    for rrpid in ["1", "never opened"] {
        let again = exchanges::answer(&mut tx, "merchant", "AuthReq", rrpid, b"no").await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    }
    let committed = tx.commit().await;
    assert!(matches!(
        committed,
        Err(StoreError::Conflict(exchanges::ANSWERED))
    ));
    assert_eq!(find(&db, &DIGEST).await.unwrap().response, Some(Vec::new()));
}

pub(crate) async fn purge_removes_only_what_is_over(place: Place) {
    let db = place.open().await;
    let mut tx = db.begin().await.unwrap();
    for (rrpid, keep_until) in [("1", 1_999), ("2", 2_000), ("3", 2_001)] {
        let received = Received {
            keep_until,
            ..auth_req(rrpid)
        };
        assert_eq!(
            exchanges::open(&mut tx, &received).await.unwrap(),
            Opened::New
        );
        let call = Keyed {
            keep_until,
            ..keyed(rrpid, &DIGEST, 1)
        };
        let claimed = idempotency::claim(&mut tx, &call).await;
        assert_eq!(claimed.unwrap(), Claim::New);
    }
    // What is not answered is at work, however old it is.
    assert_eq!(exchanges::purge(&mut tx, 9_999).await.unwrap(), 0);
    for rrpid in ["1", "2", "3"] {
        let Received {
            sender, message, ..
        } = auth_req(rrpid);
        let answered = exchanges::answer(&mut tx, sender, message, rrpid, b"yes").await;
        answered.unwrap();
    }
    assert_eq!(exchanges::purge(&mut tx, 2_000).await.unwrap(), 1);
    assert_eq!(exchanges::purge(&mut tx, 2_000).await.unwrap(), 0);
    assert_eq!(idempotency::purge(&mut tx, 2_000).await.unwrap(), 1);
    assert_eq!(idempotency::purge(&mut tx, 2_000).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(open(&db, &auth_req("1")).await, Opened::New);
    assert_ne!(open(&db, &auth_req("2")).await, Opened::New);
}

fn keyed<'a>(key: &'a str, body_digest: &'a [u8; 32], now: i64) -> Keyed<'a> {
    Keyed {
        scope: "orders",
        key,
        body_digest,
        now,
        keep_until: now + 100,
    }
}

async fn claim(db: &Db, key: &str, digest: &[u8; 32], now: i64) -> Claim {
    let mut tx = db.begin().await.unwrap();
    let claim = idempotency::claim(&mut tx, &keyed(key, digest, now)).await;
    tx.commit().await.unwrap();
    claim.unwrap()
}

/// Records `body` as the answer, with another effect beside it; gives what is known instead, if anything.
async fn record(db: &Db, call: &Keyed<'_>, body: &[u8]) -> Option<Claim> {
    let effect = String::from_utf8_lossy(body).into_owned();
    let writes = vec![
        exchanges::received(db.packer(), &auth_req(&effect), None),
        idempotency::recorded(call, (201, body)),
    ];
    match db.write(writes).await {
        Ok(()) => None,
        Err(StoreError::Conflict(idempotency::KNOWN)) => {
            let mut conn = db.read().await.unwrap();
            idempotency::find(&mut conn, call).await.unwrap()
        }
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) async fn an_answer_is_recorded_once_and_what_a_later_one_did_is_not_kept(place: Place) {
    let db = place.open().await;
    assert_eq!(record(&db, &keyed("k", &DIGEST, 10), b"first").await, None);
    let replay = Claim::Replay {
        status: 201,
        body: b"first".to_vec(),
    };
    let known = record(&db, &keyed("k", &DIGEST, 10), b"second").await;
    assert_eq!(known, Some(replay));
    let known = record(&db, &keyed("k", &OTHER, 10), b"third").await;
    assert_eq!(known, Some(Claim::Mismatch));
    for (effect, opened) in [("first", false), ("second", true), ("third", true)] {
        let is_new = open(&db, &auth_req(effect)).await == Opened::New;
        assert_eq!(is_new, opened, "{effect}");
    }
    // Its time over, the key is anybody's.
    let known = record(&db, &keyed("k", &OTHER, 110), b"sixth").await;
    assert_eq!(known, Some(Claim::Mismatch));
    let known = record(&db, &keyed("k", &OTHER, 111), b"fourth").await;
    assert_eq!(known, None);
}

pub(crate) async fn of_answers_that_are_recorded_at_once_one_is_kept(place: Place) {
    let replicas = [place.open().await, place.open().await];
    let call = keyed("k", &DIGEST, 10);
    let (one, other) = tokio::join!(
        record(&replicas[0], &call, b"one"),
        record(&replicas[1], &call, b"other")
    );
    let kept = [one.is_none(), other.is_none()];
    assert!(kept[0] != kept[1], "{one:?} {other:?}");
    for (effect, kept) in [("one", kept[0]), ("other", kept[1])] {
        let is_new = open(&replicas[0], &auth_req(effect)).await == Opened::New;
        assert_eq!(is_new, !kept, "{effect}");
    }
}

pub(crate) async fn an_idempotency_key_goes_from_new_over_in_flight_to_replay(place: Place) {
    let db = place.open().await;
    assert_eq!(claim(&db, "k", &DIGEST, 10).await, Claim::New);
    assert_eq!(claim(&db, "k", &DIGEST, 10).await, Claim::InFlight);
    let mut tx = db.begin().await.unwrap();
    idempotency::complete(&mut tx, "orders", "k", 201, b"{}")
        .await
        .unwrap();
    let again = idempotency::complete(&mut tx, "orders", "k", 500, b"no").await;
    assert!(matches!(again, Err(StoreError::Conflict(_))));
    tx.commit().await.unwrap();
    let replay = Claim::Replay {
        status: 201,
        body: b"{}".to_vec(),
    };
    assert_eq!(claim(&db, "k", &DIGEST, 10).await, replay);
    let db = place.open().await;
    assert_eq!(claim(&db, "k", &DIGEST, 10).await, replay);
    assert_eq!(claim(&db, "another", &DIGEST, 10).await, Claim::New);
}

pub(crate) async fn an_idempotency_key_with_another_body_is_a_mismatch(place: Place) {
    let db = place.open().await;
    assert_eq!(claim(&db, "k", &DIGEST, 10).await, Claim::New);
    assert_eq!(claim(&db, "k", &OTHER, 10).await, Claim::Mismatch);
    let mut tx = db.begin().await.unwrap();
    idempotency::complete(&mut tx, "orders", "k", 200, b"ok")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim(&db, "k", &OTHER, 10).await, Claim::Mismatch);
}

pub(crate) async fn an_abandoned_key_can_be_claimed_again_and_a_completed_one_not(place: Place) {
    let db = place.open().await;
    assert_eq!(claim(&db, "k", &DIGEST, 10).await, Claim::New);
    let mut tx = db.begin().await.unwrap();
    idempotency::abandon(&mut tx, "orders", "k").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim(&db, "k", &OTHER, 10).await, Claim::New);
    let mut tx = db.begin().await.unwrap();
    idempotency::complete(&mut tx, "orders", "k", 200, b"ok")
        .await
        .unwrap();
    idempotency::abandon(&mut tx, "orders", "k").await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(
        claim(&db, "k", &OTHER, 10).await,
        Claim::Replay { .. }
    ));
}

pub(crate) async fn concurrent_claims_of_one_key_have_one_new(place: Place) {
    let replicas = [place.open().await, place.open().await];
    assert_eq!(news(&replicas, 10).await, 1);
}

pub(crate) async fn an_expired_claim_is_taken_over_by_one(place: Place) {
    let replicas = [place.open().await, place.open().await];
    assert_eq!(claim(&replicas[0], "k", &OTHER, 10).await, Claim::New);
    assert_eq!(news(&replicas, 110).await, 0);
    assert_eq!(news(&replicas, 111).await, 1);
}

async fn news(replicas: &[Db; 2], now: i64) -> usize {
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = replicas[number % 2].clone();
            tokio::spawn(async move { claim(&db, "k", &DIGEST, now).await })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        match task.await.unwrap() {
            Claim::New => new += 1,
            Claim::InFlight | Claim::Mismatch => {}
            replay => panic!("{replay:?}"),
        }
    }
    new
}
