//! Every signature and every certificate inside a message, by somebody who has a certificate of the wrong
//! kind: each receiver refuses each of them by name.

use crate::layers::{KeyRing, Letter, Node};
use crate::matrix::{Case, all};
use crate::run::{End, Outcome, genuine};
use crate::world::{BRAND, OTHER_BRAND, world};
use openset_jose::{PrivateKey, base64url};
use openset_pki::authority::{Authority, IssueAuthority, IssueRequest, Serial, Subject, Validity};
use openset_pki::{
    Certificate, Chain, CrlIssuer, MerchantData, PathError, PathVerifier, Purpose, Role,
};
use openset_protocol::Rejection::{self, AnotherParty, DualSignature};
use openset_protocol::gateway::auth::Refusal;
use openset_testkit::keys::{key, rng};
use openset_testkit::pki::{ACQUIRER_BIN, TestCa, validity};
use serde_json::Value;

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Another,
    Expired,
    NotYetValid,
    ForeignRootOfSameName,
    UnknownRoot,
    SelfSigned,
    CrossBrand,
    WrongRole,
    WrongPurpose,
    Authority,
}

const FLAWS: [Flaw; 10] = [
    Flaw::Another,
    Flaw::Expired,
    Flaw::NotYetValid,
    Flaw::ForeignRootOfSameName,
    Flaw::UnknownRoot,
    Flaw::SelfSigned,
    Flaw::CrossBrand,
    Flaw::WrongRole,
    Flaw::WrongPurpose,
    Flaw::Authority,
];

/// A chain with a flaw in place of a genuine party's, and its key.
struct Imposter {
    chain: Chain,
    key: PrivateKey,
}

fn imposter_key() -> PrivateKey {
    key("imposter")
}

fn other_role(role: Role) -> Role {
    if role == Role::Gateway {
        Role::Merchant
    } else {
        Role::Gateway
    }
}

fn other_purpose(purpose: Purpose) -> Purpose {
    if purpose == Purpose::Signature {
        Purpose::KeyExchange
    } else {
        Purpose::Signature
    }
}

fn issuing(role: Role) -> &'static TestCa {
    let brand = world().pki.brand(BRAND);
    match role {
        Role::Cardholder => &brand.cca,
        Role::Merchant => &brand.mca,
        _ => &brand.pca,
    }
}

impl Imposter {
    /// None where there is no such certificate: a cardholder has no key-exchange key.
    fn new(flaw: Flaw, genuine: &Certificate) -> Option<Self> {
        let (role, purpose) = (genuine.role(), genuine.purpose());
        if flaw == Flaw::WrongPurpose && role == Role::Cardholder {
            return None;
        }
        let key = imposter_key();
        let now = world().now;
        let mut leaf = world().pki.leaf(role, purpose, genuine.common_name());
        let mut brand = BRAND;
        match flaw {
            Flaw::ForeignRootOfSameName => return Some(foreign("Test Root", genuine)),
            Flaw::UnknownRoot => return Some(foreign("Another Root", genuine)),
            Flaw::SelfSigned => return Some(self_signed(genuine)),
            Flaw::Authority => {
                let name = match role {
                    Role::Cardholder => "cca",
                    Role::Merchant => "mca",
                    _ => "pca",
                };
                let key = openset_testkit::keys::key(&format!("{BRAND}/{name}"));
                return Some(Self {
                    chain: issuing(role).authority.chain().unwrap(),
                    key,
                });
            }
            Flaw::Another => leaf = world().pki.leaf(role, purpose, "somebody-else"),
            Flaw::Expired => {
                leaf.validity = Validity {
                    not_before: now.plus(-9).seconds(),
                    not_after: now.plus(-1).seconds(),
                };
            }
            Flaw::NotYetValid => {
                leaf.validity = Validity {
                    not_before: now.plus(1).seconds(),
                    not_after: now.plus(9).seconds(),
                };
            }
            Flaw::CrossBrand => brand = OTHER_BRAND,
            Flaw::WrongRole => {
                leaf = world()
                    .pki
                    .leaf(other_role(role), purpose, genuine.common_name())
            }
            Flaw::WrongPurpose => leaf.purpose = other_purpose(purpose),
        }
        Some(Self {
            chain: world().pki.issue(brand, &leaf, key.public_key()),
            key,
        })
    }
}

/// What the path verifier says of it; nothing of another party's good certificate.
fn refusal(flaw: Flaw, genuine: &Certificate) -> Option<Rejection> {
    let (role, purpose) = (genuine.role(), genuine.purpose());
    let error = match flaw {
        Flaw::Another => return None,
        Flaw::Expired => PathError::Expired(role),
        Flaw::NotYetValid => PathError::NotYetValid(role),
        Flaw::ForeignRootOfSameName => PathError::BadSignature,
        Flaw::UnknownRoot => PathError::UnknownIssuer,
        Flaw::SelfSigned => PathError::SelfSigned,
        Flaw::CrossBrand => PathError::WrongBrand,
        Flaw::WrongRole => PathError::WrongRole {
            expected: role,
            found: other_role(role),
        },
        Flaw::WrongPurpose => PathError::WrongPurpose {
            expected: purpose,
            found: other_purpose(purpose),
        },
        Flaw::Authority => PathError::CaAsLeaf,
    };
    Some(Rejection::Certificate(error))
}

