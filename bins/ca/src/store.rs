//! The CA's tables. All SQL runs on SQLite and on PostgreSQL.
//!
//! PostgreSQL aborts transactions that wait for each other in a circle. So all lock in one order, and leave out what
//! they do not change: the hierarchy (`regions::changed`, `regions::change_from`), CAs from the root down and older
//! generations before newer ones (`crl::lock`, `authorities::retire`), certificates (`certificates::revoke`,
//! `hold_unrevoked`), registrations, revocation lists, and last the brands' words on them
//! (`brand_crl_identifiers::lock`).

pub(crate) mod authorities;
pub(crate) mod certificates;
pub(crate) mod codes;
pub(crate) mod earlier;
pub(crate) mod regions;
pub(crate) mod registrations;
pub(crate) mod responders;
pub(crate) mod sessions;

use openset_store::Migration;

/// The CA's own migrations.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 100,
        name: "ca",
        sql: include_str!("../migrations/0100_ca.sql"),
    },
    Migration {
        version: 120,
        name: "generations",
        sql: include_str!("../migrations/0120_generations.sql"),
    },
    Migration {
        version: 140,
        name: "locks of activation codes end",
        sql: include_str!("../migrations/0140_lock_ends.sql"),
    },
    Migration {
        version: 150,
        name: "responders",
        sql: include_str!("../migrations/0150_responders.sql"),
    },
    Migration {
        version: 160,
        name: "registrations",
        sql: include_str!("../migrations/0160_registrations.sql"),
    },
    Migration {
        version: 170,
        name: "list counter",
        sql: include_str!("../migrations/0170_list_counter.sql"),
    },
    Migration {
        version: 180,
        name: "certificates given again",
        sql: include_str!("../migrations/0180_earlier.sql"),
    },
    Migration {
        version: 190,
        name: "unknown revocations",
        sql: include_str!("../migrations/0190_unknown_revocations.sql"),
    },
];
