//! The lists that a party holds: each brand CA's word is kept, and how long all of them are good is shown.

use openset_pki::authority::{Authority, IssueAuthority, Serial, Subject};
use openset_pki::{BrandCrlIdentifier, CrlIdentifier, Role};
use openset_service::clock;
use openset_service::telemetry::Metrics;
use openset_service::trust::{AuthorityEntry, BrandEntry};
use openset_testkit::keys::key;
use openset_testkit::pki::{CRL_SECONDS, TestPki, validity};

use crate::trust::{Ca, Party, document};

/// The brand's second brand CA, and what it says.
fn second_generation(pki: &TestPki) -> (Authority, BrandCrlIdentifier) {
    let request = IssueAuthority {
        role: Role::BrandCa,
        subject: Subject {
            country: None,
            brand: Some(pki.brand("Brand").id.clone()),
            organizational_unit: None,
            common_name: "Brand CA 2".to_owned(),
        },
        validity: validity(pki.now, 1000),
        serial: Serial::from_bytes([0x42; 16]),
        path_len: 2,
    };
    let key = key("Brand/bca/2");
    let certificate = pki
        .root
        .issue_authority(key.public_key(), &request)
        .unwrap();
    let authority = Authority::with_key(pki.root.chain_of(&certificate), key).unwrap();
    let now = pki.now.seconds();
    let named = [&pki.root, &authority].map(|ca| CrlIdentifier {
        issuer_der: ca.certificate().subject_der().to_vec(),
        number: 2,
    });
    let bci = authority.issue_brand_crl_identifier(700, now, now + CRL_SECONDS, &named);
    (authority, bci.unwrap())
}

#[tokio::test]
async fn the_word_of_each_brand_ca_is_kept_for_the_next_start() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let (brand_ca, bci) = second_generation(&pki);
    let mut both = document(&pki, 2);
    let crl = pki.crl(&brand_ca, 2, &[]);
    let chain = brand_ca.chain().unwrap();
    let entry = AuthorityEntry::new("brand-2", &chain, crl.der());
    both.authorities.push(entry);
    both.brands.push(BrandEntry::new(&bci));
    let ca = Ca::open(both).await;
    let party = Party::new().await;
    let brand = &pki.brand("Brand").id;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let held = trust.verifier().brand_crl_identifiers_held(brand);
    assert_eq!(held.len(), 2);

    ca.change(|document| document.brands.clear());
    let again = party.bootstrap(&ca, &pki).await.unwrap();
    let kept = again.verifier().brand_crl_identifiers_held(brand);
    assert_eq!(kept.len(), 2, "of both generations");
    assert!(kept.contains(&bci));
}

#[tokio::test]
async fn the_metrics_show_how_long_each_list_is_still_good() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let party = Party::new().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let metrics = Metrics::new();
    trust.register(&metrics);
    let text = metrics.encode().unwrap();
    let left = |labels: &str| {
        let start = format!("openset_list_seconds_left{{{labels}}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{labels}: {text}"));
        line.parse::<i64>().unwrap()
    };
    let brand = pki.brand("Brand");
    let name = |authority: &Authority| authority.certificate().common_name().to_owned();
    let mut shown = vec![
        left("kind=\"crl\",brand=\"\",issuer=\"Test Root\""),
        left(&format!(
            "kind=\"brand_crl_identifier\",brand=\"Brand\",issuer=\"{}\"",
            name(&brand.bca)
        )),
    ];
    for authority in [&brand.bca, &brand.gca, &brand.mca.authority] {
        let issuer = name(authority);
        shown.push(left(&format!(
            "kind=\"crl\",brand=\"Brand\",issuer=\"{issuer}\""
        )));
    }
    for left_s in shown {
        assert!((0..=CRL_SECONDS).contains(&left_s), "{left_s}");
    }
}
