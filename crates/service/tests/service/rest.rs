//! REST: problems, tokens, limits; and `POST /set`.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::post;
use openset_service::CancellationToken;
use openset_service::auth::{Scope, Tokens};
use openset_service::problem::{Json, Problem};
use openset_service::server::{BODY_LIMIT_BYTES, SET_BODY_LIMIT_BYTES};
use openset_service::set_endpoint::{
    self, MediaType, Rejection, SET_PAYMENT, SetHandler, SetReply, Wire,
};
use openset_service::shell::Shell;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::support::{Served, common, json_of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from JSON")]
struct Order {
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from JSON")]
struct Item {
    product: String,
    quantity: u32,
}

struct Echo;

impl SetHandler for Echo {
    const MEDIA_TYPE: MediaType = MediaType::Payment;

    async fn handle(&self, wire: Wire) -> SetReply {
        if wire.bytes.is_empty() {
            SetReply::Busy
        } else {
            SetReply::Answer(wire.bytes.to_vec())
        }
    }

    async fn refuse(&self, rejection: Rejection) -> SetReply {
        SetReply::Error(rejection.to_string().into_bytes())
    }
}

async fn orders(Json(_): Json<Order>) -> &'static str {
    "ordered"
}

/// A whole shell with orders, a SET endpoint and one check that fails.
async fn shop() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Shell::new(&common(folder.path(), &[])).unwrap();
    shell.health.add("database", || async { Ok(()) });
    shell
        .health
        .add("trust", || async { Err("no CRL".to_owned()) });
    let router = Router::new()
        .route("/orders", post(orders))
        .merge(set_endpoint::router(Arc::new(Echo)));
    let api = utoipa::openapi::OpenApi::default();
    let url = openset_store::sqlite_url(&folder.path().join("shop.db"));
    let db = openset_store::Db::open(&url, &[]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let ended = tokio::spawn(async move {
        let _folder = folder;
        shell
            .serve(listener, router, &db, &api, stop)
            .await
            .unwrap();
        db.close().await;
    });
    Served {
        address,
        shutdown,
        ended,
    }
}

fn json_post(url: reqwest::Url, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = Client::new().post(url);
    request
        .header("content-type", "application/json")
        .body(body)
}

async fn problem(request: RequestBuilder) -> (u16, serde_json::Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem = json_of(answer).await;
    assert_eq!(problem["status"], status);
    (status, problem)
}

#[tokio::test]
async fn unknown_or_mistyped_field_is_named_with_its_pointer() {
    let url = shop().await.url("/orders");
    let unknown = r#"{"items":[{"product":"tea","quantity":1,"colour":"red"}]}"#;
    let (status, answer) = problem(json_post(url.clone(), unknown)).await;
    assert_eq!(status, 422);
    assert_eq!(answer["errors"][0]["pointer"], "/items/0/colour");
    assert!(answer["detail"].as_str().unwrap().contains("colour"));

    let mistyped = r#"{"items":[{"product":"tea","quantity":-1}]}"#;
    let (_, answer) = problem(json_post(url.clone(), mistyped)).await;
    assert_eq!(answer["errors"][0]["pointer"], "/items/0/quantity");

    let doubled = r#"{"items":[],"items":[]}"#;
    assert_eq!(problem(json_post(url.clone(), doubled)).await.0, 422);
    for broken in ["{\"items\":", "{\"items\":[]} x"] {
        let (status, answer) = problem(json_post(url.clone(), broken)).await;
        assert_eq!((status, &answer["code"]), (400, &"malformed-json".into()));
    }
}

#[tokio::test]
async fn other_media_type_path_or_method_is_a_problem() {
    let served = shop().await;
    let text = Client::new().post(served.url("/orders")).body("{}");
    assert_eq!(problem(text).await.0, 415);
    assert_eq!(
        problem(Client::new().get(served.url("/nothing"))).await.0,
        404
    );
    let (status, answer) = problem(Client::new().get(served.url("/orders"))).await;
    assert_eq!(status, 405);
    assert_eq!(answer["request_id"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn oversize_body_is_413_at_its_limit_and_not_before() {
    let url = shop().await.url("/orders");
    let mut body = br#"{"items":[]}"#.to_vec();
    body.resize(BODY_LIMIT_BYTES, b' ');
    let fits = json_post(url.clone(), body.clone()).send().await.unwrap();
    assert_eq!(fits.status(), 200);
    body.push(b' ');
    let (status, answer) = problem(json_post(url.clone(), body)).await;
    assert_eq!((status, &answer["code"]), (413, &"body-too-large".into()));
    let huge = json_post(url, vec![b' '; 700_000]);
    assert_eq!(problem(huge).await.0, 413);
}

#[tokio::test]
async fn set_message_has_its_own_limit_and_refusals_in_set_s_media_type() {
    let url = shop().await.url("/set");
    let send = |media_type: &'static str, size: usize| {
        let request = Client::new().post(url.clone());
        let request = request.header("content-type", media_type);
        request.body(vec![b'x'; size]).send()
    };
    let largest = send(SET_PAYMENT, SET_BODY_LIMIT_BYTES).await.unwrap();
    assert_eq!(largest.status(), 200);
    assert_eq!(largest.headers()["content-type"], SET_PAYMENT);
    assert_eq!(largest.bytes().await.unwrap().len(), SET_BODY_LIMIT_BYTES);

    let refusals = [
        send(SET_PAYMENT, SET_BODY_LIMIT_BYTES + 1).await.unwrap(),
        send(set_endpoint::SET_REGISTRATION, 10).await.unwrap(),
        send("application/json", 10).await.unwrap(),
    ];
    for refused in refusals {
        assert_eq!(refused.status(), 400);
        assert_eq!(refused.headers()["content-type"], SET_PAYMENT);
    }
    let busy = send(SET_PAYMENT, 0).await.unwrap();
    assert_eq!(busy.status(), 503);
    assert!(busy.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn health_metrics_and_openapi_are_served() {
    let served = shop().await;
    assert_eq!(
        reqwest::get(served.url("/healthz")).await.unwrap().status(),
        200
    );
    let (status, answer) = problem(Client::new().get(served.url("/readyz"))).await;
    assert_eq!(status, 503);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["errors"][0]["pointer"], "/trust");
    let api = json_of(reqwest::get(served.url("/openapi.json")).await.unwrap()).await;
    assert!(api["openapi"].is_string());
    let metrics = reqwest::get(served.url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = r#"openset_http_requests_total{method="GET",route="/readyz",status="503"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    served.shutdown.cancel();
    served.ended.await.unwrap();
}

#[test]
fn token_decides_by_its_scope() {
    let mut tokens = Tokens::default();
    let operator = tokens.add("operator-0123456789".into(), Scope::Operator, None);
    let name = Some("bank-a".to_owned());
    let gateway = tokens.add("gateway-0123456789".into(), Scope::Gateway, name);
    operator.and(gateway).unwrap();
    let ask = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::try_from(value).unwrap());
        tokens.require(&headers, &[Scope::Gateway]).cloned()
    };
    let status = |answer: Result<_, Problem>| answer.map_err(|problem| problem.status);
    let allowed = ask("Bearer gateway-0123456789").unwrap();
    assert_eq!(
        (allowed.name.as_str(), allowed.scope),
        ("bank-a", Scope::Gateway)
    );
    assert_eq!(status(ask("bearer operator-0123456789")), Err(403));
    for unknown in [
        "Bearer gateway-012345678",
        "Bearer ",
        "Basic gateway-0123456789",
        "x",
    ] {
        assert_eq!(status(ask(unknown)), Err(401), "{unknown}");
    }
    let missing = tokens.require(&HeaderMap::new(), &[Scope::Operator]);
    assert_eq!(status(missing.cloned()), Err(401));
}
