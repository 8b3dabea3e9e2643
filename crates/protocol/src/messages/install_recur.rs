//! InstallRecurData: a purchase that is paid in parts, or again and again (reference 3.0). Order and payment
//! instruction both hold it, so that neither merchant nor gateway can make a subscription of a single sale.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The shortest interval of recurring payments, in days.
pub const FREQUENCY_DAYS_MIN: u16 = 1;
/// The longest interval of recurring payments, in days.
pub const FREQUENCY_DAYS_MAX: u16 = 366;
/// The fewest and the most instalments.
pub const INSTALL_TOTAL: std::ops::RangeInclusive<u8> = 2..=99;

/// InstallRecurData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InstallRecurData {
    /// The purchase amount in at most so many instalments.
    InstallTotalTrans(u8),
    /// The purchase amount again and again.
    Recurring {
        /// Days between two payments at least; 28 is SET's "monthly".
        frequency_days: u16,
        /// The last moment of a payment.
        expiry: Timestamp,
    },
}

impl InstallRecurData {
    /// What HOD covers of it: what it is, and its numbers in decimal, the date as it is written.
    #[must_use]
    pub fn hash_fields(&self) -> Vec<String> {
        match self {
            Self::InstallTotalTrans(total) => {
                vec!["install_total_trans".to_owned(), total.to_string()]
            }
            Self::Recurring {
                frequency_days,
                expiry,
            } => vec![
                "recurring".to_owned(),
                frequency_days.to_string(),
                expiry.to_string(),
            ],
        }
    }

    /// Whether its numbers are within their limits.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match self {
            Self::InstallTotalTrans(total) => INSTALL_TOTAL.contains(total),
            Self::Recurring { frequency_days, .. } => {
                (FREQUENCY_DAYS_MIN..=FREQUENCY_DAYS_MAX).contains(frequency_days)
            }
        }
    }
}

impl fmt::Display for InstallRecurData {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstallTotalTrans(total) => write!(f, "in {total} instalments"),
            Self::Recurring {
                frequency_days: 1,
                expiry,
            } => write!(f, "every day until {expiry}"),
            Self::Recurring {
                frequency_days,
                expiry,
            } => write!(f, "every {frequency_days} days until {expiry}"),
        }
    }
}
