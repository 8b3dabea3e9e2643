//! The curl lines with which a person goes on.

use super::Story;
use super::calls::Calls;
use super::screen::Screen;

pub(crate) fn show(calls: &Calls, story: &Story, screen: &Screen) {
    let ca = calls
        .file
        .client_ca
        .as_ref()
        .map(|_| " --cacert tls-ca.pem")
        .unwrap_or_default();
    // Inside containers parties have other names than from the host, where ports are on localhost.
    let host = |party: &str| {
        let url = calls.url(party);
        if ca.is_empty() {
            url.to_owned()
        } else {
            url.replace(&format!("//{party}:"), "//localhost:")
        }
    };
    let get = |party: &str, path: &str| {
        format!(
            "curl -s{ca} -H 'Authorization: Bearer {}' {}/{path}",
            calls.token(party),
            host(party)
        )
    };
    if !ca.is_empty() {
        screen.line("# The CA of the demo's TLS certificates:");
        screen.line("docker compose exec -T ca cat /etc/openset/tls-ca.pem > tls-ca.pem");
    }
    screen.line("# What the shop sells:");
    screen.line(&format!("curl -s{ca} {}/products", host("merchant")));
    screen.line("# The purchase as wallet, merchant, gateway and issuer know it:");
    screen.line(&get(
        "cardholder",
        &format!("purchases/{}", story.of_purchase("purchase_id")),
    ));
    screen.line(&get(
        "merchant",
        &format!("orders/{}", story.of_purchase("order_id")),
    ));
    screen.line(&get(
        "gateway",
        &format!("authorizations/{}", story.of_purchase("xid")),
    ));
    screen.line(&get("issuer", &format!("accounts/{}", story.account_id)));
    screen.line("# Buy again:");
    let body = format!(
        r#"{{"merchant_url":"{}","card_id":"{}","items":[{{"product_id":"{}","quantity":2}}],"amount":{}}}"#,
        calls.url("merchant"),
        story.card_id,
        story.product_id,
        story
            .purchase
            .get("amount")
            .map(ToString::to_string)
            .unwrap_or_default(),
    );
    let url = host("cardholder");
    let token = calls.token("cardholder");
    screen.line(&format!(
        "curl -s{ca} -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{body}' {url}/purchases"
    ));
}
