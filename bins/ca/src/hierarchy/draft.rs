//! New CAs, before they are stored.

use std::collections::HashMap;

use anyhow::Context as _;
use openset_jose::{PrivateKey, RsaBits, default_provider};
use openset_pki::authority::{Authority, IssueAuthority, IssueRequest, Serial, Validity};
use openset_pki::{Certificate, Crl, Purpose};
use openset_service::offload::offload;
use openset_service::{clock, random};
use openset_store::SecretString;
use tokio::task::JoinSet;

use super::next_key;
use super::plan::Planned;
use crate::store::authorities::{Held, Keys, Pair};

const YEAR_S: i64 = 365 * 86_400;
/// How far the first second of a CA's certificate lies in the past, for the clocks of others.
const BACKDATED_S: i64 = 3600;

/// A CA that was made and is not stored yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) held: Held,
    pub(crate) keys: Keys,
    /// Its first CRL, empty.
    pub(crate) crl: Crl,
    /// The generation that it takes the place of.
    pub(crate) replaces: Option<String>,
}

/// What CAs are made with, beside new keys.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The CAs that issue for them, by id.
    pub(crate) parents: HashMap<String, Authority>,
    /// Keys that were made before, by the id of the CA that they are for.
    pub(crate) keys: HashMap<String, PrivateKey>,
    /// Certificates that were issued elsewhere, by the id of the CA that they are for.
    pub(crate) chains: HashMap<String, Certificate>,
    pub(crate) crl_lifetime_s: i64,
    /// Under which a root's next key is kept, beside the vault's.
    pub(crate) next_passphrase: Option<SecretString>,
}

/// Makes CAs, parents before children. Their keys are made side by side.
pub(crate) async fn make(planned: Vec<Planned>, mut given: Given) -> anyhow::Result<Vec<Draft>> {
    let mut keys = Made(generate(key_names(&planned, &given.keys)).await?);
    offload(move || {
        let mut drafts = Vec::with_capacity(planned.len());
        for planned in planned {
            drafts.push(given.draft(planned, &mut keys)?);
        }
        Ok(drafts)
    })
    .await
}

fn key_names(planned: &[Planned], there: &HashMap<String, PrivateKey>) -> Vec<String> {
    let mut names = Vec::new();
    for planned in planned {
        if !there.contains_key(&planned.id) {
            names.push(format!("{}/issue", planned.id));
        }
        if planned.parent.is_none() {
            names.push(format!("{}/next", planned.id));
        }
        if planned.role.is_issuing_authority() {
            names.extend(["sign", "open"].map(|key| format!("{}/{key}", planned.id)));
        }
    }
    names
}

/// Makes a key for each name, on as many threads as the blocking pool has.
async fn generate(names: Vec<String>) -> anyhow::Result<HashMap<String, PrivateKey>> {
    let mut making = JoinSet::new();
    for name in names {
        making.spawn_blocking(move || Ok::<_, openset_jose::KeyError>((name, new_key()?)));
    }
    let mut keys = HashMap::new();
    while let Some(made) = making.join_next().await {
        let (name, key) = made??;
        keys.insert(name, key);
    }
    Ok(keys)
}

/// A new key for a CA.
pub(crate) fn new_key() -> Result<PrivateKey, openset_jose::KeyError> {
    default_provider().generate_rsa(&mut random::system(), RsaBits::B2048)
}

struct Made(HashMap<String, PrivateKey>);

impl Made {
    fn take(&mut self, id: &str, purpose: &str) -> anyhow::Result<PrivateKey> {
        self.0
            .remove(&format!("{id}/{purpose}"))
            .with_context(|| format!("no key was made for {id}"))
    }
}

impl Given {
    fn draft(&mut self, planned: Planned, keys: &mut Made) -> anyhow::Result<Draft> {
        let issue = match self.keys.remove(&planned.id) {
            Some(key) => key,
            None => keys.take(&planned.id, "issue")?,
        };
        let (authority, next, pair) = match &planned.parent {
            None => {
                let next = keys.take(&planned.id, "next")?;
                {
                    let kept = next_key::seal(&next, self.next_passphrase.as_ref())?;
                    (root(&planned, issue.clone(), &next)?, Some(kept), None)
                }
            }
            Some(parent) => {
                let (authority, pair) = self.below(&planned, parent, &issue, keys)?;
                (authority, None, pair)
            }
        };
        let crl = first_crl(&authority, self.crl_lifetime_s)?;
        self.parents.insert(planned.id.clone(), authority.clone());
        let (message, message_keys) = pair.unzip();
        Ok(Draft {
            held: Held {
                id: planned.id,
                parent: planned.parent,
                series: planned.series,
                generation: planned.generation,
                region: planned.region,
                retired_at_s: None,
                revoked: false,
                certificate: authority.certificate().clone(),
                message,
            },
            keys: Keys {
                issue: Some(issue),
                next,
                message: message_keys,
            },
            crl,
            replaces: planned.replaces,
        })
    }

