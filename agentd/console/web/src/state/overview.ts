// The live picture of the machine. One stream serves all pages and tells whether the machine is there.

import { computed, signal } from "@preact/signals";
import { follow, type Following, type Link } from "../api/follow";
import type { EngineHealth, EngineState, InferStatus, Overview } from "../api/types";
import { Ring, sampleOf, serviceCpu } from "../lib/ring";
import { loadSession } from "./session";

export const overview = signal<Overview | null>(null);
export const cpuOfServices = signal<Map<string, number>>(new Map());
export const link = signal<Link>({ at: "connecting" });
/** The machine does not answer; one broken connection alone is mended before anybody notices. */
export const machineAway = computed(() => link.value.at === "away" && link.value.attempt > 1);
export const ring = new Ring();

/** A measurement comes every two seconds, a sign of life every fifteen: after this the machine is gone. */
const SILENCE_MS = 20_000;

let following: Following | null = null;

export function watchMachine(): () => void {
  let wasAway = false;
  following = follow(
    "/api/v1/overview/stream",
    (event) => {
      if (event.event !== "overview") return;
      let now: Overview;
      try {
        now = JSON.parse(event.data) as Overview;
      } catch {
        return;
      }
      ring.push(sampleOf(now));
      cpuOfServices.value = serviceCpu(overview.value, now);
      overview.value = now;
    },
    (state) => {
      link.value = state;
      // What came back may be another version, or want a new login.
      if (state.at === "open" && wasAway) void loadSession();
      if (state.at !== "connecting") wasAway = state.at === "away";
    },
    SILENCE_MS,
  );
  return () => {
    following?.stop();
    following = null;
    overview.value = null;
  };
}

export function retryNow(): void {
  following?.retry();
}

export type ModelView =
  | { state: "unknown" }
  | { state: "away"; who: "agent" | "inference"; why: string }
  | { state: EngineState; text: EngineHealth; status: InferStatus };

/** How the model is, seen through the agent where possible: an agent that is away answers nobody. */
export function modelOf(now: Overview | null): ModelView {
  if (!now) return { state: "unknown" };
  if ("Err" in now.agent) return { state: "away", who: "agent", why: now.agent.Err };
  if ("Err" in now.inference) return { state: "away", who: "inference", why: now.inference.Err };
  const status = now.inference.Ok;
  const text = writer(status);
  if (!text) return { state: "unknown" };
  return { state: text.state, text, status };
}

/** The engine that writes text now: the cheapest one that is ready, else the one that will be soonest. */
export function writer(status: InferStatus): EngineHealth | undefined {
  const engines = status.tiers.map((tier) => tier.engine);
  const first = (state: EngineState) => engines.find((engine) => engine.state === state);
  return first("ready") ?? first("loading") ?? engines[0];
}
