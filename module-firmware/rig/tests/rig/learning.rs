//! Learning three acceptors at the coin line.

use crate::{
    backend::{Said, Server, broker, module},
    stand::Stand,
};
use module_rig::{
    board::Output,
    modem::{Family, Plan},
};
use protocol::messages::{Action, Learn, LearnStage, Learned};
use std::time::Duration;

/// An acceptor at the line.
struct Acceptor {
    name: &'static str,
    idle_high: bool,
    pulses: u32,
    width_ms: u64,
    gap_ms: u64,
}

/// field.md: DG600F at its middle setting, a two-pulse coin of 100 ms, and a normally closed one of three pulses.
const ACCEPTORS: [Acceptor; 3] = [
    Acceptor { name: "single, 45 ms", idle_high: true, pulses: 1, width_ms: 45, gap_ms: 0 },
    Acceptor { name: "double, 100 ms", idle_high: true, pulses: 2, width_ms: 100, gap_ms: 100 },
    Acceptor { name: "normally closed, 65 ms", idle_high: false, pulses: 3, width_ms: 65, gap_ms: 80 },
];
const COINS: u8 = 10;
/// How far an emulated measurement may be off on a busy machine.
const SLACK_MS: u16 = 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn three_acceptors_are_learned_one_after_the_other() {
    let (_broker, at) = broker().await;
    let module = module(2);
    let mut server = Server::start(at, &module).await;
    let mut stand = Stand::provisioned(Family::Sim800, Plan::default(), &module, at).await;
    server.until_ready().await;
    for acceptor in &ACCEPTORS {
        stand.board.coin_line(acceptor.idle_high).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let learn = server.command(Action::Learn(Learn { coins: COINS, confirm: false, test_pulses: 0 }));
        server.send(&learn).await;
        let learned = until_stored(&mut server, &stand, acceptor, learn.sequence).await;

        println!("{}: {learned:?}", acceptor.name);
        let profile = learned.profile.expect("a stored profile");
        assert_eq!(profile.idle_high, acceptor.idle_high);
        assert!(profile.credit_width_ms.abs_diff(acceptor.width_ms as u16) <= SLACK_MS, "{profile:?}");
        let pulses = learned.coin_pulses.expect("pulses per coin");
        assert_eq!([pulses.min, pulses.median, pulses.max], [acceptor.pulses as u16; 3]);

        // It counts with it, and credits by it.
        let before = stand.console.info().await.unwrap().totals;
        insert(&stand, acceptor);
        let credits = stand.board.pulses(Output::Credit).unwrap().len();
        let credit = server.command(Action::Credit { pulses: 2 });
        server.send(&credit).await;
        crate::until("the credit", async || {
            let given = stand.board.pulses(Output::Credit).unwrap();
            (given.len() == credits + 2).then_some(())
        })
        .await;
        let given = stand.board.pulses(Output::Credit).unwrap();
        let width_ms = given[credits].width.as_millis() as u64;
        assert!(width_ms.abs_diff(acceptor.width_ms) <= 25, "{width_ms} ms");
        let totals = stand.console.info().await.unwrap().totals;
        assert_eq!(totals.coin_pulses, before.coin_pulses + u64::from(acceptor.pulses));
    }
}

fn insert(stand: &Stand, acceptor: &Acceptor) {
    let ms = Duration::from_millis;
    for pulse in 0..acceptor.pulses {
        if pulse > 0 {
            std::thread::sleep(ms(acceptor.gap_ms));
        }
        stand.board.coin_line(!acceptor.idle_high).unwrap();
        std::thread::sleep(ms(acceptor.width_ms));
        stand.board.coin_line(acceptor.idle_high).unwrap();
    }
    std::thread::sleep(ms(1200));
}

/// Inserts coins while the module samples, until it says how that ended.
async fn until_stored(server: &mut Server, stand: &Stand, acceptor: &Acceptor, command: u32) -> Learned {
    let mut sampling = false;
    loop {
        while sampling && !server.has_heard() {
            insert(stand, acceptor);
        }
        let Said::Status(status) = server.next().await else { continue };
        let Some(learned) = status.learned.filter(|learned| learned.command == command) else { continue };
        match learned.stage {
            LearnStage::Quiet => {
                // It listens to the line at rest for 3 s before the first coin.
                tokio::time::sleep(Duration::from_secs(4)).await;
                sampling = true;
            }
            LearnStage::Stored => return learned,
            LearnStage::Failed => panic!("{}: {learned:?}", acceptor.name),
            _ => sampling = true,
        }
    }
}
