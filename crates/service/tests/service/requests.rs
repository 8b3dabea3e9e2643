//! Detached requests: hang-ups, panics, slow bodies, patience; and that logs hold only what they may.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use openset_service::config::Party;
use openset_service::detached::Detached;
use openset_service::offload::offload;
use openset_service::problem::Json;
use openset_service::server::MAX_WRITES_IN_FLIGHT;
use openset_service::telemetry::{ALLOWED_FIELDS, LogFormat, LogLayer};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{Served, json_of, read_to_end, serve};

/// [`counting_after`] 300 ms.
async fn counting(detached: &Detached) -> (Served, Arc<AtomicU32>) {
    counting_after(detached, Duration::from_millis(300)).await
}

async fn until_counted(count: &AtomicU32) {
    for _ in 0..600 {
        if count.load(Ordering::SeqCst) > 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was counted");
}

/// `/` takes this long and then counts; `/panic` panics, `/echo` reads JSON.
async fn counting_after(detached: &Detached, time: Duration) -> (Served, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let work = move || {
        let counter = Arc::clone(&counter);
        async move {
            sleep(time).await;
            counter.fetch_add(1, Ordering::SeqCst);
            "counted"
        }
    };
    let panics = || async {
        offload(|| panic!("4111111111111111")).await;
        ""
    };
    let size = |body: axum::body::Body| async {
        let whole = axum::body::to_bytes(body, usize::MAX).await;
        whole.unwrap().len().to_string()
    };
    let echo = |Json(value): Json<serde_json::Value>| async { Json(value) };
    let router = Router::new()
        .route("/", post(work.clone()).get(work))
        .route("/panic", get(panics))
        .route("/size", post(size))
        .route("/echo", post(echo));
    (serve(detached.wrap(router)).await, count)
}

#[tokio::test]
async fn client_that_hangs_up_does_not_cancel_a_post() {
    let time = Duration::from_secs(2);
    let (served, count) = counting_after(&Detached::default(), time).await;
    for method in ["POST", "GET"] {
        let mut stream = served.connect().await;
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        drop(stream);
    }
    until_counted(&count).await;
    sleep(time).await;
    // The POST has counted, the GET has not.
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn finish_waits_for_a_post_without_its_client() {
    let detached = Detached::default();
    let (served, count) = counting(&detached).await;
    let mut stream = served.connect().await;
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    drop(stream);
    detached.finish(Duration::from_secs(5)).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn panic_is_a_problem_with_a_request_id_and_the_service_goes_on() {
    let (served, _) = counting(&Detached::default()).await;
    for _ in 0..2 {
        let answer = reqwest::get(served.url("/panic")).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let problem = json_of(answer).await;
        assert_eq!(problem["request_id"], id);
        assert_eq!(problem["code"], "internal");
        // The whole number: four digits may stand in a random request id.
        let text = problem.to_string();
        assert!(!text.contains("4111111111111111"), "{problem}");
    }
    assert_eq!(reqwest::get(served.url("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn body_that_trickles_is_refused_at_its_deadline() {
    let time = Duration::from_secs(2);
    let (served, _) = counting(&Detached::with_times(time, Duration::from_secs(30))).await;
    let mut stream = served.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..5 {
        stream.write_all(b"1").await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body-incomplete"), "{answer}");
}

/// Asks from another address of loopback than the stalling clients.
fn neighbour(host: u8) -> reqwest::Client {
    let address = std::net::Ipv4Addr::new(127, 0, 0, host);
    let client = reqwest::Client::builder().local_address(std::net::IpAddr::V4(address));
    client.build().unwrap()
}

#[tokio::test]
async fn clients_that_hold_back_their_bodies_shut_nobody_else_out() {
    let (served, _) = counting(&Detached::default()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n";
    let mut stalling = Vec::new();
    for _ in 0..MAX_WRITES_IN_FLIGHT {
        let mut stream = served.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stalling.push(stream);
    }
    sleep(Duration::from_millis(200)).await;
    for host in [1, 2] {
        // Nothing of it is waited for, whoever else its address has sent.
        let answer = neighbour(host).post(served.url("/")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "127.0.0.{host}");
    }
    let order = serde_json::json!({"quantity": 1});
    let request = neighbour(2).post(served.url("/echo")).json(&order);
    let answer = tokio::time::timeout(Duration::from_secs(5), request.send());
    let answer = answer
        .await
        .expect("another address need not wait")
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(json_of(answer).await, order);
}

#[tokio::test]
async fn large_body_reaches_its_handler_whole() {
    let (served, _) = counting(&Detached::default()).await;
    for size in [0, 1, 300_000, 2_000_000] {
        let body = "x".repeat(size);
        let request = reqwest::Client::new().post(served.url("/size")).body(body);
        let answer = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(answer, size.to_string());
    }
}

#[tokio::test]
async fn client_is_told_to_ask_again_while_the_work_goes_on() {
    let patience = Duration::from_millis(100);
    let detached = Detached::with_times(patience, patience);
    let (served, count) = counting_after(&detached, Duration::from_secs(2)).await;
    let client = reqwest::Client::new();
    let answer = client.post(served.url("/")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(json_of(answer).await["code"], "still-working");
    until_counted(&count).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// While a program has one subscriber, tracing asks the subscriber of the thread that first comes by a log line whether
/// anybody wants it, and keeps the answer. A test without a subscriber must not be the one that is asked.
static ANOTHER: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

fn logging(format: LogFormat) -> (Lines, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&ANOTHER);
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = LogLayer::new(Party::Merchant, format, move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    (lines, tracing::subscriber::set_default(subscriber))
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn logs_hold_no_field_outside_the_allow_list() {
    let (lines, _guard) = logging(LogFormat::Json);
    let (served, _) = counting(&Detached::default()).await;
    let answer = reqwest::get(served.url("/panic")).await.unwrap();
    assert_eq!(answer.status(), 500);
    let span = tracing::info_span!("purchase", xid = "abc", holder = "Ada", late = 7);
    span.in_scope(|| tracing::info!(pan = 4_111_111_111_111_111_u64, step = 6, "paid"));
    let text = lines.text();
    let kept = ["4111111111111111", "Ada"];
    assert!(!kept.iter().any(|secret| text.contains(secret)), "{text}");
    let mut seen = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for name in line.as_object().unwrap().keys() {
            let allowed = ALLOWED_FIELDS.contains(&name.as_str());
            assert!(allowed || name == "time" || name == "level", "{name}");
        }
        assert_eq!(line["party"], "merchant");
        seen += usize::from(line["xid"] == "abc" && line["step"] == 6);
        seen += usize::from(line["route"] == "/panic" && line["status"] == 500);
    }
    assert_eq!(seen, 2, "{text}");
}

#[test]
fn log_text_cannot_be_forged_by_a_value() {
    let (lines, _guard) = logging(LogFormat::Text);
    tracing::warn!(
        error = "x\n2026 INFO ca \"forged",
        outcome = "refused",
        "first\nsecond"
    );
    let text = lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("outcome=refused"), "{text}");
}
