//! RSA keys for tests: made when first asked for, then shared by all tests of the process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::thread;

use openset_jose::{PrivateKey, RsaBits, default_provider};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

type Pool = Mutex<HashMap<String, Arc<OnceLock<PrivateKey>>>>;

static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// The key of this name: the same for the same name, another for another name.
#[must_use]
pub fn key(name: &str) -> PrivateKey {
    let slot = {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pool.entry(name.to_owned()).or_default())
    };
    slot.get_or_init(|| {
        let mut rng = rng(u64::try_from(name.len()).unwrap_or_default());
        default_provider()
            .generate_rsa(&mut rng, RsaBits::B2048)
            .expect("a key of 2048 bits can be made")
    })
    .clone()
}

/// Makes the keys of these names side by side, so that later calls of [`key`] need not wait.
pub fn prepare(names: &[String]) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = names.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        for names in names.chunks(share) {
            scope.spawn(|| names.iter().for_each(|name| drop(key(name))));
        }
    });
}

/// A random source that gives the same bytes for the same seed.
#[must_use]
pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}
