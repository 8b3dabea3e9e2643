//! A signed Error can be counted on: it is the asked party's, about these bytes, for whoever signed them.

use crate::p_cert::fetching;
use crate::world::world;
use openset_pki::Role;
use openset_protocol::Rejection;
use openset_protocol::identity::Credentials;
use openset_protocol::messages::error::{Asked, ErrorMessage, ErrorTbs, Refused};
use openset_protocol::rejection::ErrorCode;
use openset_protocol::wrapper::{Jws, Message, MessageWrapper};

/// The Error by which this gateway refuses the shop's request for good.
fn refused_by(gateway: &Credentials) -> ErrorMessage {
    let w = world();
    let wire = &fetching().req;
    let wrapper = MessageWrapper::decode(wire).unwrap();
    let refused = Refused {
        wire,
        wrapper: &wrapper,
        sender: w.shop.signature.thumbprint(),
        rrpid: wrapper.rrpid().unwrap(),
    };
    let answer = w.with(|ctx| {
        ErrorMessage::answer_signed(ctx, &gateway.signature, &Rejection::TooOld, &refused)
    });
    let answer = MessageWrapper::decode(&answer.unwrap().encode()).unwrap();
    assert_eq!(answer.message_header.rrpid, wrapper.message_header.rrpid);
    let Message::Error(error) = answer.message else {
        panic!("not an Error")
    };
    error
}

/// What this shop makes of an Error about this request, which it put to the world's gateway.
fn read(error: &ErrorMessage, wire: &[u8], shop: &Credentials) -> Result<ErrorTbs, Rejection> {
    let w = world();
    let asked = Asked {
        party: w.gateway.key_exchange.certificate(),
        role: Role::Gateway,
        brand: w.gateway.signature.brand().unwrap(),
    };
    let rrpid = MessageWrapper::decode(&fetching().req).unwrap().rrpid();
    let request = (wire, rrpid.unwrap(), shop.signature.thumbprint());
    error.verify(request, &asked, w.verifier(), w.now)
}

#[test]
fn signed_error_names_the_request_and_says_why() {
    let (w, wire) = (world(), &fetching().req);
    let error = refused_by(&w.gateway);
    let said = read(&error, wire, &w.shop).unwrap();
    assert_eq!(said.error_code, ErrorCode::MessageTooOld);
    assert_eq!(error.claim().unwrap(), said);
}

#[test]
fn signed_error_is_refused_about_other_bytes_for_another_shop_and_from_another_gateway() {
    let (w, wire) = (world(), &fetching().req);
    let error = refused_by(&w.gateway);
    let others = [wire.as_slice(), b" "].concat();
    assert_eq!(
        read(&error, &others, &w.shop),
        Err(Rejection::AnotherRequest)
    );
    assert_eq!(read(&error, wire, &w.other_shop), Err(Rejection::NotForUs));
    let elsewhere = refused_by(&w.other_gateway);
    let another = Rejection::AnotherParty("party");
    assert_eq!(read(&elsewhere, wire, &w.shop), Err(another));
    assert!(matches!(
        read(&refused_by(&w.other_shop), wire, &w.shop),
        Err(Rejection::Certificate(_))
    ));
}

#[test]
fn altered_and_unsigned_errors_prove_nothing() {
    let (w, wire) = (world(), &fetching().req);
    let ErrorMessage::Signed(Jws(mut jws)) = refused_by(&w.gateway) else {
        panic!("not signed")
    };
    let last = jws.pop().unwrap();
    jws.push(if last == 'A' { 'Q' } else { 'A' });
    let altered = ErrorMessage::Signed(Jws(jws));
    assert_eq!(read(&altered, wire, &w.shop), Err(Rejection::Unauthentic));
    let wrapper = MessageWrapper::decode(wire).unwrap();
    let plain = w.with(|ctx| ErrorMessage::answer(ctx, &Rejection::TooOld, Some(&wrapper)));
    let Message::Error(plain) = plain.message else {
        panic!("not an Error")
    };
    assert!(plain.claim().is_some());
    assert!(matches!(
        read(&plain, wire, &w.shop),
        Err(Rejection::MissingCertificate(_))
    ));
}

#[test]
fn a_strangers_text_is_shown_without_control_characters_and_not_at_length() {
    let text = format!("\u{1b}[2Jpaid\r\n\u{9b}{}", "x".repeat(500));
    let wrapper = world().with(|ctx| {
        let rejection = Rejection::Malformed(text);
        ErrorMessage::answer(ctx, &rejection, None)
    });
    let Message::Error(error) = wrapper.message else {
        panic!("not an Error")
    };
    let shown = error.claim().unwrap().error_text;
    assert!(shown.contains("[2Jpaid"), "{shown}");
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert_eq!(shown.chars().count(), 200);
}
