//! What it costs to judge a chain: one that is known and one that is not. `cargo bench -p openset-pki`.
//!
//! A benchmark states figures; that a known chain costs no signature check at all is a test's to say
//! (`tests/it/known_chains.rs`).
#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "as in the tests"
)]

use std::cell::Cell;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use openset_pki::ocsp::{self, Request, Responder, Response, Status};
use openset_pki::{Chain, PathVerifier};

#[path = "../tests/it/world.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod world;

use world::{Brand, NOW, as_it_is, install, key, serial, subject, validity, world};

/// Makes a verifier forget the chains of a brand's merchants.
struct Forgetting<'a> {
    verifier: &'a PathVerifier,
    brand: &'a Brand,
    number: Cell<u64>,
}

impl Forgetting<'_> {
    fn forget(&self) {
        self.number.set(self.number.get() + 1);
        install(
            self.verifier,
            &self.brand.merchant_ca,
            self.number.get(),
            &[],
        );
    }
}

fn chains(c: &mut Criterion) {
    let verifier = world().verifier();
    for (brand, shown) in [(&world().first, "3"), (&world().second, "4 with a region")] {
        let chain = &brand.merchant;
        let judge = |chain: &Chain| verifier.verify(chain, &as_it_is(chain), NOW).unwrap();
        let forgetting = Forgetting {
            verifier: &verifier,
            brand,
            number: Cell::new(1),
        };
        let mut group = c.benchmark_group(format!("chain of {shown}"));
        group.bench_function("unknown", |bencher| {
            bencher.iter_batched(
                || forgetting.forget(),
                |()| judge(black_box(chain)),
                BatchSize::PerIteration,
            );
        });
        let x5c = chain.to_x5c();
        group.bench_function("unknown, read from x5c", |bencher| {
            bencher.iter_batched(
                || forgetting.forget(),
                |()| judge(&Chain::from_x5c(black_box(&x5c)).unwrap()),
                BatchSize::PerIteration,
            );
        });
        judge(chain);
        group.bench_function("known", |bencher| {
            bencher.iter(|| judge(black_box(chain)));
        });
        group.finish();
    }
}

fn responses(c: &mut Criterion) {
    const RESPONDER_KEY: usize = 17;
    let brand = &world().first;
    let verifier = world().verifier();
    let issuer = brand.merchant_ca.certificate();
    let own = key(RESPONDER_KEY);
    let certificate = brand
        .merchant_ca
        .issue_ocsp_responder(
            own.public_key(),
            &subject(&brand.id, "responder"),
            validity(1),
            serial(),
        )
        .unwrap();
    let responder = Responder::new(issuer.clone(), certificate, own.clone()).unwrap();
    let leaf = brand.merchant.leaf();
    let asked = ocsp::request(leaf, issuer, None).unwrap();
    let asked = Request::from_der(&asked).unwrap();
    let answer = || {
        let der = responder.respond(&asked, |_| Status::Good, NOW, NOW + 600);
        der.unwrap()
    };
    let judge = |der: &[u8]| {
        let response = Response::from_der(der).unwrap();
        verifier.check_ocsp(&response, leaf, None, NOW).unwrap()
    };
    let mut group = c.benchmark_group("OCSP response");
    let der = answer();
    judge(&der);
    group.bench_function("known", |bencher| bencher.iter(|| judge(black_box(&der))));
    group.bench_function("made", |bencher| bencher.iter(answer));
    group.finish();
}

criterion_group!(benches, chains, responses);
criterion_main!(benches);
