//! What crosses services, one file for each subject: five real processes on free ports. One program, because each costs as
//! much to link as a service; the tests that move the clock of their own process stand beside it in programs of their own.

mod audit;
mod bad_input;
mod batches;
mod crash;
mod currencies;
mod mail_order;
mod pended;
mod purchase;
mod refund;
mod registration;
mod reversal;
mod sale;
mod unsigned;
mod upgrade;
mod wallet_backup;
