// @vitest-environment happy-dom

import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { App } from "./app";
import type { Session } from "./api/types";
import { session } from "./state/session";

const UNCLAIMED: Session = { claimed: false, user: null, hostname: "box", version: "0.1.0", fingerprint: "AA:BB:CC:DD:EE:FF:00:11:22:33" };
let root: HTMLElement;
let answers: { path: string; body: unknown; response: () => Response }[];

const find = <T extends HTMLElement>(id: string): T | null => root.querySelector<T>(`[data-testid="${id}"]`);
const settle = (): Promise<void> => act(() => new Promise<void>((resolve) => setTimeout(resolve, 5)));
const fill = (id: string, text: string): void => {
  const input = find<HTMLInputElement>(id);
  if (!input) throw new Error(`${id} is not on the page`);
  input.value = text;
  act(() => {
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
};
const submit = async (form = root.querySelector("form")): Promise<void> => {
  act(() => {
    form?.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
  });
  await settle();
};
const json = (status: number, body: unknown) => () => new Response(JSON.stringify(body), { status });

beforeEach(() => {
  answers = [];
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    const next = answers.find((answer) => answer.path === path);
    if (!next) return new Promise<Response>(() => {});
    next.body = init.body === undefined ? null : JSON.parse(String(init.body));
    return next.response();
  });
  root = document.body.appendChild(document.createElement("div"));
});

afterEach(() => {
  act(() => render(null, root));
  root.remove();
  vi.unstubAllGlobals();
});

it("a machine without an owner shows the claim page, and says what is wrong before it asks", async () => {
  session.value = UNCLAIMED;
  act(() => render(<App />, root));
  expect(find("claim-fingerprint")?.textContent).toBe("AA:BB:CC:DD:EE:FF:00:1122:33");
  fill("claim-code", "abcd efgh jk");
  expect(find<HTMLInputElement>("claim-code")?.value).toBe("ABCD-EFGH-JK");
  fill("claim-name", "Big Boss");
  fill("claim-password", "short");
  fill("claim-confirm", "other");
  await submit();
  expect(root.querySelectorAll('[aria-invalid="true"]')).toHaveLength(4);
});

it("claiming sends the code and leads to the login when the session has no user", async () => {
  session.value = UNCLAIMED;
  act(() => render(<App />, root));
  fill("claim-code", "abcdefghjkmn");
  fill("claim-name", "admin");
  fill("claim-password", "correct horse");
  fill("claim-confirm", "correct horse");
  answers = [{ path: "/api/v1/claim", body: null, response: json(403, { code: "denied", message: "the claim code is wrong" }) }];
  await submit();
  expect(root.querySelector('[role="alert"]')?.textContent).toBe("the claim code is wrong");
  answers = [{ path: "/api/v1/claim", body: null, response: json(200, { ...UNCLAIMED, claimed: true }) }];
  await submit();
  expect(answers[0]?.body).toEqual({ code: "ABCD-EFGH-JKMN", name: "admin", password: "correct horse" });
  expect(find("login-name")).not.toBeNull();
});

it("a wrong password is said and does not count as an ended login", async () => {
  session.value = { ...UNCLAIMED, claimed: true };
  act(() => render(<App />, root));
  fill("login-name", "admin");
  fill("login-password", "wrong");
  answers = [{ path: "/api/v1/login", body: null, response: json(401, { code: "unauthenticated", message: "name or password is wrong" }) }];
  await submit();
  expect(root.querySelector('[role="alert"]')?.textContent).toBe("name or password is wrong");
});

it("whoever was given a password has to choose another before anything else", async () => {
  session.value = { ...UNCLAIMED, claimed: true };
  act(() => render(<App />, root));
  fill("login-name", "bob");
  fill("login-password", "ABCD-EFGH-JKMN");
  answers = [{ path: "/api/v1/login", body: null, response: json(403, { code: "password_due", message: "choose one" }) }];
  await submit();
  fill("password-new", "short");
  fill("password-again", "other");
  await submit();
  expect(root.querySelectorAll('[aria-invalid="true"]')).toHaveLength(2);
  fill("password-new", "long enough indeed");
  fill("password-again", "long enough indeed");
  const user = { name: "bob", role: "viewer" };
  answers = [{ path: "/api/v1/password", body: null, response: json(200, { ...UNCLAIMED, claimed: true, user }) }];
  await submit();
  expect(answers[0]?.body).toEqual({ name: "bob", password: "ABCD-EFGH-JKMN", new: "long enough indeed" });
  expect(find("nav-people")).not.toBeNull();
});

