// The browsers of ordinary phones: scan to credit, cancel, leave and come back, a second tab, a second phone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import { approve, machinePulses, openReadyScanPage, pickPrice, saleIs } from "./pages.mjs";

const PHONES = {
  "iOS Safari":
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 " +
    "Mobile/15E148 Safari/604.1",
  "Android Chrome":
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
};

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

/** The address of the sale that a phone ordered last, from where it is at the provider. */
async function declined(page) {
  await page.locator("button[value=decline]").click();
  await page.waitForURL("**/sale/**");
  return page.url();
}

for (const [name, userAgent] of Object.entries(PHONES)) {
  test(`${name}: scan to credit`, async () => {
    const machine = demo.machines[0];
    const visit = await visitor(browser, { ...phone, userAgent, locale: "zh-CN" });
    const { page } = visit;
    await openReadyScanPage(page, machine);
    const before = await machinePulses(demo, machine);
    const { credits } = await pickPrice(page, demo.sandbox, 0);
    await approve(page);
    await saleIs(page, "credited");
    assert.equal(await machinePulses(demo, machine), before + credits);
    await leave(visit);
  });

  test(`${name}: who cancels and leaves comes back to the sale and pays it`, async () => {
    const visit = await visitor(browser, { ...phone, userAgent });
    await openReadyScanPage(visit.page, demo.machines[1]);
    await pickPrice(visit.page, demo.sandbox, 0);
    const sale = await declined(visit.page);
    await saleIs(visit.page, "awaiting_payment");
    await visit.page.close();
    const page = await visit.context.newPage();
    await page.goto(sale);
    await page.locator("a.button[rel=external]").click();
    await page.waitForURL(`${demo.sandbox}/**`);
    await approve(page);
    await saleIs(page, "credited");
    assert.equal(page.url(), sale);
    await leave(visit);
  });
}

test("a second tab that pays another way closes what the first one ordered", async () => {
  const machine = demo.machines[2];
  const visit = await visitor(browser, { ...phone, userAgent: PHONES["Android Chrome"] });
  const [first, second] = [visit.page, await visit.context.newPage()];
  await openReadyScanPage(first, machine);
  const before = await machinePulses(demo, machine);
  await pickPrice(first, demo.sandbox, 0);
  const cashier = first.url();
  await declined(first);
  await openReadyScanPage(second, machine);
  await second.locator("a[href*='alipay.wap']").click();
  const { credits } = await pickPrice(second, demo.sandbox, 0);
  // The first tab says so by itself, and at the provider nobody can pay it any more.
  await saleIs(first, "expired");
  await inspect(first, "sale-left-for-another-way");
  await first.goto(cashier);
  assert.equal(await first.locator("button[value=approve]").count(), 0, "the first order is closed");
  await approve(second);
  await saleIs(second, "credited");
  assert.equal(await machinePulses(demo, machine), before + credits);
  await leave(visit);
});

test("two phones at one machine pay for themselves and are both served", async () => {
  const machine = demo.machines[0];
  const visits = await Promise.all(
    Object.values(PHONES).map((userAgent) => visitor(browser, { ...phone, userAgent })),
  );
  await openReadyScanPage(visits[0].page, machine);
  const before = await machinePulses(demo, machine);
  let bought = 0;
  for (const { page } of visits) {
    await openReadyScanPage(page, machine);
    bought += (await pickPrice(page, demo.sandbox, 0)).credits;
  }
  await Promise.all(visits.map(({ page }) => approve(page)));
  await Promise.all(visits.map(({ page }) => saleIs(page, "credited")));
  assert.equal(await machinePulses(demo, machine), before + bought);
  for (const visit of visits) await leave(visit);
});
