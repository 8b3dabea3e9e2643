//! Genuine messages in the wrong place: of another purchase, for another party, sent back, sent again
//! under a new date. Nobody's key is broken here.

use crate::layers::{Letter, Node};
use crate::matrix::{AUTH_REQ_LINKS, Case, P_REQ_LINKS, all};
use crate::run::{End, Genuine, Run, as_sent, at, genuine, other};
use crate::world::{PLAN, amount, world};
use openset_protocol::Rejection::{
    self, AnotherParty, ContentType, DualSignature, HeaderMismatch, MessageNotTaken, NotForUs,
    NotSealedForUs,
};
use openset_protocol::cardholder::inquiry;
use openset_protocol::gateway;
use openset_protocol::gateway::auth::Refusal;
use openset_protocol::identity::Credentials;
use openset_protocol::merchant;
use openset_protocol::merchant::auth::Asking;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::wrapper::MessageWrapper;
use serde_json::Value;

fn run() -> Run<'static> {
    Run {
        world: world(),
        verifier: world().pki.verifier(),
    }
}

fn refused(message: &'static str, rejection: Rejection) -> Result<(), End> {
    Err(End::Refused(message, rejection))
}

/// The genuine message with pieces of the other purchase's same message in place of its own.
fn mixed(wire: &[u8], of_other: &[u8], pieces: &[&str]) -> Letter {
    // Both wallets' keys for the gateway's message differ, but nothing here opens it.
    let mut letter = Letter::open(wire, &genuine().ring());
    let mut donor = Letter::open(of_other, &other().ring());
    for piece in pieces {
        *letter.at(piece) = donor.at(piece).clone();
    }
    letter
}

#[test]
fn the_order_of_one_purchase_with_the_payment_of_another_is_refused() {
    let (g, o, ring) = (genuine(), other(), genuine().ring());
    let p_req = |pieces: &[&str]| run().p_req(&mixed(&g.p_req, &o.p_req, pieces).close(&ring));
    assert_eq!(p_req(&["hpi"]), refused("PReq", DualSignature("payment")));
    assert_eq!(
        p_req(&["dual_signature"]),
        refused("PReq", DualSignature("xid"))
    );
    assert_eq!(
        p_req(&["hpi", "dual_signature", "pi"]),
        refused("PReq", DualSignature("xid"))
    );
    // The merchant cannot look into PI; the gateway can.
    assert_eq!(p_req(&["pi"]), refused("AuthReq", DualSignature("xid")));
    assert_eq!(
        p_req(&["hpi", "pi"]),
        refused("PReq", DualSignature("payment"))
    );
}

#[test]
fn a_merchant_cannot_ask_for_one_purchase_with_the_payment_of_another() {
    let (g, o, ring) = (genuine(), other(), genuine().ring());
    let auth_req = |pieces: &[&str]| {
        let mut letter = mixed(&g.auth_req, &o.auth_req, pieces);
        // The merchant signs whatever it sends.
        letter.relink(&AUTH_REQ_LINKS[1..], "", &ring);
        run().auth_req(&letter.close(&ring))
    };
    assert_eq!(auth_req(&["pi"]), refused("AuthReq", DualSignature("xid")));
    assert_eq!(
        auth_req(&["dual_signature"]),
        refused("AuthReq", DualSignature("xid"))
    );
    assert_eq!(
        auth_req(&["pi", "dual_signature"]),
        Err(End::Declined(Refusal::TransIds))
    );
}

#[test]
fn the_other_purchase_is_genuine_in_its_own_place() {
    let (o, w) = (other(), world());
    let answers = o
        .awaiting_cap_res
        .handle(&o.cap_res, &[&w.shop], w.pki.verifier(), w.now)
        .unwrap();
    assert_eq!(answers.len(), 1);
    assert_ne!(o.opened.trans_ids.xid, genuine().opened.trans_ids.xid);
}

