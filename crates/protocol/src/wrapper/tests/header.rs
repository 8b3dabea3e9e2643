//! Version, date and extensions: judged before anything is believed.

use super::*;

#[test]
fn wrapper_judges_the_version_before_anything_else() {
    let mut json = json!({ "message_header": { "version": 1, "anything": true }, "message": { "Whatever": 1 } });
    assert_eq!(decode(&json), Err(Rejection::VersionTooOld(1)));
    json["message_header"]["version"] = json!(3);
    assert_eq!(decode(&json), Err(Rejection::VersionTooNew(3)));
    for (version, code) in [
        (json!(0), ErrorCode::VersionTooOld),
        (json!(1), ErrorCode::VersionTooOld),
        (json!(3), ErrorCode::VersionTooNew),
        (json!(255), ErrorCode::VersionTooNew),
        (json!(256), ErrorCode::DecodingFailure),
        (json!(-2), ErrorCode::DecodingFailure),
        (json!(2.0), ErrorCode::DecodingFailure),
        (json!("2"), ErrorCode::DecodingFailure),
        (json!(null), ErrorCode::DecodingFailure),
    ] {
        let refused = altered("/message_header/version", version.clone()).unwrap_err();
        assert_eq!(refused.code(), code, "{version}");
    }
}

#[test]
fn wrapper_refuses_a_later_revision() {
    assert_eq!(
        altered("/message_header/revision", json!(1))
            .unwrap_err()
            .code(),
        ErrorCode::VersionTooNew
    );
}

#[test]
fn wrapper_refuses_a_date_outside_its_window() {
    let at = |age: i64| wrapper().check_date(Timestamp::from_seconds(NOW + age));
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(AGE_SECONDS_MAX), Ok(()));
    assert_eq!(at(AGE_SECONDS_MAX + 1), Err(Rejection::TooOld));
    assert_eq!(at(-SKEW_SECONDS_MAX), Ok(()));
    assert_eq!(at(-SKEW_SECONDS_MAX - 1), Err(Rejection::TooNew));
    assert_eq!(Rejection::TooOld.code(), ErrorCode::MessageTooOld);
    assert_eq!(Rejection::TooNew.code(), ErrorCode::MessageTooNew);
    for date in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        let far = altered("/message_header/date", json!(date)).unwrap();
        assert!(
            far.check_date(Timestamp::from_seconds(NOW)).is_err(),
            "{date}"
        );
    }
}

#[test]
fn wrapper_refuses_dates_of_another_spelling() {
    for date in [
        "2027-01-15",
        "2027-01-15T08:00:00+00:00",
        "2027-01-15T08:00:00.0Z",
        "1800000000",
        "",
        "now",
    ] {
        assert!(
            is_malformed(&altered("/message_header/date", json!(date))),
            "{date}"
        );
    }
    assert!(is_malformed(&altered("/message_header/date", json!(NOW))));
}

#[test]
fn wrapper_refuses_an_unknown_critical_extension_and_ignores_others() {
    let extension =
        |oid: &str, critical: bool| json!({ "oid": oid, "critical": critical, "value": "AAAA" });
    let harmless = with("", "mw_extensions", json!([extension("1.2.3", false)])).unwrap();
    assert_eq!(harmless.mw_extensions.len(), 1);
    assert_eq!(harmless.message, wrapper().message);
    let refused = with(
        "",
        "mw_extensions",
        json!([extension("1.2.3", false), extension("1.2.4", true)]),
    );
    let refused = refused.unwrap_err();
    assert_eq!(
        refused,
        Rejection::UnrecognizedExtension("1.2.4".to_owned())
    );
    assert_eq!(refused.code(), ErrorCode::UnrecognizedExtension);
    for extensions in [
        json!(null),
        json!({}),
        json!([1]),
        json!([{ "oid": "1.2.3" }]),
    ] {
        assert!(
            is_malformed(&with("", "mw_extensions", extensions.clone())),
            "{extensions}"
        );
    }
}
