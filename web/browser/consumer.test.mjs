// Point 1: a consumer scans, pays, and watches the machine being credited; by phone, in two languages, light and dark,
// and without JavaScript.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { inspect, leave, narrow, phone, startBrowser, visitor } from "./browser.mjs";
import { startDemo } from "./demo.mjs";
import { approve, machinePulses, openModule, openReadyScanPage, pickPrice, saleIs, signedIn } from "./pages.mjs";

const SCAN_PAGE_BYTES_MAX = 30 * 1024;
const SCAN_PAGE_REQUESTS_MAX = 3;

/** Pulse and gap of the credits that are watched, in ms: slow, so that crediting is to be seen on a busy machine, too. */
const CREDIT_PACE_MS = "300";

let demo;
let browser;
before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
  const visit = await visitor(browser, await signedIn(browser, demo));
  await openModule(visit.page, demo, demo.machines[0]);
  for (const setting of ["#credit_width_ms", "#credit_gap_ms"]) await visit.page.locator(setting).fill(CREDIT_PACE_MS);
  await visit.page.getByRole("button", { name: "Save and send" }).click();
  await visit.page.locator("[data-standing=in_force]").waitFor();
  await leave(visit);
});
after(async () => {
  await browser?.close();
  await demo?.end();
});

/** Notes in the profile each state that a sale's page ever shows. */
function recordStates() {
  const note = () => {
    const state = document.querySelector("[data-state]")?.dataset.state;
    const seen = JSON.parse(sessionStorage.getItem("states") ?? "[]");
    if (state && seen.at(-1) !== state) sessionStorage.setItem("states", JSON.stringify([...seen, state]));
  };
  new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true });
}

const languages = [
  { locale: "en-GB", lang: "en", ready: "Ready", credited: /All done/, colorScheme: "light" },
  { locale: "zh-CN", lang: "zh", ready: "可以使用", credited: /完成/, colorScheme: "light" },
  { locale: "en-GB", lang: "en", ready: "Ready", credited: /All done/, colorScheme: "dark" },
];

for (const { locale, lang, ready, credited, colorScheme } of languages) {
  test(`a sale is watched live to its end, ${lang}, ${colorScheme}`, async () => {
    const machine = demo.machines[0];
    const visit = await visitor(browser, { ...phone, locale, colorScheme });
    const { page } = visit;
    await page.addInitScript(recordStates);
    const before = await machinePulses(demo, machine);

    await openReadyScanPage(page, machine);
    assert.match(await page.locator("html").getAttribute("lang"), new RegExp(`^${lang}`));
    assert.equal((await page.locator(".status").innerText()).trim(), ready);
    await inspect(page, `scan-${lang}-${colorScheme}`);
    const { amount, credits } = await pickPrice(page, demo.sandbox);
    await inspect(page, `sandbox-${lang}-${colorScheme}`);
    let loads = 0;
    page.on("load", () => (loads += 1));
    await approve(page);
    await saleIs(page, "credited");
    assert.match(await page.locator("h1").innerText(), credited);
    assert.ok((await page.locator(".receipt").innerText()).includes(amount), "the receipt says what was paid");
    await inspect(page, `sale-credited-${lang}-${colorScheme}`);

    const states = JSON.parse(await page.evaluate(() => sessionStorage.getItem("states")));
    assert.equal(states.at(-1), "credited");
    assert.ok(states.includes("crediting"), `seen live: ${states}`);
    assert.equal(loads, 1, "the sale's page was loaded once and stayed");
    assert.equal(await machinePulses(demo, machine), before + credits);
    await leave(visit);
  });
}

test("a sale can be made without JavaScript", async () => {
  const machine = demo.machines[1];
  const visit = await visitor(browser, { ...phone, javaScriptEnabled: false });
  const { page } = visit;
  const before = await machinePulses(demo, machine);
  await openReadyScanPage(page, machine);
  const { credits } = await pickPrice(page, demo.sandbox);
  await approve(page);
  // The page asks again by itself.
  await saleIs(page, "credited");
  assert.equal(await machinePulses(demo, machine), before + credits);
  await leave(visit);
});

