//! How often this process has run each RSA operation: what a floor for its work is reckoned from.

use std::sync::atomic::{AtomicU64, Ordering};

/// An RSA operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// RSASSA-PSS, with the private key.
    SignPss,
    /// RSASSA-PKCS1-v1_5, with the private key.
    SignPkcs1,
    /// RSAES-OAEP, with the private key.
    DecryptOaep,
    /// RSASSA-PSS, with the public key.
    VerifyPss,
    /// RSASSA-PKCS1-v1_5, with the public key: signatures of certificates and lists.
    VerifyPkcs1,
    /// RSAES-OAEP, with the public key.
    EncryptOaep,
}

/// Sizes of keys that are told apart, in bits of the modulus.
const SIZES: usize = 3;

static RUN: [[AtomicU64; SIZES]; Operation::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; SIZES] }; Operation::ALL.len()];

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SignPss,
        Self::SignPkcs1,
        Self::DecryptOaep,
        Self::VerifyPss,
        Self::VerifyPkcs1,
        Self::EncryptOaep,
    ];

    /// What metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SignPss => "sign_pss",
            Self::SignPkcs1 => "sign_pkcs1",
            Self::DecryptOaep => "decrypt_oaep",
            Self::VerifyPss => "verify_pss",
            Self::VerifyPkcs1 => "verify_pkcs1",
            Self::EncryptOaep => "encrypt_oaep",
        }
    }

    /// Whether it needs the private key, and so tens of times the time of the others.
    #[must_use]
    pub fn is_private(self) -> bool {
        matches!(self, Self::SignPss | Self::SignPkcs1 | Self::DecryptOaep)
    }

    /// Counts one with a modulus of `bits`. The keys of this crate do so themselves.
    pub fn count(self, bits: usize) {
        if let Some(run) = self.cell(KeySize::of(bits)) {
            run.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it was run in this process, with keys of this size.
    #[must_use]
    pub fn run(self, size: KeySize) -> u64 {
        self.cell(size).map_or(0, |run| run.load(Ordering::Relaxed))
    }

    fn cell(self, size: KeySize) -> Option<&'static AtomicU64> {
        let place = Self::ALL.iter().position(|other| *other == self)?;
        RUN.get(place)?.get(size.place())
    }
}

/// The sizes of keys that are told apart: up to so many bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySize {
    /// 2048 bits.
    B2048,
    /// Up to 3072 bits.
    B3072,
    /// Up to 4096 bits.
    B4096,
}

impl KeySize {
    /// All of them.
    pub const ALL: [Self; SIZES] = [Self::B2048, Self::B3072, Self::B4096];

    /// The class of a modulus.
    #[must_use]
    pub fn of(bits: usize) -> Self {
        match bits {
            0..=2048 => Self::B2048,
            2049..=3072 => Self::B3072,
            _ => Self::B4096,
        }
    }

    /// Bits of the largest modulus in it.
    #[must_use]
    pub fn bits(self) -> u16 {
        match self {
            Self::B2048 => 2048,
            Self::B3072 => 3072,
            Self::B4096 => 4096,
        }
    }

    fn place(self) -> usize {
        match self {
            Self::B2048 => 0,
            Self::B3072 => 1,
            Self::B4096 => 2,
        }
    }
}
