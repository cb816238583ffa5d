//! The store: made from nothing, in the way, full, gone.

use crate::support::{
    Options, TestApp,
    actors::system,
    app::PRICE_PULSES,
    done,
    store::{self, Store},
};
use backend::{
    Error,
    access::sign_in,
    db::{Db, migration::Migrator},
    flows::{
        operate::operator::{self, NewOperator},
        place_order,
        take_callback::CallbackFailure,
        take_message,
    },
    jobs,
    money::Currency,
    sales::takings,
    zones::Zone,
};
use futures_util::FutureExt;
use sea_orm::ConnectionTrait;
use sea_orm_migration::MigratorTrait;

#[tokio::test]
async fn migrations_apply_to_an_empty_store_and_only_once() {
    let store = Store::create().await;
    let db = Db::open(&store.url).await.unwrap();
    assert!(db.pending_migrations().await.unwrap() > 0);
    db.migrate().await.unwrap();
    assert_eq!(db.pending_migrations().await.unwrap(), 0);
    db.migrate().await.unwrap();
    assert_eq!(db.pending_migrations().await.unwrap(), 0);
    if !store.is_volatile() {
        let again = Db::open(&store.url).await.unwrap();
        again.migrate().await.unwrap();
        assert_eq!(again.pending_migrations().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_store_of_the_first_release_is_brought_up_to_date_with_what_is_in_it() {
    let store = Store::create().await;
    if store.is_volatile() {
        return;
    }
    let stranger = store.stranger().await;
    Migrator::up(&stranger, Some(1)).await.unwrap();
    let module = "INSERT INTO modules VALUES ('0123456789', 'sealed', 1, 5, TRUE, NULL, 1, 1, 1, 0, 0, 0, 'old', NULL,
        NULL, 0, FALSE, 3, 7, 0, 0)";
    stranger.execute_unprepared(module).await.unwrap();
    for (id, currency, offset_min) in [(1, "EUR", 60), (2, "CNY", 480), (3, "EUR", -300)] {
        let operator = format!(
            "INSERT INTO operators (id, slug, name, currency, utc_offset_min, refund_remainder, created_ms)
                VALUES ({id}, 'operator-{id}', 'Operator', '{currency}', {offset_min}, FALSE, 1)"
        );
        stranger.execute_unprepared(&operator).await.unwrap();
    }
    let machine =
        "INSERT INTO machines (operator_id, module_id, code, name, site, active, coin_value_minor, created_ms)
        VALUES (2, '0123456789', 'CODE', 'Rocket', 'Mall', TRUE, 100, 1)";
    stranger.execute_unprepared(machine).await.unwrap();
    for (id, operator_id, provider, active) in
        [(1, 1, "wechat", "FALSE"), (2, 2, "wechat", "TRUE"), (3, 2, "other", "TRUE"), (4, 3, "wechat", "TRUE")]
    {
        let account = format!(
            "INSERT INTO merchant_accounts (id, operator_id, provider, token, config_sealed, active, created_ms)
                VALUES ({id}, {operator_id}, '{provider}', 'token-{id}', 'sealed', {active}, 1)"
        );
        stranger.execute_unprepared(&account).await.unwrap();
    }
    for (number, state) in [("S1", "pending"), ("S2", "paid")] {
        let attempt = format!(
            "INSERT INTO payment_attempts (sale_id, account_id, out_trade_no, state, amount_minor, currency, pay_url,
                created_ms, expires_ms, polls) VALUES (1, 2, '{number}', '{state}', 500, 'CNY', 'https://a?b=\"c\"&d', 1, 2, 0)"
        );
        stranger.execute_unprepared(&attempt).await.unwrap();
    }
    let db = Db::open(&store.url).await.unwrap();
    assert!(db.pending_migrations().await.unwrap() > 0);
    db.migrate().await.unwrap();
    assert_eq!(db.pending_migrations().await.unwrap(), 0);
    let rows = store::rows(db.read(), "SELECT settings_version, settings_wanted, settings_body FROM modules").await;
    let (reported, wanted): (i64, i64) = (rows[0].try_get_by_index(0).unwrap(), rows[0].try_get_by_index(1).unwrap());
    assert_eq!((rows.len(), reported, wanted), (1, 3, 0));
    assert_eq!(rows[0].try_get_by_index::<Option<Vec<u8>>>(2).unwrap(), None);
    let zones = store::rows(db.read(), "SELECT time_zone FROM operators ORDER BY id").await;
    let zones: Vec<String> = zones.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert_eq!(zones, ["Europe/Berlin", "Asia/Shanghai", "Etc/GMT+5"], "of what was an offset");
    let owner = store::rows(db.read(), "SELECT operator_id FROM modules").await[0].try_get_by_index::<Option<i64>>(0);
    assert_eq!(owner.unwrap(), Some(2), "a module is its machine's operator's");
    let choices =
        "SELECT operator_id, machine_id, provider, method, account_id FROM payment_choices ORDER BY operator_id";
    let choices: Vec<(i64, i64, String, String, i64)> = store::rows(db.read(), choices)
        .await
        .iter()
        .map(|row| {
            let text = |column| row.try_get_by_index::<String>(column).unwrap();
            let number = |column| row.try_get_by_index::<i64>(column).unwrap();
            (number(0), number(1), text(2), text(3), number(4))
        })
        .collect();
    let chosen = |operator, account| (operator, 0, "wechat".into(), "h5".into(), account);
    assert_eq!(choices, [chosen(2, 2), chosen(3, 4)], "the account that took payments takes them");
    let handoffs = store::rows(db.read(), "SELECT handoff, method FROM payment_attempts ORDER BY out_trade_no").await;
    let handoff: serde_json::Value = serde_json::from_str(&handoffs[0].try_get_by_index::<String>(0).unwrap()).unwrap();
    assert_eq!(handoff, serde_json::json!({ "kind": "redirect", "url": "https://a?b=\"c\"&d" }));
    assert_eq!(handoffs[1].try_get_by_index::<Option<String>>(0).unwrap(), None, "it cannot be paid any more");
    assert_eq!(handoffs[0].try_get_by_index::<String>(1).unwrap(), "h5");
}

#[tokio::test]
async fn a_url_of_no_known_store_names_the_setting() {
    for url in ["", "postgres://localhost/coinwire", "coinwire.db"] {
        let refused = Db::open(url).await;
        let Err(Error::Config { setting: "database_url", message }) = refused else { panic!("{url}") };
        assert!(message.contains("sqlite") && message.contains("mysql"), "{message}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("sqlite://{}/missing/coinwire.db?mode=rwc", folder.path().display());
    assert!(matches!(Db::open(&nowhere).await, Err(Error::Store(_))));
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, vec![b'x'; 8192]).unwrap();
    let opened = Db::open(&format!("sqlite://{}?mode=rwc", garbage.display())).await;
    assert!(matches!(opened, Err(Error::Store(_))));
    assert_eq!(std::fs::read(&garbage).unwrap(), vec![b'x'; 8192], "what is not ours is left alone");
    // Nobody listens there: the port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!(matches!(Db::open(&format!("mysql://root@127.0.0.1:{port}/coinwire")).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn writers_at_once_all_get_through_and_each_fails_alone() {
    let app = TestApp::start().await;
    let new = |slug: String| NewOperator {
        slug,
        name: "one of many".into(),
        currency: Currency::Cny,
        time_zone: Zone::default_for(Currency::Cny),
        refund_remainder: false,
    };
    // Every second one asks for a name that is taken; some lose interest while they wait.
    let write = async |number: usize| {
        let slug = if number.is_multiple_of(2) { format!("many-{number}") } else { "acme".into() };
        let actor = system();
        let writing = operator::add_operator(&app.backend, &actor, new(slug));
        if number % 8 == 6 { writing.now_or_never() } else { Some(writing.await) }
    };
    let outcomes = futures_util::future::join_all((0..64).map(write)).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Some(Ok(id)) => {
                assert_eq!(number % 2, 0, "a name is given once");
                takings::takings_today(&app.backend, &system(), *id).await.expect("what was answered for is there");
            }
            Some(Err(error)) => assert!(number % 2 == 1 && matches!(error, Error::Invalid { .. }), "{error}"),
            None => assert_eq!(number % 8, 6),
        }
    }
    assert!(outcomes.iter().filter(|outcome| matches!(outcome, Some(Ok(_)))).count() >= 24);
}

