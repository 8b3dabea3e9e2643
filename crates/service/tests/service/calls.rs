//! Outgoing calls: limits, no redirects, and what a failure lets the caller conclude.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::{get, post};
use openset_service::client::{ANSWER_LIMIT_BYTES, CallError, HttpClient, join};
use openset_service::problem::{Json, Problem};
use openset_service::set_endpoint::{MediaType, SET_PAYMENT};
use reqwest::Url;
use serde_json::{Value, json};

use crate::support::serve;

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn json_call_carries_token_and_idempotency_key() {
    let echo = |headers: HeaderMap, Json(body): Json<Value>| async move {
        let token = header(&headers, "authorization").to_owned();
        Json(json!({"token": token, "key": header(&headers, "idempotency-key"), "body": body}))
    };
    let served = serve(Router::new().route("/authorize", post(echo))).await;
    let client = HttpClient::new(None).unwrap();
    let url = join(&served.url("/"), "authorize");
    let token = "secret".into();
    let body = json!({"amount": 1});
    let answer: Value = client
        .post_json(&url, Some(&token), Some("k1"), &body)
        .await
        .unwrap();
    assert_eq!(
        answer,
        json!({"token": "Bearer secret", "key": "k1", "body": body})
    );
}

#[tokio::test]
async fn failures_tell_whether_anything_was_done() {
    let refuse = || async { Problem::conflict("already-captured", "it was captured before") };
    let asked = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&asked);
    let hang_up = move || {
        let told = Arc::clone(&told);
        async move {
            told.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let router = Router::new()
        .route("/refuse", get(refuse))
        .route("/moved", get(|| async { Redirect::temporary("/refuse") }))
        .route(
            "/large",
            get(|| async { vec![b' '; ANSWER_LIMIT_BYTES + 1] }),
        )
        .route("/hang", get(hang_up));
    let served = serve(router).await;
    let client = HttpClient::new(None).unwrap();
    let ask = async |url: Url| client.get_json::<Value>(&url, None).await.unwrap_err();

    let error = ask(served.url("/refuse")).await;
    assert!(error.to_string().ends_with("captured before"), "{error}");
    match error {
        CallError::Status {
            status: 409,
            problem: Some(problem),
            ..
        } => {
            assert_eq!(problem.code, "already-captured");
        }
        other => panic!("{other:?}"),
    }
    let error = ask(served.url("/moved")).await;
    assert!(
        matches!(error, CallError::Status { status: 307, .. }),
        "{error:?}"
    );
    let error = ask(served.url("/large")).await;
    assert!(matches!(error, CallError::TooLarge(_)), "{error:?}");
    let cut = tokio::spawn(async move {
        asked.notified().await;
        served.ended.abort();
    });
    let address = served.address;
    let error = ask(Url::parse(&format!("http://{address}/hang")).unwrap()).await;
    assert!(matches!(error, CallError::NoAnswer(..)), "{error:?}");
    cut.await.unwrap();
    let error = ask(Url::parse("http://127.0.0.1:1/").unwrap()).await;
    assert!(matches!(error, CallError::Unreachable(..)), "{error:?}");
}

#[tokio::test]
async fn set_call_takes_answers_and_set_errors_and_nothing_else() {
    let reply = |status: StatusCode, media_type: &'static str| {
        post(move || async move { (status, [("content-type", media_type)], "wrapper") })
    };
    let router = Router::new()
        .route("/answer", reply(StatusCode::OK, SET_PAYMENT))
        .route("/error", reply(StatusCode::BAD_REQUEST, SET_PAYMENT))
        .route("/page", reply(StatusCode::OK, "text/html"))
        .route("/down", reply(StatusCode::SERVICE_UNAVAILABLE, SET_PAYMENT));
    let served = serve(router).await;
    let client = HttpClient::new(None).unwrap();
    let ask = async |path: &str| {
        let url = served.url(path);
        client
            .post_set(&url, MediaType::Payment, b"x".to_vec())
            .await
    };
    for (path, status) in [("/answer", 200), ("/error", 400)] {
        let answer = ask(path).await.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (status, b"wrapper".as_slice())
        );
    }
    for path in ["/page", "/down"] {
        assert!(
            matches!(ask(path).await, Err(CallError::Status { .. })),
            "{path}"
        );
    }
}
