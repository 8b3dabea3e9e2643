//! Every RSA operation is counted, by kind and size. The counters are those of the process, so this is a program of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixtures;

use fixtures::rng;
use openset_jose::{KeySize, Operation, RsaBits, default_provider, jwe, jws};

fn run() -> Vec<u64> {
    let sizes = KeySize::ALL.into_iter();
    sizes
        .flat_map(|size| Operation::ALL.map(|operation| operation.run(size)))
        .collect()
}

#[test]
fn each_operation_is_counted_once_under_its_size() {
    let mut rng = rng(1);
    for (bits, size) in [
        (RsaBits::B2048, KeySize::B2048),
        (RsaBits::B3072, KeySize::B3072),
    ] {
        let key = default_provider().generate_rsa(&mut rng, bits).unwrap();
        let mut expected = run();
        let mut counted = |operation: Operation| {
            let sizes = KeySize::ALL
                .iter()
                .position(|other| *other == size)
                .unwrap();
            let place = Operation::ALL
                .iter()
                .position(|other| *other == operation)
                .unwrap();
            expected[sizes * Operation::ALL.len() + place] += 1;
            assert_eq!(run(), expected, "{operation:?} {size:?}");
        };
        let header = jws::Header::default();
        let signed = jws::sign(&mut rng, &key, &header, b"payload").unwrap();
        counted(Operation::SignPss);
        let read = jws::Unverified::parse(&signed).unwrap();
        read.verify(key.public_key()).unwrap();
        counted(Operation::VerifyPss);
        let sealed = jwe::seal(&mut rng, key.public_key(), None, "", b"payload").unwrap();
        counted(Operation::EncryptOaep);
        jwe::Sealed::parse(&sealed).unwrap().open(&key).unwrap();
        counted(Operation::DecryptOaep);
        key.sign_pkcs1_sha256(b"certificate").unwrap();
        counted(Operation::SignPkcs1);
        Operation::VerifyPkcs1.count(key.public_key().bits());
        counted(Operation::VerifyPkcs1);
    }
    assert_eq!(KeySize::of(4096), KeySize::B4096);
}
