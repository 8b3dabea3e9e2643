//! A whole certificate hierarchy in memory: root, brand, regional and issuing CAs, their CRLs, a
//! verifier that holds them, and certificates for any cardholder, merchant or gateway.
//!
//! ```no_run
//! use openset_protocol::Timestamp;
//! use openset_testkit::pki::TestPki;
//!
//! let now = Timestamp::from_seconds(1_800_000_000);
//! let pki = TestPki::new(&["Visa"], now);
//! let shop = pki.merchant("Visa", "shop-1");
//! let gateway = pki.gateway("Visa", "gateway-1");
//! let wallet = pki.cardholder("Visa", "account-1");
//! let verifier = pki.verifier();
//! # let _ = (shop, gateway, wallet, verifier);
//! ```

mod brand;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use openset_jose::{PrivateKey, PublicKey, default_provider};
use openset_pki::authority::{
    Authority, IssueRequest, RevocationReason, Revoked, Serial, Subject, Validity,
};
use openset_pki::ocsp::Responder;
use openset_pki::{
    BrandCrlIdentifier, BrandId, Certificate, Chain, Crl, CrlIdentifier, CrlIssuer, MerchantData,
    PathVerifier, Purpose, Role, TrustAnchor,
};
use openset_protocol::Timestamp;
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};

use crate::keys::{key, prepare};

/// The acquirer's BIN in every merchant's and gateway's certificate.
pub const ACQUIRER_BIN: &str = "411111";
/// How long CRLs are good, in seconds.
pub const CRL_SECONDS: i64 = 30 * DAY;
const DAY: i64 = 86_400;
const ISSUING: [(&str, Role); 3] = [
    ("cca", Role::CardholderCa),
    ("mca", Role::MerchantCa),
    ("pca", Role::GatewayCa),
];

/// The hierarchy.
#[derive(Debug)]
pub struct TestPki {
    /// The moment around which everything is valid.
    pub now: Timestamp,
    /// The root.
    pub root: Authority,
    brands: BTreeMap<String, TestBrand>,
    verifier: PathVerifier,
    serials: AtomicU64,
}

/// The CAs of one brand.
#[derive(Debug)]
pub struct TestBrand {
    /// Its name.
    pub id: BrandId,
    /// The brand CA.
    pub bca: Authority,
    /// The regional CA.
    pub gca: Authority,
    /// The cardholders' CA.
    pub cca: TestCa,
    /// The merchants' CA.
    pub mca: TestCa,
    /// The gateways' CA.
    pub pca: TestCa,
}

/// An issuing CA.
#[derive(Clone, Debug)]
pub struct TestCa {
    /// What it issues with.
    pub authority: Authority,
    /// What it signs and opens messages with.
    pub credentials: Credentials,
}

/// What a certificate for a test says; start from [`TestPki::leaf`].
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The owner's role; it also chooses the CA that issues.
    pub role: Role,
    /// What the key is for.
    pub purpose: Purpose,
    /// CN.
    pub common_name: String,
    /// From when to when.
    pub validity: Validity,
    /// A merchant's number at its acquirer.
    pub merchant_id: Option<String>,
    /// For a gateway's key exchange: whether cardholders must have a certificate.
    pub card_cert_required: bool,
}

impl TestPki {
    /// A hierarchy with these brands, valid around `now`, with number 1 of every CRL and BrandCRLIdentifier in
    /// force.
    #[must_use]
    pub fn new(brands: &[&str], now: Timestamp) -> Self {
        let mut names = vec!["root".to_owned(), "root/next".to_owned()];
        for brand in brands {
            names.extend(["bca", "gca"].map(|ca| format!("{brand}/{ca}")));
            for (ca, _) in ISSUING {
                names.extend(["", "/sign", "/open"].map(|key| format!("{brand}/{ca}{key}")));
            }
        }
        prepare(&names);
        let serials = AtomicU64::new(1);
        let subject = Subject {
            common_name: "Test Root".to_owned(),
            ..Subject::default()
        };
        let root = Authority::root(
            key("root"),
            &subject,
            validity(now, 3650),
            next_serial(&serials),
            key("root/next").public_key(),
        )
        .expect("the root can be made");
        let brands: BTreeMap<String, TestBrand> = brands
            .iter()
            .map(|name| {
                (
                    (*name).to_owned(),
                    TestBrand::new(name, &root, now, &serials),
                )
            })
            .collect();
        let mut pki = Self {
            verifier: PathVerifier::new(anchor(&root), default_provider()),
            now,
            root,
            brands,
            serials,
        };
        pki.verifier = pki.fresh_verifier();
        pki
    }

