//! Learning three acceptors at the coin line.

use crate::{
    backend::{Said, Server, broker, module},
    test_bench::TestBench,
};
use module_rig::{
    board::Output,
    modem::{Family, Plan},
};
use protocol::messages::{Action, Learn, LearnStage, Learned, Settings};
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
/// The machine of the second test takes no shorter pulses: of those tried (25, 50, 100, 250 ms) the third is the first.
const TAKES_MS: u64 = 80;
/// How far an emulated measurement may be off on a busy machine.
const SLACK_MS: u16 = 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn three_acceptors_are_learned_one_after_the_other() {
    let (_broker, at) = broker().await;
    let module = module(2);
    let mut server = Server::start(at, &module).await;
    let mut bench = TestBench::provisioned(Family::Sim800, Plan::default(), &module, at).await;
    server.until_ready().await;
    for acceptor in &ACCEPTORS {
        bench.board.coin_line(acceptor.idle_high).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let learn = server.command(Action::Learn(Learn { coins: COINS, confirm: false, test_pulses: 0 }));
        server.send(&learn).await;
        let learned = until_stored(&mut server, &bench, acceptor, learn.sequence).await;

        println!("{}: {learned:?}", acceptor.name);
        let profile = learned.profile.expect("a stored profile");
        assert_eq!(profile.idle_high, acceptor.idle_high);
        assert!(profile.credit_width_ms.abs_diff(acceptor.width_ms as u16) <= SLACK_MS, "{profile:?}");
        let pulses = learned.coin_pulses.expect("pulses per coin");
        assert_eq!([pulses.min, pulses.median, pulses.max], [acceptor.pulses as u16; 3]);

        // It counts with it, and credits by it.
        let before = bench.console.info().await.unwrap().totals;
        insert(&bench, acceptor);
        let credits = bench.board.pulses(Output::Credit).unwrap().len();
        let credit = server.command(Action::Credit { pulses: 2 });
        server.send(&credit).await;
        crate::until("the credit", async || {
            let given = bench.board.pulses(Output::Credit).unwrap();
            (given.len() == credits + 2).then_some(())
        })
        .await;
        let given = bench.board.pulses(Output::Credit).unwrap();
        let width_ms = given[credits].width.as_millis() as u64;
        assert!(width_ms.abs_diff(acceptor.width_ms) <= 25, "{width_ms} ms");
        let totals = bench.console.info().await.unwrap().totals;
        assert_eq!(totals.coin_pulses, before.coin_pulses + u64::from(acceptor.pulses));
    }
}

fn insert(bench: &TestBench, acceptor: &Acceptor) {
    let ms = Duration::from_millis;
    for pulse in 0..acceptor.pulses {
        if pulse > 0 {
            std::thread::sleep(ms(acceptor.gap_ms));
        }
        bench.board.coin_line(!acceptor.idle_high).unwrap();
        std::thread::sleep(ms(acceptor.width_ms));
        bench.board.coin_line(acceptor.idle_high).unwrap();
    }
    std::thread::sleep(ms(1200));
}

/// Inserts coins while the module samples, until it says how that ended.
async fn until_stored(server: &mut Server, bench: &TestBench, acceptor: &Acceptor, command: u32) -> Learned {
    let mut sampling = false;
    loop {
        while sampling && !server.has_heard() {
            insert(bench, acceptor);
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
            LearnStage::Sampling | LearnStage::Confirming | LearnStage::Unknown(_) => sampling = true,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn the_button_begins_learning_and_the_sense_input_confirms_the_pulses() {
    let (_broker, at) = broker().await;
    let module = module(9);
    let mut server = Server::start(at, &module).await;
    let mut bench = TestBench::provisioned(Family::Quectel, Plan::default(), &module, at).await;
    bench.console.settings(Settings { version: 1, sense: true, ..Settings::default() }).await.unwrap();
    server.until_ready().await;

    bench.board.button(true).unwrap();
    tokio::time::sleep(Duration::from_millis(3500)).await;
    bench.board.button(false).unwrap();
    let acceptor = &ACCEPTORS[0];
    let mut seen = 0;
    let mut stage = LearnStage::Quiet;
    let learned = loop {
        match stage {
            LearnStage::Sampling => insert(&bench, acceptor),
            LearnStage::Confirming => run_on(&bench, &mut seen).await,
            LearnStage::Quiet | LearnStage::Stored | LearnStage::Failed | LearnStage::Unknown(_) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        let learned = bench.console.info().await.unwrap().learned;
        match learned {
            Some(learned) if learned.stage == LearnStage::Stored => break learned,
            Some(learned) if learned.stage == LearnStage::Failed => panic!("{learned:?}"),
            // The line was heard at rest for long enough.
            Some(learned) if learned.stage == LearnStage::Quiet && stage == LearnStage::Quiet => {
                tokio::time::sleep(Duration::from_secs(4)).await;
                stage = LearnStage::Sampling;
            }
            Some(learned) => stage = if learned.stage == LearnStage::Quiet { stage } else { learned.stage },
            None => {}
        }
    };
    println!("{learned:?}");
    assert_eq!((learned.command, learned.confirmed), (0, Some(true)));
    let profile = learned.profile.expect("a stored profile");
    assert_eq!(profile.credit_width_ms, 100, "the shortest that the machine takes");
    // Test pulses are no credits.
    assert_eq!(bench.console.info().await.unwrap().totals.credit_pulses, 0);
    assert_eq!(server.until_learned(LearnStage::Stored).await.profile, Some(profile));
}

/// The machine's part for half a second: it runs for a while on each pulse that is long enough for it.
async fn run_on(bench: &TestBench, seen: &mut usize) {
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let pulses = bench.board.pulses(Output::Credit).unwrap();
        let new = &pulses[*seen..];
        *seen = pulses.len();
        if new.iter().any(|pulse| pulse.width >= Duration::from_millis(TAKES_MS)) {
            bench.board.machine_runs(true).unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            bench.board.machine_runs(false).unwrap();
        }
    }
}
