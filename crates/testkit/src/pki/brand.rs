//! The CAs of one brand.

use std::sync::atomic::AtomicU64;

use openset_jose::PrivateKey;
use openset_pki::authority::{Authority, IssueAuthority, IssueRequest};
use openset_pki::{BrandId, Chain, Purpose, Role};
use openset_protocol::Timestamp;
use openset_protocol::identity::Credentials;

use super::{ISSUING, TestBrand, TestCa, key_exchange, next_serial, signature, subject, validity};
use crate::keys::key;

impl TestBrand {
    pub(super) fn new(name: &str, root: &Authority, now: Timestamp, serials: &AtomicU64) -> Self {
        let id = BrandId::new(name).expect("a test names its brands well");
        let above = Issuance {
            id: &id,
            now,
            serials,
        };
        let bca = above.authority(root, Role::BrandCa, "bca", 2);
        let gca = above.authority(&bca, Role::RegionalCa, "gca", 1);
        let [cca, mca, pca] = ISSUING.map(|(ca, role)| above.issuing(&gca, role, ca));
        Self {
            bca,
            gca,
            cca,
            mca,
            pca,
            id,
        }
    }
}

/// What is the same for all CAs of a brand.
struct Issuance<'a> {
    id: &'a BrandId,
    now: Timestamp,
    serials: &'a AtomicU64,
}

impl Issuance<'_> {
    fn key(&self, name: &str) -> PrivateKey {
        key(&format!("{}/{name}", self.id))
    }

    fn authority(&self, parent: &Authority, role: Role, name: &str, path_len: u8) -> Authority {
        let key = self.key(name);
        let request = IssueAuthority {
            role,
            subject: subject(self.id, "Test", &format!("{} {name}", self.id)),
            validity: validity(self.now, 1825),
            serial: next_serial(self.serials),
            path_len,
        };
        let certificate = parent
            .issue_authority(key.public_key(), &request)
            .expect("the CA can be issued");
        Authority::with_key(parent.chain_of(&certificate), key).expect("key and CA belong together")
    }

    fn issuing(&self, gca: &Authority, role: Role, name: &str) -> TestCa {
        let sign = self.key(&format!("{name}/sign"));
        let open = self.key(&format!("{name}/open"));
        let chain = |key: &PrivateKey, purpose| self.message(gca, role, name, key, purpose);
        TestCa {
            authority: self.authority(gca, role, name, 0),
            credentials: Credentials {
                signature: signature(chain(&sign, Purpose::Signature), sign),
                key_exchange: key_exchange(chain(&open, Purpose::KeyExchange), open),
            },
        }
    }

    fn message(
        &self,
        gca: &Authority,
        role: Role,
        name: &str,
        key: &PrivateKey,
        purpose: Purpose,
    ) -> Chain {
        let request = IssueRequest {
            public_key: key.public_key(),
            role,
            purpose,
            subject: subject(self.id, "Test", &format!("{} {name}", self.id)),
            validity: validity(self.now, 1825),
            serial: next_serial(self.serials),
            merchant_data: None,
            card_cert_required: None,
        };
        let certificate = gca
            .issue_end_entity(&request)
            .expect("the CA's certificate for messages can be issued");
        gca.chain_of(&certificate)
    }
}