    /// The CAs of a brand.
    ///
    /// # Panics
    /// When the hierarchy was made without it.
    #[must_use]
    pub fn brand(&self, name: &str) -> &TestBrand {
        &self.brands[name]
    }

    /// The names of all brands.
    pub fn brands(&self) -> impl Iterator<Item = &str> {
        self.brands.keys().map(String::as_str)
    }

    /// A verifier that trusts the root and holds every CA's CRL and every brand's BrandCRLIdentifier.
    #[must_use]
    pub fn verifier(&self) -> &PathVerifier {
        &self.verifier
    }

    /// Another verifier of the same kind, for tests that install CRLs of their own.
    #[must_use]
    pub fn fresh_verifier(&self) -> PathVerifier {
        let verifier = PathVerifier::new(anchor(&self.root), default_provider());
        for authority in self.authorities() {
            install(&verifier, authority, &self.crl(authority, 1, &[]), self.now);
        }
        for (name, brand) in &self.brands {
            let bci = self.brand_crl_identifier(name, 1, 1);
            let chain = brand.bca.chain().expect("a brand CA has a chain");
            verifier
                .install_brand_crl_identifier(bci, &chain, self.now.seconds())
                .expect("the BrandCRLIdentifier is genuine and newer");
        }
        verifier
    }

    /// A brand's BrandCRLIdentifier with this sequence number, good from now on, which names number `crl_number` of
    /// the CRLs of all its CAs and of the root's.
    #[must_use]
    pub fn brand_crl_identifier(
        &self,
        brand: &str,
        sequence: u64,
        crl_number: u64,
    ) -> BrandCrlIdentifier {
        let brand = self.brand(brand);
        let of_brand = |authority: &&Authority| {
            let of = authority.certificate().brand();
            of.is_none_or(|of| *of == brand.id)
        };
        let crls: Vec<_> = self
            .authorities()
            .into_iter()
            .filter(of_brand)
            .map(|authority| CrlIdentifier {
                issuer_der: authority.certificate().subject_der().to_vec(),
                number: crl_number,
            })
            .collect();
        let now = self.now.seconds();
        brand
            .bca
            .issue_brand_crl_identifier(sequence, now, now.saturating_add(CRL_SECONDS), &crls)
            .expect("the BrandCRLIdentifier can be made")
    }

    /// Every CA, parents before children.
    #[must_use]
    pub fn authorities(&self) -> Vec<&Authority> {
        let mut all = vec![&self.root];
        for brand in self.brands.values() {
            all.extend([&brand.bca, &brand.gca]);
            all.extend([&brand.cca, &brand.mca, &brand.pca].map(|ca| &ca.authority));
        }
        all
    }

    /// A CA's CRL with this number, good from now on, with these certificates on it.
    #[must_use]
    pub fn crl(&self, authority: &Authority, number: u64, revoked: &[&Certificate]) -> Crl {
        let now = self.now.seconds();
        let lines: Vec<Revoked> = revoked
            .iter()
            .map(|certificate| Revoked {
                serial: certificate.serial().to_vec(),
                at: now,
                reason: RevocationReason::KeyCompromise,
            })
            .collect();
        authority
            .issue_crl(number, now, now.saturating_add(CRL_SECONDS), &lines)
            .expect("the CRL can be made")
    }

    /// Puts these certificates on their CA's CRL, in force at once with this verifier.
    pub fn revoke(&self, authority: &Authority, number: u64, revoked: &[&Certificate]) {
        install(
            &self.verifier,
            authority,
            &self.crl(authority, number, revoked),
            self.now,
        );
    }

