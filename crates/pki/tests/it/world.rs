//! The root, two brands, and one certificate of each kind: made once and shared by all tests.

use std::sync::OnceLock;

use openset_jose::{PrivateKey, RsaBits, default_provider, sha256};
use openset_pki::authority::{
    Authority, IssueAuthority, IssueRequest, Revoked, Serial, Subject, Validity,
};
use openset_pki::{
    BrandCrlIdentifier, BrandId, Certificate, Chain, CrlIdentifier, CrlIssuer, Expect, Installed,
    MerchantData, PathError, PathVerifier, Purpose, Role, TrustAnchor,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub(crate) const DAY: i64 = 86_400;
pub(crate) const YEAR: i64 = 365 * DAY;
/// When all tests take place: some moment in 2027.
pub(crate) const NOW: i64 = 1_800_000_000;

/// Keys by number: making one takes a while, so all tests share them.
pub(crate) fn key(number: usize) -> &'static PrivateKey {
    static KEYS: [OnceLock<PrivateKey>; 24] = [const { OnceLock::new() }; 24];
    KEYS[number].get_or_init(|| {
        let mut rng = ChaCha20Rng::seed_from_u64(number as u64);
        default_provider()
            .generate_rsa(&mut rng, RsaBits::B2048)
            .unwrap()
    })
}

pub(crate) const ROOT_KEY: usize = 0;
pub(crate) const NEXT_ROOT_KEY: usize = 1;
/// The key of every leaf; what is certified for whom is what is tested here, not the keys.
pub(crate) const LEAF_KEY: usize = 2;
/// A key that no CA has certified.
pub(crate) const STRANGER_KEY: usize = 3;
const FIRST_BRAND_KEYS: usize = 4;
const SECOND_BRAND_KEYS: usize = 9;

pub(crate) struct World {
    pub(crate) root: Authority,
    pub(crate) first: Brand,
    pub(crate) second: Brand,
}

/// One brand; the second one has a region between the brand and its issuing CAs.
pub(crate) struct Brand {
    pub(crate) id: BrandId,
    pub(crate) brand_ca: Authority,
    pub(crate) regional_ca: Option<Authority>,
    pub(crate) cardholder_ca: Authority,
    pub(crate) merchant_ca: Authority,
    pub(crate) gateway_ca: Authority,
    pub(crate) cardholder: Chain,
    pub(crate) merchant: Chain,
    pub(crate) merchant_key_exchange: Chain,
    pub(crate) gateway: Chain,
    pub(crate) gateway_key_exchange: Chain,
    /// The certificates with which the cardholder CA signs and opens messages.
    pub(crate) cardholder_ca_messages: [Chain; 2],
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let subject = Subject {
            common_name: "Test root".into(),
            ..Subject::default()
        };
        let next = key(NEXT_ROOT_KEY).public_key();
        let root = Authority::root(
            key(ROOT_KEY).clone(),
            &subject,
            validity(10),
            serial(),
            next,
        )
        .unwrap();
        let first = brand(&root, "Aurora", FIRST_BRAND_KEYS, false);
        let second = brand(&root, "Borealis", SECOND_BRAND_KEYS, true);
        World {
            root,
            first,
            second,
        }
    })
}

