//! Alters messages and makes them whole again with the keys that the tests hold.

use openset_jose::{ContentKey, PrivateKey, default_provider, jwe, jws};
use openset_testkit::keys::rng;
use serde_json::Value;

/// A wrapper with its JSON altered.
pub(crate) fn wrapper(wire: &[u8], alter: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(wire).unwrap();
    alter(&mut json);
    serde_json::to_vec(&json).unwrap()
}

/// A wrapper with its message's content replaced.
pub(crate) fn content(wire: &[u8], replace: impl FnOnce(&mut Value)) -> Vec<u8> {
    wrapper(wire, |json| {
        let message = json["message"].as_object_mut().unwrap();
        replace(message.values_mut().next().unwrap());
    })
}

/// A signed object with its payload altered, signed again under the same header.
pub(crate) fn signed(compact: &mut Value, key: &PrivateKey, alter: impl FnOnce(&mut Value)) {
    let header = jws::Unverified::parse(compact.as_str().unwrap())
        .unwrap()
        .header()
        .clone();
    signed_under(compact, key, &header, alter);
}

/// A signed object with its payload altered, signed again under another header.
pub(crate) fn signed_under(
    compact: &mut Value,
    key: &PrivateKey,
    header: &jws::Header,
    alter: impl FnOnce(&mut Value),
) {
    let object = jws::Unverified::parse(compact.as_str().unwrap()).unwrap();
    let mut payload: Value = serde_json::from_slice(object.danger_unverified_payload()).unwrap();
    alter(&mut payload);
    *compact = jws::sign(
        &mut rng(1),
        key,
        header,
        &serde_json::to_vec(&payload).unwrap(),
    )
    .unwrap()
    .into();
}

/// A sealed object with its content altered, sealed again for the same receiver.
pub(crate) fn sealed(compact: &mut Value, receiver: &PrivateKey, alter: impl FnOnce(&mut Value)) {
    let object = jwe::Sealed::parse(compact.as_str().unwrap()).unwrap();
    let mut content: Value = serde_json::from_slice(&object.open(receiver).unwrap()).unwrap();
    alter(&mut content);
    let header = object.header();
    let plaintext = serde_json::to_vec(&content).unwrap();
    let again = jwe::seal(
        &mut rng(2),
        receiver.public_key(),
        header.x5t_s256,
        &header.cty,
        &plaintext,
    );
    *compact = again.unwrap().into();
}

/// As [`sealed`], for an object under a key of both sides.
pub(crate) fn sealed_direct(compact: &mut Value, key: &ContentKey, alter: impl FnOnce(&mut Value)) {
    let object = jwe::Sealed::parse(compact.as_str().unwrap()).unwrap();
    let opened = object.open_direct(default_provider(), key).unwrap();
    let mut content: Value = serde_json::from_slice(&opened).unwrap();
    alter(&mut content);
    let plaintext = serde_json::to_vec(&content).unwrap();
    let again = jwe::seal_direct(
        &mut rng(3),
        default_provider(),
        key,
        &object.header().cty,
        &plaintext,
    );
    *compact = again.unwrap().into();
}

/// A compact object with one bit of its part number `part` flipped.
pub(crate) fn flip(compact: &mut Value, part: usize) {
    let mut parts: Vec<String> = compact
        .as_str()
        .unwrap()
        .split('.')
        .map(str::to_owned)
        .collect();
    let mut bytes = openset_jose::base64url::decode(&parts[part]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    parts[part] = openset_jose::base64url::encode(&bytes);
    *compact = parts.join(".").into();
}

/// Another value of the same kind: 256 bits that nobody drew.
pub(crate) fn other_256() -> Value {
    openset_jose::base64url::encode(&[0x5a; 32]).into()
}
