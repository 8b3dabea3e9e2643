//! What the cryptography of a purchase costs on this machine at the least: each operation timed with every core at work.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use openset_jose::{Operation, PrivateKey, Provider, RsaBits, default_provider};

/// Each operation is run this long, this many times; the middle one counts.
const ROUND: Duration = Duration::from_millis(250);
const ROUNDS: usize = 3;
/// Operations between two looks at the clock.
const BATCH: u32 = 8;
/// How long the disk is asked to keep things.
const FSYNC_PERIOD: Duration = Duration::from_secs(1);
/// What one of these syncs writes: a page of a database's log.
const FSYNC_BYTES: usize = 4096;

/// The prices of this machine.
pub(super) struct Floor {
    /// Cores that were at work at once.
    pub(super) cores: usize,
    /// Microseconds of processor time for each operation, by the bits of its key.
    micros: Vec<(Operation, u16, f64)>,
    /// What the disk of the data folder manages, one after another.
    pub(super) fsyncs_per_second: Option<f64>,
    /// The same operations by OpenSSL, in microseconds, where it is installed: sign, verify.
    pub(super) openssl_micros: Option<[f64; 2]>,
}

impl Floor {
    /// Microseconds of one operation. Nothing here makes keys above 3072 bits; they are taken at the price of those, so
    /// that the floor is too low rather than too high.
    pub(super) fn micros(&self, operation: Operation, bits: u16) -> f64 {
        let bits = bits.min(3072);
        let timed = self
            .micros
            .iter()
            .find(|(name, size, _)| *name == operation && *size == bits);
        timed.map_or(0.0, |(_, _, micros)| *micros)
    }

    /// Every price, by operation and bits.
    pub(super) fn all(&self) -> BTreeMap<String, f64> {
        let timed = self.micros.iter();
        timed
            .map(|(operation, bits, micros)| (format!("{}_{bits}", operation.name()), *micros))
            .collect()
    }
}

/// Times everything; `folder` says which disk.
pub(super) fn measure(folder: Option<&Path>) -> anyhow::Result<Floor> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let provider = default_provider();
    let mut micros = Vec::new();
    for (bits, number) in [(RsaBits::B2048, 2048), (RsaBits::B3072, 3072)] {
        let bench = Bench::new(provider, bits)?;
        for operation in Operation::ALL {
            let mut rounds: Vec<f64> = (0..ROUNDS)
                .map(|_| bench.round(operation, cores))
                .collect::<anyhow::Result<_>>()?;
            rounds.sort_by(f64::total_cmp);
            let middle = rounds.get(ROUNDS / 2).copied().unwrap_or_default();
            micros.push((operation, number, middle));
        }
    }
    Ok(Floor {
        cores,
        micros,
        fsyncs_per_second: folder.map(fsyncs_per_second).transpose()?,
        openssl_micros: openssl(cores),
    })
}

/// A key and something made with it.
struct Bench {
    key: PrivateKey,
    signature: Vec<u8>,
    ciphertext: Vec<u8>,
}

const MESSAGE: &[u8] = b"what is signed";
const CONTENT_KEY: [u8; 32] = [7; 32];

impl Bench {
    fn new(provider: &'static dyn Provider, bits: RsaBits) -> anyhow::Result<Self> {
        let mut rng = openset_service::random::system();
        let key = provider.generate_rsa(&mut rng, bits)?;
        let signature = key.sign_pss_sha256(&mut rng, MESSAGE)?;
        let ciphertext = key
            .public_key()
            .encrypt_oaep_sha256(&mut rng, &CONTENT_KEY)?;
        Ok(Self {
            key,
            signature,
            ciphertext,
        })
    }

