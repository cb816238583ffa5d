// Chromium, and what every page is held to: no script errors, no serious faults of accessibility, nothing wider than
// the screen.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { PATIENCE_MS } from "./waiting.mjs";

const root = new URL("../../", import.meta.url).pathname;
const screenshots = process.env.COINWIRE_SCREENSHOTS ?? join(root, "target/screenshots");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
/** The narrowest phone in use. */
export const narrow = { viewport: { width: 320, height: 568 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
export const desk = { viewport: { width: 1280, height: 900 } };

/** Starts Chromium with a fresh profile. */
export async function startBrowser() {
  await mkdir(screenshots, { recursive: true });
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/** A visitor with a profile of its own. `faults` collects what went wrong in its pages. */
export async function visitor(browser, options) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Asia/Shanghai", ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  context.setDefaultNavigationTimeout(PATIENCE_MS);
  const faults = [];
  context.on("weberror", (error) => faults.push(`script: ${error.error().message}`));
  context.on("console", (message) => {
    // A page that answers with an error status is no fault of the page; tests look at it themselves.
    if (message.type() === "error" && !message.text().includes("the server responded with a status of")) {
      faults.push(`console: ${message.text()}`);
    }
  });
  return { context, faults, page: await context.newPage() };
}

/** Ends a visit, which must have been without faults. */
export async function leave({ context, faults }) {
  await context.close();
  assert.deepEqual(faults, []);
}

/** Serious faults of accessibility, one line each. */
async function faultsOfAccess(page) {
  // Evaluated, not added as a script: the page's policy forbids scripts that are not its own.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`));
}

/** Takes a picture of a page for people to look at, and holds the page to what all pages are held to. */
export async function inspect(page, name) {
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  assert.deepEqual(await faultsOfAccess(page), [], `${name}: accessibility`);
  const { wide, screen } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return { wide: scrollWidth, screen: clientWidth };
  });
  assert.ok(wide <= screen, `${name} is ${wide} px wide on a screen of ${screen} px`);
  assert.equal(await page.locator("h1").count(), 1, `${name}: one heading says what the page is`);
}