fn brand(root: &Authority, name: &str, keys: usize, with_region: bool) -> Brand {
    let id = BrandId::new(name).unwrap();
    let issue = |parent: &Authority, role, key_number, path_len| {
        ca(parent, role, &id, key(key_number), path_len)
    };
    let brand_ca = issue(root, Role::BrandCa, keys, 2);
    let regional_ca = with_region.then(|| issue(&brand_ca, Role::RegionalCa, keys + 1, 1));
    let parent = regional_ca.as_ref().unwrap_or(&brand_ca);
    let cardholder_ca = issue(parent, Role::CardholderCa, keys + 2, 0);
    let merchant_ca = issue(parent, Role::MerchantCa, keys + 3, 0);
    let gateway_ca = issue(parent, Role::GatewayCa, keys + 4, 0);
    let leaf = |issuer: &Authority, role, purpose| {
        issuer.chain_of(
            &issuer
                .issue_end_entity(&request(&id, role, purpose))
                .unwrap(),
        )
    };
    Brand {
        cardholder: leaf(&cardholder_ca, Role::Cardholder, Purpose::Signature),
        merchant: leaf(&merchant_ca, Role::Merchant, Purpose::Signature),
        merchant_key_exchange: leaf(&merchant_ca, Role::Merchant, Purpose::KeyExchange),
        gateway: leaf(&gateway_ca, Role::Gateway, Purpose::Signature),
        gateway_key_exchange: leaf(&gateway_ca, Role::Gateway, Purpose::KeyExchange),
        cardholder_ca_messages: [Purpose::Signature, Purpose::KeyExchange]
            .map(|purpose| leaf(parent, Role::CardholderCa, purpose)),
        id,
        brand_ca,
        regional_ca,
        cardholder_ca,
        merchant_ca,
        gateway_ca,
    }
}

/// A CA below `parent`.
pub(crate) fn ca(
    parent: &Authority,
    role: Role,
    brand: &BrandId,
    key: &PrivateKey,
    path_len: u8,
) -> Authority {
    ca_named(parent, role, brand, role.name(), key, path_len)
}

/// A CA of this CN below `parent`.
pub(crate) fn ca_named(
    parent: &Authority,
    role: Role,
    brand: &BrandId,
    common_name: &str,
    key: &PrivateKey,
    path_len: u8,
) -> Authority {
    let request = IssueAuthority {
        role,
        subject: subject(brand, common_name),
        validity: validity(6),
        serial: serial(),
        path_len,
    };
    let certificate = parent.issue_authority(key.public_key(), &request).unwrap();
    Authority::with_key(parent.chain_of(&certificate), key.clone()).unwrap()
}

pub(crate) fn subject(brand: &BrandId, common_name: &str) -> Subject {
    Subject {
        country: Some("DE".into()),
        brand: Some(brand.clone()),
        organizational_unit: Some("Bank of Tests".into()),
        common_name: common_name.into(),
    }
}

/// What a CA of the brand is asked to issue.
pub(crate) fn request(brand: &BrandId, role: Role, purpose: Purpose) -> IssueRequest<'static> {
    IssueRequest {
        public_key: key(LEAF_KEY).public_key(),
        role,
        purpose,
        subject: subject(brand, &format!("{role} for {purpose}")),
        validity: validity(1),
        serial: serial(),
        merchant_data: (role == Role::Merchant).then(merchant_data),
        card_cert_required: (role == Role::Gateway && purpose == Purpose::KeyExchange)
            .then_some(true),
    }
}

pub(crate) fn merchant_data() -> MerchantData {
    MerchantData {
        merchant_id: "M-0042".into(),
        acquirer_bin: "412345".into(),
        name: "Bäckerei Lämmle".into(),
        country: 276,
        auth_flag: false,
    }
}

/// From a year ago, for so many years from now.
pub(crate) fn validity(years: i64) -> Validity {
    Validity {
        not_before: NOW - YEAR,
        not_after: NOW + years * YEAR,
    }
}

pub(crate) fn serial() -> Serial {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let seed = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Serial::random(&mut ChaCha20Rng::seed_from_u64(seed))
}

impl World {
    pub(crate) fn anchor(&self) -> TrustAnchor {
        let der = self.root.certificate().der();
        TrustAnchor::pinned(der, &sha256(der)).unwrap()
    }

    /// Root first, every CA after the one above it.
    pub(crate) fn authorities(&self) -> Vec<&Authority> {
        let brands = [&self.first, &self.second].into_iter();
        std::iter::once(&self.root)
            .chain(brands.flat_map(Brand::authorities))
            .collect()
    }

    /// A verifier without any CRL.
    pub(crate) fn verifier_without_crls(&self) -> PathVerifier {
        PathVerifier::new(self.anchor(), default_provider())
    }

