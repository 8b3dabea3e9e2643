//! The messages, one file for each pair: fields and code lists, under SET's names in snake_case.

pub mod auth;
pub mod auth_rev;
pub mod batch;
pub mod batch_admin;
pub mod cap;
pub mod cap_rev_or_cred;
pub mod card_c_init;
pub mod cert;
pub mod cert_inq;
pub mod error;
pub mod initiation;
pub mod inq;
pub mod install_recur;
pub mod me_aq_c_init;
pub mod p;
pub mod p_cert;
pub mod p_init;
pub mod reg_form;
