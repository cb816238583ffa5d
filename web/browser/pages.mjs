// What people do on the pages.
import assert from "node:assert/strict";
import { inspect, leave, phone, visitor } from "./browser.mjs";
import { until } from "./waiting.mjs";

/** Opens a machine's scan page once it takes money. The demo's machine may still be busy with the sale before. */
export async function openReadyScanPage(page, machine) {
  await until(`${machine.machine} to be ready`, async () => {
    await page.goto(machine.page);
    return (await page.locator("button.price").count()) > 0;
  });
}

/** Picks a price, the last and largest unless told, and lands on the provider's page. Gives amount and credits. */
export async function pickPrice(page, sandbox, index = -1) {
  const button = page.locator("button.price").nth(index);
  const amount = await button.locator(".price-amount").innerText();
  const credits = Number((await button.locator("small").innerText()).match(/\d+/)[0]);
  await button.click();
  await page.waitForURL(`${sandbox}/**`);
  return { amount, credits };
}

/** Picks the first price, which is paid in the app that shows the page, and lands on the sale's page. Gives the credits. */
export async function pickWithinApp(page) {
  const button = page.locator("button.price").first();
  const credits = Number((await button.locator("small").innerText()).match(/\d+/)[0]);
  await button.click();
  await page.waitForURL("**/sale/**");
  return credits;
}

/** Picks a price, cancels in the app, comes again to a page that does not call it by itself, and pays by the button. */
export async function cancelThenPay(page, picture) {
  await pickWithinApp(page);
  await page.locator("#bridge-cancel").click();
  await page.locator(".confirming").waitFor();
  await page.reload();
  await page.locator("[data-invoke]").waitFor();
  assert.equal(await page.locator("#bridge-pay").count(), 0, "not called again");
  await inspect(page, picture);
  await page.locator("[data-invoke]").click();
  await page.locator("#bridge-pay").click();
  await saleIs(page, "credited");
}

/** Scans a machine again and goes back, by a person who is known: the provider is not asked again, at an address with `asks`. */
export async function comeAgain(page, machine, asks) {
  const asked = [];
  page.on("request", (request) => request.url().includes(asks) && asked.push(request.url()));
  await openReadyScanPage(page, machine);
  await page.goBack();
  await page.locator("button.price").first().waitFor();
  assert.deepEqual(asked, []);
}

/** Another phone scans the code that a sale's page shows, and approves, at the sandbox's page that stands for its scanner. */
export async function payByCode(browser, page, scanner, userAgent) {
  const paying = await visitor(browser, { ...phone, userAgent });
  const text = await page.locator(".code-to-scan").getAttribute("data-code");
  await paying.page.goto(`${scanner}?code=${encodeURIComponent(text)}`);
  await paying.page.locator("button[value=approve]").click();
  await saleIs(page, "credited");
  await leave(paying);
}

/** Approves on the provider's page, and lands on the sale's. */
export async function approve(page) {
  await page.locator("button[value=approve]").click();
  await page.waitForURL("**/sale/**");
}

/** Waits until the sale's page says so. */
export async function saleIs(page, state) {
  await page.locator(`[data-state=${state}]`).waitFor();
}

/** Pulses that a virtual machine has counted, as the demo's page shows. */
export async function machinePulses(demo, machine) {
  const html = await (await fetch(`${demo.http}/demo`)).text();
  const counted = html.split(`id="module-${machine.module}"`)[1].match(/data-pulses>(\d+)</);
  assert.ok(counted, "the demo's page shows the machine's counter");
  return Number(counted[1]);
}

/** Uses a button of the demo's page: `coin` or `power`. */
export async function demoButton(page, demo, machine, button) {
  await page.goto(`${demo.http}/demo`);
  await page.locator(`#${button}-${machine.module}`).click();
  await page.waitForURL(`**/demo#module-${machine.module}`);
}

/** Signs in on the page. Few may within a minute: visitors who come for something else are `signedIn`. */
export async function signIn(page, demo) {
  await page.goto(`${demo.http}/sign-in`);
  await page.getByLabel("Email").or(page.getByLabel("E-mail")).fill(demo.operator.email);
  await page.getByLabel("Password").fill(demo.operator.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/operator");
}

/** Gives what a visitor needs to be signed in from the start. */
export async function signedIn(browser, demo) {
  const visit = await visitor(browser);
  await signIn(visit.page, demo);
  const storageState = await visit.context.storageState();
  await leave(visit);
  return { storageState };
}

/** Goes from the fleet to the page of a machine's module; gives its address. */
export async function openModule(page, demo, machine) {
  await page.goto(`${demo.http}/operator`);
  await page.locator(".machine h3").getByRole("link", { name: machine.machine, exact: true }).click();
  await page.getByRole("link", { name: /Settings and tools|设置与工具/ }).click();
  await page.waitForURL("**/module");
  return page.url();
}

/** Leaves a mark in the page, which a reload would wipe out. Gives a check that it is still there. */
export async function markPage(page) {
  await page.evaluate(() => (globalThis.coinwireMark = true));
  return async () => assert.equal(await page.evaluate(() => globalThis.coinwireMark), true, "the page was reloaded");
}
