//! What `openset merchant` and `openset wallet` read and show, and the status they end with, before a service whose
//! answers are written down here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Path with query, and body, of each request.
type Asked = Mutex<Vec<(String, Value)>>;

/// A service that gives one answer to every request, or one for each path.
struct Service {
    url: String,
    asked: Arc<Asked>,
}

struct Ended {
    out: String,
    err: String,
    code: i32,
}

impl Service {
    fn answering(answer: impl Fn(&str) -> Value + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &answer, &seen);
            }
        });
        Self { url, asked }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openset"));
        for variable in ["OPENSET_WALLET_TOKEN", "OPENSET_MERCHANT_TOKEN"] {
            command.env(variable, "a-token");
        }
        let done = command
            .args(arguments)
            .args(["--url", &self.url])
            .output()
            .unwrap();
        Ended {
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
            code: done.status.code().unwrap(),
        }
    }

    /// The body of the last request.
    fn body(&self) -> Value {
        self.asked.lock().unwrap().last().unwrap().1.clone()
    }
}

/// One request of one connection.
fn serve(stream: TcpStream, answer: &impl Fn(&str) -> Value, asked: &Asked) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let told = answer(&path);
    // Before the answer: whoever has that may look at once.
    let body = serde_json::from_slice(&body).unwrap_or_default();
    asked.lock().unwrap().push((path, body));
    // Of a problem; what a wallet calls so is a text.
    let status = told["status"].as_u64().unwrap_or(200);
    let text = told.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    let mut stream = reader.into_inner();
    stream
        .write_all(format!("{head}{text}").as_bytes())
        .unwrap();
}

fn euros(minor: u64) -> Value {
    json!({"currency": "EUR", "amount_minor": minor})
}

const P_REQ_HEADER: &str = r#"{"message_header":{"version":2},"message":{}}"#;

