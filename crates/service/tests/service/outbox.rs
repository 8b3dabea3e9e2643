//! The outbox worker against a party that does not answer at first.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use openset_service::CancellationToken;
use openset_service::client::{HttpClient, SetAnswer};
use openset_service::clock;
use openset_service::outbox_worker::{
    BACKOFF_MAX, BACKOFF_MIN, OutboxHandler, OutboxWorker, SLOW, SLOW_AFTER_ATTEMPTS, backoff,
    pause,
};
use openset_service::set_endpoint::SET_PAYMENT;
use openset_store::outbox::{self, Outgoing};
use openset_store::{Db, sqlite_url};
use tokio::time::{sleep, timeout};

use crate::support::serve;

struct Party {
    db: Db,
    heard: Mutex<Vec<String>>,
}

impl Party {
    async fn settle(&self, outgoing: &Outgoing, heard: String) -> anyhow::Result<()> {
        let mut tx = self.db.begin().await?;
        anyhow::ensure!(outbox::remove(&mut tx, &outgoing.id).await?);
        tx.commit().await?;
        self.heard.lock().unwrap().push(heard);
        Ok(())
    }

    async fn heard_within(&self, time: Duration) -> Vec<String> {
        let wait = async {
            while self.heard.lock().unwrap().is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(time, wait).await;
        self.heard.lock().unwrap().clone()
    }
}

impl OutboxHandler for Party {
    async fn answered(&self, outgoing: &Outgoing, answer: SetAnswer) -> anyhow::Result<()> {
        let heard = String::from_utf8(answer.body)?;
        self.settle(outgoing, heard).await
    }

    async fn gave_up(&self, outgoing: &Outgoing) -> anyhow::Result<()> {
        self.settle(outgoing, "gave up".to_owned()).await
    }
}

fn request(url: &str, deadline_ms: i64) -> Outgoing {
    Outgoing {
        id: "m1".to_owned(),
        kind: "AuthReq".to_owned(),
        reference: "order 1".to_owned(),
        url: url.to_owned(),
        media_type: SET_PAYMENT.to_owned(),
        body: b"the same bytes".to_vec(),
        next_attempt_at_ms: 0,
        deadline_at_ms: clock::now_ms() + deadline_ms,
    }
}

/// A worker with this request in its outbox, as if a killed process had been sending it.
async fn started(
    folder: &tempfile::TempDir,
    outgoing: &Outgoing,
) -> (Arc<Party>, CancellationToken) {
    let db = Db::open(&sqlite_url(&folder.path().join("x.db")), &[])
        .await
        .unwrap();
    let leased = outbox::leased(outgoing, "replica", clock::now_ms(), 3_600_000);
    db.write(vec![leased]).await.unwrap();
    let party = Arc::new(Party {
        db: db.clone(),
        heard: Mutex::default(),
    });
    let client = HttpClient::new(None).unwrap();
    let worker = OutboxWorker::new(db, client, Arc::clone(&party), "replica");
    let shutdown = CancellationToken::new();
    tokio::spawn(worker.run(shutdown.clone()));
    (party, shutdown)
}

#[tokio::test]
async fn same_bytes_are_sent_until_answered() {
    let seen = Arc::new(Mutex::new(Vec::<Bytes>::new()));
    let bodies = Arc::clone(&seen);
    let answer = move |body: Bytes| {
        let bodies = Arc::clone(&bodies);
        async move {
            let mut bodies = bodies.lock().unwrap();
            bodies.push(body);
            match bodies.len() {
                1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                2 => "not a SET message".into_response(),
                _ => Response::builder()
                    .header("content-type", SET_PAYMENT)
                    .body("AuthRes".into())
                    .unwrap(),
            }
        }
    };
    let served = serve(Router::new().route("/set", post(answer))).await;
    let folder = tempfile::tempdir().unwrap();
    let outgoing = request(served.url("/set").as_str(), 60_000);
    let (party, shutdown) = started(&folder, &outgoing).await;
    assert_eq!(
        party.heard_within(Duration::from_secs(60)).await,
        ["AuthRes"]
    );
    sleep(Duration::from_millis(1500)).await;
    shutdown.cancel();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3, "it is not sent again once it is answered");
    assert!(seen.iter().all(|body| body == "the same bytes"));
    assert_eq!(
        outbox::pending_count(&mut party.db.read().await.unwrap())
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn deadline_ends_the_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let (party, _shutdown) = started(&folder, &request("http://127.0.0.1:1/set", 10_000)).await;
    assert!(
        party
            .heard_within(Duration::from_millis(1_000))
            .await
            .is_empty()
    );
    assert_eq!(
        party.heard_within(Duration::from_secs(60)).await,
        ["gave up"]
    );
}

#[test]
fn backoff_grows_from_its_least_to_its_most() {
    assert!(backoff(0) >= BACKOFF_MIN / 2 && backoff(1) <= BACKOFF_MIN);
    assert!(backoff(4) >= BACKOFF_MIN * 4 && backoff(4) <= BACKOFF_MIN * 8);
    assert!(backoff(u32::MAX) >= BACKOFF_MAX / 2 && backoff(u32::MAX) <= BACKOFF_MAX);
    assert!(pause(SLOW_AFTER_ATTEMPTS) <= BACKOFF_MAX);
    assert_eq!(pause(SLOW_AFTER_ATTEMPTS + 1), SLOW);
}
