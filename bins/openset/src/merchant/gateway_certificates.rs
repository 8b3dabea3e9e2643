//! `openset merchant gateway-certificates`: which keys the shop seals for, after the gateway was asked.

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::Access;
use crate::ended::Ended;
use crate::shown::text;

pub(super) async fn run(access: &Access) -> anyhow::Result<Ended> {
    let url = access.url("certificates/gateway/refresh")?;
    let key = openset_service::random::hex_id::<16>();
    let answer = access
        .call(Method::POST, url, Some((&key, json!({}))))
        .await?;
    let all = answer.get("certificates").and_then(Value::as_array);
    let mut usable = true;
    for one in all.context("the merchant's answer has no certificates")? {
        usable &= show(one);
    }
    Ok(if usable { Ended::Done } else { Ended::Refused })
}

/// Shows one, and tells whether it is good for something.
fn show(one: &Value) -> bool {
    let (brand, code) = (text(one, "brand"), text(one, "p_cert_code"));
    let news = match one.get("renewed").and_then(Value::as_bool) {
        Some(true) => "renewed",
        _ if code == "success" => "the same",
        _ => "none",
    };
    println!("{brand}: {code}, {news}");
    let Some(held) = one.get("certificate") else {
        return false;
    };
    let days = held.get("days_left").and_then(Value::as_i64).unwrap_or(0);
    println!(
        "  {}  {}  until {}, {days} days",
        text(held, "common_name"),
        text(held, "thumbprint"),
        text(held, "not_after")
    );
    match held.get("refused").and_then(Value::as_str) {
        Some(why) => {
            println!("  refused: {why}");
            false
        }
        None => code == "success",
    }
}