    /// A CA below another, and for an issuing one what it signs and opens messages with.
    #[expect(clippy::type_complexity, reason = "certificates and keys of one pair")]
    fn below(
        &mut self,
        planned: &Planned,
        parent: &str,
        issue: &PrivateKey,
        keys: &mut Made,
    ) -> anyhow::Result<(Authority, Option<(Pair<Certificate>, Pair<PrivateKey>)>)> {
        if let Some(certificate) = self.chains.remove(&planned.id) {
            let chain = openset_pki::Chain::new(vec![certificate])?;
            return Ok((Authority::with_key(chain, issue.clone())?, None));
        }
        let parent = self.parents.get(parent).with_context(|| {
            format!(
                "the key of {parent} is not here, and it has to sign for {}",
                planned.id
            )
        })?;
        let request = IssueAuthority {
            role: planned.role,
            subject: planned.subject.clone(),
            validity: validity(planned.years, Some(parent.certificate())),
            serial: serial(),
            path_len: planned.path_len,
        };
        let certificate = parent.issue_authority(issue.public_key(), &request)?;
        let authority = Authority::with_key(parent.chain_of(&certificate), issue.clone())?;
        if !planned.role.is_issuing_authority() {
            return Ok((authority, None));
        }
        let pair = Pair {
            signature: keys.take(&planned.id, "sign")?,
            key_exchange: keys.take(&planned.id, "open")?,
        };
        let certificates = Pair {
            signature: message(parent, planned, Purpose::Signature, &pair.signature)?,
            key_exchange: message(parent, planned, Purpose::KeyExchange, &pair.key_exchange)?,
        };
        Ok((authority, Some((certificates, pair))))
    }
}

fn root(planned: &Planned, key: PrivateKey, next: &PrivateKey) -> anyhow::Result<Authority> {
    Ok(Authority::root(
        key,
        &planned.subject,
        validity(planned.years, None),
        serial(),
        next.public_key(),
    )?)
}

/// A CA's first CRL, empty. Its number is larger than that of any CRL that a restored back-up knows of.
pub(crate) fn first_crl(authority: &Authority, lifetime_s: i64) -> anyhow::Result<Crl> {
    let now = clock::now_seconds();
    let number = u64::try_from(now)?;
    Ok(authority.issue_crl(number, now, now.saturating_add(lifetime_s), &[])?)
}

fn message(
    parent: &Authority,
    planned: &Planned,
    purpose: Purpose,
    key: &PrivateKey,
) -> anyhow::Result<Certificate> {
    Ok(parent.issue_end_entity(&IssueRequest {
        public_key: key.public_key(),
        role: planned.role,
        purpose,
        subject: planned.subject.clone(),
        validity: validity(planned.years, Some(parent.certificate())),
        serial: serial(),
        merchant_data: None,
        card_cert_required: None,
    })?)
}

/// So many years from now, and no longer than the CA above lasts.
pub(crate) fn validity(years: i64, issuer: Option<&Certificate>) -> Validity {
    validity_s(years.saturating_mul(YEAR_S), issuer)
}

/// So many seconds from now, and no longer than the CA above lasts.
pub(crate) fn validity_s(lifetime_s: i64, issuer: Option<&Certificate>) -> Validity {
    let not_before = clock::now_seconds().saturating_sub(BACKDATED_S);
    let not_after = not_before.saturating_add(lifetime_s);
    Validity {
        not_before: issuer.map_or(not_before, |issuer| not_before.max(issuer.not_before())),
        not_after: issuer.map_or(not_after, |issuer| not_after.min(issuer.not_after())),
    }
}

/// A serial number that nobody can guess.
pub(crate) fn serial() -> Serial {
    Serial::random(&mut random::system())
}
