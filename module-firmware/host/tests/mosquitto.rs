//! Virtual modules on a broker that is none of ours.
#![allow(clippy::unwrap_used)]

mod support;

use protocol::{
    limits::WILL_SEQUENCE,
    messages::{Action, Reason, Settings, Stage},
};
use support::{Mosquitto, Server, counted, passed, start};

#[tokio::test]
async fn connects_takes_its_clock_and_gives_a_credit_once() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    let status = server.status(|_| true).await;
    assert_eq!((status.online, status.boot, status.session, status.sequence), (true, 1, 1, 1));
    assert_eq!((status.at_ms, status.coins, status.credits), (None, 0, 0));

    let probe = server.command(Action::Probe);
    server.send(&probe).await;
    assert_eq!(server.ack(&probe, &[Stage::Done]).await.at_ms, None);

    let credit = server.command(Action::Credit { pulses: 3 });
    server.send(&credit).await;
    server.ack(&credit, &[Stage::Clock]).await;
    let synced = server.sync(&status).await;
    assert_eq!(synced.stage, Stage::Done);
    assert!(synced.at_ms.unwrap().abs_diff(support::unix_ms()) < 5_000);

    server.send(&credit).await;
    server.ack(&credit, &[Stage::Received]).await;
    let done = server.ack(&credit, &[Stage::Done]).await;
    assert_eq!((done.pulses, done.reason), (Some(3), None));
    counted(&module, 3).await;
    server.send(&credit).await;
    let again = server.ack(&credit, &[Stage::Duplicate]).await;
    assert_eq!((again.first, again.pulses), (Some(Stage::Done), Some(3)));
    assert_eq!(passed(&module), 3);

    // Whoever comes later finds it retained.
    let mut later = Server::start(mosquitto.at, 0).await;
    assert!(later.status(|_| true).await.retained);
}

#[tokio::test]
async fn counts_passes_and_tells_coins() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    server.welcome().await;
    module.insert_coin(3).await;
    let pulse = server.pulse().await;
    assert_eq!((pulse.pulses, pulse.coin_pulses_total), (3, 3));
    // As long as the acceptor gave it at least; a busy host makes it longer.
    assert!(pulse.width_ms >= 45, "{pulse:?}");
    assert!(pulse.at_ms.is_some());
    module.insert_coin(1).await;
    let pulse = server.pulse().await;
    assert_eq!((pulse.pulses, pulse.coin_pulses_total, pulse.gap_ms), (1, 4, 0));
    counted(&module, 4).await;
}

#[tokio::test]
async fn its_will_is_heard_when_power_goes() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    server.welcome().await;
    module.power_off().await;
    let will = server.status(|status| !status.online).await;
    assert_eq!((will.boot, will.session, will.sequence), (1, 1, WILL_SEQUENCE));
    let mut later = Server::start(mosquitto.at, 0).await;
    let kept = later.status(|_| true).await;
    assert!(kept.retained && !kept.online);
    module.power_on().await;
    let status = server.status(|status| status.online).await;
    assert_eq!((status.boot, status.session, status.at_ms), (2, 1, None));
}

#[tokio::test]
async fn a_power_cut_in_a_credit_is_told_and_nothing_more_is_given() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    server.welcome().await;
    let credit = server.command(Action::Credit { pulses: 20 });
    server.send(&credit).await;
    counted(&module, 3).await;
    module.power_off().await;
    let given = passed(&module);
    assert!((3..20).contains(&given));
    module.power_on().await;
    // Told unasked, before the clock is set.
    let failed = server.ack(&credit, &[Stage::Failed]).await;
    assert_eq!(failed.reason, Some(Reason::PowerLost));
    let known = u64::from(failed.pulses.unwrap());
    assert!(known <= given && given <= known + 1, "{known} known, {given} given");
    server.send(&credit).await;
    let again = server.ack(&credit, &[Stage::Duplicate]).await;
    assert_eq!((again.first, again.reason), (Some(Stage::Failed), Some(Reason::PowerLost)));
    // Another credit comes after whatever could still come.
    let probe = server.command(Action::Probe);
    server.send(&probe).await;
    server.ack(&probe, &[Stage::Done]).await;
    assert_eq!(passed(&module), given);
    drop(server);
    let mut server = Server::start(mosquitto.at, 0).await;
    server.welcome().await;
    let next = protocol::messages::Command { id: 100, sequence: 100, ..server.command(Action::Credit { pulses: 1 }) };
    server.send(&next).await;
    server.ack(&next, &[Stage::Done]).await;
    counted(&module, given + 1).await;
    assert_eq!(passed(&module), given + 1);
}

