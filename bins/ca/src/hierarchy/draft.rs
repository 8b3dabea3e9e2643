//! New CAs, before they are stored.

use std::collections::HashMap;

use anyhow::Context as _;
use openset_jose::{PrivateKey, RsaBits, default_provider};
use openset_pki::authority::{Authority, IssueAuthority, IssueRequest, Serial, Subject, Validity};
use openset_pki::{Certificate, Crl, Purpose, Role};
use openset_protocol::BrandId;
use openset_service::offload::offload;
use openset_service::{clock, random};
use tokio::task::JoinSet;

use super::{NEXT_ROOT_KEY, ROOT, not_before};
use crate::config::{Settings, slug};
use crate::crl::next_number;
use crate::store::authorities::{Held, Keys, Pair};

const YEAR_S: i64 = 365 * 86_400;
/// Nested, so that no CA outlives the one above it: root, brand, region, issuing CA.
const ROOT_YEARS: i64 = 12;
const BRAND_YEARS: i64 = 8;
const REGION_YEARS: i64 = 6;
const ISSUING_YEARS: i64 = 4;
/// The CAs of a region, by the last part of their names.
const ISSUING: [(&str, Role, &str); 3] = [
    ("cca", Role::CardholderCa, "Cardholder CA"),
    ("mca", Role::MerchantCa, "Merchant CA"),
    ("pca", Role::GatewayCa, "Payment Gateway CA"),
];

/// A CA that was made and is not stored yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) held: Held,
    pub(super) keys: Keys,
    /// Its first CRL, empty.
    pub(super) crl: Crl,
    /// With the root: the key of the root after it.
    pub(super) next_root_key: Option<PrivateKey>,
}

/// Makes the CAs of some brands, and the root if there is none yet. Keys are made side by side.
pub(super) async fn make(
    root: Option<Authority>,
    brands: Vec<BrandId>,
    settings: &Settings,
) -> anyhow::Result<Vec<Draft>> {
    let mut names = Vec::new();
    if root.is_none() {
        names.extend([ROOT.to_owned(), NEXT_ROOT_KEY.to_owned()]);
    }
    for brand in &brands {
        names.extend(key_names(&slug(brand)));
    }
    let mut keys = Made(generate(names).await?);
    let region = settings.region.clone();
    let crl_lifetime_s = i64::try_from(settings.crl_lifetime.as_secs())?;
    offload(move || {
        let maker = Maker {
            region,
            crl_lifetime_s,
        };
        let mut drafts = Vec::new();
        let root = match root {
            Some(root) => root,
            None => maker.root(&mut keys, &mut drafts)?,
        };
        for brand in &brands {
            maker.brand(&root, brand, &mut keys, &mut drafts)?;
        }
        Ok(drafts)
    })
    .await
}

fn key_names(brand: &str) -> Vec<String> {
    let issuing = ISSUING
        .iter()
        .flat_map(|(ca, ..)| ["issue", "sign", "open"].map(|key| format!("{brand}-{ca}/{key}")));
    ["bca", "gca"]
        .iter()
        .map(|ca| format!("{brand}-{ca}/issue"))
        .chain(issuing)
        .collect()
}

/// Makes a key for each name, on as many threads as the blocking pool has.
async fn generate(names: Vec<String>) -> anyhow::Result<HashMap<String, PrivateKey>> {
    let mut making = JoinSet::new();
    for name in names {
        making.spawn_blocking(move || {
            let key = default_provider().generate_rsa(&mut random::system(), RsaBits::B2048)?;
            Ok::<_, openset_jose::KeyError>((name, key))
        });
    }
    let mut keys = HashMap::new();
    while let Some(made) = making.join_next().await {
        let (name, key) = made??;
        keys.insert(name, key);
    }
    Ok(keys)
}

struct Made(HashMap<String, PrivateKey>);

impl Made {
    fn take(&mut self, name: &str) -> anyhow::Result<PrivateKey> {
        self.0
            .remove(name)
            .with_context(|| format!("no key was made for {name}"))
    }
}

struct Maker {
    region: String,
    crl_lifetime_s: i64,
}

/// A CA to be made below another.
struct Below<'a> {
    id: String,
    parent: &'a str,
    role: Role,
    subject: Subject,
    years: i64,
    path_len: u8,
}

