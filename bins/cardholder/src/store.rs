//! The wallet's tables: cards, purchases, orders by mail and OCSP responses.
//!
//! Every change counts the row's revision up and is made to the revision that was read: of two that race one is
//! made, and the other one finds that out.

mod cards;
mod mail_orders;
mod purchases;
mod staples;

pub(crate) use cards::{
    CardRow, all_cards, card_and_staple, card_by_id, card_by_key, cards_in, insert_card,
    update_card,
};
pub(crate) use mail_orders::{insert_mail_order, mail_order_of};
pub(crate) use purchases::{
    PURCHASE_CHANGED, PURCHASE_KNOWN, PurchaseRow, all_purchases, changed_purchase,
    insert_purchase, is_open, move_purchase, new_purchase, purchase_by_id, purchase_by_key,
    purchase_by_xid, settled_purchases, state_rank, update_purchase,
};
pub(crate) use staples::{Staple, drop_stale_staples, drop_staple, keep_staple, staple_of};