#[tokio::test]
async fn locked_by_another_it_waits_and_loses_nothing() {
    let app = TestApp::start().await;
    if app.store.is_volatile() {
        return;
    }
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let stranger = app.store.stranger().await;
    let begin = if app.store.is_on_server() { "BEGIN" } else { "BEGIN IMMEDIATE" };
    stranger.execute_unprepared(begin).await.unwrap();
    stranger.execute_unprepared("UPDATE sales SET version = version").await.unwrap();

    let mut arriving = std::pin::pin!(app.callback(&callback));
    // Readers go on. Each read takes the time in which the callback would be done, were nothing in its way. On a slow
    // machine there are fewer of them: the lock is waited for five seconds only.
    let began = std::time::Instant::now();
    for _ in (0..50).take_while(|_| began.elapsed().as_secs() < 2) {
        assert!(futures_util::poll!(&mut arriving).is_pending(), "what is locked is not answered for");
        assert_eq!(app.state(&token).await, "awaiting_payment");
    }
    stranger.execute_unprepared("COMMIT").await.unwrap();
    arriving.await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

#[tokio::test]
async fn locked_for_too_long_it_says_so_and_loses_nothing() {
    let app = TestApp::start().await;
    if app.store.is_volatile() {
        return;
    }
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let stranger = app.store.stranger().await;
    let begin = if app.store.is_on_server() { "BEGIN" } else { "BEGIN IMMEDIATE" };
    stranger.execute_unprepared(begin).await.unwrap();
    stranger.execute_unprepared("UPDATE sales SET version = version").await.unwrap();
    let began = std::time::Instant::now();
    let refused = app.callback(&callback).await;
    assert!(matches!(refused, Err(CallbackFailure::Internal(Error::Store(_)))), "{refused:?}");
    // The store waits five seconds for a lock, once.
    assert!((4..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(app.state(&token).await, "awaiting_payment");
    stranger.execute_unprepared("COMMIT").await.unwrap();
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
    app.assert_books().await;
}

#[tokio::test]
async fn full_it_says_so_and_goes_on_once_there_is_room() {
    let app = TestApp::start_with(Options { store: Some(Store::memory()), ..Options::default() }).await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    app.db.read().execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
    let mut refused = 0;
    let mut orders = vec![];
    for _ in 0..200 {
        match app.try_order().await {
            Ok(order) => orders.push(order.token),
            Err(error) => {
                assert!(matches!(error, Error::Store(_)), "{error:?}");
                assert!(error.to_string().contains("full"), "{error}");
                refused += 1;
                break;
            }
        }
    }
    assert_eq!(refused, 1, "the store got full");
    let failed = app.callback(&callback).await;
    if failed.is_err() {
        assert!(matches!(failed, Err(CallbackFailure::Internal(Error::Store(_)))), "{failed:?}");
        assert_eq!(app.state(&token).await, "awaiting_payment");
    }
    app.db.read().execute_unprepared("PRAGMA max_page_count = 1000000").await.unwrap();
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
    app.assert_books().await;
}

#[tokio::test]
async fn not_writable_it_refuses_the_callback_and_keeps_answering_reads() {
    let app = TestApp::start_with(Options { store: Some(Store::memory()), ..Options::default() }).await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let credit_before = app.shop.module.credits(&app).len();
    app.db.read().execute_unprepared("PRAGMA query_only = ON").await.unwrap();
    let refused = app.callback(&callback).await;
    assert!(matches!(refused, Err(CallbackFailure::Internal(Error::Store(_)))), "{refused:?}");
    assert_eq!((app.state(&token).await, credit_before), ("awaiting_payment", 0));
    assert!(app.shop.module.credits(&app).is_empty());
    app.db.read().execute_unprepared("PRAGMA query_only = OFF").await.unwrap();
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
}

#[tokio::test]
async fn gone_everything_says_so_and_nothing_panics() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let coins = app.shop.module.coins(&app, 1);
    if app.store.is_on_server() {
        app.store.drop_database().await;
    } else {
        app.db.read().close_by_ref().await.unwrap();
        assert_eq!(app.backend.unready().await, ["the database does not answer"]);
    }
    let refused = app.callback(&callback).await;
    let Err(CallbackFailure::Internal(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().starts_with("database: "), "{error}");
    assert!(matches!(app.scan(&app.shop.code).await, Err(Error::Store(_))));
    assert!(matches!(place_order::order(&app.backend, app.form(&app.shop)).await, Err(Error::Store(_))));
    assert!(matches!(jobs::run_due(&app.backend).await, Err(Error::Store(_))));
    assert!(matches!(backend::flows::show_sale::sale(&app.backend, &token).await, Err(Error::Store(_))));
    assert!(matches!(sign_in::sign_in(&app.backend, "ann@acme.test", "whatever it is").await, Err(Error::Store(_))));
    if app.store.is_on_server() {
        let message = take_message::on_message(&app.backend, &coins.topic, &coins.payload).await;
        assert!(matches!(message, Err(Error::Store(_))));
    }
}

/// Those who wait behind a locked store wait at the same time, not one after the other.
#[tokio::test]
async fn all_who_wait_for_a_lock_are_answered_within_its_time() {
    let app = TestApp::start().await;
    if app.store.is_volatile() || app.store.is_on_server() {
        return;
    }
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let stranger = app.store.stranger().await;
    stranger.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let began = std::time::Instant::now();
    let refused = futures_util::future::join_all((0..8).map(|_| app.callback(&callback))).await;
    let waited_s = began.elapsed().as_secs();
    assert!((4..15).contains(&waited_s), "eight waited {waited_s} s, one after the other");
    for outcome in refused {
        let Err(CallbackFailure::Internal(error @ Error::Store(_))) = outcome else { panic!("{outcome:?}") };
        assert!(error.to_string().contains("locked"), "{error}");
    }
    let unready = app.backend.unready().await;
    assert!(unready.len() == 1 && unready[0].contains("locked"), "{unready:?}");
    assert_eq!(app.state(&token).await, "awaiting_payment", "readers go on");
    stranger.execute_unprepared("COMMIT").await.unwrap();
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
}

/// A connection that is killed before COMMIT, or in the middle of the work: nothing of it is stored or answered for, and
/// the next transaction is a whole one.
#[tokio::test]
async fn a_killed_connection_stores_nothing_and_the_next_write_is_stored() {
    let app = TestApp::start().await;
    if !app.store.is_on_server() {
        return;
    }
    let stranger = app.store.stranger().await;
    let rename = |name: &'static str| format!("UPDATE operators SET name = '{name}'");
    for works_on in [false, true] {
        let killed = app
            .db
            .write(|txn| {
                let stranger = &stranger;
                async move {
                    txn.execute_unprepared(&rename("never")).await?;
                    let statement =
                        sea_orm::Statement::from_string(sea_orm::DbBackend::MySql, "SELECT CONNECTION_ID()");
                    let row = txn.query_one_raw(statement).await?.unwrap();
                    let id: u64 = row.try_get_by_index(0)?;
                    stranger.execute_unprepared(&format!("KILL {id}")).await?;
                    if works_on {
                        txn.execute_unprepared(&rename("never either")).await?;
                    }
                    Ok(())
                }
            })
            .await;
        assert!(matches!(killed, Err(Error::Store(_))), "{killed:?}");
        assert_eq!(app.number_of("SELECT COUNT(*) FROM operators WHERE name LIKE 'never%'").await, 0);
    }
    let stored = app.db.write(|txn| async move { Ok(txn.execute_unprepared(&rename("stored")).await?) }).await;
    stored.unwrap();
    let rows = store::rows(&stranger, "SELECT id FROM operators WHERE name = 'stored'").await;
    assert_eq!(rows.len(), 1, "another connection sees it: it is committed");
}

/// Names in any language, in a database that was made for one.
#[tokio::test]
async fn a_database_of_another_character_set_takes_every_name() {
    for charset in ["latin1", "utf8mb3"] {
        let store = Store::create().await;
        if !store.is_on_server() {
            return;
        }
        let stranger = store.stranger().await;
        stranger.execute_unprepared(&format!("ALTER DATABASE CHARACTER SET {charset}")).await.unwrap();
        // As an earlier version would have made it.
        stranger
            .execute_unprepared(
                "CREATE TABLE seaql_migrations (version VARCHAR(255) PRIMARY KEY, applied_at BIGINT NOT NULL)",
            )
            .await
            .unwrap();
        let app = TestApp::start_with(Options { store: Some(store), ..Options::default() }).await;
        for (slug, name) in [("chinese", "火箭摇摇车"), ("emoji", "Rocket 🚀")] {
            let new = NewOperator {
                slug: slug.into(),
                name: name.into(),
                currency: Currency::Cny,
                time_zone: Zone::default_for(Currency::Cny),
                refund_remainder: false,
            };
            operator::add_operator(&app.backend, &system(), new).await.unwrap();
            let found = format!("SELECT COUNT(*) FROM operators WHERE name = '{name}'");
            assert_eq!(app.number_of(&found).await, 1, "{charset}");
        }
        let others = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()
            AND table_collation <> 'utf8mb4_bin'";
        assert_eq!(app.number_of(others).await, 0, "{charset}");
    }
}