#[test]
fn exit_status_tells_what_is_done_what_is_under_way_and_what_was_refused() {
    for (state, code) in [
        ("captured", 0),
        ("authorized", 0),
        ("refunded", 0),
        ("reversed", 0),
        ("capturing", 3),
        ("refunding", 3),
        ("reversing", 3),
        ("voiding", 3),
        ("ordered", 3),
        ("declined", 1),
    ] {
        let service = Service::answering(move |_| json!({"state": state, "movement": "m"}));
        let ended = service.run(&["merchant", "capture", "order-1"]);
        assert_eq!(ended.code, code, "{state}: {} {}", ended.out, ended.err);
    }
    let refusing = Service::answering(
        |_| json!({"status": 409, "code": "not-possible", "title": "x", "type": "x", "detail": "not now"}),
    );
    let ended = refusing.run(&["merchant", "refund", "order-1"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("not now (not-possible)"),
        "{}",
        ended.err
    );

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("answer.json");
    std::fs::write(&file, P_REQ_HEADER).unwrap();
    for (status, code) in [
        ("paid", 0),
        ("pending", 3),
        ("unknown", 3),
        ("declined", 1),
        ("rejected", 1),
        ("failed", 1),
        ("reversed", 1),
    ] {
        let service = Service::answering(move |_| json!({"purchase_id": "p", "status": status}));
        let ended = service.run(&[
            "wallet",
            "mail-answer",
            file.to_str().unwrap(),
            "--purchase",
            "p",
        ]);
        assert_eq!(ended.code, code, "{status}: {} {}", ended.out, ended.err);
    }
    let service = Service::answering(|_| json!({}));
    assert_eq!(
        service.run(&["merchant", "capture"]).code,
        2,
        "no order named"
    );
}

#[test]
fn amounts_are_read_and_shown_as_people_write_them() {
    for (currency, text, minor) in [
        ("EUR", "12.50", 1250),
        ("JPY", "1990", 1990),
        ("KWD", "1.990", 1990),
    ] {
        let service = Service::answering(move |_| {
            json!({"state": "captured", "movement": "m", "amount": {"currency": currency, "amount_minor": 5000},
                "captured": {"currency": currency, "amount_minor": minor}})
        });
        let ended = service.run(&["merchant", "capture", "order-1", "--amount", text]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let shown = format!("captured: {currency} {text}\n");
        assert!(ended.out.contains(&shown), "{}", ended.out);
        let asked = json!({"currency": currency, "amount_minor": minor});
        assert_eq!(service.body(), json!({"amount": asked}));
        let ended = service.run(&["merchant", "capture", "order-1", "--amount", "1.0005"]);
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains("not an amount"), "{}", ended.err);
    }
}

#[test]
fn further_part_is_authorized_and_an_order_is_shown() {
    let service = Service::answering(|path| {
        if path.ends_with("authorize") {
            json!({"state": "authorized", "auth": 2, "amount": euros(900)})
        } else {
            json!({"order_id": "o-1", "created_at": "2026-11-22T18:00:00Z", "state": "captured", "amount": euros(1500),
                "items": [{"name": "Espresso", "quantity": 2, "unit_price": euros(750)}],
                "authorizations": [{"number": 1, "state": "captured", "asked": euros(1500), "stands": euros(1000),
                    "captures": [{"movement": "m-1", "state": "done", "amount": euros(1000)}],
                    "refunds": [{"movement": "m-2", "state": "asked", "amount": euros(400)}], "reversals": []}]})
        }
    });
    let ended = service.run(&["merchant", "authorize", "o-1", "--amount", "9", "--last"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "authorized, authorization 2\namount: EUR 9.00\n")
    );
    assert_eq!(service.body(), json!({"amount": euros(900), "last": true}));
    let ended = service.run(&["merchant", "order", "o-1"]);
    assert_eq!(
        ended.out,
        "o-1  2026-11-22T18:00:00Z  captured  EUR 15.00\n  2 x Espresso @ EUR 7.50\n  \
         authorization 1: captured, EUR 10.00 of EUR 15.00\n    capture of EUR 10.00: done, movement m-1\n    \
         refund of EUR 4.00: asked, movement m-2\n"
    );
    assert_eq!(ended.code, 0);
}

#[test]
fn statement_shows_every_page_and_the_sum_of_each_currency() {
    let entry = |id: &str, currency: &str, minor: u64| {
        let money = json!({"currency": currency, "amount_minor": minor});
        json!({"purchase_id": id, "ordered_at": "2026-11-22T18:00:00Z", "status": "paid", "merchant_id": "shop-1",
            "order_description": "coffee", "amount": money, "paid": money,
            "parts": [{"authorized_at": "2026-11-22T18:00:01Z", "state": "authorized", "amount": money,
                "approval_code": "A1"}]})
    };
    let service = Service::answering(move |path| {
        if path.contains("after=two") {
            json!({"items": [entry("buy-3", "EUR", 250)]})
        } else {
            json!({"items": [entry("buy-1", "EUR", 1500), entry("buy-2", "JPY", 1990)], "next": "two"})
        }
    });
    let ended = service.run(&["wallet", "statement", "--from", "2026-11-01"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for id in ["buy-1", "buy-2", "buy-3"] {
        assert_eq!(ended.out.matches(id).count(), 1, "{}", ended.out);
    }
    assert!(
        ended.out.ends_with("in all: EUR 17.50\nin all: JPY 1990\n"),
        "{}",
        ended.out
    );
    let paths: Vec<String> = service
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(path, _)| path.clone())
        .collect();
    assert_eq!(
        paths,
        [
            "/statement?from=2026-11-01",
            "/statement?from=2026-11-01&after=two"
        ]
    );
    let ended = service.run(&["wallet", "statement", "--limit", "2"]);
    assert!(ended.out.ends_with("more: --after two\n"), "{}", ended.out);
}

#[test]
fn text_of_strangers_does_not_reach_the_terminal_raw() {
    const EVIL: &str = "\u{1b}[2J\u{1b}[1;1HEUR 0.01\u{202e}\r";
    let service = Service::answering(|path| {
        if path == "/mail-orders" {
            return json!({"p_req": "{}", "purchase": {"purchase_id": EVIL}, "bought": {"merchant_id": EVIL,
                "items": [{"name": EVIL, "quantity": 1, "unit_price": euros(1500)}]}});
        }
        if path.contains("refund") {
            return json!({"status": 409, "code": EVIL, "title": EVIL, "type": EVIL, "detail": EVIL});
        }
        json!({"purchase_id": EVIL, "status": EVIL, "problem": EVIL, "state": EVIL, "movement": EVIL,
            "items": [{"order_id": EVIL, "created_at": EVIL, "state": EVIL, "amount": euros(1), "ordered_at": EVIL,
                "status": EVIL, "merchant_id": EVIL, "purchase_id": EVIL, "order_description": EVIL,
                "paid": euros(1)}], "next": EVIL})
    });
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(path("catalogue.jws"), "a.b.c").unwrap();
    std::fs::write(path("answer.json"), "{}").unwrap();
    let (catalogue, out, answer) = (
        path("catalogue.jws"),
        path("order.json"),
        path("answer.json"),
    );
    for arguments in [
        &[
            "wallet",
            "mail-order",
            "--catalogue",
            &catalogue,
            "--card",
            "c",
            "--item",
            "a=1",
            "--amount",
            "EUR 15.00",
            "--out",
            &out,
        ] as &[&str],
        &["wallet", "mail-answer", &answer, "--purchase", "p"],
        &["wallet", "statement", "--limit", "1"],
        &["merchant", "orders"],
        &["merchant", "capture", "o-1"],
        &["merchant", "refund", "o-1"],
    ] {
        let ended = service.run(arguments);
        let shown = format!("{}{}", ended.out, ended.err);
        assert!(shown.contains("EUR 0.01"), "{arguments:?}: {shown}");
        for character in ['\u{1b}', '\u{202e}', '\r'] {
            assert!(!shown.contains(character), "{arguments:?}: {shown:?}");
        }
    }
}

#[test]
fn gateway_certificates_are_asked_for_and_what_cannot_be_used_is_no_success() {
    let certificate = json!({
        "common_name": "454545:gateway-1", "thumbprint": "t", "not_before": "2026-11-23T00:00:00Z",
        "not_after": "2027-11-23T00:00:00Z", "days_left": 364,
    });
    let mut revoked = certificate.clone();
    revoked["refused"] = json!("the certificate was revoked");
    for (code, renewed, held, exit, says) in [
        ("success", false, Some(&certificate), 0, "the same"),
        ("success", true, Some(&certificate), 0, "renewed"),
        (
            "unknownBIN",
            false,
            Some(&certificate),
            1,
            "unknownBIN, none",
        ),
        ("unknownBIN", false, None, 1, "unknownBIN, none"),
        ("success", false, Some(&revoked), 1, "was revoked"),
    ] {
        let mut one = json!({"brand": "Visa", "p_cert_code": code, "renewed": renewed});
        if let Some(held) = held {
            one["certificate"] = held.clone();
        }
        let service = Service::answering(move |_| json!({"certificates": [one]}));
        let ended = service.run(&["merchant", "gateway-certificates"]);
        assert_eq!(ended.code, exit, "{} {}", ended.out, ended.err);
        assert!(ended.out.contains(says), "{}", ended.out);
        let path = service.asked.lock().unwrap().last().unwrap().0.clone();
        assert_eq!(path, "/certificates/gateway/refresh");
    }
}

#[test]
fn folder_set_up_without_unsigned_is_not_taken_for_one_with() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let setup = |flags: &[&str]| {
        let folders = [
            "--config-dir",
            place,
            "--data-dir",
            place,
            "--trust-dir",
            place,
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_openset"));
        let done = command
            .args(["setup", "--out", place])
            .args(folders)
            .args(flags);
        assert!(done.output().unwrap().status.success());
    };
    let says = |party: &str| {
        std::fs::read_to_string(folder.path().join(format!("{party}/{party}.toml"))).unwrap()
    };
    setup(&[]);
    for party in ["ca", "gateway", "merchant", "cardholder"] {
        assert!(!says(party).contains("unsigned"), "{party}");
    }
    let demo = Command::new(env!("CARGO_BIN_EXE_openset"))
        .args(["demo", "--unsigned", "--exit", "--data", place])
        .output()
        .unwrap();
    let said = String::from_utf8(demo.stderr).unwrap();
    assert!(!demo.status.success());
    assert!(said.contains("name another folder"), "{said}");
    std::fs::remove_dir_all(folder.path().join("demo")).unwrap();
    setup(&["--unsigned"]);
    assert!(says("ca").contains("unsigned_brands = [\"Visa\"]"));
    for (party, switch) in [
        ("gateway", "accept_unsigned = true"),
        ("merchant", "accept_unsigned = true"),
        ("cardholder", "allow_unsigned = true"),
        ("demo", "unsigned = true"),
    ] {
        assert!(says(party).contains(switch), "{party}");
    }
}
