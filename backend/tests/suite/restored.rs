//! A store that is put back from a copy: what it has forgotten, provider and modules still know. Nothing is given twice, and
//! no money goes back for what was served.

use crate::support::{
    Call, Fault, Options, Shop, TestApp, What,
    actors::acting_for,
    app::{PRICE_MINOR, PRICE_PULSES, callback_to},
    bank::day_of,
    done, duplicate, failed, paid, stage,
};
use backend::{
    Rules,
    flows::operate::module,
    ids::SaleToken,
    machines::remote,
    modules::ModuleSettings,
    payments::provider::{Fact, RefundDetails, RefundRequest, RefundState, ToldTrade, TradeState},
};
use protocol::messages::{Action, CoinProfile, Command, Reason, Stage};
use sea_orm::ConnectionTrait;

const HOUR_MS: i64 = 3_600_000;

/// The credit is given, and its module says so.
async fn serve(app: &TestApp, token: &SaleToken) -> Command {
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(token).await, "credited");
    credit
}

/// The copy is put back hours later, and the module comes back.
async fn restore(app: &mut TestApp, last: u32) {
    app.clock.advance(3 * HOUR_MS);
    app.restore().await;
    app.shop.module.reconnect(true);
    let totals = u64::from(PRICE_PULSES);
    let status = app.shop.module.status(app, |status| {
        (status.last_command, status.totals.credit_pulses) = (last, totals);
    });
    app.deliver(&status).await;
}

/// A sale is served after the copy, which knows its order, and the copy is put back.
async fn served_and_put_back(app: &mut TestApp) -> (SaleToken, Command) {
    let token = app.order().await;
    app.copy_store().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let credit = serve(app, &token).await;
    restore(app, credit.sequence).await;
    (token, credit)
}

/// A sale is paid after the store was copied, and goes back for its module's silence.
async fn refunded_after_copy(app: &mut TestApp) -> SaleToken {
    let token = app.order().await;
    app.copy_store().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    token
}

/// A sale is paid after the copy and goes back for its module's silence; then the copy is put back, and the provider does not say
/// (yet) that the money went back.
async fn refunded_and_forgotten(app: &mut TestApp) -> SaleToken {
    let token = refunded_after_copy(app).await;
    app.bank.hide_returns();
    restore(app, 0).await;
    app.pass_ms(400).await;
    token
}

/// The question about a payment: its credit under the same numbers, expired already.
fn question(app: &TestApp, credit: &Command) -> Command {
    let question = app.shop.module.credits(app).remove(0);
    assert_eq!((question.id, question.sequence), (credit.id, credit.sequence), "the same numbers as before");
    assert_eq!(question.action, credit.action);
    assert!(
        question.expires_ms + 120_000 < u64::try_from(app.now_ms()).unwrap(),
        "it cannot be given any more: {question:?} at {}",
        app.now_ms()
    );
    question
}

#[tokio::test]
async fn a_served_sale_whose_order_is_known_is_credited_again_and_not_given_again() {
    let mut app = TestApp::start().await;
    let token = app.order().await;
    app.copy_store().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let credit = serve(&app, &token).await;
    restore(&mut app, credit.sequence).await;
    assert_eq!(app.state(&token).await, "awaiting_payment");
    app.alarms();

    // The provider is asked what became of the order.
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("paid", "late"));
    let question = question(&app, &credit);
    app.deliver(&app.shop.module.ack(&app, &question, duplicate(Stage::Done, PRICE_PULSES))).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str(), row.view.pulses_given), ("credited", "", 5));
    app.pass_ms(60_000).await;
    assert!(app.shop.module.credits(&app).is_empty());
    assert!(app.bank.refunds().is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn a_served_sale_whose_order_is_forgotten_is_rebuilt_from_its_mark() {
    let mut app = TestApp::start().await;
    app.copy_store().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let credit = serve(&app, &token).await;
    restore(&mut app, credit.sequence).await;
    app.alarms();

    app.callback(&callback).await.unwrap();
    let alarms = app.alarms();
    assert!(alarms.iter().any(|alarm| alarm.contains(&token.0) && alarm.contains("rebuilt")), "{alarms:?}");
    app.pass_ms(400).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.label.as_str(), row.view.pulses), ("paid", "One ride", 5));
    let question = question(&app, &credit);
    app.deliver(&app.shop.module.ack(&app, &question, duplicate(Stage::Done, PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    assert!(app.bank.refunds().is_empty());

    // The same again changes nothing, nor does the next sale meet its numbers.
    app.callback(&callback).await.unwrap();
    let next = app.paid_sale().await;
    let next_credit = serve(&app, &next).await;
    assert!(next_credit.sequence > credit.sequence);
    app.assert_books().await;
}

#[tokio::test]
async fn a_payment_that_the_module_never_gave_goes_back() {
    let mut app = TestApp::start().await;
    app.copy_store().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    restore(&mut app, 0).await;
    app.callback(&callback).await.unwrap();
    app.pass_ms(400).await;
    let asked = app.shop.module.credits(&app).remove(0);
    app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "late"));
    app.assert_books().await;
}

