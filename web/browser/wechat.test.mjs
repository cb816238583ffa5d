// A consumer who scanned with WeChat pays within it; a screen shows a code for those who pay with another phone. The sandbox
// stands for the app: who pays, its payment window, its scanner.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desk, inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import {
  cancelThenPay, comeAgain, machinePulses, openReadyScanPage, payByCode, pickWithinApp, saleIs,
} from "./pages.mjs";

const IN_WECHAT =
  "Mozilla/5.0 (Linux; Android 14; 2211133C) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/116.0.0.0 " +
  "Mobile Safari/537.36 MicroMessenger/8.0.50.2701(0x28003250) WeChat/arm64 NetType/WIFI Language/zh_CN";

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

/** Somebody within WeChat at a machine's page; WeChat has said who it is. */
async function scanned(machine, locale) {
  const visit = await visitor(browser, { ...phone, userAgent: IN_WECHAT, locale });
  await openReadyScanPage(visit.page, machine);
  assert.match(visit.page.url(), /way=wechat\.jsapi/, "came back from being asked who pays");
  return visit;
}

for (const locale of ["zh-CN", "en-GB"]) {
  test(`within WeChat the payment opens by itself and is credited, ${locale}`, async () => {
    const machine = demo.machines[0];
    const visit = await scanned(machine, locale);
    const { page } = visit;
    const before = await machinePulses(demo, machine);
    await inspect(page, `scan-wechat-${locale}`);
    const credits = await pickWithinApp(page);
    await page.locator("#bridge-pay").click();
    await saleIs(page, "credited");
    await inspect(page, `sale-wechat-${locale}`);
    assert.equal(await machinePulses(demo, machine), before + credits);
    await leave(visit);
  });
}

test("who cancels is not asked again by itself, and can still pay", async () => {
  const visit = await scanned(demo.machines[1], "en-GB");
  await cancelThenPay(visit.page, "sale-wechat-cancelled");
  await leave(visit);
});

test("whoever comes again is known, and going back asks nobody anew", async () => {
  const machine = demo.machines[2];
  const visit = await scanned(machine, "en-GB");
  await comeAgain(visit.page, machine, "/connect/oauth2/authorize");
  await leave(visit);
});

test("a screen shows a code that another phone pays by", async () => {
  const machine = demo.machines[0];
  const screen = await visitor(browser, desk);
  const { page } = screen;
  await openReadyScanPage(page, machine);
  await page.locator("a[href*='wechat.native']").click();
  await page.locator("button.price").first().click();
  await page.waitForURL("**/sale/**");
  await page.locator(".code-to-scan svg").waitFor();
  await inspect(page, "sale-wechat-code");
  await payByCode(browser, page, `${demo.sandbox}/native/scan`, IN_WECHAT);
  await leave(screen);
});
