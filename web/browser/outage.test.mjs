// Point 3: a module that is off takes no money, and a sale caught in between is refunded.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import { approve, demoButton, machinePulses, markPage, openReadyScanPage, pickPrice, saleIs } from "./pages.mjs";
import { until } from "./waiting.mjs";

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

// Both wait for the module to be given up: at the same time.
describe("a sale caught by an outage", { concurrency: 2 }, () => {
  for (const [index, locale, lang] of [[0, "en-GB", "en"], [1, "zh-CN", "zh"]]) {
    test(`is refunded, and the page says so, ${lang}`, async () => {
      const machine = demo.machines[index];
      const [visit, hand] = await Promise.all([visitor(browser, { ...phone, locale }), visitor(browser, phone)]);
      const { page } = visit;
      const before = await machinePulses(demo, machine);
      await openReadyScanPage(page, machine);
      await pickPrice(page, demo.sandbox, 0);

      await demoButton(hand.page, demo, machine, "power");
      await until("the scan page to refuse money", async () => {
        await hand.page.goto(machine.page);
        return (await hand.page.locator("button.price").count()) === 0;
      });
      const why = (await hand.page.locator(".status").innerText()).trim();
      assert.ok(["Offline", "Not answering"].includes(why), why);
      await inspect(hand.page, `scan-module-off-${lang}`);

      await approve(page);
      const notReloaded = await markPage(page);
      await inspect(page, `sale-caught-${lang}`);
      await saleIs(page, "refunded");
      await notReloaded();
      assert.match(await page.locator("h1").innerText(), lang === "zh" ? /已退款/ : /Refunded/);
      await inspect(page, `sale-refunded-${lang}`);

      await demoButton(hand.page, demo, machine, "power");
      await openReadyScanPage(hand.page, machine);
      assert.equal(await machinePulses(demo, machine), before, "a refunded sale was credited as well");
      await Promise.all([leave(visit), leave(hand)]);
    });
  }
});
