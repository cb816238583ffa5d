//! The operator's pages.

use crate::support::{Browser, Site, system};
use backend::{
    access::members,
    flows::operate::{member, operator},
    sales::views,
};

#[tokio::test]
async fn the_fleet_moves_without_reloading() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let page = browser.get("/operator").await;
    assert_eq!(page.all("h3 a"), ["Carousel"]);
    assert!(page.text.contains("1 of 1 online"));
    assert_eq!(page.all("#takings-coins"), ["¥0.00"]);
    let mut live = browser.stream(&page.attributes("[data-events]", "data-events")[0]).await;
    live.until("<strong id=\"takings-coins\">¥0.00</strong>").await;
    site.field.coins(&site.shop.module, 3).await;
    live.until("<strong id=\"takings-coins\">¥3.00</strong>").await;
    site.order().await;
    site.pay().await;
    live.until("<strong id=\"takings-total\">¥4.00</strong>").await;
    live.until("chip-credited").await;
    site.field.disconnect(&site.shop.module).await;
    live.until("0 of 1 online").await;
}

#[tokio::test]
async fn what_others_do_does_not_show() {
    let site = Site::open().await;
    let other = crate::support::open_shop(&site.backend, &site.field, "other").await;
    let browser = site.operator().await;
    let mut live = browser.stream("/operator/events").await;
    live.until("event: fragment").await;
    site.field.coins(&other.module, 5).await;
    site.field.coins(&site.shop.module, 1).await;
    live.until("<strong id=\"takings-coins\">¥1.00</strong>").await;
    assert!(!live.text.contains("¥5.00") && !live.text.contains("¥6.00"));
}

#[tokio::test]
async fn an_empty_business_has_words_for_it() {
    let site = Site::open().await;
    let browser = site.operator().await;
    assert_eq!(browser.get("/operator").await.all(".empty"), ["No sales yet. They appear here as they happen."]);
    assert_eq!(browser.get("/operator/sales?state=paid").await.all(".empty"), ["No sales match."]);
    let page = browser.get(&format!("/operator/machines/{}", site.shop.machine_id)).await;
    assert_eq!(page.all(".empty"), ["No coins counted yet."]);
}

#[tokio::test]
async fn prices_change_and_bad_ones_are_refused() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = format!("/operator/machines/{}", site.shop.machine_id);
    let page = browser.get(&path).await;
    assert_eq!(page.attributes("input[name=amount]", "value"), ["1.00", "2.50"]);
    let price = format!("{path}/prices/{}", site.shop.price_id);
    for (label, amount, pulses, word) in [
        ("", "1", "1", "name"),
        ("x", "one", "1", "amount"),
        ("x", "0", "1", "amount"),
        ("x", "-1", "1", "amount"),
        ("x", "10000.01", "1", "amount"),
        ("x", "1.001", "1", "amount"),
        ("x", "1", "0", "Pulses"),
        ("x", "1", "201", "Pulses"),
        ("x", "1", "1.5", "Pulses"),
    ] {
        let answer = browser.post(&price, &page, &[("label", label), ("amount", amount), ("pulses", pulses)]).await;
        assert_eq!(answer.status, 422, "{label:?} {amount} {pulses}");
        let alert = &answer.all("[role=alert]")[0];
        assert!(alert.contains(word), "{alert} about {word}");
    }
    let answer = browser.post(&price, &page, &[("label", " Two rides "), ("amount", "1,5"), ("pulses", "2")]).await;
    assert_eq!(answer.status, 303);
    let done = browser.get(answer.location()).await;
    assert_eq!(done.all(".notice"), ["The price is saved."]);
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    assert!(scan.text.contains("Two rides") && scan.all(".price-amount").contains(&"¥1.50".to_owned()));
}

#[tokio::test]
async fn a_machine_is_taken_off_sale_and_locked() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = format!("/operator/machines/{}", site.shop.machine_id);
    let page = browser.get(&path).await;
    let (active, fields) = Browser::form(&page, 1);
    assert_eq!(active, format!("{path}/active"));
    assert!(fields.contains(&("on".into(), "false".into())));
    let off = browser.submit(&page, 1).await;
    let page = browser.get(off.location()).await;
    assert_eq!(page.all(".notice"), ["The machine is off sale."]);
    assert!(page.text.contains("Put on sale"));
    let scan = browser.get(&format!("/s/{}", site.shop.code)).await;
    assert_eq!(scan.all("[role=status]"), ["Not on sale"]);
    let locked = browser.submit(&page, 2).await;
    assert_eq!(browser.get(locked.location()).await.all(".notice"), ["The module is being locked."]);
    assert_eq!(browser.post(&format!("{path}/active"), &page, &[("on", "maybe")]).await.status, 400);
}

