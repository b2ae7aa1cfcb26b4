// Claims a fresh appliance, asks it questions and looks at every page, as a person with a browser would.
//
// Usage: node console.mjs URL CLAIM_CODE PASSWORD SCREENSHOT_DIR MODEL
// MODEL is `model` when a language model must become ready, `none` when there is none.
// Prints one line a step; the first thing that is not as expected ends it with status 1.

import { chromium } from "playwright-core";
import { mkdtempSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [url, code, password, shots, model] = process.argv.slice(2);
if (!model) {
  console.error("usage: node console.mjs URL CLAIM_CODE PASSWORD SCREENSHOT_DIR model|none");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });

// A step may take long under emulation, but it ends as soon as its condition holds.
const PATIENCE = 90_000;
const id = (name) => `[data-testid="${name}"]`;
const step = (text) => console.log(`browser: ${text}`);

function check(condition, sentence) {
  if (!condition) throw new Error(sentence);
}

const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "aios-browser-")), {
  executablePath: "/usr/bin/chromium",
  headless: true,
  ignoreHTTPSErrors: true, // the certificate is the appliance's own; its fingerprint is checked elsewhere
  viewport: { width: 1280, height: 800 },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(PATIENCE);

const complaints = [];
page.on("console", (message) => {
  // Refused requests (a wrong code, a wrong password) are part of the test.
  if (message.type() === "error" && !message.text().includes("Failed to load resource")) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));
const foreign = [];
page.on("request", (request) => {
  const target = request.url();
  if (!target.startsWith(url) && !target.startsWith("data:") && !target.startsWith("blob:")) foreign.push(target);
});

async function shot(name) {
  for (const [device, size] of [
    ["desktop", { width: 1280, height: 800 }],
    ["phone", { width: 390, height: 844 }],
  ]) {
    await page.setViewportSize(size);
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.screenshot({ path: join(shots, `${name}-${device}-${scheme}.png`) });
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    check(overflow <= 0, `${name}: the page is ${overflow} px wider than the ${device} screen`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
}

async function ask(question) {
  const before = await page.locator(id("ask-answer")).count();
  await page.fill(id("ask-input"), question);
  await page.click(id("ask-send"));
  await page.locator(id("ask-answer")).nth(before).waitFor();
  return (await page.locator(id("ask-answer")).nth(before).innerText()).trim();
}

try {
  await page.goto(url);
  await page.locator(id("claim-code")).waitFor();
  await shot("claim");
  const fill = async (claim) => {
    await page.fill(id("claim-code"), claim);
    await page.fill(id("claim-name"), "admin");
    await page.fill(id("claim-password"), password);
    await page.fill(id("claim-confirm"), password);
    await page.click(id("claim-submit"));
  };
  await fill(code === "AAAA-AAAA-AAAA" ? "BBBB-BBBB-BBBB" : "AAAA-AAAA-AAAA");
  await page.locator('[role="alert"]').first().waitFor();
  step(`a wrong claim code is refused: ${(await page.locator('[role="alert"]').first().innerText()).trim()}`);
  await fill(code);

  await page.locator(id("nav-overview")).first().waitFor();
  await page.locator(id("service-row")).first().waitFor();
  const services = await page.locator(id("service-row")).allInnerTexts();
  for (const name of ["agentd", "console", "inferd", "netd", "toold"]) {
    check(services.some((row) => row.includes(name)), `the overview does not show the service ${name}`);
  }
  await shot("overview");
  step(`claimed; the overview shows ${services.length} services`);

  await page.locator(id("nav-ask")).first().click();
  const memory = await ask("how much memory is free?");
  check(/\d/.test(memory), `the answer about memory has no number in it: ${memory}`);
  check((await page.locator(id("ask-call")).count()) >= 1, "the answer about memory shows no tool call");
  check((await page.locator(id("ask-result")).count()) >= 1, "the answer about memory shows no result");
  step(`asked for memory: ${memory.split("\n")[0]}`);

  const write = await ask('write "kept in mind" to /data/note.txt');
  step(`wrote a file: ${write.split("\n")[0]}`);
  await page.locator(id("ask-undo")).first().waitFor();

  if (model === "model") {
    await page.locator(`${id("model-state")}[data-state="ready"]`).first().waitFor();
    const worded = await ask("could you tell me which programs are eating the most RAM at the moment");
    step(`asked in other words: ${worded.split("\n")[0]}`);
  }
  await shot("ask");

  await page.locator(id("nav-audit")).first().click();
  await page.locator(id("audit-row")).first().waitFor();
  const rows = await page.locator(id("audit-row")).allInnerTexts();
  check(rows.some((row) => row.includes("fs.write")), "the audit page does not show the write");
  await page.click(id("audit-verify"));
  await page.locator(id("audit-verified")).waitFor();
  step(`audit: ${(await page.locator(id("audit-verified")).innerText()).trim().split("\n")[0]}`);
  await shot("audit");

  await page.locator(id("nav-people")).first().click();
  await page.locator(id("person-row")).first().waitFor();
  await page.fill(id("add-name"), "bob");
  await page.click(id("add-submit"));
  await page.fill(id("dialog-reason"), "a colleague");
  await page.click(id("dialog-confirm"));
  await page.locator(id("people-password")).waitFor();
  const made = (await page.locator(id("people-password")).innerText()).trim();
  await page.locator(id("person-row")).nth(1).waitFor();
  await shot("people");
  step("people: an account was made, with a password for one login");

  await page.locator(id("nav-models")).first().click();
  await page.locator(id("model-row")).first().waitFor();
  await page.click(id("learned-learn"));
  await page.fill(id("dialog-reason"), "to see what there is");
  const would = await page.locator(id("dialog")).innerText();
  check(/learn nothing: \d+ proposals were approved/.test(would), `what learning would do is not said: ${would}`);
  await page.click(id("dialog-confirm"));
  await page.locator(id("dialog")).waitFor({ state: "hidden" });
  const onStick = page.locator(id("stick-row")).first();
  await onStick.waitFor();
  check((await onStick.innerText()).includes("/run/usb/smollm2.gguf"), "the stick's model is not named with its path");
  await shot("models");
  step("models: too few proposals were approved to learn from, and the page says so; a stick's model is offered");

  // A second visit: the session is known; after the cookie is gone the login page asks.
  await context.clearCookies();
  await page.goto(url);
  await page.locator(id("login-name")).waitFor();
  await shot("login");
  await page.fill(id("login-name"), "admin");
  await page.fill(id("login-password"), "not the password");
  await page.click(id("login-submit"));
  await page.locator('[role="alert"]').first().waitFor();
  await page.fill(id("login-password"), password);
  await page.click(id("login-submit"));
  await page.locator(id("service-row")).first().waitFor();
  step("a wrong password is refused, the right one lets in");

  await context.clearCookies();
  await page.goto(url);
  await page.locator(id("login-name")).waitFor();
  await page.fill(id("login-name"), "bob");
  await page.fill(id("login-password"), made);
  await page.click(id("login-submit"));
  await page.locator(id("password-new")).waitFor();
  await shot("choose");
  await page.fill(id("password-new"), "a password of bob");
  await page.fill(id("password-again"), "a password of bob");
  await page.click(id("password-submit"));
  await page.locator(id("nav-overview")).first().waitFor();
  step("who was given a password chooses one before anything else");

  check(foreign.length === 0, `the pages asked other hosts: ${foreign.join(", ")}`);
  check(complaints.length === 0, `the browser complained: ${complaints.join(" | ")}`);
  step("no request left the appliance and the browser had nothing to complain about");
} catch (error) {
  await page.screenshot({ path: join(shots, "failure.png") });
  console.error(`browser: FAILED: ${error.message}\nbrowser: see ${join(shots, "failure.png")}`);
  process.exitCode = 1;
} finally {
  await context.close();
}