/// As the merchant `shop` would verify a PReq whose purchase it opened itself under the same names.
fn p_req_at(shop: &Credentials, wire: &[u8]) -> Result<(), End> {
    let w = world();
    let mut opened = genuine().opened.clone();
    opened.merchant = shop.signature.thumbprint();
    let wrapper = at("PReq", MessageWrapper::decode(wire))?;
    let p_req = at("PReq", merchant::p::open(&wrapper, &[shop]))?;
    at(
        "PReq",
        p_req.verify(&wrapper, &opened, w.order(), w.pki.verifier(), w.now),
    )
    .map(drop)
}

#[test]
fn a_purchase_request_for_another_merchant_is_refused_sealed_or_sealed_again() {
    let (w, g) = (world(), genuine());
    assert_eq!(
        p_req_at(&w.other_shop, &g.p_req),
        refused("PReq", NotSealedForUs)
    );
    let wire = resealed(&g.p_req, &w.other_shop);
    assert_eq!(
        p_req_at(&w.other_shop, &wire),
        refused("PReq", DualSignature("merchant"))
    );
}

/// A message whose outer seal is opened by its receiver and made again for another.
fn resealed(wire: &[u8], to: &Credentials) -> Vec<u8> {
    let ring = genuine().ring();
    let mut json: Value = serde_json::from_slice(wire).unwrap();
    let content = json["message"]
        .as_object_mut()
        .unwrap()
        .values_mut()
        .next()
        .unwrap();
    let sealed = openset_jose::jwe::Sealed::parse(content.as_str().unwrap()).unwrap();
    let (plaintext, cty) = (ring.open(&sealed), &sealed.header().cty);
    let certificate = to.key_exchange.certificate();
    let named = Some(certificate.thumbprint());
    let rng = &mut crate::layers::fresh_rng();
    let again =
        openset_jose::jwe::seal(rng, certificate.public_key(), named, cty, &plaintext).unwrap();
    *content = again.into();
    serde_json::to_vec(&json).unwrap()
}

fn auth_req_at(gateway: &Credentials, wire: &[u8]) -> Result<(), End> {
    let w = world();
    let wrapper = at("AuthReq", MessageWrapper::decode(wire))?;
    let opened = at(
        "AuthReq",
        gateway::auth::open(wire, &wrapper, &[gateway], w.pki.verifier(), w.now),
    )?;
    let verified = at(
        "AuthReq",
        opened.verify((&[gateway], false), &w.tokens(), w.pki.verifier(), w.now),
    )?;
    verified.map(drop).map_err(End::Declined)
}

#[test]
fn an_authorization_request_for_another_gateway_is_refused_sealed_or_sealed_again() {
    let (w, g) = (world(), genuine());
    assert_eq!(
        auth_req_at(&w.other_gateway, &g.auth_req),
        refused("AuthReq", NotSealedForUs)
    );
    let wire = resealed(&g.auth_req, &w.other_gateway);
    assert_eq!(
        auth_req_at(&w.other_gateway, &wire),
        refused("AuthReq", NotForUs)
    );
}

/// The hole that formal analysis found in SET 1.0: a gateway that opened a payment passes it on.
#[test]
fn a_payment_that_a_dishonest_gateway_seals_again_for_another_is_refused() {
    let (w, g, ring) = (world(), genuine(), genuine().ring());
    let mut verified = g.verified.clone();
    let sealed = openset_jose::jwe::Sealed::parse(&verified.pi.0).unwrap();
    let certificate = w.other_gateway.key_exchange.certificate();
    let named = Some(certificate.thumbprint());
    let (plaintext, cty) = (ring.open(&sealed), &sealed.header().cty);
    let rng = &mut crate::layers::fresh_rng();
    let key = certificate.public_key();
    verified.pi.0 = openset_jose::jwe::seal(rng, key, named, cty, &plaintext).unwrap();
    let asking = Asking {
        trans_ids: &verified.trans_ids,
        instrument: verified.payment_instruction(),
        hod2: verified.hod,
        amount: amount(4200),
        merch_cat_code: "5942",
        subsequent_auth_ind: false,
        capture_now: false,
        install_recur_data: Some(*PLAN),
    };
    let (_, wire) = w
        .with(|ctx| merchant::auth::request(ctx, &w.shop, certificate, &asking, w.verifier()))
        .unwrap();
    assert_eq!(
        auth_req_at(&w.other_gateway, &wire),
        refused("AuthReq", DualSignature("gateway"))
    );
}

