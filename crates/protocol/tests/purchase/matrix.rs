//! The negative matrix: every signed or sealed field of every message of a purchase, altered on the wire,
//! and altered and made whole again with the real keys.

use crate::layers::{KeyRing, Letter, Link, Node};
use crate::rows::{Alteration, Expected, Row, check_complete, flips};
use crate::run::{End, Outcome, Run, genuine};
use crate::world::world;
use openset_pki::PathVerifier;
use openset_protocol::content_type::ContentType;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::{ErrorCode, Rejection};
use serde_json::Value;

mod answers;
mod captures;
mod fields;
mod requests;

/// A message of the purchase under test.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The genuine one.
    pub wire: &'static [u8],
    /// How the purchase goes on from it.
    pub go_on: fn(&Run<'_>, &[u8]) -> Outcome,
    /// The digests inside it, inner ones first.
    pub links: &'static [Link],
    /// Its fields.
    pub rows: Vec<Row<End>>,
    /// What comes of dropping a field that may be absent; every other dropped field is malformed.
    pub optional: &'static [(&'static str, Option<End>)],
}

const HPI: Link = Link { over: "pi/pi_data", content: ContentType::PiData, at: "dual_signature/hpi" };

pub const P_REQ_LINKS: &[Link] = &[
    Link { over: "oi_data", content: ContentType::OiData, at: "dual_signature/hoi" },
    Link { over: "oi_data", content: ContentType::OiData, at: "pi/hoi" },
    Link { over: "pi/pi_data", content: ContentType::PiData, at: "hpi" },
    HPI,
];
pub const AUTH_REQ_LINKS: &[Link] = &[
    HPI,
    Link { over: "pi", content: ContentType::PiDualSignedTbe, at: "auth_req/data/pi_digest" },
    Link { over: "dual_signature", content: ContentType::PiTbs, at: "auth_req/data/dual_signature_digest" },
];
pub const AUTH_RES_LINKS: &[Link] = &[Link {
    over: "baggage",
    content: ContentType::AuthResBaggage,
    at: "auth_res/data/baggage_digest",
}];
pub const CAP_REQ_LINKS: &[Link] = &[Link {
    over: "cap_token_seq",
    content: ContentType::CapTokenSeq,
    at: "cap_req/data/cap_token_seq_digest",
}];

impl Case {
    pub fn received(&self, verifier: &PathVerifier, wire: &[u8]) -> Outcome {
        (self.go_on)(&Run { world: world(), verifier }, wire)
    }

