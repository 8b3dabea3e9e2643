//! An answer as it goes to the merchant, beside the key that it was sealed under.

use crate::wrapper::MessageWrapper;
use openset_jose::ContentKey;

/// An answer, sealed for the merchant.
#[derive(Clone, Debug)]
pub struct SealedAnswer {
    /// The bytes to send.
    pub wire: Vec<u8>,
    /// The content key of the sealed object in them: with it the answer is stored as what it says, which takes less room.
    pub key: ContentKey,
}

impl SealedAnswer {
    pub(super) fn new(message: &MessageWrapper, key: ContentKey) -> Self {
        Self {
            wire: message.encode(),
            key,
        }
    }
}
