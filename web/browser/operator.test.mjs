// Point 2: an operator signs in and watches the fleet, without reloading.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desk, inspect, leave, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import { approve, demoButton, markPage, openReadyScanPage, pickPrice, saleIs, signIn, signedIn } from "./pages.mjs";
import { until } from "./waiting.mjs";

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

/** The amount in a text like ¥1,234.50. */
const amountIn = (text) => Number(text.replaceAll(",", "").match(/\d+(\.\d+)?/)[0]);

const takings = async (page, id) => amountIn(await page.locator(id).innerText());

test("modules, coins, sales and takings move on the fleet's page by themselves", async () => {
  const machine = demo.machines[0];
  const [watching, acting] = await Promise.all([visitor(browser, { ...member, ...desk }), visitor(browser, phone)]);
  const fleet = watching.page;
  await fleet.goto(`${demo.http}/operator`);
  const notReloaded = await markPage(fleet);
  const card = fleet.locator(".machine", { has: fleet.getByRole("heading", { name: machine.machine, exact: true }) });
  await card.getByText("Online").waitFor();

  await demoButton(acting.page, demo, machine, "power");
  await card.getByText("Offline").waitFor();
  await inspect(fleet, "fleet-module-off-en-light");
  await demoButton(acting.page, demo, machine, "power");
  await card.getByText("Online").waitFor();

  const coins = await takings(fleet, "#takings-coins");
  await demoButton(acting.page, demo, machine, "coin");
  await until("the coin in the takings", async () => (await takings(fleet, "#takings-coins")) === coins + 1);

  const total = await takings(fleet, "#takings-total");
  await openReadyScanPage(acting.page, machine);
  const { amount } = await pickPrice(acting.page, demo.sandbox);
  await approve(acting.page);
  await saleIs(acting.page, "credited");
  const sale = fleet.locator(".feed li").first();
  await sale.getByText("Credited").waitFor();
  assert.ok((await sale.innerText()).includes(machine.machine));
  await until("the sale in the takings", async () => (await takings(fleet, "#takings-total")) === total + amountIn(amount));
  await notReloaded();
  await inspect(fleet, "fleet-en-light");
  await Promise.all([leave(watching), leave(acting)]);
});

test("each page of the operator is fit for desk and phone, light and dark, English and Chinese", async () => {
  const looks = [
    { name: "desk-en-light", ...desk },
    { name: "desk-zh-dark", ...desk, colorScheme: "dark" },
    { name: "phone-en-dark", ...phone, colorScheme: "dark" },
    { name: "phone-zh-light", ...phone },
  ];
  for (const { name, ...options } of looks) {
    const visit = await visitor(browser, options);
    const { page } = visit;
    await page.goto(`${demo.http}/sign-in`);
    await inspect(page, `sign-in-${name}`);
    await signIn(page, demo);
    if (name.includes("zh")) {
      await page.locator("a.switch").click();
      await page.locator("html[lang^=zh]").waitFor();
    }
    await page.goto(`${demo.http}/operator/connections`);
    await inspect(page, `connections-${name}`);
    await page.goto(`${demo.http}/operator`);
    await inspect(page, `fleet-${name}`);
    await page.locator(".machine h3").getByRole("link", { name: demo.machines[0].machine, exact: true }).click();
    await page.waitForURL("**/operator/machines/*");
    await inspect(page, `machine-${name}`);
    await page.goto(`${demo.http}/operator/sales`);
    await page.locator("details.sale summary").first().click();
    await inspect(page, `sales-${name}`);
    await page.goto(`${demo.http}/demo`);
    await inspect(page, `demo-${name}`);
    await leave(visit);
  }
});

test("a wrong password is refused in words, and the pages are closed to strangers", async () => {
  const visit = await visitor(browser, phone);
  const { page } = visit;
  await page.goto(`${demo.http}/operator/sales`);
  await page.waitForURL("**/sign-in?**");
  await page.locator("#email").fill(demo.operator.email);
  await page.locator("#password").fill("wrong");
  await page.locator("main form button").click();
  await page.getByRole("alert").waitFor();
  await inspect(page, "sign-in-wrong-en-light");
  await page.locator("#password").fill(demo.operator.password);
  await page.locator("main form button").click();
  await page.waitForURL("**/operator/sales");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/sign-in");
  await page.goto(`${demo.http}/operator`);
  await page.waitForURL("**/sign-in**");
  await leave(visit);
});

test("a price changed by the operator is what the consumer pays", async () => {
  const machine = demo.machines[1];
  const [working, buying] = await Promise.all([visitor(browser, { ...member, ...desk }), visitor(browser, phone)]);
  await openReadyScanPage(buying.page, machine);
  const { page } = working;
  await page.goto(`${demo.http}/operator`);
  await page.getByRole("link", { name: machine.machine, exact: true }).first().click();
  await page.waitForURL("**/operator/machines/*");
  const form = page.locator(".price-form").first();
  await form.locator("[name=amount]").fill("7.77");
  await form.getByRole("button").click();
  await page.getByText("The price is saved.").waitFor();

  // The page opened before shows the old price: nothing is charged, and the new one is shown.
  await buying.page.locator("button.price").first().click();
  await buying.page.getByRole("alert").waitFor();
  await inspect(buying.page, "scan-price-changed-en-light");
  assert.ok((await buying.page.locator(".prices").innerText()).includes("7.77"));
  const { amount } = await pickPrice(buying.page, demo.sandbox, 0);
  assert.equal(amountIn(amount), 7.77);
  assert.ok((await buying.page.locator(".sum").innerText()).includes("7.77"));
  await Promise.all([leave(working), leave(buying)]);
});

test("who is connected is shown live, and a module that is disconnected comes back by itself", async () => {
  const machine = demo.machines[1];
  const { page } = await visitor(browser, { ...member, ...desk });
  await page.goto(`${demo.http}/operator`);
  await page.getByRole("link", { name: "Connections" }).click();
  const row = page.getByRole("row", { name: machine.machine });
  await row.waitFor();
  const before = await row.getAttribute("id");
  await inspect(page, "connections-en-light");
  await row.getByRole("button", { name: "Disconnect" }).click();
  await inspect(page, "confirm-disconnect-desk-en-light");
  await page.getByRole("button", { name: "Disconnect now" }).click();
  await page.getByText("The connection was ended").waitFor();
  const notReloaded = await markPage(page);
  await until("another connection of it", async () => {
    const now = (await row.count()) > 0 && (await row.getAttribute("id"));
    return now && now !== before;
  });
  await notReloaded();
  await inspect(page, "connections-ended-en-light");
  await page.getByLabel("Machine, client or address").fill("nobody of this name");
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByText("Nobody is connected").waitFor();
});
