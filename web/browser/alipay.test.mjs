// A consumer who scanned with Alipay pays within it, or on a page of Alipay's; a screen shows a code for those who pay with
// another phone. The sandbox stands for the app: who pays, its payment window, its scanner.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desk, inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import {
  approve, cancelThenPay, comeAgain, machinePulses, openReadyScanPage, payByCode, pickPrice, pickWithinApp, saleIs,
} from "./pages.mjs";

const IN_ALIPAY =
  "Mozilla/5.0 (Linux; U; Android 14; zh-CN; 2211133C) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 " +
  "Chrome/116.0.0.0 Mobile Safari/537.36 AlipayDefined(nt:WIFI,ws:393|0|2.75) AliApp(AP/10.5.96.8000) " +
  "AlipayClient/10.5.96.8000 Language/zh-Hans";

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

/** Somebody within Alipay at a machine's page; Alipay has said who it is. */
async function scanned(machine, locale) {
  const visit = await visitor(browser, { ...phone, userAgent: IN_ALIPAY, locale });
  await openReadyScanPage(visit.page, machine);
  assert.match(visit.page.url(), /way=alipay\.bridge/, "came back from being asked who pays");
  return visit;
}

for (const locale of ["zh-CN", "en-GB"]) {
  test(`within Alipay the payment opens by itself and is credited, ${locale}`, async () => {
    const machine = demo.machines[0];
    const visit = await scanned(machine, locale);
    const { page } = visit;
    const before = await machinePulses(demo, machine);
    await inspect(page, `scan-alipay-${locale}`);
    const credits = await pickWithinApp(page);
    await page.locator("#bridge-pay").click();
    await saleIs(page, "credited");
    await inspect(page, `sale-alipay-${locale}`);
    assert.equal(await machinePulses(demo, machine), before + credits);
    await leave(visit);
  });
}

test("who cancels is not asked again by itself, and can still pay", async () => {
  const visit = await scanned(demo.machines[1], "en-GB");
  await cancelThenPay(visit.page, "sale-alipay-cancelled");
  await leave(visit);
});

test("without a network the page says that it is confirming, and the button pays later", async () => {
  const visit = await scanned(demo.machines[2], "zh-CN");
  const { page } = visit;
  await pickWithinApp(page);
  await page.locator("#bridge-no-network").click();
  await page.locator(".confirming").waitFor();
  await inspect(page, "sale-alipay-confirming");
  // Nobody knows yet, so nothing is to be pressed; once nothing came of it, the button is there again.
  assert.equal(await page.locator("[data-invoke]").isVisible(), false, "nothing is to be pressed");
  await page.locator("[data-invoke]").click();
  await page.locator("#bridge-pay").click();
  await saleIs(page, "credited");
  await leave(visit);
});

test("whoever comes again is known, and going back asks nobody anew", async () => {
  const machine = demo.machines[2];
  const visit = await scanned(machine, "en-GB");
  await comeAgain(visit.page, machine, "/oauth2/publicAppAuthorize");
  await leave(visit);
});

test("within Alipay its page is another way to pay, chosen after the app was called in vain", async () => {
  const machine = demo.machines[1];
  const visit = await scanned(machine, "en-GB");
  const { page } = visit;
  const before = await machinePulses(demo, machine);
  await pickWithinApp(page);
  await page.locator("#bridge-cancel").click();
  await page.locator(".confirming").waitFor();
  await openReadyScanPage(page, machine);
  await page.locator("a[href*='alipay.wap']").click();
  const { credits } = await pickPrice(page, demo.sandbox);
  assert.match(await page.locator("h1").innerText(), /Alipay cashier/);
  await approve(page);
  await saleIs(page, "credited");
  assert.equal(await machinePulses(demo, machine), before + credits, "once");
  await leave(visit);
});

test("in a browser Alipay's page is another way to pay, and who cancels comes back", async () => {
  const visit = await visitor(browser, phone);
  const { page } = visit;
  await openReadyScanPage(page, demo.machines[1]);
  await page.locator("a[href*='alipay.wap']").click();
  await pickPrice(page, demo.sandbox);
  await page.locator("button[value=decline]").click();
  await page.waitForURL("**/sale/**");
  await leave(visit);
});

test("a screen shows a code that another phone pays by", async () => {
  const screen = await visitor(browser, desk);
  const { page } = screen;
  await openReadyScanPage(page, demo.machines[2]);
  await page.locator("a[href*='alipay.code']").click();
  await page.locator("button.price").first().click();
  await page.waitForURL("**/sale/**");
  await page.locator(".code-to-scan svg").waitFor();
  await payByCode(browser, page, `${demo.sandbox}/alipay/scan`, IN_ALIPAY);
  await leave(screen);
});