#[tokio::test]
async fn the_label_leads_to_the_scan_page() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = format!("/operator/machines/{}", site.shop.machine_id);
    let url = format!("http://pay.example/s/{}", site.shop.code);
    let page = browser.get(&path).await;
    assert_eq!(page.all(".label code"), [url]);
    assert_eq!(page.attributes(".qr svg", "version"), ["1.1"]);
    let file = browser.get(&format!("{path}/qr.svg")).await;
    assert_eq!(file.header("content-type"), "image/svg+xml");
    assert!(file.text.starts_with("<svg") && file.text.contains("</svg>"));
}

#[tokio::test]
async fn the_machines_page_is_live() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let mut live = browser.stream(&format!("/operator/machines/{}/events", site.shop.machine_id)).await;
    live.until("No coins counted yet.").await;
    site.field.coins(&site.shop.module, 2).await;
    live.until("<td class=\"num\">2</td>").await;
}

#[tokio::test]
async fn sales_are_listed_filtered_and_paged() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let mut live = browser.stream("/operator/sales/events?").await;
    live.until("No sales yet").await;
    let token = site.order().await;
    live.until(&format!("sale-{token}")).await;
    for _ in 0..50 {
        site.order().await;
    }
    let newest = browser.get("/operator/sales").await;
    assert_eq!(newest.all("details.sale").len(), 50);
    let older = newest.attributes("a[rel=next]", "href");
    let last = browser.get(&older[0]).await;
    assert_eq!(last.attributes("details.sale", "id"), [format!("sale-{token}")]);
    assert!(!last.has("a[rel=next]") && !last.has("[data-events]"));
    assert_eq!(browser.get("/operator/sales?state=credited").await.all("details.sale").len(), 0);
    let mine = browser.get(&format!("/operator/sales?state=awaiting_payment&machine={}", site.shop.machine_id)).await;
    assert_eq!(mine.all("details.sale").len(), 50);
    // What makes no sense is not asked for.
    let odd = browser.get("/operator/sales?state=nonsense&machine=x&before=").await;
    assert_eq!((odd.status, odd.all("details.sale").len()), (200, 50));
}

#[tokio::test]
async fn times_are_those_of_the_operators_zone() {
    let site = Site::open().await;
    site.order().await;
    let zone = "Europe/Berlin".to_owned();
    let time_zone = Some(backend::zones::Zone::parse(&zone).unwrap());
    let change = operator::OperatorChange { time_zone, ..Default::default() };
    operator::change_operator(&site.backend, &system(), site.shop.operator_id, change).await.unwrap();
    let browser = site.operator().await;
    let page = browser.get("/operator/sales").await;
    assert!(page.attributes("time", "data-zone").iter().all(|of| *of == zone) && !page.all("time").is_empty());
    let shown = &page.all("time")[0];
    assert!(shown.ends_with(" CET") || shown.ends_with(" CEST"), "{shown}");
    let mut live = browser.stream("/operator/sales/events").await;
    live.until("data-zone=\"Europe/Berlin\"").await;
    // A consumer is wherever the phone is.
    let sales = views::sales(&site.backend, &system(), site.shop.operator_id, Default::default()).await.unwrap();
    let sale = site.browser().get(&format!("/sale/{}", sales[0].view.token)).await;
    assert!(sale.attributes("time", "data-zone").is_empty());
}

#[tokio::test]
async fn a_new_password_or_none_ends_a_members_pages() {
    let site = Site::open().await;
    let member = members::members(&site.backend, &system(), site.shop.operator_id).await.unwrap().remove(0);
    for removed in [false, true] {
        let browser = site.operator().await;
        let mut live = browser.stream("/operator/events").await;
        live.until("event: fragment").await;
        let mut seen = backend::access::members::MemberVersionsSeen::default();
        members::broadcast_member_changes(&site.backend, &mut seen).await.unwrap();
        if removed {
            member::remove_member(&site.backend, &system(), site.shop.operator_id, member.member_id).await.unwrap();
        } else {
            let password = crate::support::PASSWORD;
            member::set_member_password(&site.backend, &system(), site.shop.operator_id, member.member_id, password)
                .await
                .unwrap();
        }
        let answer = browser.get("/operator/sales").await;
        assert_eq!(answer.status, 303, "the session is over though the password reads the same: {}", answer.text);
        members::broadcast_member_changes(&site.backend, &mut seen).await.unwrap();
        live.until("event: reload").await;
    }
}
