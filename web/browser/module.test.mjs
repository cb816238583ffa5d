// Point 3: an operator sets a module up from afar: settings, remote actions, learning; live, in two languages, on desk and phone,
// and without JavaScript.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desk, inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import { demoButton, markPage, openModule, signedIn } from "./pages.mjs";
import { until } from "./waiting.mjs";

const COINS = 10;

let demo;
let browser;
let member;
before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
  member = await signedIn(browser, demo);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

const looks = [
  { name: "desk-en-light", ...desk },
  { name: "desk-zh-dark", ...desk, colorScheme: "dark" },
  { name: "phone-en-dark", ...phone, colorScheme: "dark" },
  { name: "phone-zh-light", ...phone },
];

/** Takes the page's picture in all looks, or in those given. */
async function inspectAll(url, name, these = looks) {
  for (const { name: look, ...options } of these) {
    const visit = await visitor(browser, { ...member, ...options });
    await visit.page.goto(`${url}?lang=${look.includes("zh") ? "zh" : "en"}`);
    await inspect(visit.page, `${name}-${look}`);
    await leave(visit);
  }
}

test("settings are saved, waited for and in force, live", async () => {
  const machine = demo.machines[0];
  const [visit, acting] = await Promise.all([visitor(browser, { ...member, ...desk }), visitor(browser, phone)]);
  const { page } = visit;
  const url = await openModule(page, demo, machine);
  await inspectAll(url, "module-fresh");

  await page.getByLabel("Quiet that ends a coin").fill("10");
  await page.getByRole("button", { name: "Save and send" }).click();
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByLabel("Quiet that ends a coin").inputValue(), "10", "what was typed is there");
  await inspect(page, "module-refused-en-light");

  await demoButton(acting.page, demo, machine, "power");
  await page.getByText("Offline").waitFor();
  await page.getByLabel("Quiet that ends a coin").fill("400");
  await page.getByRole("button", { name: "Save and send" }).click();
  await page.locator("[data-standing=waiting]").waitFor();
  await page.getByText("It gets them when it is back").waitFor();
  await inspectAll(url, "module-waiting");
  const notReloaded = await markPage(page);
  await demoButton(acting.page, demo, machine, "power");
  await page.locator("[data-standing=in_force]").waitFor();
  await notReloaded();
  await Promise.all([leave(visit), leave(acting)]);
});

test("remote actions are answered on the page, also without JavaScript", async () => {
  for (const javaScriptEnabled of [true, false]) {
    // The same remote action of one machine within 5 s would be a second click.
    const machine = demo.machines[javaScriptEnabled ? 1 : 0];
    const visit = await visitor(browser, { ...member, ...phone, javaScriptEnabled });
    const { page } = visit;
    const url = await openModule(page, demo, machine);
    for (const [button, action] of [["Make it blink", "locate"], ["Ask how it is", "diagnose"]]) {
      await page.getByRole("button", { name: button }).click();
      await page.waitForURL("**/module?done=*");
      const done = page.locator(`[data-remote-action=${action}][data-state=done]`);
      if (javaScriptEnabled) {
        await done.waitFor();
      } else {
        await until(action, async () => {
          await page.goto(url);
          return (await done.count()) > 0;
        });
      }
    }
    const counter = page.getByRole("row", { name: "Attempts to connect" });
    if (javaScriptEnabled) await counter.waitFor();
    else await until("diagnostics", async () => (await page.goto(url)) && (await counter.count()) > 0);
    await leave(visit);
  }
});

test("a module is disabled on its page, and enabled again", async () => {
  const machine = demo.machines[1];
  const visit = await visitor(browser, { ...member, ...desk });
  const { page } = visit;
  const url = await openModule(page, demo, machine);
  await page.getByRole("button", { name: "Disable the module" }).click();
  // It asks first, and says what will happen; whoever does not want it goes back.
  await page.getByRole("heading", { name: `Disable the module of ${machine.machine}?` }).waitFor();
  await inspect(page, "confirm-disable-desk-en-light");
  await page.getByRole("link", { name: "Cancel" }).click();
  await page.waitForURL(url);
  assert.equal(await page.locator("[data-disabled]").count(), 0);
  await page.getByRole("button", { name: "Disable the module" }).click();
  await page.getByRole("button", { name: "Disable now" }).click();
  await page.locator("[data-disabled]").waitFor();
  for (const lang of ["zh", "en"]) {
    await page.goto(`${url}?lang=${lang}`);
    await inspect(page, `module-disabled-desk-${lang}-light`);
  }
  await page.goto(`${demo.http}/operator`);
  await page.locator(".machine", { hasText: machine.machine }).locator("[data-disabled]").waitFor();
  await page.goto(url);
  await page.getByRole("button", { name: "Enable the module again" }).click();
  // It comes back by itself, live.
  await page.locator("[data-part=module] .chip-good").waitFor();
  await leave(visit);
});

test("a coin line is learned under the operator's eyes, and accepted", async () => {
  const machine = demo.machines[2];
  const [visit, acting] = await Promise.all([visitor(browser, { ...member, ...desk }), visitor(browser, phone)]);
  const { page } = visit;
  const url = await openModule(page, demo, machine);
  await page.getByLabel("Only measure").check();
  await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: "Start learning" }).click()]);
  await page.locator("[data-stage=sampling]").waitFor();
  const notReloaded = await markPage(page);
  for (let coin = 1; coin <= COINS; coin += 1) {
    await demoButton(acting.page, demo, machine, "coin");
    if (coin === COINS) break;
    await page.locator(`progress[value="${coin}"]`).waitFor();
    if (coin === 4) {
      await inspect(page, "module-learning-desk-en-light");
      // The next coin is not waited for long.
      await inspectAll(url, "module-learning", looks.slice(3));
    }
  }
  await page.locator("[data-stage=stored]").waitFor();
  await notReloaded();
  await page.getByRole("button", { name: "Ask how it is" }).click();
  await page.getByRole("row", { name: "Attempts to connect" }).waitFor();
  await inspectAll(url, "module-learned");
  await page.getByRole("button", { name: "Use for the settings" }).click();
  await page.locator("[data-verdict=accepted]").waitFor();
  await page.locator("[data-standing=in_force]").waitFor();
  await inspect(page, "module-accepted-en-light");
  await Promise.all([leave(visit), leave(acting)]);
});

test("the demo's panel plays the person at the machine while its module learns", async () => {
  const machine = demo.machines[0];
  const visit = await visitor(browser, phone);
  const { page } = visit;
  const inspectIn = async (name) => {
    for (const lang of ["zh", "en"]) {
      await page.goto(`${demo.http}/demo?lang=${lang}`);
      await inspect(page, `${name}-phone-${lang}-light`);
    }
  };
  await inspectIn("demo");
  await page.locator(`#teach-${machine.module}`).click();
  const card = page.locator(`#module-${machine.module}`);
  await card.locator("[data-learning-result=sampling]").waitFor();
  await inspectIn("demo-teaching");
  const notReloaded = await markPage(page);
  await card.locator("[data-learning-result=confirming]").waitFor();
  await card.locator("[data-learning-result=stored]").waitFor();
  await notReloaded();
  await inspectIn("demo-taught");
  await leave(visit);

  // The machine gave its credits before the person's eyes, so the operator can use what was learned.
  const operator = await visitor(browser, { ...member, ...desk });
  await openModule(operator.page, demo, machine);
  await operator.page.locator("[data-stage=stored]").waitFor();
  await operator.page.getByRole("row", { name: "The machine gave credit" }).getByText("Yes", { exact: true }).waitFor();
  await leave(operator);
});
