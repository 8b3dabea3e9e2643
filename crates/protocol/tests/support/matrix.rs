//! The negative matrix: each message under test, and what is done to it.

use crate::layers::{KeyRing, Letter, Link, Node};
use crate::rows::{Alteration, Expected, Row, check_complete, flips};
use openset_pki::PathVerifier;
use openset_protocol::{ErrorCode, Rejection};
use serde_json::Value;
use std::fmt::Debug;

/// How an exchange ended that went on from some message.
pub trait Ending: Debug + PartialEq + 'static {
    /// Which message was refused, and why, if it ended so.
    fn refused(&self) -> Option<(&'static str, &Rejection)>;

    /// Whether this end hides what is wrong with the object at `path`, because nobody outside is to learn it
    /// or because an answer of its own tells it; `part` is the part of the object that was flipped.
    fn covers(&self, path: &str, part: Option<usize>) -> bool;
}

/// A message under test.
pub struct Case<E: 'static> {
    /// Its name.
    pub name: &'static str,
    /// The genuine one.
    pub wire: &'static [u8],
    /// The keys with which it was made.
    pub ring: fn() -> KeyRing,
    /// Receivers that remember no certificate.
    pub fresh: fn() -> PathVerifier,
    /// How the exchange goes on from it.
    pub receive: fn(&PathVerifier, &[u8]) -> Result<(), E>,
    /// The digests inside it, inner ones first.
    pub links: &'static [Link],
    /// Its fields.
    pub rows: Vec<Row<E>>,
    /// What comes of dropping a field that may be absent; every other dropped field is malformed.
    pub optional: Vec<(&'static str, Option<E>)>,
}

impl<E: Ending> Case<E> {
    /// What comes of these bytes in place of the genuine ones.
    pub fn received(&self, verifier: &PathVerifier, wire: &[u8]) -> Result<(), E> {
        (self.receive)(verifier, wire)
    }

    /// The bench on which it is altered.
    fn bench(&self) -> Bench<'_, E> {
        let ring = (self.ring)();
        Bench {
            case: self,
            letter: Letter::open(self.wire, &ring),
            ring,
            verifier: (self.fresh)(),
        }
    }

    /// Row (b): each field altered, then sealed and signed again with the real keys.
    pub fn check_fields(&self) {
        let mut bench = self.bench();
        check_complete(&bench.letter, &self.rows);
        assert_eq!(
            self.received(&bench.verifier, self.wire),
            Ok(()),
            "{}: unaltered",
            bench.letter.name
        );
        let mut wrong = Vec::new();
        for row in &self.rows {
            if matches!(row.alteration, Alteration::LastByte) {
                // A chain is read only where its leaf is not remembered.
                bench.verifier = (self.fresh)();
            }
            let outcome = bench.altered(&row.path, |letter| {
                row.alteration.apply(letter.leaf(&row.path))
            });
            if !fits(&outcome, &row.expected) {
                wrong.push(format!(
                    "{}: {:?} expected, but {outcome:?}",
                    row.path, row.expected
                ));
            }
        }
        assert!(
            wrong.is_empty(),
            "{}:\n{}",
            bench.letter.name,
            wrong.join("\n")
        );
    }

    /// Row (a): each part of each object flipped on the wire; the objects around it are made whole again.
    pub fn check_flips(&self) {
        for path in self.bench().letter.objects() {
            // No certificate is remembered, but those of the objects around it.
            let mut bench = self.bench();
            let (Node::Signed { compact, .. } | Node::Sealed { compact, .. }) =
                bench.letter.at(&path).clone()
            else {
                unreachable!("an object is signed or sealed")
            };
            for (part, flipped) in flips(&compact) {
                let outcome =
                    bench.altered("", |letter| *letter.at(&path) = Node::Leaf(flipped.into()));
                let message = &bench.letter.name;
                assert!(
                    is_signature_failure(&path, part, &outcome),
                    "{message}: {path:?}, part {part}: {outcome:?}"
                );
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
                letter
                    .at(&path)
                    .fields()
                    .unwrap()
                    .insert("surprise".to_owned(), surprise);
            });
            assert!(
                is_malformed(&path, &outcome),
                "{}: {path:?} with another field: {outcome:?}",
                letter.name
            );
        }
        for path in letter.leaves() {
            let listed = self.optional.iter().any(|(optional, _)| *optional == path);
            if listed || path.ends_with(|last: char| last.is_ascii_digit()) {
                continue;
            }
            let outcome = bench.without(&path);
            let fits = is_malformed(&path, &outcome);
            assert!(fits, "{}: without {path}: {outcome:?}", letter.name);
        }
        // Records too.
        for (path, end) in &self.optional {
            let outcome = bench.without(path);
            let fits = outcome.as_ref().err() == end.as_ref();
            assert!(fits, "{}: without {path}: {outcome:?}", letter.name);
        }
    }

    /// The message without one of its parts, a whole object perhaps.
    pub fn without(&self, path: &str) -> Result<(), E> {
        self.bench().without(path)
    }

    /// What somebody can do who has everybody's certificates but not the signer's key: alter what only a
    /// digest protects, and seal it again.
    pub fn check_linked(&self, below: &str, end: &E) {
        let Bench {
            letter: genuine,
            ring,
            verifier,
            ..
        } = self.bench();
        let mut altered = 0;
        for row in self.rows.iter().filter(|row| row.path.starts_with(below)) {
            let mut letter = genuine.clone();
            row.alteration.apply(letter.leaf(&row.path));
            let outcome = self.received(&verifier, &letter.close(&ring));
            let named_first = outcome.is_err() && fits(&outcome, &row.expected);
            assert!(
                outcome.as_ref() == Err(end) || named_first,
                "{}: {outcome:?}",
                row.path
            );
            altered += 1;
        }
        assert!(altered > 0, "nothing below {below}");
    }
}