#[tokio::test]
async fn what_the_module_forgot_favours_the_consumer_and_the_operator_is_told() {
    let mut app = TestApp::start().await;
    let (token, credit) = served_and_put_back(&mut app).await;
    app.pass_ms(1_000).await;
    let question = question(&app, &credit);
    app.alarms();
    app.deliver(&app.shop.module.ack(&app, &question, failed(0, Reason::TooOld))).await;
    let alarms = app.alarms();
    assert!(alarms.iter().any(|alarm| alarm.contains("no longer knows")), "{alarms:?}");
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "module_forgot"));
    let remote = remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap();
    let behind = remote.behind.unwrap();
    assert_eq!((behind.settled, behind.unknown, behind.pulses), (0, 1, 5));
}

#[tokio::test]
async fn a_module_that_is_away_is_waited_for_longer_and_asked_again_when_it_returns() {
    let mut app = TestApp::start().await;
    let token = app.order().await;
    app.copy_store().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let credit = serve(&app, &token).await;
    app.clock.advance(3 * HOUR_MS);
    app.restore().await;
    app.pass_ms(9 * 60_000).await;
    assert_eq!(app.state(&token).await, "paid", "it may still come back");
    app.pass_ms(2 * 60_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "late"));

    app.shop.module.credits(&app);
    app.shop.module.reconnect(true);
    app.deliver(&app.shop.module.status(&app, |status| status.last_command = credit.sequence)).await;
    let asked = app.shop.module.credits(&app).remove(0);
    assert_eq!(asked.id, credit.id);
    app.deliver(&app.shop.module.ack(&app, &asked, duplicate(Stage::Done, PRICE_PULSES))).await;
    assert!(app.row(&token).await.view.served_and_refunded);
    app.assert_books().await;
}

#[tokio::test]
async fn a_refund_that_was_forgotten_is_not_made_twice() {
    let mut app = TestApp::start().await;
    let token = refunded_and_forgotten(&mut app).await;
    let number = app.bank.refunds()[0].request.numbers.out_refund_no.clone();
    // Its module knows nothing of it.
    let asked = app.shop.module.credits(&app).pop().unwrap();
    app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
    app.pass_ms(1_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    let asked: Vec<String> = app.bank.called(Call::Refund);
    assert_eq!(asked, [number.clone(), number], "under the number that follows from the payment");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

/// All of a payment went back for its module's silence, and after the copy was put back only the rest of it is owed: the
/// module tells that it gave a part. Both are one refund at the provider, of what was asked for first.
#[tokio::test]
async fn a_refund_that_was_forgotten_and_is_decided_anew_over_less_is_booked_as_it_was() {
    let mut app = TestApp::start_with(Options { refund_remainder: true, ..Options::default() }).await;
    let token = refunded_and_forgotten(&mut app).await;
    let asked = app.shop.module.credits(&app).pop().unwrap();
    app.deliver(&app.shop.module.ack(&app, &asked, failed(2, Reason::PowerLost))).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.alarms();
    app.pass_ms(60_000).await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), paid(&row.refunded).as_deref()), ("refunded", Some("5.00")));
    assert_eq!(app.books().await["operator_payable"], 0);
    assert_eq!(app.bank.net_minor(), 0);
    app.assert_books().await;
}

