//! The key of the root after a root. Under a passphrase of its own it is an age file within the vault: whoever has the
//! root and its passphrase then still cannot make the next one.

use age::scrypt;
use anyhow::Context as _;
use openset_jose::{PrivateKey, default_provider};
use openset_store::SecretString;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

/// What an age file begins with, and PKCS#8 does not.
const AGE: &[u8] = b"age-encryption.org/";

fn for_age(passphrase: &SecretString) -> age::secrecy::SecretString {
    passphrase.expose_secret().to_owned().into()
}

/// The key as it is kept.
pub(crate) fn seal(
    key: &PrivateKey,
    passphrase: Option<&SecretString>,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let plain = key.to_pkcs8();
    let Some(passphrase) = passphrase else {
        return Ok(plain);
    };
    let recipient = scrypt::Recipient::new(for_age(passphrase));
    let sealed =
        age::encrypt(&recipient, &plain).context("the next root's key cannot be sealed")?;
    Ok(Zeroizing::new(sealed))
}

/// The key that was kept so.
pub(crate) fn open(kept: &[u8], passphrase: Option<&SecretString>) -> anyhow::Result<PrivateKey> {
    let plain = if kept.starts_with(AGE) {
        let passphrase = passphrase.context(
            "the next root's key is under a passphrase of its own: give --next-passphrase-file or \
             OPENSET_NEXT_ROOT_PASSPHRASE",
        )?;
        let identity = scrypt::Identity::new(for_age(passphrase));
        let plain = age::decrypt(&identity, kept)
            .context("the next root's key does not open: its passphrase is another one")?;
        Zeroizing::new(plain)
    } else {
        Zeroizing::new(kept.to_vec())
    };
    default_provider()
        .private_key_from_pkcs8(&plain)
        .context("the next root's key is damaged")
}
