//! What is worked on while a value is packed or unpacked.

use std::mem;
use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize as _, Zeroizing};

/// Whether what is made of a value is wiped when it has served. That takes as long as packing does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// It stands in the database in clear.
    Open,
    Secret,
}

impl Secrecy {
    /// Room for so many bytes. It must do: what is left behind where there is too little is not wiped.
    pub(super) fn room(self, len: usize) -> Scratch {
        self.scratch(Vec::with_capacity(len))
    }

    pub(super) fn scratch(self, bytes: Vec<u8>) -> Scratch {
        Scratch {
            bytes,
            secrecy: self,
        }
    }
}

/// Bytes that are wiped when they are dropped, if they are secret.
pub(super) struct Scratch {
    bytes: Vec<u8>,
    secrecy: Secrecy,
}

impl Scratch {
    /// Without wiping them.
    pub(super) fn into_open(mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }

    pub(super) fn into_zeroizing(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.into_open())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.secrecy == Secrecy::Secret {
            self.bytes.zeroize();
        }
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}
