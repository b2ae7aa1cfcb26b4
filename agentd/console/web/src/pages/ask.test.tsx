// @vitest-environment happy-dom

import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { clear, turns } from "../state/conversation";
import { session } from "../state/session";
import { AskPage } from "./ask";

let root: HTMLElement;
let send: (event: string, body: unknown) => void;
let close: () => void;
let aborted: boolean;

const byId = <T extends HTMLElement>(id: string): T => {
  const found = root.querySelector<T>(`[data-testid="${id}"]`);
  if (!found) throw new Error(`${id} is not on the page`);
  return found;
};
const settle = (): Promise<void> => act(() => new Promise<void>((resolve) => setTimeout(resolve, 5)));

beforeEach(() => {
  window.scrollTo = () => {};
  session.value = { claimed: true, user: { name: "admin", role: "admin" }, hostname: "h", version: "1", fingerprint: "" };
  aborted = false;
  vi.stubGlobal("fetch", (_path: string, init: RequestInit) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        const text = new TextEncoder();
        send = (event, data) => controller.enqueue(text.encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
        close = () => controller.close();
        init.signal?.addEventListener("abort", () => {
          aborted = true;
          controller.error(new DOMException("aborted", "AbortError"));
        });
      },
    });
    return Promise.resolve(new Response(body, { status: 200 }));
  });
  root = document.body.appendChild(document.createElement("div"));
  act(() => render(<AskPage />, root));
});

afterEach(() => {
  act(() => {
    clear();
    render(null, root);
  });
  root.remove();
  vi.unstubAllGlobals();
});

async function ask(text: string): Promise<void> {
  const input = byId<HTMLTextAreaElement>("ask-input");
  input.value = text;
  act(() => {
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  act(() => {
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
  });
  await settle();
}

it("an answer is shown with its calls, and text from outside stays text", async () => {
  await ask("how much memory is free?");
  const evil = "<img src=x onerror=alert(1)>";
  send("event", { type: "call", index: 0, tool: "system.info", args: { note: evil }, why: evil });
  await settle();
  expect(byId("ask-call").dataset["state"]).toBe("running");
  send("event", { type: "result", index: 0, result: { value: evil }, summary: evil, failed: false, audit: 12, undoable: false, ms: 3 });
  send("event", { type: "text", text: "1.3 " });
  await settle();
  expect(root.querySelector('[data-testid="ask-answer"]')).toBeNull();
  send("answer", { text: `1.3 GiB ${evil}`, decider: "rules", usage: { prompt_tokens: 0, reused_tokens: 0, generated_tokens: 0, ms: 0, price_micro: 0 }, ms: 9 });
  close();
  await settle();
  act(() => byId("ask-details").click());
  expect(byId("ask-answer").textContent).toBe(`1.3 GiB ${evil}`);
  expect(byId("ask-value").textContent).toContain(evil);
  expect(byId("ask-audit").getAttribute("href")).toBe("/audit/12");
  expect(root.querySelector("img")).toBeNull();
  expect(root.querySelector('[data-testid="ask-undo"]')).toBeNull();
});

it("an error of the machine ends the turn, and the next question works", async () => {
  await ask("first");
  send("error", { code: "unavailable", message: "the engine ended; ask again" });
  close();
  await settle();
  expect(byId("ask-error").textContent).toBe("the engine ended; ask again");
  await ask("second");
  send("answer", { text: "fine", decider: "rules", usage: { prompt_tokens: 0, reused_tokens: 0, generated_tokens: 0, ms: 0, price_micro: 0 }, ms: 1 });
  close();
  await settle();
  expect(turns.value.map((turn) => turn.state)).toEqual(["failed", "answered"]);
});

it("a stream that ends without an answer is a failure, not an empty answer", async () => {
  await ask("first");
  close();
  await settle();
  expect(turns.value[0]?.state).toBe("failed");
});

it("stopping ends the request itself", async () => {
  await ask("slow");
  act(() => byId("ask-stop").click());
  await settle();
  expect(aborted).toBe(true);
  expect(turns.value[0]?.state).toBe("cancelled");
});

it("Shift+Enter begins a new line and sends nothing", async () => {
  const input = byId<HTMLTextAreaElement>("ask-input");
  input.value = "one";
  act(() => {
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", shiftKey: true, bubbles: true }));
  await settle();
  expect(turns.value).toEqual([]);
});
