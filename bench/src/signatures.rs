//! How much the cores can sign: the limit set by a provider's RSA, whatever the store does.

use anyhow::Result;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use std::time::{Duration, Instant};

/// How long it is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// RSA signatures that a sale takes when the provider shares our cores: our order, the provider's answer to it, and the
/// provider's callback.
const OF_A_SALE: f64 = 3.0;

/// Sales a second for which all cores together can sign, doing nothing else.
pub fn sales_per_s() -> Result<f64> {
    let key = KeyPair::generate(KeySize::Rsa2048)?;
    let mut signature = vec![0; key.public_modulus_len()];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < MEASURED {
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"as long as it is hashed first", &mut signature)?;
        count += 1;
    }
    let cores = std::thread::available_parallelism()?.get();
    Ok(f64::from(count) / begun.elapsed().as_secs_f64() * cores as f64 / OF_A_SALE)
}