fn subject(common_name: &str) -> Subject {
    let brand = Some(world().pki.brand(BRAND).id.clone());
    Subject {
        country: None,
        brand,
        organizational_unit: Some("Test".to_owned()),
        common_name: common_name.to_owned(),
    }
}

fn serial() -> Serial {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEED: AtomicU64 = AtomicU64::new(1);
    Serial::random(&mut rng(SEED.fetch_add(1, Ordering::Relaxed)))
}

/// A hierarchy of one's own, named as the genuine one below its root.
fn foreign_authority(root: &str, role: Role) -> Authority {
    let key = imposter_key();
    let valid = validity(world().now, 3650);
    let name = Subject {
        common_name: root.to_owned(),
        ..Subject::default()
    };
    let root = Authority::root(key.clone(), &name, valid, serial(), key.public_key()).unwrap();
    let issuing = match role {
        Role::Cardholder => (Role::CardholderCa, "cca", 0),
        Role::Merchant => (Role::MerchantCa, "mca", 0),
        _ => (Role::GatewayCa, "pca", 0),
    };
    let below = [
        (Role::BrandCa, "bca", 2),
        (Role::RegionalCa, "gca", 1),
        issuing,
    ];
    below
        .into_iter()
        .fold(root, |parent, (role, name, path_len)| {
            let subject = subject(&format!("{BRAND} {name}"));
            let request = IssueAuthority {
                role,
                subject,
                validity: valid,
                serial: serial(),
                path_len,
            };
            let certificate = parent.issue_authority(key.public_key(), &request).unwrap();
            Authority::with_key(parent.chain_of(&certificate), key.clone()).unwrap()
        })
}

fn issue(authority: &Authority, genuine: &Certificate, subject: Subject) -> Certificate {
    let key = imposter_key();
    let merchant_data = genuine.merchant_data().map(|data| MerchantData {
        merchant_id: data.merchant_id.clone(),
        acquirer_bin: ACQUIRER_BIN.to_owned(),
        name: "Shop".to_owned(),
        country: 276,
        auth_flag: false,
    });
    let request = IssueRequest {
        public_key: key.public_key(),
        role: genuine.role(),
        purpose: genuine.purpose(),
        subject,
        validity: validity(world().now, 365),
        serial: serial(),
        merchant_data,
        card_cert_required: genuine.card_cert_required(),
    };
    authority.issue_end_entity(&request).unwrap()
}

fn foreign(root: &str, genuine: &Certificate) -> Imposter {
    let authority = foreign_authority(root, genuine.role());
    let certificate = issue(&authority, genuine, subject(genuine.common_name()));
    Imposter {
        chain: authority.chain_of(&certificate),
        key: imposter_key(),
    }
}

/// Named as its own issuer, and signed with its own key.
fn self_signed(genuine: &Certificate) -> Imposter {
    let authority = foreign_authority("Test Root", genuine.role());
    let itself = subject(authority.certificate().common_name());
    let certificate = issue(&authority, genuine, itself);
    Imposter {
        chain: Chain::new(vec![certificate]).unwrap(),
        key: imposter_key(),
    }
}

fn signer(letter: &mut Letter, path: &str) -> Certificate {
    let Node::Signed { header, .. } = letter.at(path) else {
        unreachable!("{path} is signed")
    };
    Certificate::from_der(&header.x5c[0]).unwrap()
}

fn sign_as(letter: &mut Letter, path: &str, imposter: &Imposter, ring: &mut KeyRing) {
    let leaf = imposter.chain.leaf().thumbprint();
    ring.add(leaf, imposter.key.clone());
    let Node::Signed { header, .. } = letter.at(path) else {
        unreachable!("{path} is signed")
    };
    header.x5t_s256 = Some(leaf);
    header.x5c = imposter.chain.to_x5c();
    if letter.at(path).fields().unwrap().contains_key("from") {
        let from = if path.is_empty() {
            "from/certificate".to_owned()
        } else {
            format!("{path}/from/certificate")
        };
        *letter.leaf(&from) = serde_json::to_value(leaf).unwrap();
    }
}

/// Another genuine party's good certificate: who notices, and how.
fn of_another(case: &Case, path: &str, role: Role) -> End {
    if path.ends_with("dual_signature") {
        // The merchant need not know the cardholder; the gateway compares certificate and card.
        return End::Declined(Refusal::Account);
    }
    let party = match role {
        Role::Cardholder => "cardholder",
        Role::Merchant => "merchant",
        _ => "gateway",
    };
    End::Refused(case.name, AnotherParty(party))
}