#[test]
fn a_payment_meant_for_another_merchant_is_refused() {
    let (w, g) = (world(), genuine());
    let verified = &g.verified;
    let asking = Asking {
        trans_ids: &verified.trans_ids,
        instrument: verified.payment_instruction(),
        hod2: verified.hod,
        amount: amount(4200),
        merch_cat_code: "5942",
        subsequent_auth_ind: false,
        capture_now: false,
        install_recur_data: Some(*PLAN),
    };
    let gateway = w.gateway.key_exchange.certificate();
    let (_, wire) = w
        .with(|ctx| merchant::auth::request(ctx, &w.other_shop, gateway, &asking, w.verifier()))
        .unwrap();
    assert_eq!(
        auth_req_at(&w.gateway, &wire),
        refused("AuthReq", DualSignature("merchant"))
    );
}

#[test]
fn a_capture_token_of_another_merchant_or_authorization_is_refused() {
    let (g, o, ring) = (genuine(), other(), genuine().ring());
    let mut letter = mixed(&g.cap_req, &o.cap_req, &["cap_token_seq"]);
    letter.relink(crate::matrix::CAP_REQ_LINKS, "", &ring);
    assert_eq!(
        run().cap_req(&letter.close(&ring)),
        Err(End::Uncaptured(CapCode::InvalidCapToken))
    );
}

#[test]
fn each_answer_is_refused_by_another_request() {
    let (g, o, w) = (genuine(), other(), world());
    let (verifier, now) = (w.pki.verifier(), w.now);
    let unknown = Err(Rejection::UnknownRrpid);
    assert_eq!(
        g.awaiting_auth_res
            .handle(&o.auth_res, &[&w.shop], verifier, now)
            .map(drop),
        unknown
    );
    assert_eq!(
        g.awaiting_cap_res
            .handle(&o.cap_res, &[&w.shop], verifier, now)
            .map(drop),
        unknown
    );
    assert_eq!(
        w.with(|ctx| g.awaiting_p_res.handle(ctx, &o.p_res, verifier))
            .map(drop),
        unknown
    );
    let init = g.awaiting_p_init_res.clone();
    let step = w.with(|ctx| init.handle(ctx, &w.card(), &o.p_init_res, verifier, None));
    assert_eq!(step.map(drop), unknown);
    let purchase = g.awaiting_p_res.purchase();
    let told = w.with(|ctx| {
        g.awaiting_inq_res
            .handle(ctx, purchase, &o.inq_res, verifier)
    });
    assert_eq!(told.map(drop), unknown);
    // The same names, but another request: as if the sender had sent something else under them.
    let another = Err(Rejection::AnotherRequest);
    let asked = as_sent(&g.awaiting_auth_res, b"something else");
    assert_eq!(
        asked
            .handle(&g.auth_res, &[&w.shop], verifier, now)
            .map(drop),
        another
    );
    let asked = as_sent(&g.awaiting_p_res, b"something else");
    assert_eq!(
        w.with(|ctx| asked.handle(ctx, &g.p_res, verifier))
            .map(drop),
        another
    );
}

