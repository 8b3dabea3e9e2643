//! The DER around RSA keys.
