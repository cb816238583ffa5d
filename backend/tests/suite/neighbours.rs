//! A provider that does not answer holds up its own account alone: not commands, not other accounts' payments and
//! refunds, and not for long the orders of its own.

use crate::support::{Call, Options, Shop, TestApp, app::PRICE_PULSES, done, failed};
use backend::{
    Error, Rules,
    flows::place_order::{self, OrderRequest},
    ids::SaleToken,
    jobs::{self, in_progress::Job},
    payments::provider::TradeState,
    sales::readiness::Readiness,
};
use protocol::messages::Reason;
use std::time::Duration;
use tokio::task::JoinSet;

/// Open orders at the provider that does not answer.
const OPEN_ORDERS: usize = 97;

/// Begins what is due as the server's loops do: resends are waited for, what is with providers is not.
async fn tick(app: &TestApp, with_providers: &mut JoinSet<()>) {
    for job in Job::ALL {
        for work in jobs::due(&app.backend, job).await.unwrap().work {
            match job {
                Job::Resend => work.await,
                Job::Poll | Job::Refund | Job::Statement => drop(with_providers.spawn(work)),
            }
        }
    }
}

/// Looks again and again, in real time.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    for _ in 0..1_200 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("timed out waiting for {what}");
}

async fn order_at(app: &TestApp, shop: &Shop) -> Result<SaleToken, Error> {
    app.make_ready(shop).await;
    let request: OrderRequest = app.form(shop);
    place_order::order(&app.backend, request).await.map(|checkout| checkout.token)
}

/// An app with a shop whose provider falls silent once it has many open orders.
async fn with_silent_neighbour(rules: Rules) -> (TestApp, Shop) {
    let app = TestApp::start_with(Options { rules, ..Options::default() }).await;
    let neighbour = app.open_shop("neighbour").await;
    for _ in 0..OPEN_ORDERS {
        order_at(&app, &neighbour).await.unwrap();
    }
    app.bank.silence(&neighbour.account.merchant, true);
    (app, neighbour)
}

#[tokio::test]
async fn nobody_waits_for_a_provider_that_does_not_answer() {
    // Fewer rows at a time than the silent account has due.
    let rules = Rules { batch_rows: 32, ..Rules::default() };
    let most_calls = rules.account_calls_max;
    let (app, _) = with_silent_neighbour(rules).await;
    let mut with_providers = JoinSet::new();
    app.clock.advance(3_000);
    tick(&app, &mut with_providers).await;
    until("the silent account's calls", async || app.bank.called(Call::Query).len() == most_calls).await;

    // Paid at another account: the command is sent again in its time.
    let token = app.paid_sale().await;
    let (start_ms, mut sent_ms) = (app.now_ms(), vec![]);
    let first = app.shop.module.credit(&app);
    while app.now_ms() < start_ms + 8_000 {
        app.clock.advance(200);
        tick(&app, &mut with_providers).await;
        if !app.shop.module.credits(&app).is_empty() {
            sent_ms.push(app.now_ms() - start_ms);
        }
    }
    assert_eq!(sent_ms, [1_000, 3_000, 7_000]);
    assert_eq!(app.bank.called(Call::Query).len(), most_calls, "no more than so many calls are under way");
    app.deliver(&app.shop.module.ack(&app, &first, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");

    // The other account's refund, and what became of its payment, with the next look.
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    let unheard = app.order().await;
    let number = app.number(&unheard).await;
    app.bank.pay(&number, app.now_ms());
    app.clock.advance(3_000);
    tick(&app, &mut with_providers).await;
    until("the refund", async || app.state(&token).await == "refunded").await;
    until("the payment", async || app.state(&unheard).await == "paid").await;
}

#[tokio::test]
async fn orders_of_an_account_whose_provider_does_not_answer_are_refused_at_once_until_it_does() {
    let (app, neighbour) = with_silent_neighbour(Rules::default()).await;
    let mut with_providers = JoinSet::new();
    app.clock.advance(3_000);
    tick(&app, &mut with_providers).await;
    // All of them are given up after a while.
    until("calls", async || app.bank.called(Call::Query).len() == 8).await;
    app.clock.advance(15_000);
    while with_providers.join_next().await.is_some() {}

    app.make_ready(&neighbour).await;
    let refused = place_order::order(&app.backend, app.form(&neighbour)).await;
    assert!(matches!(refused, Err(Error::NotReady(Readiness::ProviderSilent))), "{refused:?}");
    assert_eq!(app.scan(&neighbour.code).await.unwrap().readiness, Readiness::ProviderSilent);
    assert_eq!(app.bank.called(Call::Create).len(), OPEN_ORDERS, "nothing was asked for");
    order_at(&app, &app.shop).await.unwrap();

    // After a while one call is let through, and only one.
    let asked = app.bank.called(Call::Query).len();
    app.clock.advance(2_000);
    tick(&app, &mut with_providers).await;
    until("a probe", async || app.bank.called(Call::Query).len() > asked).await;
    tick(&app, &mut with_providers).await;
    assert!(app.bank.called(Call::Query).len() <= asked + 2, "one of this account, one of the other");
    app.clock.advance(15_000);
    while with_providers.join_next().await.is_some() {}

    // It answers again: so does the next call.
    app.bank.silence(&neighbour.account.merchant, false);
    app.clock.advance(4_000);
    jobs::run_due(&app.backend).await.unwrap();
    app.make_ready(&neighbour).await;
    order_at(&app, &neighbour).await.unwrap();
    app.pass_ms(2_000).await;
    assert!(app.bank.called(Call::Query).len() >= asked + OPEN_ORDERS, "all are asked about again");
    assert!(app.bank.trades().iter().all(|trade| trade.state == TradeState::NotPaid));
}

/// A person who closes the page is not the provider's answer.
#[tokio::test]
async fn orders_that_people_give_up_count_as_not_answered() {
    let app = TestApp::start().await;
    let merchant = &app.shop.account.merchant;
    app.bank.silence(merchant, true);
    for asked in 1..=4 {
        app.make_ready(&app.shop).await;
        let order = place_order::order(&app.backend, app.form(&app.shop));
        let given_up = async {
            until("the call", async || app.bank.called(Call::Create).len() == asked).await;
            app.clock.advance(3_000);
        };
        tokio::select! {
            biased;
            outcome = order => panic!("{outcome:?}"),
            () = given_up => {}
        }
    }
    app.make_ready(&app.shop).await;
    let refused = place_order::order(&app.backend, app.form(&app.shop)).await;
    assert!(matches!(refused, Err(Error::NotReady(Readiness::ProviderSilent))), "{refused:?}");
}