    /// Microseconds of one core for one operation, with `cores` of them at it.
    fn round(&self, operation: Operation, cores: usize) -> anyhow::Result<f64> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores)
                .map(|_| scope.spawn(|| self.repeat(operation)))
                .collect();
            let mut each = Vec::new();
            for thread in threads {
                let timed = thread.join();
                each.push(timed.map_err(|_| anyhow::anyhow!("a timing thread panicked"))??);
            }
            let sum: f64 = each.iter().sum();
            Ok(sum / each.len() as f64)
        })
    }

    fn repeat(&self, operation: Operation) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut run = 0_u32;
        while begun.elapsed() < ROUND {
            for _ in 0..BATCH {
                self.once(operation)?;
            }
            run = run.saturating_add(BATCH);
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(run))
    }

    fn once(&self, operation: Operation) -> anyhow::Result<()> {
        let mut rng = openset_service::random::system();
        let public = self.key.public_key();
        match operation {
            Operation::SignPss => drop(self.key.sign_pss_sha256(&mut rng, MESSAGE)?),
            Operation::SignPkcs1 => drop(self.key.sign_pkcs1_sha256(MESSAGE)?),
            Operation::DecryptOaep => drop(self.key.decrypt_oaep_sha256(&self.ciphertext)?),
            // The same power of the same number; only the padding differs.
            Operation::VerifyPss | Operation::VerifyPkcs1 => {
                public.verify_pss_sha256(MESSAGE, &self.signature)?;
            }
            Operation::EncryptOaep => drop(public.encrypt_oaep_sha256(&mut rng, &CONTENT_KEY)?),
        }
        Ok(())
    }
}

fn fsyncs_per_second(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("fsync.bench");
    let context = || format!("cannot write {}", path.display());
    let mut file = File::create(&path).with_context(context)?;
    let begun = Instant::now();
    let mut done = 0_u32;
    while begun.elapsed() < FSYNC_PERIOD {
        file.write_all(&[0; FSYNC_BYTES]).with_context(context)?;
        file.sync_data().with_context(context)?;
        done = done.saturating_add(1);
    }
    let rate = f64::from(done) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path).with_context(context)?;
    Ok(rate)
}

/// `openssl speed`, or nothing where it is not installed or speaks otherwise.
fn openssl(cores: usize) -> Option<[f64; 2]> {
    let cores_shown = cores.to_string();
    let output = Command::new("openssl")
        .args(["speed", "-seconds", "1", "-multi", &cores_shown, "rsa2048"])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    read_openssl(&String::from_utf8_lossy(&output.stdout), cores)
}

/// The rates are those of all cores together; one core's time for one operation is `cores / rate`.
fn read_openssl(text: &str, cores: usize) -> Option<[f64; 2]> {
    let titles = text.lines().find(|line| line.contains("sign/s"))?;
    let row = text
        .lines()
        .find(|line| line.starts_with("rsa") && line.contains("2048 bits"))?;
    let values: Vec<&str> = row.split_once("bits")?.1.split_whitespace().collect();
    let rate = |title: &str| -> Option<f64> {
        let place = titles.split_whitespace().position(|word| word == title)?;
        values.get(place)?.parse().ok()
    };
    let micros = |rate: f64| cores as f64 * 1e6 / rate;
    Some([micros(rate("sign/s")?), micros(rate("verify/s")?)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_openssl_prints_is_read_by_its_titles() {
        let three = "                   sign    verify    encrypt   decrypt   sign/s verify/s  encr./s  decr./s\n\
            rsa  2048 bits 0.000500s 0.000020s 0.000021s 0.000510s   2000.0  50000.0  47000.0   1960.0\n";
        let read = read_openssl(three, 2).unwrap();
        assert!((read[0] - 1000.0).abs() < 0.001 && (read[1] - 40.0).abs() < 0.001);
        let one = "                  sign    verify    sign/s verify/s\n\
            rsa 2048 bits 0.000500s 0.000020s   2000.0  50000.0\n";
        assert!((read_openssl(one, 1).unwrap()[0] - 500.0).abs() < 0.001);
        assert!(read_openssl("no such option", 1).is_none());
    }
}