/// A message taken apart, with the keys to make it whole again and the memory of who receives it.
struct Bench<'a, E: 'static> {
    case: &'a Case<E>,
    letter: Letter,
    ring: KeyRing,
    verifier: PathVerifier,
}

impl<E: Ending> Bench<'_, E> {
    /// What comes of the message with something altered and all else made whole again.
    fn altered(&self, except: &str, alter: impl FnOnce(&mut Letter)) -> Result<(), E> {
        let mut letter = self.letter.clone();
        alter(&mut letter);
        letter.relink(self.case.links, except, &self.ring);
        self.case
            .received(&self.verifier, &letter.close(&self.ring))
    }

    fn without(&self, path: &str) -> Result<(), E> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.altered("", |letter| {
            letter.at(parent).fields().unwrap().remove(name).unwrap();
        })
    }
}

fn fits<E: Ending>(outcome: &Result<(), E>, expected: &Expected<E>) -> bool {
    match (outcome, expected) {
        (Err(found), Expected::End(end)) => found == end,
        (Err(found), Expected::Malformed(message)) => found
            .refused()
            .is_some_and(|(at, why)| at == *message && matches!(why, Rejection::Malformed(_))),
        (Ok(()), Expected::Harmless(_)) => true,
        _ => false,
    }
}

fn is_signature_failure<E: Ending>(path: &str, part: usize, outcome: &Result<(), E>) -> bool {
    outcome.as_ref().err().is_some_and(|end| {
        let refused = end
            .refused()
            .is_some_and(|(_, why)| why.code() == ErrorCode::SignatureFailure);
        refused || end.covers(path, Some(part))
    })
}

fn is_malformed<E: Ending>(path: &str, outcome: &Result<(), E>) -> bool {
    outcome.as_ref().err().is_some_and(|end| {
        let refused = end
            .refused()
            .is_some_and(|(_, why)| matches!(why, Rejection::Malformed(_)));
        refused || end.covers(path, None)
    })
}
