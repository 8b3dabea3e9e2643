//! What the listener does with slow, idle and late clients, and with TLS.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use openset_service::client::{CallError, HttpClient};
use openset_service::server::{Timeouts, TlsSetup};
use reqwest::Url;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{read_to_end, serve, serve_with};

fn short() -> Timeouts {
    Timeouts {
        header_read: Duration::from_millis(200),
        drain: Duration::from_millis(300),
    }
}

fn slow(time: Duration) -> Router {
    let handler = move || async move {
        sleep(time).await;
        "done"
    };
    Router::new().route("/", get(handler))
}

#[tokio::test]
async fn client_that_never_ends_its_header_is_cut() {
    let served = serve_with(slow(Duration::ZERO), None, short()).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let begin = Instant::now();
    assert!(!read_to_end(&mut stream).await.contains("done"));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn client_that_says_nothing_is_cut_even_after_a_request() {
    let served = serve_with(slow(Duration::ZERO), None, short()).await;
    let mut silent = served.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    // Keep-alive: the answer comes, then the idle connection is closed.
    let answer = served.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn drain_finishes_what_is_at_work_and_takes_nothing_new() {
    let begun = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = std::sync::Arc::clone(&begun);
    let work = move || {
        let told = std::sync::Arc::clone(&told);
        async move {
            told.notify_one();
            sleep(Duration::from_millis(300)).await;
            "done"
        }
    };
    let served = serve(axum::Router::new().route("/", axum::routing::get(work))).await;
    let call = tokio::spawn(reqwest::get(served.url("/")));
    begun.notified().await;
    served.shutdown.cancel();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "done");
    served.ended.await.unwrap();
    let refused = tokio::net::TcpStream::connect(served.address).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn drain_deadline_cuts_what_does_not_end() {
    let served = serve_with(slow(Duration::from_secs(60)), None, short()).await;
    let call = tokio::spawn(reqwest::get(served.url("/")));
    sleep(Duration::from_millis(100)).await;
    served.shutdown.cancel();
    timeout(Duration::from_secs(5), served.ended)
        .await
        .expect("the server ends in time")
        .unwrap();
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn tls_round_trip_trusts_the_configured_ca_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    std::fs::write(path("tls.pem"), leaf.pem()).unwrap();
    std::fs::write(path("tls.key"), key.serialize_pem()).unwrap();

    let tls = TlsSetup::from_pem_files(&path("tls.pem"), &path("tls.key")).unwrap();
    let served = serve_with(slow(Duration::ZERO), Some(tls), Timeouts::default()).await;
    let url = Url::parse(&format!("https://localhost:{}/", served.address.port())).unwrap();
    let trusting = HttpClient::new(Some(&path("ca.pem"))).unwrap();
    assert_eq!(trusting.get_bytes(&url).await.unwrap(), b"done");
    let stranger = HttpClient::new(None).unwrap();
    let error = stranger.get_bytes(&url).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(..)), "{error:?}");

    assert!(TlsSetup::from_pem_files(&path("ca.pem"), &path("tls.key")).is_err());
}
