#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use super::*;
use crate::messages::error::ErrorMessage;
use crate::messages::p_init::PInitReq;
use crate::{Context, ErrorCode, Timestamp};
use serde_json::{Value, json};

mod arbitrary;
mod header;

const NOW: i64 = 1_800_000_000;

/// Bytes that repeat, so that failures can be read.
struct Counting(u64);

impl rand_core::TryRng for Counting {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|n| {
            n.to_le_bytes()[..4]
                .iter()
                .fold(0, |sum, b| sum << 8 | u32::from(*b))
        })
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 += 1;
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for byte in bytes {
            self.0 += 1;
            *byte = self.0.to_le_bytes()[0];
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counting {}

fn request() -> PInitReq {
    let rng = &mut Counting(0);
    let now = Timestamp::from_seconds(1_800_000_000);
    PInitReq {
        rrpid: Rrpid::generate(&mut Context { now, rng }),
        language: "en".parse().unwrap(),
        lid_c: "wallet-1".parse().unwrap(),
        lid_m: "order-1".parse().unwrap(),
        chall_c: crate::ids::Challenge::generate(rng),
        brand_id: crate::BrandId::new("Visa").unwrap(),
        bin: "411111".parse().unwrap(),
        thumbs: None,
    }
}

fn wrapper() -> MessageWrapper {
    let ctx = Context {
        now: Timestamp::from_seconds(NOW),
        rng: &mut Counting(9),
    };
    let request = request();
    let ids = MessageIds {
        lid_c: Some(request.lid_c.clone()),
        lid_m: Some(request.lid_m.clone()),
        xid: None,
    };
    MessageWrapper::new(&ctx, ids, request.rrpid, Message::PInitReq(request))
}

fn genuine() -> Value {
    serde_json::from_slice(&wrapper().encode()).unwrap()
}

fn decode(json: &Value) -> Result<MessageWrapper, Rejection> {
    MessageWrapper::decode(&serde_json::to_vec(json).unwrap())
}

fn altered(pointer: &str, value: Value) -> Result<MessageWrapper, Rejection> {
    let mut json = genuine();
    *json.pointer_mut(pointer).unwrap() = value;
    decode(&json)
}

fn with(pointer: &str, name: &str, value: Value) -> Result<MessageWrapper, Rejection> {
    let mut json = genuine();
    json.pointer_mut(pointer)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .insert(name.to_owned(), value);
    decode(&json)
}

fn is_malformed(result: &Result<MessageWrapper, Rejection>) -> bool {
    matches!(result, Err(refused @ Rejection::Malformed(_)) if refused.code() == ErrorCode::DecodingFailure)
}

#[test]
fn wrapper_reads_what_it_writes() {
    let wrapper = wrapper();
    assert_eq!(MessageWrapper::decode(&wrapper.encode()).unwrap(), wrapper);
}

#[test]
fn wrapper_refuses_what_is_not_json() {
    for bytes in [
        "",
        " ",
        "{",
        "null",
        "[]",
        "\"PReq\"",
        "{}",
        "{\"a\":}",
        "{'a':1}",
        "\u{feff}{}",
        "nul\0l",
        "{}{}",
    ] {
        assert!(
            is_malformed(&MessageWrapper::decode(bytes.as_bytes())),
            "{bytes:?}"
        );
    }
    assert!(is_malformed(&MessageWrapper::decode(&[0xff, 0xfe, 0x00])));
    let mut twice = wrapper().encode();
    twice.extend(wrapper().encode());
    assert!(is_malformed(&MessageWrapper::decode(&twice)));
    let bytes = wrapper().encode();
    for end in 0..bytes.len() {
        assert!(
            is_malformed(&MessageWrapper::decode(&bytes[..end])),
            "cut at {end}"
        );
    }
}

#[test]
fn wrapper_refuses_an_unknown_field_at_each_level() {
    for level in [
        "",
        "/message_header",
        "/message_header/message_ids",
        "/message/PInitReq",
    ] {
        assert!(is_malformed(&with(level, "surprise", json!(1))), "{level}");
    }
    let extension = json!({ "oid": "1.2.3", "critical": false, "value": "", "surprise": 1 });
    assert!(is_malformed(&with("", "mw_extensions", json!([extension]))));
}

#[test]
fn wrapper_refuses_a_doubled_field_at_each_level() {
    let text = String::from_utf8(wrapper().encode()).unwrap();
    let mut doubled = 0;
    for (level, fields) in [
        ("", vec!["message_header", "message"]),
        (
            "/message_header",
            vec![
                "version",
                "revision",
                "date",
                "message_ids",
                "rrpid",
                "sw_ident",
            ],
        ),
        ("/message_header/message_ids", vec!["lid_c", "lid_m"]),
        ("/message", vec!["PInitReq"]),
        (
            "/message/PInitReq",
            vec![
                "rrpid", "language", "lid_c", "lid_m", "chall_c", "brand_id", "bin",
            ],
        ),
    ] {
        for field in fields {
            let json = genuine();
            let record = json.pointer(level).unwrap();
            let again = format!("{{\"{field}\":{},", record[field]);
            let before = record_text(&text, level);
            let after = before.replacen('{', &again, 1);
            let wire = text.replacen(&before, &after, 1);
            assert_ne!(wire, text);
            assert!(
                is_malformed(&MessageWrapper::decode(wire.as_bytes())),
                "{level}/{field}: {wire}"
            );
            doubled += 1;
        }
    }
    assert_eq!(doubled, 18);
}

/// A record as it stands in the text: its fields keep their order there.
fn record_text(text: &str, level: &str) -> String {
    let mut rest: &RawValue = serde_json::from_str(text).unwrap();
    for name in level.split('/').skip(1) {
        let fields: std::collections::HashMap<String, &RawValue> =
            serde_json::from_str(rest.get()).unwrap();
        rest = fields[name];
    }
    rest.get().to_owned()
}

#[test]
fn wrapper_refuses_each_missing_field() {
    let required = [
        "/message_header/version",
        "/message_header/revision",
        "/message_header/date",
    ];
    let more = [
        "/message_header/message_ids",
        "/message_header/sw_ident",
        "/message_header",
        "/message",
    ];
    for pointer in required.into_iter().chain(more) {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut json = genuine();
        json.pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name)
            .unwrap();
        assert!(is_malformed(&decode(&json)), "{pointer}");
    }
}