    /// The OCSP responder of an issuing CA of one of the brands, with a key of its own.
    ///
    /// # Panics
    /// When the CA is none that issues to cardholders, merchants or gateways.
    #[must_use]
    pub fn responder(&self, issuer: &Authority) -> Responder {
        let ca = issuer.certificate();
        let key = key(&format!("{}/ocsp", ca.common_name()));
        let brand = ca.brand().expect("an issuing CA has a brand");
        let certificate = issuer
            .issue_ocsp_responder(
                key.public_key(),
                &subject(brand, "Test Bank", "Test Responder"),
                validity(self.now, 7),
                next_serial(&self.serials),
            )
            .expect("an issuing CA has a responder");
        Responder::new(ca.clone(), certificate, key).expect("key and certificate belong together")
    }

    /// A certificate to be issued to this party; alter it for tests of refusals.
    #[must_use]
    pub fn leaf(&self, role: Role, purpose: Purpose, common_name: &str) -> Leaf {
        Leaf {
            role,
            purpose,
            common_name: common_name.to_owned(),
            validity: validity(self.now, 365),
            merchant_id: (role == Role::Merchant).then(|| common_name.to_owned()),
            card_cert_required: true,
        }
    }

    /// Issues a certificate for a key under a brand.
    #[must_use]
    pub fn issue(&self, brand: &str, leaf: &Leaf, public_key: &PublicKey) -> Chain {
        let brand = self.brand(brand);
        let authority = match leaf.role {
            Role::Cardholder => &brand.cca.authority,
            Role::Merchant => &brand.mca.authority,
            Role::Gateway => &brand.pca.authority,
            _ => &brand.gca,
        };
        let merchant_data = leaf.merchant_id.as_ref().map(|id| MerchantData {
            merchant_id: id.clone(),
            acquirer_bin: ACQUIRER_BIN.to_owned(),
            name: leaf.common_name.clone(),
            country: 276,
            auth_flag: false,
        });
        let to_gateway_exchange =
            leaf.role == Role::Gateway && leaf.purpose == Purpose::KeyExchange;
        let request = IssueRequest {
            public_key,
            role: leaf.role,
            purpose: leaf.purpose,
            subject: subject(&brand.id, "Test Bank", &leaf.common_name),
            validity: leaf.validity,
            serial: next_serial(&self.serials),
            merchant_data,
            card_cert_required: to_gateway_exchange.then_some(leaf.card_cert_required),
        };
        let certificate = authority
            .issue_end_entity(&request)
            .expect("the certificate can be issued");
        authority.chain_of(&certificate)
    }

    /// A cardholder's signature certificate with this account name, with a key of its own.
    #[must_use]
    pub fn cardholder(&self, brand: &str, account_name: &str) -> SigningIdentity {
        self.signing(brand, Role::Cardholder, account_name)
    }

    /// A merchant's pair; its number at the acquirer is its name.
    #[must_use]
    pub fn merchant(&self, brand: &str, merchant_id: &str) -> Credentials {
        self.pair(brand, Role::Merchant, merchant_id)
    }

    /// A gateway's pair.
    #[must_use]
    pub fn gateway(&self, brand: &str, name: &str) -> Credentials {
        self.pair(brand, Role::Gateway, name)
    }

    /// A gateway's pair whose certificate lets cardholders pay without one of theirs.
    #[must_use]
    pub fn lenient_gateway(&self, brand: &str, name: &str) -> Credentials {
        let leaf = Leaf {
            card_cert_required: false,
            ..self.leaf(Role::Gateway, Purpose::KeyExchange, name)
        };
        self.pair_of(brand, &leaf)
    }

    fn pair(&self, brand: &str, role: Role, name: &str) -> Credentials {
        self.pair_of(brand, &self.leaf(role, Purpose::KeyExchange, name))
    }

    fn pair_of(&self, brand: &str, leaf: &Leaf) -> Credentials {
        let (role, name) = (leaf.role, leaf.common_name.as_str());
        let key = key(&format!("{brand}/{role}/{name}/open"));
        Credentials {
            signature: self.signing(brand, role, name),
            key_exchange: key_exchange(self.issue(brand, leaf, key.public_key()), key),
        }
    }