it("the people page lists accounts and shows a made password once", async () => {
  session.value = { ...UNCLAIMED, claimed: true, user: { name: "ada", role: "admin" } };
  history.replaceState(null, "", "/people");
  window.dispatchEvent(new PopStateEvent("popstate"));
  const account = { name: "ada", role: "admin", disabled: false, password_due: false, sessions: 1, tokens: 0, keys: [] };
  const done = (result: unknown) => json(200, { result, summary: "done", audit: 1, undoable: false });
  answers = [{ path: "/api/v1/tools/users.list", body: null, response: done({ accounts: [account] }) }];
  act(() => render(<App />, root));
  await settle();
  expect(root.querySelectorAll('[data-testid="person-row"]')).toHaveLength(1);
  fill("add-name", "Bob");
  await submit(find("add-name")!.closest("form"));
  expect(root.querySelectorAll('[aria-invalid="true"]')).toHaveLength(1);
  fill("add-name", "bob");
  HTMLDialogElement.prototype.showModal ??= () => {};
  await submit(find("add-name")!.closest("form"));
  fill("dialog-reason", "a colleague");
  answers.push({ path: "/api/v1/tools/users.create", body: null, response: done({ one_time_password: "ABCD-EFGH-JKMN" }) });
  await submit(find("dialog")!.querySelector("form"));
  expect(answers[1]?.body).toEqual({ args: { name: "bob", role: "viewer" }, why: "a colleague" });
  expect(find("people-password")?.textContent).toBe("ABCD-EFGH-JKMN");
  history.replaceState(null, "", "/");
  window.dispatchEvent(new PopStateEvent("popstate"));
});

it("the models page lists models, and says what would change before it asks why", async () => {
  session.value = { ...UNCLAIMED, claimed: true, user: { name: "ada", role: "admin" } };
  history.replaceState(null, "", "/models");
  window.dispatchEvent(new PopStateEvent("popstate"));
  const done = (result: unknown, summary = "done") => json(200, { result, summary, audit: 1, undoable: false });
  const facts = { title: "", architecture: "llama", parameters: 25e6, quantisation: "Q4_K", context: 8192, chat_template: true };
  const own = { ...facts, name: "text", used_by: ["operational"], origin: "image", bytes: 9e7, memory: 2e8, verified: true, trust: "image" };
  const other = { ...facts, name: "tiny", used_by: [], origin: "imported", bytes: 1e7, memory: 9e7, verified: false, trust: "nobody" };
  const models = [own, other].map((model) => ({ ...model, imported_ms: null, from: null, problem: null }));
  const tiers = [{ tier: "operational", model: "text", before: null, on_trial: false, note: "bad is not used any more" }];
  const last = { at_ms: 0, lessons: 21, held: 6, knew: 1, knows: 5, old: 200, old_knew: 180, old_knows: 180, kept: true };
  const learned = { current: "0123456789abcdef", before: null, last, note: null };
  const listed = done({ models, tiers, learned, memory: { total: 1e9, available: 5e8 } });
  answers = [
    { path: "/api/v1/tools/model.list", body: null, response: listed },
    { path: "/api/v1/uploads", body: null, response: json(200, { uploads: [{ name: "a.gguf", path: "/data/upload/a.gguf", bytes: 5, complete: true }] }) },
    { path: "/api/v1/tools/model.activate", body: null, response: done({ would: "load tiny" }) },
  ];
  act(() => render(<App />, root));
  await settle();
  expect(root.querySelectorAll('[data-testid="model-row"]')).toHaveLength(2);
  expect(root.querySelectorAll('[data-testid="model-remove"]')).toHaveLength(1);
  expect(find("model-note")?.textContent).toContain("bad is not used any more");
  expect(find("learned")?.textContent).toContain("of 6 held back it understood 5 (1 before)");
  expect(find("learned-forget")).not.toBeNull();
  HTMLDialogElement.prototype.showModal ??= () => {};
  const use = [...root.querySelectorAll<HTMLButtonElement>('[data-testid="model-activate"]')];
  expect(use.map((button) => button.disabled)).toEqual([true, false]);
  act(() => use[1]?.click());
  await settle();
  expect(answers[2]?.body).toMatchObject({ args: { name: "tiny" }, dry_run: true });
  expect(find("dialog")?.textContent).toContain("This will load tiny.");
  fill("dialog-reason", "to try it");
  await submit(find("dialog")!.querySelector("form"));
  expect(answers[2]?.body).toEqual({ args: { name: "tiny" }, why: "to try it" });
  expect(find("upload-row")?.textContent).toContain("a.gguf");
  history.replaceState(null, "", "/");
  window.dispatchEvent(new PopStateEvent("popstate"));
});

it("an answer that is not JSON becomes a sentence", async () => {
  session.value = { ...UNCLAIMED, claimed: true };
  act(() => render(<App />, root));
  fill("login-name", "admin");
  fill("login-password", "x");
  answers = [{ path: "/api/v1/login", body: null, response: () => new Response("<html>", { status: 502 }) }];
  await submit();
  expect(root.querySelector('[role="alert"]')?.textContent).toContain("502");
});

it("a person sees the frame with all pages", async () => {
  session.value = { ...UNCLAIMED, claimed: true, user: { name: "admin", role: "admin" } };
  act(() => render(<App />, root));
  for (const page of ["overview", "ask", "audit", "logs", "tools"]) expect(find(`nav-${page}`)).not.toBeNull();
  expect(find("model-state")?.dataset["state"]).toBe("unknown");
});
