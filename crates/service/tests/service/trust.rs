//! Trust bootstrap against a CA that serves a hierarchy made here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use openset_pki::authority::Authority;
use openset_pki::{BrandId, Chain, Expect, PathError, Purpose, Role};
use openset_service::client::HttpClient;
use openset_service::config::Common;
use openset_service::problem::Json;
use openset_service::trust::{AuthorityEntry, BrandEntry, Trust, TrustDocument, TrustError};
use openset_service::{CancellationToken, clock};
use openset_store::{Db, sqlite_url};
use openset_testkit::pki::TestPki;

use crate::support::{Served, common, serve};

type Shared = Arc<Mutex<TrustDocument>>;

pub(crate) fn document(pki: &TestPki, number: u64) -> TrustDocument {
    let crl = |authority: &Authority| pki.crl(authority, number, &[]).der().to_vec();
    let root = pki.root.certificate().der();
    let mut document = TrustDocument::new(root, "root", &crl(&pki.root));
    for authority in pki.authorities() {
        if let Some(chain) = authority.chain() {
            let id = entry_id(authority.certificate().role());
            document
                .authorities
                .push(AuthorityEntry::new(&id, &chain, &crl(authority)));
        }
    }
    let bci = pki.brand_crl_identifier("Brand", number, number);
    document.brands.push(BrandEntry::new(&bci));
    document
}

/// How the documents here name the CA of a role.
pub(crate) fn entry_id(role: Role) -> String {
    role.name().replace(' ', "-")
}

/// A CA whose document may be changed.
pub(crate) struct Ca {
    pub(crate) served: Served,
    document: Shared,
    /// How often it was asked for its document.
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Ca {
    pub(crate) async fn open(document: TrustDocument) -> Self {
        let document: Shared = Arc::new(Mutex::new(document));
        let asked: Arc<AtomicUsize> = Arc::default();
        let (serving, count) = (Arc::clone(&document), Arc::clone(&asked));
        let trust = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let document = serving.lock().unwrap().clone();
            async move { Json(document) }
        };
        let router = Router::new().route("/trust", get(trust));
        Self {
            served: serve(router).await,
            document,
            asked,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut TrustDocument)) {
        change(&mut self.document.lock().unwrap());
    }
}

pub(crate) struct Party {
    folder: tempfile::TempDir,
    db: Db,
    /// Between two looks at the CA.
    refresh_s: u64,
}

impl Party {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&sqlite_url(&folder.path().join("x.db")), &[])
            .await
            .unwrap();
        Self {
            folder,
            db,
            refresh_s: 30,
        }
    }

    /// One that is to look at the CA once an hour.
    pub(crate) async fn seldom() -> Self {
        Self {
            refresh_s: 3600,
            ..Self::new().await
        }
    }

    /// Another process on the same database.
    pub(crate) fn replica(&self) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            db: self.db.clone(),
            refresh_s: self.refresh_s,
        }
    }

    fn common(&self, ca: &Ca, fingerprint: [u8; 32]) -> Common {
        let hex = hex::encode(fingerprint);
        let url = ca.served.url("/").to_string();
        common(
            self.folder.path(),
            &[
                "--root-sha256",
                &hex,
                "--ca-url",
                &url,
                "--trust-refresh-seconds",
                &self.refresh_s.to_string(),
            ],
        )
    }

    pub(crate) async fn bootstrap(&self, ca: &Ca, pki: &TestPki) -> Result<Arc<Trust>, TrustError> {
        self.bootstrap_pinned(ca, *pki.root.certificate().thumbprint().as_bytes())
            .await
    }

    async fn bootstrap_pinned(&self, ca: &Ca, pin: [u8; 32]) -> Result<Arc<Trust>, TrustError> {
        let client = HttpClient::new(None).unwrap();
        let shutdown = CancellationToken::new();
        let common = self.common(ca, pin);
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(20)).await;
            stop.cancel();
        });
        Trust::bootstrap(&common, &client, &self.db, &shutdown).await
    }
}

pub(crate) fn shop(pki: &TestPki) -> Chain {
    pki.merchant("Brand", "shop").signature.chain().clone()
}

pub(crate) fn verify_merchant(trust: &Trust, chain: &Chain) -> Result<(), PathError> {
    let brand = BrandId::new("Brand").unwrap();
    let expect = Expect {
        role: Role::Merchant,
        purpose: Purpose::Signature,
        brand: Some(&brand),
    };
    trust
        .verifier()
        .verify(chain, &expect, clock::now_seconds())
        .map(|_| ())
}

