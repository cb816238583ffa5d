//! Any bytes on a new connection.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use broker::Limits;
use broker_fuzz::Fixture;

// No session outlives its connection: whoever gets in by chance leaves nothing behind.
static FIXTURE: LazyLock<Fixture> =
    LazyLock::new(|| Fixture::start(Limits { session_expiry_max: Duration::ZERO, ..Limits::default() }));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FIXTURE.run(async || {
        let mut client = FIXTURE.open(4 * 1024);
        client.send(bytes, usize::MAX, false).await;
        client.close().await;
    });
});