#[test]
fn a_header_without_rrpid_is_refused_by_whoever_needs_it() {
    let mut json = genuine();
    json["message_header"]
        .as_object_mut()
        .unwrap()
        .remove("rrpid")
        .unwrap();
    let refused = decode(&json).unwrap().rrpid().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadMessageHeader);
}

#[test]
fn wrapper_names_an_unknown_message() {
    let mut json = genuine();
    json["message"] = json!({ "DebitReq": {} });
    let refused = decode(&json).unwrap_err();
    assert_eq!(refused, Rejection::UnknownMessage("DebitReq".to_owned()));
    assert_eq!(refused.code(), ErrorCode::MessageNotSupported);
    // Names are exact.
    for name in ["pInitReq", "PINITREQ", "p_init_req", "PInitReq ", ""] {
        json["message"] = json!({ name: {} });
        assert_eq!(
            decode(&json).unwrap_err().code(),
            ErrorCode::MessageNotSupported,
            "{name:?}"
        );
    }
    // And a very long one is not repeated in full.
    json["message"] = json!({ "x".repeat(100_000): {} });
    assert!(decode(&json).unwrap_err().to_string().len() < 200);
}

#[test]
fn wrapper_refuses_none_or_two_messages_and_messages_that_are_no_records() {
    let content = genuine()["message"]["PInitReq"].clone();
    let two = json!({ "PInitReq": content, "PReq": "x" });
    for message in [
        json!({}),
        two,
        json!(null),
        json!([]),
        json!("PInitReq"),
        json!(1),
        json!([content]),
    ] {
        assert!(
            is_malformed(&altered("/message", message.clone())),
            "{message}"
        );
    }
}

#[test]
fn wrapper_refuses_content_of_another_kind() {
    let message = |name: &str, content: Value| altered("/message", json!({ name: content }));
    let content = genuine()["message"]["PInitReq"].clone();
    assert!(is_malformed(&message("PReq", content.clone())));
    assert!(is_malformed(&message("CardCInitReq", content)));
    for name in [
        "PReq", "PRes", "AuthReq", "AuthRes", "CapReq", "CapRes", "InqReq", "InqRes", "CertReq",
        "CertRes",
    ] {
        for content in [json!(null), json!(1), json!({}), json!(["x"])] {
            assert!(
                is_malformed(&message(name, content.clone())),
                "{name} {content}"
            );
        }
    }
}

#[test]
fn wrapper_refuses_names_that_are_too_long_or_of_other_characters() {
    let long = "x".repeat(65);
    for lid in ["", "a b", "a/b", "ä", "<script>", long.as_str()] {
        assert!(
            is_malformed(&altered("/message_header/message_ids/lid_c", json!(lid))),
            "{lid}"
        );
        assert!(
            is_malformed(&altered("/message/PInitReq/lid_m", json!(lid))),
            "{lid}"
        );
    }
    let rrpid = genuine()["message_header"]["rrpid"]
        .as_str()
        .unwrap()
        .to_owned();
    for wrong in [
        format!("{rrpid}A"),
        format!("{rrpid}="),
        rrpid[1..].to_owned(),
        rrpid.replace(&rrpid[..1], "+"),
    ] {
        assert!(
            is_malformed(&altered("/message_header/rrpid", json!(wrong))),
            "{wrong}"
        );
    }
    let refused = altered("/message_header/sw_ident", json!("x".repeat(257))).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadMessageHeader);
}