#[test]
fn each_receiver_takes_its_own_message_alone() {
    let mirrored: [(&'static str, &[u8]); 1] = [("PInitReq", &genuine().p_init_req)];
    let cases = all();
    for case in &cases {
        let others = cases
            .iter()
            .map(|other| (other.name, other.wire))
            .chain(mirrored);
        for (name, wire) in others.filter(|(name, _)| *name != case.name) {
            let outcome = case.received(world().pki.verifier(), wire);
            assert_eq!(
                outcome,
                refused(case.name, MessageNotTaken(name)),
                "{name} where {} belongs",
                case.name
            );
        }
    }
}

/// Puts one message's signed object into another's place, under the name that belongs there.
fn disguised(from: &[u8], to: &Case, path_from: &str, path_to: &str) -> Result<(), End> {
    let ring = genuine().ring();
    let Node::Signed { compact, .. } = Letter::open(from, &ring).at(path_from).clone() else {
        unreachable!("{path_from} is signed")
    };
    let mut letter = Letter::open(to.wire, &ring);
    *letter.at(path_to) = Node::Leaf(compact.into());
    letter.relink(to.links, "", &ring);
    to.received(world().pki.verifier(), &letter.close(&ring))
}

#[test]
fn a_signature_for_one_message_does_not_serve_as_another() {
    let g = genuine();
    let cases = all();
    let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    let content = |expected, found: &str| ContentType {
        expected,
        found: found.to_owned(),
    };
    let mirrored = disguised(&g.auth_req, case("AuthRes"), "auth_req", "auth_res");
    assert_eq!(
        mirrored,
        refused("AuthRes", content("AuthResTBS", "AuthReqTBS"))
    );
    let mirrored = disguised(&g.cap_req, case("CapRes"), "cap_req", "cap_res");
    assert_eq!(
        mirrored,
        refused("CapRes", content("CapResData", "CapReqTBS"))
    );
    let as_p_res = disguised(&g.p_init_res, case("PRes"), "", "");
    assert_eq!(
        as_p_res,
        refused("PRes", content("PResData", "PInitResData"))
    );
    let as_inquiry = disguised(&g.p_req, case("InqReq"), "dual_signature", "inq_req");
    assert_eq!(
        as_inquiry,
        refused("InqReq", content("InqReqData", "PI-TBS"))
    );
    // PRes and InqRes are of one content type.
    let as_inq_res = disguised(&g.p_res, case("InqRes"), "", "");
    assert_eq!(as_inq_res, refused("InqRes", HeaderMismatch("message")));
    // The answer to an authorization is no receipt.
    let receipt = "data/p_res_payload_seq/0/results/receipt";
    let ring = g.ring();
    let Node::Signed { compact, .. } = Letter::open(&g.auth_res, &ring).at("auth_res").clone()
    else {
        unreachable!("auth_res is signed")
    };
    let mut letter = Letter::open(&g.p_res, &ring);
    *letter.at(receipt) = Node::Leaf(compact.into());
    let outcome = run().p_res(&letter.close(&ring));
    assert_eq!(
        outcome,
        refused("PRes", content("ReceiptTBS", "AuthResTBS"))
    );
}

#[test]
fn a_receipt_of_another_purchase_does_not_make_paid() {
    let (g, o, ring) = (genuine(), other(), genuine().ring());
    let path = "data/p_res_payload_seq/0/results/receipt";
    let letter = mixed(&g.p_res, &o.p_res, &[path]);
    assert_eq!(run().p_res(&letter.close(&ring)), refused("PRes", NotForUs));
}

#[test]
fn nobody_asks_about_another_cardholders_purchase() {
    let (g, w) = (genuine(), world());
    let card = w.other_card();
    let step = w
        .with(|ctx| inquiry::start(ctx, &card, g.awaiting_p_res.purchase(), w.verifier()))
        .unwrap();
    let answer = run().answer_inquiry(&g.opened, &g.verified, &g.answer, &step.wire);
    assert_eq!(answer, Err(AnotherParty("cardholder")));
}

/// What each field of the header does when it contradicts the message. Nothing signs the header.
fn header_refusal(case: &Case, field: &str) -> Option<Rejection> {
    let is_answer = case.name.ends_with("Res");
    match field {
        "version" => Some(Rejection::VersionTooNew(3)),
        "revision" => Some(Rejection::VersionTooNew(2)),
        "rrpid" if is_answer => Some(Rejection::UnknownRrpid),
        // PReq has no date of its own: the challenge of the purchase that is open makes it fresh.
        "date" if case.name == "PReq" => None,
        "date" => Some(HeaderMismatch("date")),
        "rrpid" => Some(HeaderMismatch("rrpid")),
        "message_ids/lid_c" => Some(HeaderMismatch("lid_c")),
        "message_ids/lid_m" => Some(HeaderMismatch("lid_m")),
        "message_ids/xid" => Some(HeaderMismatch("xid")),
        "sw_ident" => None,
        unknown => panic!("the header has a field {unknown}, for which nothing is expected"),
    }
}

fn header_fields(header: &Value) -> Vec<String> {
    let ids = header["message_ids"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| format!("message_ids/{name}"));
    let fields = header
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "message_ids")
        .cloned();
    fields.chain(ids).collect()
}

#[test]
fn every_field_of_the_header_that_contradicts_the_message_is_refused() {
    use crate::rows::Alteration::{Add, Bit, Later, Text};
    for case in all() {
        let header = serde_json::from_slice::<Value>(case.wire).unwrap()["message_header"].take();
        for field in header_fields(&header) {
            let alteration = match field.as_str() {
                "version" | "revision" => Add(1),
                "date" => Later,
                "rrpid" | "message_ids/xid" => Bit,
                _ => Text("other"),
            };
            let mut json: Value = serde_json::from_slice(case.wire).unwrap();
            alteration.apply(
                json.pointer_mut(&format!("/message_header/{field}"))
                    .unwrap(),
            );
            let wire = serde_json::to_vec(&json).unwrap();
            let outcome = case.received(world().pki.verifier(), &wire);
            let expected = match header_refusal(&case, &field) {
                Some(rejection) => refused(case.name, rejection),
                None => Ok(()),
            };
            assert_eq!(outcome, expected, "{}: {field}", case.name);
        }
    }
}

#[test]
fn an_old_request_under_a_new_date_is_refused() {
    let (g, w) = (genuine(), world());
    let later = w.now.plus(3600);
    let redated = |wire: &[u8]| {
        let mut json: Value = serde_json::from_slice(wire).unwrap();
        json["message_header"]["date"] = later.to_string().into();
        serde_json::to_vec(&json).unwrap()
    };
    let stale = MessageWrapper::decode(&g.auth_req).unwrap();
    assert_eq!(stale.check_date(later), Err(Rejection::TooOld));
    let differs = HeaderMismatch("date");
    assert_eq!(
        run().auth_req(&redated(&g.auth_req)),
        refused("AuthReq", differs.clone())
    );
    assert_eq!(
        run().cap_req(&redated(&g.cap_req)),
        refused("CapReq", differs.clone())
    );
    assert_eq!(
        run().inq_req(&redated(&g.inq_req)),
        refused("InqReq", differs)
    );
}

#[test]
fn the_parts_of_a_purchase_are_made_anew_each_time() {
    let (g, o): (&Genuine, &Genuine) = (genuine(), other());
    let (mut one, mut two) = (
        Letter::open(&g.p_req, &g.ring()),
        Letter::open(&o.p_req, &o.ring()),
    );
    let fresh = [
        "oi_data/trans_ids/xid",
        "oi_data/rrpid",
        "oi_data/chall_c",
        "oi_data/chall_m",
        "oi_data/od_salt",
        "oi_data/hod",
        "pi/pi_data/pan_data/ex_nonce",
        "pi/pi_data/pi_head/acq_back_key_data",
        "pi/pi_data/pi_head/trans_stain",
        "hpi",
    ];
    for path in fresh {
        assert_ne!(one.leaf(path), two.leaf(path), "{path}");
    }
    assert_eq!(P_REQ_LINKS.len(), 4);
}
