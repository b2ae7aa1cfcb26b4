// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { follow, pauseMs, type Link } from "./follow";

describe("the pause before a new attempt", () => {
  it("doubles, has an upper end, and is spread", () => {
    expect([1, 2, 3, 6, 20].map((attempt) => pauseMs(attempt, 0))).toEqual([500, 1000, 2000, 15_000, 15_000]);
    expect(pauseMs(2, 1)).toBe(750);
  });
});

describe("a followed stream", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  function stream(...texts: string[]): Response {
    const body = new ReadableStream({
      start(controller) {
        for (const text of texts) controller.enqueue(new TextEncoder().encode(text));
        controller.close();
      },
    });
    return new Response(body, { status: 200 });
  }

  it("is opened again after it broke, and at once when the network comes back", async () => {
    const answers = [
      () => Promise.reject(new TypeError("network")),
      () => Promise.resolve(stream("data: 1\n\n")),
      () => Promise.resolve(stream("data: 2\n\n")),
    ];
    const fetcher = vi.fn(() => (answers.shift() ?? (() => new Promise<Response>(() => {})))());
    vi.stubGlobal("fetch", fetcher);
    const seen: string[] = [];
    const states: Link["at"][] = [];
    const following = follow(
      "/stream",
      (event) => seen.push(event.data),
      (link) => states.push(link.at),
    );
    await vi.advanceTimersByTimeAsync(0);
    expect(states).toEqual(["connecting", "away"]);
    await vi.advanceTimersByTimeAsync(500);
    expect(seen).toEqual(["1"]);
    window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(0);
    expect(seen).toEqual(["1", "2"]);
    following.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetcher).toHaveBeenCalledTimes(3);
  });

  it("ends when the login has ended", async () => {
    const refusal = new Response(JSON.stringify({ code: "unauthenticated", message: "log in" }), { status: 401 });
    const fetcher = vi.fn(() => Promise.resolve(refusal));
    vi.stubGlobal("fetch", fetcher);
    const following = follow("/stream", () => {}, () => {});
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetcher).toHaveBeenCalledTimes(1);
    following.stop();
  });

  it("counts as broken when it falls silent", async () => {
    const fetcher = vi.fn(
      (_path: string, init: RequestInit) =>
        new Promise<Response>((_resolve, reject) => {
          init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
        }),
    );
    vi.stubGlobal("fetch", fetcher);
    const states: Link["at"][] = [];
    const following = follow("/stream", () => {}, (link) => states.push(link.at), 10_000);
    await vi.advanceTimersByTimeAsync(9_999);
    expect(states).toEqual(["connecting"]);
    await vi.advanceTimersByTimeAsync(1);
    expect(states).toEqual(["connecting", "away"]);
    following.stop();
  });
});