#[test]
fn wrapper_survives_deep_nesting_and_huge_numbers() {
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let text = String::from_utf8(wrapper().encode()).unwrap();
    let huge = format!("1{}", "0".repeat(100_000));
    for value in [
        deep.as_str(),
        huge.as_str(),
        "1e999999999",
        "-1e-999999999",
        "18446744073709551616",
        "1.5",
    ] {
        for place in ["\"version\":2", "\"sw_ident\":\"openset"] {
            let (name, _) = place.split_once(':').unwrap();
            let (before, after) = text.split_once(place).unwrap();
            let rest = after.split_once([',', '}']).unwrap();
            let wire = format!("{before}{name}:{value},{}", rest.1);
            assert!(MessageWrapper::decode(wire.as_bytes()).is_err());
        }
        let wire = format!("{{\"message_header\":{value},\"message\":{value}}}");
        assert!(MessageWrapper::decode(wire.as_bytes()).is_err());
        let wire = text.replacen(
            "{\"PInitReq\":",
            &format!("{{\"Surprise\":{value},\"PInitReq\":"),
            1,
        );
        assert!(MessageWrapper::decode(wire.as_bytes()).is_err());
    }
}

#[test]
fn ids_that_differ_between_header_and_message_are_named() {
    let wrapper = wrapper();
    let rrpid = wrapper.rrpid().unwrap();
    let ids = wrapper.message_header.message_ids.clone();
    assert_eq!(wrapper.check_ids(&ids, rrpid), Ok(()));
    let another = Rrpid::from_bytes([1; 32]);
    assert_eq!(
        wrapper.check_ids(&ids, another),
        Err(Rejection::HeaderMismatch("rrpid"))
    );
    for name in ["lid_c", "lid_m", "xid"] {
        let mut ids = ids.clone();
        match name {
            "lid_c" => ids.lid_c = None,
            "lid_m" => ids.lid_m = Some("other".parse().unwrap()),
            _ => ids.xid = Some(Xid::from_bytes([1; 32])),
        }
        let refused = wrapper.check_ids(&ids, rrpid).unwrap_err();
        assert_eq!(refused, Rejection::HeaderMismatch(name));
        assert_eq!(refused.code(), ErrorCode::WrapperMsgMismatch);
    }
    let later = wrapper.message_header.date.plus(1);
    assert_eq!(
        wrapper.check_signed_date(later),
        Err(Rejection::HeaderMismatch("date"))
    );
}

#[test]
fn every_message_has_one_name_and_media_type() {
    let payment = [
        "PInitReq", "PInitRes", "PReq", "PRes", "InqReq", "InqRes", "AuthReq", "AuthRes", "CapReq",
        "CapRes",
    ];
    for name in payment {
        let content = if name == "PInitReq" {
            genuine()["message"][name].clone()
        } else {
            json!("x")
        };
        let wrapper = altered("/message", json!({ name: content })).unwrap();
        assert_eq!(wrapper.message.name(), name);
        assert_eq!(wrapper.message.media_type(), MediaType::Payment);
        assert_eq!(wrapper.not_taken().code(), ErrorCode::MessageNotSupported);
    }
    for name in [
        "CardCInitRes",
        "RegFormReq",
        "RegFormRes",
        "Me-AqCInitRes",
        "CertReq",
    ] {
        let wrapper = altered("/message", json!({ name: "x" })).unwrap();
        assert_eq!(wrapper.message.media_type(), MediaType::Registration);
    }
}

#[test]
fn an_error_answers_under_the_names_of_what_it_refuses() {
    let mut ctx = Context {
        now: Timestamp::from_seconds(NOW),
        rng: &mut Counting(1),
    };
    let refused = wrapper();
    let error = ErrorMessage::answer(&mut ctx, &Rejection::Unauthentic, Some(&refused));
    let again = MessageWrapper::decode(&error.encode()).unwrap();
    assert_eq!(again, error);
    assert_eq!(again.message_header.rrpid, refused.message_header.rrpid);
    let Message::Error(message) = again.message else {
        panic!("not an Error")
    };
    let message = message.claim().unwrap();
    assert_eq!(message.error_code, ErrorCode::SignatureFailure);
    assert_eq!(
        message.error_msg.lid_c,
        refused.message_header.message_ids.lid_c
    );
    let error = ErrorMessage::answer(&mut ctx, &Rejection::TooBig { limit_bytes: 1 }, None);
    let again = MessageWrapper::decode(&error.encode()).unwrap();
    assert!(again.rrpid().is_err());
}