#[tokio::test]
async fn coins_with_the_cable_out_are_made_up() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    server.welcome().await;
    module.unplug();
    let will = server.status(|status| !status.online).await;
    assert_eq!(will.session, 1);
    module.insert_coin(2).await;
    module.insert_coin(3).await;
    counted(&module, 5).await;
    module.replug();
    let status = server.status(|status| status.online).await;
    assert_eq!((status.boot, status.coins), (1, 5));
    assert!(status.session > 1);
    let pulse = server.pulse().await;
    assert!(pulse.pulses == 5 || pulse.coin_pulses_total < 5, "the bursts come too: {pulse:?}");
}

#[tokio::test]
async fn comes_back_when_the_broker_does() {
    let mut mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    let first = server.welcome().await;
    mosquitto.kill();
    module.insert_coin(1).await;
    counted(&module, 1).await;
    mosquitto.again().await;
    let status = server.status(|status| status.online && status.session > first.session).await;
    assert_eq!((status.boot, status.coins), (1, 1));
    let credit = server.command(Action::Credit { pulses: 2 });
    server.send(&credit).await;
    assert_eq!(server.ack(&credit, &[Stage::Done]).await.pulses, Some(2));
    counted(&module, 3).await;
}

#[tokio::test]
async fn restarts_when_told_with_a_farewell_and_once() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let _module = start(0, mosquitto.at).await;
    server.welcome().await;
    let reboot = server.command(Action::Reboot);
    server.send(&reboot).await;
    server.ack(&reboot, &[Stage::Done]).await;
    let farewell = server.status(|status| !status.online).await;
    assert_eq!((farewell.boot, farewell.sequence), (1, WILL_SEQUENCE));
    assert!(farewell.at_ms.is_some(), "made when it left: the will was made before the clock was set");
    let status = server.status(|status| status.online).await;
    assert_eq!(status.boot, 2);
    server.sync(&status).await;
    server.send(&reboot).await;
    assert_eq!(server.ack(&reboot, &[Stage::Duplicate]).await.first, Some(Stage::Done));
}

#[tokio::test]
async fn a_machine_that_takes_pulses_and_does_not_start_is_told_of() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    server.welcome().await;
    let settings = server.command(Action::Settings(Settings { version: 1, sense: true, ..Settings::default() }));
    server.send(&settings).await;
    server.ack(&settings, &[Stage::Done]).await;
    let credit = server.command(Action::Credit { pulses: 1 });
    server.send(&credit).await;
    assert_eq!(server.ack(&credit, &[Stage::Done]).await.pulses, Some(1));

    module.set_faulty(true);
    let failed = loop {
        // Whole until now, it still runs on the pulse before.
        let credit = server.command(Action::Credit { pulses: 1 });
        server.send(&credit).await;
        let ack = server.ack(&credit, &[Stage::Done, Stage::Failed]).await;
        if ack.stage == Stage::Failed {
            break ack;
        }
    };
    assert_eq!((failed.reason, failed.pulses), (Some(Reason::MachineSilent), Some(1)));
    let probe = server.command(Action::Probe);
    server.send(&probe).await;
    assert_eq!(server.ack(&probe, &[Stage::Done, Stage::Failed]).await.reason, Some(Reason::Fault));

    // Repaired, it starts on a coin, and is trusted again.
    module.set_faulty(false);
    let before = passed(&module);
    module.insert_coin(1).await;
    counted(&module, before + 1).await;
    let credit = server.command(Action::Credit { pulses: 1 });
    server.send(&credit).await;
    server.ack(&credit, &[Stage::Done]).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_coins_go_on() {
    let mosquitto = Mosquitto::start(1).await;
    let module = start(77, mosquitto.at).await;
    module.insert_coin(2).await;
    counted(&module, 2).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let _known = start(0, mosquitto.at).await;
    server.welcome().await;
}

#[tokio::test]
async fn another_keepalive_is_taken_at_once_and_costs_no_message() {
    let mosquitto = Mosquitto::start(1).await;
    let mut server = Server::start(mosquitto.at, 0).await;
    let module = start(0, mosquitto.at).await;
    server.welcome().await;
    let settings = Settings { version: 1, keepalive_s: 240, ..Settings::default() };
    let command = server.command(Action::Settings(settings));
    server.send(&command).await;
    server.ack(&command, &[Stage::Done]).await;
    let again = server.status(|status| status.session == 2 && status.online).await;
    assert_eq!((again.boot, again.sequence), (1, 1));
    // And not once more: the same keepalive is no news.
    let same = server.command(Action::Settings(Settings { version: 2, status_period_s: 60, ..settings }));
    server.send(&same).await;
    server.ack(&same, &[Stage::Done]).await;
    let credit = server.command(Action::Credit { pulses: 1 });
    server.send(&credit).await;
    server.ack(&credit, &[Stage::Received]).await;
    server.ack(&credit, &[Stage::Done]).await;
    counted(&module, 1).await;
    let mut later = Server::start(mosquitto.at, 0).await;
    assert_eq!(later.status(|_| true).await.session, 2);
}
