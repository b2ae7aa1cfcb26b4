// @vitest-environment happy-dom

import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EngineHealth, EngineState, InferStatus, Overview, TierAccount } from "../api/types";
import { modelOf } from "../state/overview";
import { did, ModelStrip } from "./model";

const NOTHING: TierAccount = {
  requests: 0,
  failed: 0,
  prompt_tokens: 0,
  reused_tokens: 0,
  generated_tokens: 0,
  p95_ms: 0,
  price_micro: 0,
};
const engine = (state: EngineState, model: string | null = null): EngineHealth => ({
  state,
  detail: `the engine is ${state}`,
  model,
  place: "machine",
  restarts: 0,
});
const machine = (operational: EngineState, tactical: EngineState): InferStatus => ({
  tiers: [
    { tier: "operational", engine: engine(operational, operational === "ready" ? "small" : null), done: { ...NOTHING, requests: 2 } },
    { tier: "tactical", engine: engine(tactical, tactical === "ready" ? "large" : null), done: NOTHING },
    { tier: "strategic", engine: engine("absent"), done: NOTHING },
  ],
  embed: engine("ready", "MiniLM"),
  queued: 0,
});
const seen = (status: InferStatus) =>
  modelOf({ inference: { Ok: status }, agent: { Ok: { inference: { Ok: status }, tools: 1 } } } as Overview);

let root: HTMLElement;
beforeEach(() => {
  root = document.body.appendChild(document.createElement("div"));
});
afterEach(() => {
  act(() => render(null, root));
  root.remove();
});

describe("which model writes", () => {
  it("is the cheapest one that is ready", () => {
    const at = (operational: EngineState, tactical: EngineState) => {
      const view = seen(machine(operational, tactical));
      return [view.state, "text" in view ? view.text.model : null];
    };
    expect(at("ready", "ready")).toEqual(["ready", "small"]);
    expect(at("failed", "ready")).toEqual(["ready", "large"]);
    expect(at("failed", "loading")).toEqual(["loading", null]);
    expect(at("failed", "absent")).toEqual(["failed", null]);
    expect(at("absent", "absent")).toEqual(["absent", null]);
  });
});

describe("the tiers", () => {
  it("each have a line, and one without a model is quiet", () => {
    act(() => render(<ModelStrip view={seen(machine("ready", "loading"))} />, root));
    const line = (tier: string) => root.querySelector(`[data-testid="tier-${tier}"]`);
    expect(line("operational")?.textContent).toContain("small2 requests");
    expect(line("tactical")?.textContent).toContain("loading");
    expect(line("tactical")?.classList.contains("quiet")).toBe(false);
    expect(line("strategic")?.textContent).toBe("Strategicnot set up");
    expect(line("strategic")?.classList.contains("quiet")).toBe(true);
  });

  it("that lost their worker are away and not quiet", () => {
    act(() => render(<ModelStrip view={seen(machine("absent", "ready"))} />, root));
    const line = root.querySelector('[data-testid="tier-operational"]');
    expect(line?.textContent).toContain("away");
    expect(line?.classList.contains("quiet")).toBe(false);
  });

  it("say what they did, and what it cost if it did", () => {
    expect(did({ ...NOTHING, requests: 1, prompt_tokens: 10, generated_tokens: 3 })).toBe("1 request · 10 tokens read, 3 written");
    expect(did({ ...NOTHING, failed: 2 })).toBe("0 requests · 2 failed");
    const done = { requests: 4, failed: 1, prompt_tokens: 100, reused_tokens: 61, generated_tokens: 8, p95_ms: 850, price_micro: 50_000 };
    expect(did(done)).toBe("4 requests · 1 failed · 100 tokens read (61 % known), 8 written · 95 % within 850 ms · 0.05 spent, 0.0125 each");
  });
});