    /// A verifier with a CRL of every CA, each with number 1 and nothing revoked, and without the brands' word.
    pub(crate) fn verifier_without_bcis(&self) -> PathVerifier {
        let verifier = self.verifier_without_crls();
        for authority in self.authorities() {
            assert_eq!(install(&verifier, authority, 1, &[]), Installed::Newer);
        }
        verifier
    }

    /// A verifier with all CRLs and each brand's BrandCRLIdentifier, all with number 1.
    pub(crate) fn verifier(&self) -> PathVerifier {
        let verifier = self.verifier_without_bcis();
        for brand in [&self.first, &self.second] {
            assert_eq!(
                install_bci(&verifier, brand, brand.bci(1)),
                Ok(Installed::Newer)
            );
        }
        verifier
    }
}

impl Brand {
    pub(crate) fn authorities(&self) -> Vec<&Authority> {
        let issuing = [&self.cardholder_ca, &self.merchant_ca, &self.gateway_ca];
        std::iter::once(&self.brand_ca)
            .chain(&self.regional_ca)
            .chain(issuing)
            .collect()
    }

    /// All CAs of the brand and the root, with this number of each one's CRL.
    pub(crate) fn crls(&self, number: u64) -> Vec<CrlIdentifier> {
        std::iter::once(&world().root)
            .chain(self.authorities())
            .map(|authority| named(authority, number))
            .collect()
    }

    /// A BrandCRLIdentifier that is good for a week and names number 1 of every CRL.
    pub(crate) fn bci(&self, sequence: u64) -> BrandCrlIdentifier {
        self.brand_ca
            .issue_brand_crl_identifier(sequence, NOW - DAY, NOW + 7 * DAY, &self.crls(1))
            .unwrap()
    }

    /// One chain of each kind.
    pub(crate) fn chains(&self) -> Vec<&Chain> {
        let end_entities = [
            &self.cardholder,
            &self.merchant,
            &self.merchant_key_exchange,
            &self.gateway,
            &self.gateway_key_exchange,
        ];
        end_entities
            .into_iter()
            .chain(&self.cardholder_ca_messages)
            .collect()
    }
}

/// Installs a CRL that is good for a week.
pub(crate) fn install(
    verifier: &PathVerifier,
    authority: &Authority,
    number: u64,
    revoked: &[&Certificate],
) -> Installed {
    let crl = authority
        .issue_crl(number, NOW - DAY, NOW + 7 * DAY, &lines(revoked))
        .unwrap();
    let chain = authority.chain();
    verifier
        .install_crl(
            crl,
            chain.as_ref().map_or(CrlIssuer::Root, CrlIssuer::Chain),
            NOW,
        )
        .unwrap()
}

/// Hands in a BrandCRLIdentifier as one of this brand's.
pub(crate) fn install_bci(
    verifier: &PathVerifier,
    brand: &Brand,
    bci: BrandCrlIdentifier,
) -> Result<Installed, PathError> {
    let chain = brand.brand_ca.chain().unwrap();
    verifier.install_brand_crl_identifier(bci, &chain, NOW)
}

/// A CA in a BrandCRLIdentifier.
pub(crate) fn named(authority: &Authority, number: u64) -> CrlIdentifier {
    CrlIdentifier {
        issuer_der: authority.certificate().subject_der().to_vec(),
        number,
    }
}

/// What a CRL says of these certificates.
pub(crate) fn lines(revoked: &[&Certificate]) -> Vec<Revoked> {
    let line = |certificate: &&Certificate| Revoked {
        serial: certificate.serial().to_vec(),
        at: NOW - DAY,
        reason: openset_pki::authority::RevocationReason::KeyCompromise,
    };
    revoked.iter().map(line).collect()
}

/// What the leaf itself says it is.
pub(crate) fn as_it_is(chain: &Chain) -> Expect<'_> {
    let leaf = chain.leaf();
    Expect {
        role: leaf.role(),
        purpose: leaf.purpose(),
        brand: leaf.brand(),
    }
}