    /// The bench on which it is altered.
    fn bench(&self) -> Bench<'_> {
        let ring = genuine().ring();
        Bench { case: self, letter: Letter::open(self.wire, &ring), ring, verifier: world().pki.fresh_verifier() }
    }

    /// Row (b): each field altered, then sealed and signed again with the real keys.
    pub fn check_fields(&self) {
        let mut bench = self.bench();
        check_complete(&bench.letter, &self.rows);
        assert_eq!(self.received(&bench.verifier, self.wire), Ok(()), "{}: unaltered", bench.letter.name);
        let mut wrong = Vec::new();
        for row in &self.rows {
            if matches!(row.alteration, Alteration::LastByte) {
                // A chain is read only where its leaf is not remembered.
                bench.verifier = world().pki.fresh_verifier();
            }
            let outcome = bench.altered(&row.path, |letter| row.alteration.apply(letter.leaf(&row.path)));
            if !fits(&outcome, &row.expected) {
                wrong.push(format!("{}: {:?} expected, but {outcome:?}", row.path, row.expected));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", bench.letter.name, wrong.join("\n"));
    }

    /// Row (a): each part of each object flipped on the wire; the objects around it are made whole again.
    pub fn check_flips(&self) {
        for path in self.bench().letter.objects() {
            // No certificate is remembered, but those of the objects around it.
            let mut bench = self.bench();
            let (Node::Signed { compact, .. } | Node::Sealed { compact, .. }) = bench.letter.at(&path).clone() else {
                unreachable!("an object is signed or sealed")
            };
            for (part, flipped) in flips(&compact) {
                let outcome = bench.altered("", |letter| *letter.at(&path) = Node::Leaf(flipped.into()));
                let message = &bench.letter.name;
                assert!(is_signature_failure(&path, &outcome), "{message}: {path:?}, part {part}: {outcome:?}");
            }
        }
    }

    /// Fields that do not belong, and fields dropped, in every record.
    pub fn check_records(&self) {
        let bench = self.bench();
        let letter = &bench.letter;
        for path in letter.records() {
            let outcome = bench.altered("", |letter| {
                let surprise = Node::Leaf(Value::from("surprise"));
                letter.at(&path).fields().unwrap().insert("surprise".to_owned(), surprise);
            });
            assert!(is_malformed(&path, &outcome), "{}: {path:?} with another field: {outcome:?}", letter.name);
        }
        for path in letter.leaves() {
            if path.ends_with(|last: char| last.is_ascii_digit()) {
                continue;
            }
            let outcome = bench.without(&path);
            let fits = match self.optional.iter().find(|(optional, _)| *optional == path) {
                Some((_, end)) => outcome.as_ref().err() == end.as_ref(),
                None => is_malformed(&path, &outcome),
            };
            assert!(fits, "{}: without {path}: {outcome:?}", letter.name);
        }
    }

    /// The message without one of its parts, a whole object perhaps.
    pub fn without(&self, path: &str) -> Outcome {
        self.bench().without(path)
    }

    /// What somebody can do who has everybody's certificates but not the signer's key: alter what only a
    /// digest protects, and seal it again.
    pub fn check_linked(&self, below: &str, end: &End) {
        let Bench { letter: genuine, ring, verifier, .. } = self.bench();
        let mut altered = 0;
        for row in self.rows.iter().filter(|row| row.path.starts_with(below)) {
            let mut letter = genuine.clone();
            row.alteration.apply(letter.leaf(&row.path));
            let outcome = self.received(&verifier, &letter.close(&ring));
            let named_first = outcome.is_err() && fits(&outcome, &row.expected);
            assert!(outcome.as_ref() == Err(end) || named_first, "{}: {outcome:?}", row.path);
            altered += 1;
        }
        assert!(altered > 0, "nothing below {below}");
    }
}

/// A message taken apart, with the keys to make it whole again and the memory of who receives it.
struct Bench<'a> {
    case: &'a Case,
    letter: Letter,
    ring: KeyRing,
    verifier: PathVerifier,
}

impl Bench<'_> {
    /// What comes of the message with something altered and all else made whole again.
    fn altered(&self, except: &str, alter: impl FnOnce(&mut Letter)) -> Outcome {
        let mut letter = self.letter.clone();
        alter(&mut letter);
        letter.relink(self.case.links, except, &self.ring);
        self.case.received(&self.verifier, &letter.close(&self.ring))
    }

    fn without(&self, path: &str) -> Outcome {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.altered("", |letter| {
            letter.at(parent).fields().unwrap().remove(name).unwrap();
        })
    }
}

fn fits(outcome: &Outcome, expected: &Expected<End>) -> bool {
    match (outcome, expected) {
        (Err(found), Expected::End(end)) => found == end,
        (Err(End::Refused(found, Rejection::Malformed(_))), Expected::Malformed(message)) => found == message,
        (Ok(()), Expected::Harmless(_)) => true,
        _ => false,
    }
}

/// The gateway's own tokens are judged in its signed answer, whatever is wrong with them.
fn in_cap_token(path: &str) -> bool {
    path.contains("cap_token")
}

fn is_signature_failure(path: &str, outcome: &Outcome) -> bool {
    match outcome {
        Err(End::Refused(_, rejection)) => rejection.code() == ErrorCode::SignatureFailure,
        Err(End::Uncaptured(CapCode::InvalidCapToken)) => in_cap_token(path),
        _ => false,
    }
}

fn is_malformed(path: &str, outcome: &Outcome) -> bool {
    match outcome {
        Err(End::Refused(_, Rejection::Malformed(_))) => true,
        Err(End::Uncaptured(CapCode::InvalidCapToken)) => in_cap_token(path),
        _ => false,
    }
}

/// Every message.
pub fn all() -> Vec<Case> {
    [requests::all(), answers::all(), captures::all()].into_iter().flatten().collect()
}

/// Harmless fields must be few, and stay few.
#[test]
fn of_all_fields_few_are_harmless_and_each_has_its_reason() {
    let rows: Vec<Row<End>> = all().into_iter().flat_map(|case| case.rows).collect();
    let harmless: Vec<&Row<End>> = rows.iter().filter(|row| matches!(row.expected, Expected::Harmless(_))).collect();
    println!("{} fields, {} of them harmless", rows.len(), harmless.len());
    assert!(rows.len() >= 250, "{}", rows.len());
    assert!(harmless.len() <= 22, "{harmless:#?}");
}
