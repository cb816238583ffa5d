//! Clients that mostly keep to the protocol, some of the time.

#![no_main]

use std::sync::LazyLock;

use broker::Limits;
use broker_fuzz::{Client, Fixture, Plan, SLOTS, Step};

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| Fixture::start(Limits::default()));

/// Bytes that a connection's buffers hold: some take the broker's packets in small pieces.
const BUFFER_BYTES: [usize; SLOTS] = [32 * 1024, 512, 64];

libfuzzer_sys::fuzz_target!(|plan: Plan| {
    FIXTURE.run(async || {
        let mut clients: [Option<Client>; SLOTS] = [const { None }; SLOTS];
        for step in plan.0 {
            match step {
                Step::Send { slot, bytes, piece_bytes, is_whole, .. } => {
                    if let Some(over) = clients[slot].take_if(|client| client.is_over()) {
                        over.close().await;
                    }
                    let client = clients[slot].get_or_insert_with(|| FIXTURE.open(BUFFER_BYTES[slot]));
                    client.send(&bytes, piece_bytes, is_whole).await;
                }
                Step::Answer { slot } => {
                    if let Some(client) = &mut clients[slot] {
                        client.answer().await;
                    }
                }
                Step::Sync { slot } => {
                    if let Some(client) = &mut clients[slot] {
                        client.sync().await;
                    }
                }
                Step::Close { slot } => {
                    if let Some(client) = clients[slot].take() {
                        client.close().await;
                    }
                }
                Step::Yield { times } => {
                    for _ in 0..times {
                        tokio::task::yield_now().await;
                    }
                }
                Step::Revoke { user } => FIXTURE.revoke(user),
            }
        }
        for client in clients.into_iter().flatten() {
            client.close().await;
        }
    });
});