/// The trade says that money of it went back; how much, the daily statement tells.
#[tokio::test]
async fn a_refund_that_was_forgotten_is_found_in_the_statement() {
    let mut app = TestApp::start().await;
    let token = refunded_after_copy(&mut app).await;
    let made = app.bank.refunds()[0].request.clone();
    app.shop.module.credits(&app);
    restore(&mut app, 0).await;
    app.pass_ms(400).await;
    assert_eq!(app.state(&token).await, "review");
    assert!(app.shop.module.credits(&app).is_empty());
    app.bank.also_states(day_of(app.now_ms()), refund_line(&made));
    app.next_statement().await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), paid(&row.refunded_elsewhere).as_deref()), ("refunded", Some("5.00")));
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
    app.assert_books().await;
}

fn refund_line(made: &RefundRequest) -> Fact {
    let told = RefundDetails {
        trade: ToldTrade::Ours(made.numbers.trade.out_trade_no.clone()),
        provider_refund_id: format!("B{}", made.numbers.out_refund_no),
        amount_minor: made.refund_minor,
        is_total: false,
        payment: None,
    };
    Fact::Refund { out_refund_no: made.numbers.out_refund_no.clone(), state: RefundState::Processing, told: Some(told) }
}

/// Nobody tells of the payment again; the daily statement has it, with our mark.
#[tokio::test]
async fn an_order_that_was_forgotten_is_rebuilt_from_the_statement() {
    for refunded in [false, true] {
        let mut app = TestApp::start().await;
        app.copy_store().await;
        let token = app.order().await;
        let callback = app.pay(&token).await;
        app.callback(&callback).await.unwrap();
        let credit = serve(&app, &token).await;
        let number = app.number(&token).await;
        if refunded {
            app.bank.refund_outside(&number, "C1", 200, app.now_ms());
        }
        restore(&mut app, credit.sequence).await;
        app.next_statement().await;
        let asked = app.shop.module.credits(&app).pop().unwrap();
        assert_eq!(asked.id, credit.id, "its module is asked");
        app.deliver(&app.shop.module.ack(&app, &asked, duplicate(Stage::Done, PRICE_PULSES))).await;
        let row = app.row(&token).await.view;
        assert_eq!((row.state.as_str(), paid(&row.refunded_elsewhere).is_some()), ("credited", refunded));
        assert!(app.bank.called(Call::Refund).is_empty());
        app.assert_books().await;
    }
}

/// A callback that comes again may be news of yesterday: the provider is asked how it is now.
#[tokio::test]
async fn a_payment_from_before_the_start_is_asked_about_before_it_is_credited() {
    let mut app = TestApp::start().await;
    let token = app.order().await;
    app.copy_store().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let number = app.number(&token).await;
    app.shop.module.credits(&app);
    app.clock.advance(10_000);
    app.restore().await;
    let TradeState::Paid(paid) = app.bank.trade(&number).state else { panic!("it is paid") };
    app.bank.move_trade(&number, TradeState::Refunded(paid));
    app.deliver(&app.shop.module.status(&app, |_| ())).await;
    app.callback(&callback).await.unwrap();
    app.pass_ms(1_000).await;
    assert_eq!(app.state(&token).await, "review");
    assert!(app.shop.module.credits(&app).is_empty());

    // One that was not refunded, and that somebody still waits for, is credited.
    let token = app.order().await;
    let callback = app.pay(&token).await;
    app.clock.advance(5_000);
    app.restart().await;
    app.callback(&callback).await.unwrap();
    app.pass_ms(400).await;
    assert_eq!(app.state(&token).await, "paid");
    app.callback(&callback).await.unwrap();
    serve(&app, &token).await;
}