test("the scan page is whole within its bytes and requests", async () => {
  const visit = await visitor(browser, phone);
  const network = await visit.context.newCDPSession(visit.page);
  await network.send("Network.enable");
  const requests = [];
  let bytes = 0;
  network.on("Network.requestWillBeSent", ({ request }) => {
    if (!request.url.startsWith("data:")) requests.push(request.url);
  });
  network.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await visit.page.goto(demo.machines[2].page, { waitUntil: "networkidle" });
  console.log(`scan page: ${bytes} bytes in ${requests.length} requests`);
  assert.ok(bytes > 1000, "measured something");
  assert.ok(bytes <= SCAN_PAGE_BYTES_MAX, `${bytes} bytes`);
  assert.ok(requests.length <= SCAN_PAGE_REQUESTS_MAX, `${requests}`);
  assert.ok(requests.every((url) => url.startsWith(demo.http)), `from elsewhere: ${requests}`);
  await leave(visit);
});

test("a declined payment takes no money and says so", async () => {
  const machine = demo.machines[2];
  const visit = await visitor(browser, phone);
  const { page } = visit;
  const before = await machinePulses(demo, machine);
  await openReadyScanPage(page, machine);
  await pickPrice(page, demo.sandbox, 0);
  await page.locator("button[value=decline]").click();
  await page.waitForURL("**/sale/**");
  assert.notEqual(await page.locator("[data-state]").getAttribute("data-state"), "paid");
  await inspect(page, "sale-declined-en-light");
  // Choosing again is one press away, at once.
  await page.getByRole("link", { name: "Choose again" }).click();
  await page.waitForURL(machine.page);
  assert.equal(await machinePulses(demo, machine), before);
  await leave(visit);
});

test("the language can be changed, and stays", async () => {
  const visit = await visitor(browser, phone);
  const { page } = visit;
  await openReadyScanPage(page, demo.machines[2]);
  await page.locator("a.switch").click();
  await page.locator("html[lang^=zh]").waitFor();
  await page.goto(demo.machines[1].page);
  assert.match(await page.locator("html").getAttribute("lang"), /^zh/);
  await leave(visit);
});

test("what is not there is said in words", async () => {
  const visit = await visitor(browser, phone);
  for (const [path, name] of [["/s/NOSUCHCODE", "machine"], ["/sale/NOSUCHSALE", "sale"], ["/nothing", "page"]]) {
    const answer = await visit.page.goto(`${demo.http}${path}`);
    assert.equal(answer.status(), 404);
    await inspect(visit.page, `missing-${name}-en-light`);
  }
  await leave(visit);
});

test("the page that back brings buys another ride, with and without JavaScript", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const machine = demo.machines[javaScriptEnabled ? 1 : 2];
    const visit = await visitor(browser, { ...phone, javaScriptEnabled });
    const { page } = visit;
    await openReadyScanPage(page, machine);
    await pickPrice(page, demo.sandbox, 0);
    await approve(page);
    const first = page.url();
    await page.locator("[data-state=credited]").waitFor();
    while (page.url() !== machine.page) await page.goBack();
    await pickPrice(page, demo.sandbox, 0);
    await approve(page);
    assert.notEqual(page.url(), first, "a sale of its own");
    await leave(visit);
  }
});

test("the pages fit the narrowest phone, and those that refuse lead on", async () => {
  for (const locale of ["en-GB", "zh-CN"]) {
    const visit = await visitor(browser, { ...narrow, locale });
    const { page } = visit;
    await openReadyScanPage(page, demo.machines[2]);
    await inspect(page, `narrow-scan-${locale}`);
    for (const [path, name] of [
      ["/s/NOSUCHCODE", "missing-machine"],
      ["/sale/NOSUCHSALE", "missing-sale"],
      ["/nothing", "missing-page"],
      ["/s/", "find"],
      ["/sign-in?next=/operator/sales", "sign-in"],
    ]) {
      await page.goto(`${demo.http}${path}`);
      await inspect(page, `narrow-${name}-${locale}`);
      assert.ok((await page.locator("main a, main form").count()) > 0, `${path} leads on`);
    }
    await page.goto(`${demo.http}/s/`);
    await page.locator("#code").fill(demo.machines[2].code.toLowerCase());
    await page.locator("main button").click();
    await page.waitForURL(demo.machines[2].page);
    await pickPrice(page, demo.sandbox, 0);
    await page.locator("button[value=decline]").click();
    await page.waitForURL("**/sale/**");
    await inspect(page, `narrow-sale-${locale}`);
    await leave(visit);
  }
});