    fn signing(&self, brand: &str, role: Role, name: &str) -> SigningIdentity {
        let key = key(&format!("{brand}/{role}/{name}/sign"));
        let leaf = self.leaf(role, Purpose::Signature, name);
        signature(self.issue(brand, &leaf, key.public_key()), key)
    }
}

/// Binds a signature key to its chain.
///
/// # Panics
/// When they do not belong together.
#[must_use]
pub fn signature(chain: Chain, key: PrivateKey) -> SigningIdentity {
    SigningIdentity::new(chain, key).expect("key and certificate belong together")
}

/// Binds a key-exchange key to its chain.
///
/// # Panics
/// When they do not belong together.
#[must_use]
pub fn key_exchange(chain: Chain, key: PrivateKey) -> KeyExchangeIdentity {
    KeyExchangeIdentity::new(chain, key).expect("key and certificate belong together")
}

/// Valid from a day before `now` for this many days after it.
#[must_use]
pub fn validity(now: Timestamp, days: i64) -> Validity {
    Validity {
        not_before: now.plus(-DAY).seconds(),
        not_after: now.plus(days.saturating_mul(DAY)).seconds(),
    }
}

fn subject(brand: &BrandId, organizational_unit: &str, common_name: &str) -> Subject {
    Subject {
        country: None,
        brand: Some(brand.clone()),
        organizational_unit: Some(organizational_unit.to_owned()),
        common_name: common_name.to_owned(),
    }
}

fn next_serial(serials: &AtomicU64) -> Serial {
    let mut bytes = [0x40; 16];
    bytes[8..].copy_from_slice(&serials.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Serial::from_bytes(bytes)
}

fn anchor(root: &Authority) -> TrustAnchor {
    let der = root.certificate().der();
    TrustAnchor::pinned(der, &openset_jose::sha256(der)).expect("the root is a root")
}

fn install(verifier: &PathVerifier, authority: &Authority, crl: &Crl, now: Timestamp) {
    let chain = authority.chain();
    let issuer = chain.as_ref().map_or(CrlIssuer::Root, CrlIssuer::Chain);
    verifier
        .install_crl(crl.clone(), issuer, now.seconds())
        .expect("the CRL is genuine and newer");
}

#[cfg(test)]
mod tests {
    use super::*;
    use openset_pki::{Expect, PathError};

    #[test]
    fn every_party_of_the_fixture_is_accepted_until_it_is_revoked() {
        let pki = TestPki::new(&["Visa"], Timestamp::from_seconds(1_800_000_000));
        let now = pki.now.seconds();
        let brand = &pki.brand("Visa").id;
        let accepts = |chain: &Chain, role, purpose| {
            let expect = Expect {
                role,
                purpose,
                brand: Some(brand),
            };
            pki.verifier().verify(chain, &expect, now)
        };
        let shop = pki.merchant("Visa", "shop-1");
        let gateway = pki.gateway("Visa", "gateway-1");
        let wallet = pki.cardholder("Visa", "account-1");
        let cca = &pki.brand("Visa").cca.credentials;
        accepts(wallet.chain(), Role::Cardholder, Purpose::Signature).unwrap();
        accepts(shop.signature.chain(), Role::Merchant, Purpose::Signature).unwrap();
        accepts(
            shop.key_exchange.chain(),
            Role::Merchant,
            Purpose::KeyExchange,
        )
        .unwrap();
        accepts(gateway.signature.chain(), Role::Gateway, Purpose::Signature).unwrap();
        accepts(
            gateway.key_exchange.chain(),
            Role::Gateway,
            Purpose::KeyExchange,
        )
        .unwrap();
        accepts(
            cca.signature.chain(),
            Role::CardholderCa,
            Purpose::Signature,
        )
        .unwrap();
        accepts(
            cca.key_exchange.chain(),
            Role::CardholderCa,
            Purpose::KeyExchange,
        )
        .unwrap();
        pki.revoke(
            &pki.brand("Visa").mca.authority,
            2,
            &[shop.signature.certificate()],
        );
        let refusal = accepts(shop.signature.chain(), Role::Merchant, Purpose::Signature);
        assert_eq!(refusal.unwrap_err(), PathError::Revoked(Role::Merchant));
    }
}