#[tokio::test]
async fn trust_begins_with_the_pinned_root_and_no_other() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let party = Party::new().await;
    let error = party.bootstrap_pinned(&ca, [7; 32]).await.unwrap_err();
    assert!(
        matches!(error, TrustError::RootMismatch { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("0707"), "{error}");

    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    assert_eq!(trust.authorities().len(), 6);
    let brand = BrandId::new("Brand").unwrap();
    assert!(trust.authority(Role::MerchantCa, &brand).is_some());
    let merchant = shop(&pki);
    verify_merchant(&trust, &merchant).unwrap();
}

#[tokio::test]
async fn party_starts_without_its_ca_and_takes_no_older_crl_afterwards() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca_up = Ca::open(document(&pki, 2)).await;
    let shared = Arc::clone(&ca_up.document);
    let party = Party::new().await;
    let merchant = shop(&pki);
    let revoked = merchant.leaf().clone();
    let trust = party.bootstrap(&ca_up, &pki).await.unwrap();
    verify_merchant(&trust, &merchant).unwrap();

    // The CA revokes the merchant; the next refresh knows.
    let mca = &pki.brand("Brand").mca.authority;
    let newer = pki.crl(mca, 3, &[&revoked]);
    let id = entry_id(Role::MerchantCa);
    {
        let mut document = shared.lock().unwrap();
        let entry = document
            .authorities
            .iter_mut()
            .find(|entry| entry.id == id)
            .unwrap();
        *entry = AuthorityEntry::new(&id, &mca.chain().unwrap(), newer.der());
    }
    trust.refresh().await.unwrap();
    let refusal = verify_merchant(&trust, &merchant);
    assert!(matches!(refusal, Err(PathError::Revoked(_))), "{refusal:?}");

    // The same after a restart with a CA that offers what was before, and without any CA.
    *shared.lock().unwrap() = document(&pki, 2);
    let trust = party.bootstrap(&ca_up, &pki).await.unwrap();
    assert!(matches!(
        verify_merchant(&trust, &merchant),
        Err(PathError::Revoked(_))
    ));
    ca_up.served.shutdown.cancel();
    ca_up.served.stopped().await;
    let trust = party.bootstrap(&ca_up, &pki).await.unwrap();
    assert!(matches!(
        verify_merchant(&trust, &merchant),
        Err(PathError::Revoked(_))
    ));
    assert!(matches!(trust.refresh().await, Err(TrustError::Call(_))));
}

#[tokio::test]
async fn authority_with_a_forged_crl_is_left_out_and_the_root_s_stops_all() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let shared = Arc::clone(&ca.document);
    let index = {
        let mut document = shared.lock().unwrap();
        let id = entry_id(Role::MerchantCa);
        let index = document
            .authorities
            .iter()
            .position(|entry| entry.id == id)
            .unwrap();
        document.authorities[index].crl = document.authorities[0].crl.clone();
        index
    };
    let party = Party::new().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    assert_eq!(trust.authorities().len(), 5);
    let merchant = shop(&pki);
    let refusal = verify_merchant(&trust, &merchant);
    assert!(
        matches!(refusal, Err(PathError::CrlMissing(Role::MerchantCa))),
        "{refusal:?}"
    );

    {
        let mut document = shared.lock().unwrap();
        document.authorities[0].crl = document.authorities[index - 1].crl.clone();
    }
    let error = Party::new().await.bootstrap(&ca, &pki).await.unwrap_err();
    assert!(matches!(error, TrustError::Path { .. }), "{error:?}");
}

#[tokio::test]
async fn brand_is_refused_without_its_crl_identifier_and_no_older_one_is_taken() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let shared = Arc::clone(&ca.document);
    let merchant = shop(&pki);
    let brands = std::mem::take(&mut shared.lock().unwrap().brands);
    let party = Party::new().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let refusal = verify_merchant(&trust, &merchant);
    assert!(
        matches!(refusal, Err(PathError::BciMissing(_))),
        "{refusal:?}"
    );

    shared.lock().unwrap().brands = brands;
    trust.refresh().await.unwrap();
    verify_merchant(&trust, &merchant).unwrap();

    // The brand names newer CRLs than the document has: until they come, what it said before counts.
    let newer = pki.brand_crl_identifier("Brand", 3, 3);
    shared.lock().unwrap().brands = vec![BrandEntry::new(&newer)];
    trust.refresh().await.unwrap();
    let brand = BrandId::new("Brand").unwrap();
    let sequence = |trust: &Trust| {
        let held = trust.verifier().brand_crl_identifier_held(&brand);
        held.map(|bci| bci.sequence())
    };
    assert_eq!(sequence(&trust), Some(2));
    verify_merchant(&trust, &merchant).unwrap();
    *shared.lock().unwrap() = document(&pki, 3);
    trust.refresh().await.unwrap();
    assert_eq!(sequence(&trust), Some(3));

    // From then on no older one does, not even after a restart.
    *shared.lock().unwrap() = document(&pki, 2);
    for trust in [trust, party.bootstrap(&ca, &pki).await.unwrap()] {
        trust.refresh().await.unwrap();
        assert_eq!(sequence(&trust), Some(3));
        verify_merchant(&trust, &merchant).unwrap();
    }
}