#[tokio::test]
async fn a_refund_for_silence_waits_after_a_start_until_its_module_had_its_say() {
    let mut app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.bank.fault(Call::Refund, [Fault::LostCall]);
    app.pass_ms(30_000).await;
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
    // The copy is of the moment between the decision and the first call.
    app.db.read().execute_unprepared("UPDATE refunds SET state = 'pending'").await.unwrap();
    app.copy_store().await;
    restore(&mut app, credit.sequence).await;
    app.pass_ms(5_000).await;
    assert_eq!(app.bank.called(Call::Refund).len(), 1, "it is held back");
    app.deliver(&app.shop.module.ack(&app, &credit, duplicate(Stage::Done, PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.pass_ms(20 * 60_000).await;
    assert!(app.bank.refunds().is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn a_store_that_is_behind_its_module_is_noticed_once_and_counts_on() {
    let mut app = TestApp::start().await;
    app.copy_store().await;
    let token = app.paid_sale().await;
    let credit = serve(&app, &token).await;
    app.alarms();
    let told = app.shop.module.status(&app, |status| status.last_command = credit.sequence);
    app.deliver(&told).await;
    assert!(app.alarms().is_empty(), "it is known");

    restore(&mut app, credit.sequence).await;
    let alarms = app.alarms();
    assert!(alarms.iter().any(|alarm| alarm.contains("restored from a backup")), "{alarms:?}");
    let remote = remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap();
    let behind = remote.behind.unwrap();
    assert_eq!((behind.since_ms, behind.pulses), (app.now_ms(), 5));
    let again = app.shop.module.status(&app, |status| status.last_command = credit.sequence);
    app.deliver(&again).await;
    assert!(app.alarms().is_empty(), "once is enough");
    let next = app.paid_sale().await;
    assert!(serve(&app, &next).await.sequence > credit.sequence);
}

#[tokio::test]
async fn numbers_stay_ahead_of_the_forgotten_ones_and_of_nonsense() {
    let mut app = TestApp::start().await;
    app.copy_store().await;
    app.paid_sale().await;
    let forgotten = app.shop.module.credit(&app).sequence;
    app.clock.advance(1_000);
    // Nobody tells the store of it.
    app.restore().await;
    let token = app.paid_sale().await;
    let known = serve(&app, &token).await.sequence;
    assert!(known > forgotten);

    let nonsense = app.shop.module.status(&app, |status| status.last_command = u32::MAX - 1);
    app.deliver(&nonsense).await;
    app.paid_sale().await;
    let next = app.shop.module.credit(&app).sequence;
    assert!((known + 1..known + 1_000).contains(&next), "{next}");
}

#[tokio::test]
async fn settings_that_were_forgotten_are_overwritten_under_a_number_of_their_own() {
    let mut app = TestApp::start().await;
    let is_settings = |action: &Action| matches!(action, Action::Settings(_));
    let choose = async |app: &TestApp, credit_width_ms| {
        let (operator_id, machine_id) = (app.shop.operator_id, app.shop.machine_id);
        let since_version = remote::remote(&app.backend, &acting_for(operator_id), machine_id)
            .await
            .unwrap()
            .row
            .module
            .unwrap()
            .settings_wanted;
        let profile = CoinProfile { credit_width_ms, ..CoinProfile::default() };
        let settings = ModuleSettings { profile, ..ModuleSettings::default() };
        let change = backend::flows::operate::module::SettingsChange { since_version, settings };
        module::set_settings(&app.backend, &acting_for(operator_id), machine_id, change).await.unwrap();
        app.shop.module.take(app, is_settings).pop().unwrap()
    };
    app.copy_store().await;
    let forgotten = choose(&app, 60).await;
    app.clock.advance(HOUR_MS);
    app.restore().await;
    choose(&app, 70).await;
    app.shop.module.reconnect(true);
    let status = app.shop.module.status(&app, |status| {
        (status.last_command, status.settings_version) = (forgotten.sequence, 1);
    });
    app.deliver(&status).await;
    let Action::Settings(sent) = app.shop.module.take(&app, is_settings).pop().unwrap().action else { panic!() };
    assert_eq!((sent.version, sent.profile.credit_width_ms), (2, 70));
}

#[tokio::test]
async fn an_orphan_is_ours_only_with_our_mark_and_for_its_own_operator() {
    let mut app = TestApp::start().await;
    let other = app.open_shop("other").await;
    app.copy_store().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    let What::Paid { txn, amount_minor, paid_at_ms, attach } = app.bank.pay(&number, app.now_ms()) else { panic!() };
    app.clock.advance(HOUR_MS);
    app.restore().await;
    let told = |shop: &Shop, number: &str, attach: &str| {
        let what = What::Paid {
            txn: format!("{txn}{number}{}", attach.len()),
            amount_minor,
            paid_at_ms,
            attach: attach.into(),
        };
        app.bank.notice(&shop.account.merchant, number, what).signed(&shop.account.key)
    };
    for (shop, number, attach) in [
        (&app.shop, number.as_str(), ""),
        (&app.shop, number.as_str(), "table 7"),
        (&app.shop, "S-another", attach.as_str()),
        (&app.shop, number.as_str(), &attach.replace(".500.", ".100.")),
        (&other, number.as_str(), attach.as_str()),
    ] {
        let callback = told(shop, number, attach);
        callback_to(&app.backend, &shop.account_token, &callback).await.unwrap();
        assert_eq!(app.number_of("SELECT COUNT(*) FROM sales").await, 0, "{number} {attach}");
    }
    app.callback(&told(&app.shop, &number, &attach)).await.unwrap();
    app.pass_ms(400).await;
    assert_eq!(app.state(&token).await, "paid");
}

/// The module may tell of a credit under the sequence that it knows it by, which the store has forgotten.
#[tokio::test]
async fn a_credit_is_known_by_its_id_and_an_order_by_its_sequence_too() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    let under_another = Command { sequence: credit.sequence + 7, ..credit };
    app.deliver(&app.shop.module.ack(&app, &under_another, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

/// Orders are numbered when they are made, but a module remembers a few credits only.
#[tokio::test]
async fn an_order_that_many_others_overtook_gets_a_new_sequence() {
    let app = TestApp::start().await;
    let slow = app.order().await;
    let mut last = 0;
    for _ in 0..16 {
        let token = app.paid_sale().await;
        last = serve(&app, &token).await.sequence;
    }
    let callback = app.pay(&slow).await;
    app.callback(&callback).await.unwrap();
    assert!(app.shop.module.credit(&app).sequence > last);
    assert_eq!(app.bank.net_minor(), 17 * PRICE_MINOR);
}

#[tokio::test]
async fn a_question_stays_one_when_the_clock_was_set_back() {
    for back_ms in [60_000, 8 * HOUR_MS, 30 * 24 * HOUR_MS] {
        let mut app = TestApp::start().await;
        let (token, credit) = served_and_put_back(&mut app).await;
        app.pass_ms(200).await;
        question(&app, &credit);
        app.clock.advance(-back_ms);
        app.restart().await;
        app.pass_ms(200).await;
        let again = app.shop.module.credits(&app).remove(0);
        assert_eq!((again.id, again.sequence, again.action), (credit.id, credit.sequence, credit.action));
        // By the clock of a module that was set lately.
        let slow_ms = u64::try_from(app.now_ms() - app.rules.clock_drift_max_ms).unwrap();
        assert!(again.expires_ms < slow_ms, "it cannot be given any more: {again:?} at {}", app.now_ms());
        app.deliver(&app.shop.module.ack(&app, &again, duplicate(Stage::Done, PRICE_PULSES))).await;
        assert_eq!(app.state(&token).await, "credited");
        app.assert_books().await;
    }
}

#[tokio::test]
async fn a_refund_that_was_made_after_the_copy_and_is_taken_back_in_it_is_found_in_the_statement() {
    let rules = Rules { account_calls_max: 0, ..Rules::default() };
    let mut app = TestApp::start_with(Options { rules, ..Options::default() }).await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.copy_store().await;
    // The refund is made, and the module says later that it had given the credit.
    app.rules.account_calls_max = Rules::default().account_calls_max;
    app.restart().await;
    app.pass_ms(11 * 60_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    let made = app.bank.refunds()[0].request.clone();
    // By the copy it was not made, and is taken back when the module is heard.
    restore(&mut app, credit.sequence).await;
    app.deliver(&app.shop.module.ack(&app, &credit, duplicate(Stage::Done, PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.bank.also_states(day_of(app.now_ms()), refund_line(&made));
    app.next_statement().await;
    let row = app.row(&token).await.view;
    assert_eq!((row.state.as_str(), paid(&row.refunded_elsewhere).as_deref()), ("credited", Some("5.00")));
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}