fn expected(case: &Case, path: &str, flaw: Flaw, genuine: &Certificate) -> End {
    // A merchant of several brands learns the brand of an inquiry from its signer alone.
    let any_brand = case.name == "InqReq" && flaw == Flaw::CrossBrand;
    match refusal(flaw, genuine) {
        Some(rejection) if !any_brand => End::Refused(case.name, rejection),
        _ => of_another(case, path, genuine.role()),
    }
}

#[test]
fn every_signature_by_a_certificate_of_the_wrong_kind_is_refused_by_name() {
    let mut tried = 0;
    for case in all() {
        let letter = Letter::open(case.wire, &genuine().ring());
        for path in letter.signed() {
            let genuine_signer = signer(&mut letter.clone(), &path);
            for flaw in FLAWS {
                let Some(imposter) = Imposter::new(flaw, &genuine_signer) else {
                    continue;
                };
                let (mut letter, mut ring) = (letter.clone(), genuine().ring());
                sign_as(&mut letter, &path, &imposter, &mut ring);
                letter.relink(case.links, "", &ring);
                let outcome = case.received(world().pki.verifier(), &letter.close(&ring));
                let expected = expected(&case, &path, flaw, &genuine_signer);
                assert_eq!(outcome, Err(expected), "{}: {path:?}, {flaw:?}", case.name);
                tried += 1;
            }
        }
    }
    assert!(tried >= 120, "{tried}");
}

/// The chains inside messages, for which others will seal.
const CARRIED: [(&str, &str); 4] = [
    ("PInitRes", "data/gateway_key_exchange"),
    ("PInitRes", "data/merchant_key_exchange"),
    ("AuthReq", "auth_req/data/merchant_key_exchange"),
    ("CapReq", "cap_req/data/merchant_key_exchange"),
];

fn carry(letter: &mut Letter, path: &str, chain: &Chain) {
    let items = chain
        .to_x5c()
        .into_iter()
        .map(|der| Node::Leaf(base64url::encode(&der).into()));
    *letter.at(path) = Node::List(items.collect());
    if path.ends_with("gateway_key_exchange") {
        *letter.leaf("data/pe_thumb") = serde_json::to_value(chain.leaf().thumbprint()).unwrap();
    }
}

#[test]
fn every_key_exchange_certificate_of_the_wrong_kind_is_refused_by_name() {
    let mut tried = 0;
    for case in all() {
        for (_, path) in CARRIED
            .into_iter()
            .filter(|(message, _)| *message == case.name)
        {
            let ring = genuine().ring();
            let letter = Letter::open(case.wire, &ring);
            let leaf: Value = letter.clone().leaf(&format!("{path}/0")).clone();
            let carried =
                Certificate::from_der(&base64url::decode(leaf.as_str().unwrap()).unwrap()).unwrap();
            for flaw in FLAWS {
                let imposter = Imposter::new(flaw, &carried).unwrap();
                let mut letter = letter.clone();
                carry(&mut letter, path, &imposter.chain);
                let outcome = case.received(world().pki.verifier(), &letter.close(&ring));
                let expected = match refusal(flaw, &carried) {
                    Some(rejection) => End::Refused(case.name, rejection),
                    // The wallet takes any gateway of the brand; the merchant does not take another than its own.
                    None if carried.role() == Role::Gateway => {
                        End::Refused("PReq", DualSignature("gateway"))
                    }
                    None => End::Refused(case.name, AnotherParty("merchant")),
                };
                assert_eq!(outcome, Err(expected), "{}: {path:?}, {flaw:?}", case.name);
                tried += 1;
            }
        }
    }
    // AuthReq is there twice: with a payment instruction and with a token.
    assert_eq!(tried, (CARRIED.len() + 1) * FLAWS.len());
}

fn revoke(verifier: &PathVerifier, certificate: &Certificate) {
    let authority = &issuing(certificate.role()).authority;
    let crl = world().pki.crl(authority, 2, &[certificate]);
    let chain = authority.chain().unwrap();
    verifier
        .install_crl(crl, CrlIssuer::Chain(&chain), world().now.seconds())
        .unwrap();
}

#[test]
fn every_signature_is_refused_once_its_certificate_is_revoked() {
    for case in all() {
        let letter = Letter::open(case.wire, &genuine().ring());
        for path in letter.signed() {
            let verifier = world().pki.fresh_verifier();
            let accepted: Outcome = case.received(&verifier, case.wire);
            assert_eq!(accepted, Ok(()), "{}: before", case.name);
            let signer = signer(&mut letter.clone(), &path);
            revoke(&verifier, &signer);
            let revoked = Rejection::Certificate(PathError::Revoked(signer.role()));
            let outcome = case.received(&verifier, case.wire);
            assert_eq!(
                outcome,
                Err(End::Refused(case.name, revoked)),
                "{}: {path:?}",
                case.name
            );
        }
    }
}
