//! The file of a back-up: JSON in an armored age file (<https://age-encryption.org/v1>) under a passphrase.

use std::io::{Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{DecryptError, Decryptor, Encryptor, scrypt};
use openset_service::problem::Problem;
use openset_store::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::contents::Contents;

/// What the file says that it is.
const FORMAT: &str = "openset-wallet";
/// Its version: another one is refused.
const VERSION: u32 = 1;
/// The most work that a file may ask for: 2^20 blocks of scrypt, which take 1 GiB and some seconds.
const LOG_N_MAX: u8 = 20;

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileError {
    #[error("the passphrase does not open this file; give the one that it was made with")]
    WrongPassphrase,
    #[error("the file is damaged, or no back-up of a wallet under a passphrase; take another copy")]
    Damaged,
    #[error(
        "the file asks for 2^{0} blocks of work, at most 2^{LOG_N_MAX} are spent; it was not made by a wallet"
    )]
    ExcessiveWork(u8),
    #[error(
        "the file is of version {0}, this wallet reads version {VERSION}; restore it with a wallet of that version"
    )]
    Version(u32),
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let (code, pointer) = match error {
            FileError::WrongPassphrase => ("wrong-passphrase", "/passphrase"),
            FileError::Damaged => ("backup-damaged", "/backup"),
            FileError::ExcessiveWork(_) => ("backup-excessive-work", "/backup"),
            FileError::Version(_) => ("backup-version", "/backup"),
        };
        Self::unprocessable(code, format!("nothing was restored: {error}"))
            .with_field(pointer, error.to_string())
    }
}

/// The part that every version has.
#[derive(Deserialize)]
struct Envelope {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Whole<C> {
    format: String,
    version: u32,
    contents: C,
}

/// Writes a back-up; `danger_log_n` is scrypt's cost for tests, otherwise about a second's work.
pub(super) fn write(
    contents: &Contents,
    passphrase: SecretString,
    danger_log_n: Option<u8>,
) -> Result<Vec<u8>, Problem> {
    let whole = Whole {
        format: FORMAT.to_owned(),
        version: VERSION,
        contents,
    };
    let plain = serde_json::to_vec(&whole)
        .map(Zeroizing::new)
        .map_err(Problem::internal)?;
    encrypt(&plain, passphrase, danger_log_n).map_err(Problem::internal)
}

fn encrypt(
    plain: &[u8],
    passphrase: SecretString,
    danger_log_n: Option<u8>,
) -> anyhow::Result<Vec<u8>> {
    let mut recipient = scrypt::Recipient::new(passphrase);
    if let Some(log_n) = danger_log_n {
        recipient.set_work_factor(log_n.clamp(1, LOG_N_MAX));
    }
    let recipient: &dyn age::Recipient = &recipient;
    let encryptor = Encryptor::with_recipients(std::iter::once(recipient))?;
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(plain)?;
    Ok(writer.finish()?.finish()?)
}

/// Opens and reads a back-up.
pub(super) fn read(file: &str, passphrase: SecretString) -> Result<Contents, FileError> {
    let plain = decrypt(file, passphrase)?;
    let envelope: Envelope = serde_json::from_slice(&plain).map_err(|_| FileError::Damaged)?;
    if envelope.format != FORMAT {
        return Err(FileError::Damaged);
    }
    if envelope.version != VERSION {
        return Err(FileError::Version(envelope.version));
    }
    let whole: Whole<Contents> = serde_json::from_slice(&plain).map_err(|_| FileError::Damaged)?;
    Ok(whole.contents)
}

fn decrypt(file: &str, passphrase: SecretString) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(file.trim().as_bytes()))
        .map_err(|_| FileError::Damaged)?;
    if !decryptor.is_scrypt() {
        return Err(FileError::Damaged);
    }
    let mut identity = scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(LOG_N_MAX);
    let identity: &dyn age::Identity = &identity;
    let mut reader = decryptor
        .decrypt(std::iter::once(identity))
        .map_err(|error| match error {
            DecryptError::DecryptionFailed | DecryptError::NoMatchingKeys => {
                FileError::WrongPassphrase
            }
            DecryptError::ExcessiveWork { required, .. } => FileError::ExcessiveWork(required),
            _ => FileError::Damaged,
        })?;
    // Room from the start: a buffer that grows leaves unwiped copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(file.len()));
    reader
        .read_to_end(&mut plain)
        .map_err(|_| FileError::Damaged)?;
    Ok(plain)
}
