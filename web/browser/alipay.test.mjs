// A consumer who scanned with Alipay pays on a page of Alipay's, which the sandbox stands for, and comes back; a screen shows
// a code for those who pay with another phone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desk, inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import { approve, machinePulses, openReadyScanPage, pickPrice, saleIs } from "./pages.mjs";

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

for (const locale of ["zh-CN", "en-GB"]) {
  test(`within Alipay a sale is paid at the cashier and credited, ${locale}`, async () => {
    const machine = demo.machines[0];
    const visit = await visitor(browser, { ...phone, userAgent: IN_ALIPAY, locale });
    const { page } = visit;
    await openReadyScanPage(page, machine);
    const before = await machinePulses(demo, machine);
    await inspect(page, `scan-alipay-${locale}`);
    const { credits } = await pickPrice(page, demo.sandbox);
    assert.match(await page.locator("h1").innerText(), /Alipay cashier/);
    await approve(page);
    await saleIs(page, "credited");
    await inspect(page, `sale-alipay-${locale}`);
    assert.equal(await machinePulses(demo, machine), before + credits);
    await leave(visit);
  });
}

test("in a browser Alipay is another way to pay, and who cancels comes back", async () => {
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
  const paying = await visitor(browser, { ...phone, userAgent: IN_ALIPAY });
  const text = await page.locator(".code-to-scan").getAttribute("data-code");
  await paying.page.goto(`${demo.sandbox}/alipay/scan?code=${encodeURIComponent(text)}`);
  await paying.page.locator("button[value=approve]").click();
  await saleIs(page, "credited");
  await leave(paying);
  await leave(screen);
});