impl Maker {
    fn root(&self, keys: &mut Made, drafts: &mut Vec<Draft>) -> anyhow::Result<Authority> {
        let (key, next) = (keys.take(ROOT)?, keys.take(NEXT_ROOT_KEY)?);
        let subject = Subject {
            common_name: "OpenSET Test Root".to_owned(),
            ..Subject::default()
        };
        let root = Authority::root(
            key.clone(),
            &subject,
            validity(ROOT_YEARS),
            serial(),
            next.public_key(),
        )?;
        let held = Held {
            id: ROOT.to_owned(),
            parent: None,
            certificate: root.certificate().clone(),
            message: None,
        };
        let crl = self.first_crl(&root)?;
        drafts.push(Draft {
            held,
            keys: Keys {
                issue: key,
                message: None,
            },
            crl,
            next_root_key: Some(next),
        });
        Ok(root)
    }

    fn brand(
        &self,
        root: &Authority,
        brand: &BrandId,
        keys: &mut Made,
        drafts: &mut Vec<Draft>,
    ) -> anyhow::Result<()> {
        let (slug, region) = (slug(brand), self.region.as_str());
        let bca = Below {
            id: format!("{slug}-bca"),
            parent: ROOT,
            role: Role::BrandCa,
            subject: subject(brand, "Brand", &format!("{brand} Brand CA")),
            years: BRAND_YEARS,
            path_len: 2,
        };
        let bca_authority = self.authority(root, &bca, keys, drafts)?;
        let gca = Below {
            id: format!("{slug}-gca"),
            parent: &bca.id,
            role: Role::RegionalCa,
            subject: subject(brand, region, &format!("{brand} {region} CA")),
            years: REGION_YEARS,
            path_len: 1,
        };
        let gca_authority = self.authority(&bca_authority, &gca, keys, drafts)?;
        for (ca, role, title) in ISSUING {
            let below = Below {
                id: format!("{slug}-{ca}"),
                parent: &gca.id,
                role,
                subject: subject(brand, region, &format!("{brand} {region} {title}")),
                years: ISSUING_YEARS,
                path_len: 0,
            };
            self.authority(&gca_authority, &below, keys, drafts)?;
        }
        Ok(())
    }

    /// Makes a CA, and for an issuing one the certificates with which it signs and opens messages.
    fn authority(
        &self,
        parent: &Authority,
        below: &Below<'_>,
        keys: &mut Made,
        drafts: &mut Vec<Draft>,
    ) -> anyhow::Result<Authority> {
        let issue = keys.take(&format!("{}/issue", below.id))?;
        let request = IssueAuthority {
            role: below.role,
            subject: below.subject.clone(),
            validity: validity(below.years),
            serial: serial(),
            path_len: below.path_len,
        };
        let certificate = parent.issue_authority(issue.public_key(), &request)?;
        let authority = Authority::with_key(parent.chain_of(&certificate), issue.clone())?;
        let mut held = Held {
            id: below.id.clone(),
            parent: Some(below.parent.to_owned()),
            certificate,
            message: None,
        };
        let mut held_keys = Keys {
            issue,
            message: None,
        };
        if below.role.is_issuing_authority() {
            let pair = Pair {
                signature: keys.take(&format!("{}/sign", below.id))?,
                key_exchange: keys.take(&format!("{}/open", below.id))?,
            };
            held.message = Some(Pair {
                signature: message(parent, below, Purpose::Signature, &pair.signature)?,
                key_exchange: message(parent, below, Purpose::KeyExchange, &pair.key_exchange)?,
            });
            held_keys.message = Some(pair);
        }
        let crl = self.first_crl(&authority)?;
        drafts.push(Draft {
            held,
            keys: held_keys,
            crl,
            next_root_key: None,
        });
        Ok(authority)
    }

    fn first_crl(&self, authority: &Authority) -> anyhow::Result<Crl> {
        let now = clock::now_seconds();
        Ok(authority.issue_crl(
            next_number(None, now),
            now,
            now.saturating_add(self.crl_lifetime_s),
            &[],
        )?)
    }
}

fn message(
    parent: &Authority,
    below: &Below<'_>,
    purpose: Purpose,
    key: &PrivateKey,
) -> anyhow::Result<Certificate> {
    Ok(parent.issue_end_entity(&IssueRequest {
        public_key: key.public_key(),
        role: below.role,
        purpose,
        subject: below.subject.clone(),
        validity: validity(below.years),
        serial: serial(),
        merchant_data: None,
        card_cert_required: None,
    })?)
}

fn subject(brand: &BrandId, organizational_unit: &str, common_name: &str) -> Subject {
    Subject {
        country: None,
        brand: Some(brand.clone()),
        organizational_unit: Some(organizational_unit.to_owned()),
        common_name: common_name.to_owned(),
    }
}

fn validity(years: i64) -> Validity {
    let not_before = not_before();
    Validity {
        not_before,
        not_after: not_before.saturating_add(years.saturating_mul(YEAR_S)),
    }
}

fn serial() -> Serial {
    Serial::random(&mut random::system())
}
