//! Batches: what a merchant's captures and refunds are collected in, until the batch is closed and paid out
//! (reference 3.9).

use crate::ids::LocalId;
use serde::{Deserialize, Serialize};

/// Where a capture, a refund or the cancellation of one stands: its name for both sides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchPlace {
    /// BatchID: made by the gateway.
    pub batch_id: LocalId,
    /// BatchSequenceNum: from 1 on, in the order in which the items were done.
    pub batch_sequence_num: u32,
}
