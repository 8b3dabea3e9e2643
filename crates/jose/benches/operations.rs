//! What each operation of a purchase costs, with each provider. `cargo bench -p openset-jose --all-features`.
#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(clippy::unwrap_used, reason = "as in the tests")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use openset_jose::jwe::{self, Sealed};
use openset_jose::jws::{self, Header, Unverified};
use openset_jose::{ContentKey, Provider, RsaBits};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// About what an AuthReq has.
const PAYLOAD_BYTES: usize = 6_000;
const CTY: &str = "bench";

fn providers() -> Vec<&'static dyn Provider> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        openset_jose::aws_lc(),
        #[cfg(feature = "rustcrypto")]
        openset_jose::rust_crypto(),
    ]
}

fn operations(c: &mut Criterion) {
    for provider in providers() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = provider.generate_rsa(&mut rng, RsaBits::B2048).unwrap();
        let public = key.public_key();
        let payload = vec![b'x'; PAYLOAD_BYTES];
        let mut group = c.benchmark_group(provider.name());

        group.bench_function("sign PSS", |b| {
            b.iter(|| key.sign_pss_sha256(&mut rng, black_box(&payload)));
        });
        let signature = key.sign_pss_sha256(&mut rng, &payload).unwrap();
        group.bench_function("verify PSS", |b| {
            b.iter(|| public.verify_pss_sha256(black_box(&payload), &signature));
        });
        group.bench_function("encrypt OAEP", |b| {
            b.iter(|| public.encrypt_oaep_sha256(&mut rng, black_box(&[7; 32])));
        });
        let wrapped = public.encrypt_oaep_sha256(&mut rng, &[7; 32]).unwrap();
        group.bench_function("decrypt OAEP", |b| {
            b.iter(|| key.decrypt_oaep_sha256(black_box(&wrapped)));
        });

        let header = Header {
            cty: CTY.to_owned(),
            ..Header::default()
        };
        group.bench_function("JWS sign", |b| {
            b.iter(|| jws::sign(&mut rng, &key, &header, black_box(&payload)));
        });
        let compact = jws::sign(&mut rng, &key, &header, &payload).unwrap();
        group.bench_function("JWS parse and verify", |b| {
            b.iter(|| {
                let read = Unverified::parse(black_box(&compact)).unwrap();
                read.verify(public).map(<[u8]>::len)
            });
        });
        group.bench_function("JWE seal", |b| {
            b.iter(|| jwe::seal(&mut rng, public, None, CTY, black_box(&payload)));
        });
        let sealed = jwe::seal(&mut rng, public, None, CTY, &payload).unwrap();
        group.bench_function("JWE parse and open", |b| {
            b.iter(|| Sealed::parse(black_box(&sealed)).unwrap().open(&key));
        });
        let content_key = ContentKey::generate(&mut rng);
        group.bench_function("JWE seal direct", |b| {
            b.iter(|| jwe::seal_direct(&mut rng, provider, &content_key, CTY, black_box(&payload)));
        });
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
