import { describe, expect, it } from "vitest";
import type { Overview, ServiceStatus } from "../api/types";
import { Ring, sampleOf, serviceCpu, WINDOW_MS, type Sample } from "./ring";

const at = (time_ms: number): Sample => ({ time_ms, cpu: time_ms, memory: 0, disk: 0 });

describe("the ring of measurements", () => {
  it("forgets what is older than its window", () => {
    const ring = new Ring();
    for (let t = 0; t <= WINDOW_MS + 20_000; t += 2000) ring.push(at(t));
    const [times] = ring.columns((sample) => sample.cpu);
    expect(times[0]).toBe(20);
    expect(times.at(-1)).toBe((WINDOW_MS + 20_000) / 1000);
  });

  it("shows a hole in time as a gap, not as a line", () => {
    const ring = new Ring();
    for (const t of [0, 2000, 60_000]) ring.push(at(t));
    expect(ring.columns((sample) => sample.cpu)[1]).toEqual([0, 2000, null, 60_000]);
  });

  it("begins anew when the clock goes back", () => {
    const ring = new Ring();
    for (const t of [5000, 7000, 1000]) ring.push(at(t));
    expect(ring.length).toBe(1);
    ring.push(at(1000));
    expect(ring.length).toBe(1);
  });
});

function overview(time_ms: number, boot: string, usage: Record<string, number | null>): Overview {
  return {
    time_ms,
    machine: { boot_id: boot } as Overview["machine"],
    cpu: { percent: 12, load1: 0.1, cores: 2 },
    memory: { total: 100, available: 40 },
    disks: [
      { mount: "/", total: 10, available: 0, read_only: true },
      { mount: "/data", total: 10, available: 8, read_only: false },
    ],
    services: Object.entries(usage).map(([name, cpu_usec]) => ({ name, cpu_usec }) as ServiceStatus),
    refused: [],
    inference: { Err: "" },
    agent: { Err: "" },
  };
}

describe("what is derived from an overview", () => {
  it("takes the fullest disk that can be written to", () => {
    expect(sampleOf(overview(1, "a", {}))).toEqual({ time_ms: 1, cpu: 12, memory: 60, disk: 20 });
  });

  it("gives a service's processor share only while its counter goes on", () => {
    const before = overview(0, "a", { old: 1_000_000, fresh: 9_000_000, gone: null });
    const now = overview(2000, "a", { old: 1_500_000, fresh: 10, gone: 5 });
    expect([...serviceCpu(before, now)]).toEqual([["old", 25]]);
    expect(serviceCpu(before, overview(2000, "b", { old: 1_500_000 })).size).toBe(0);
    expect(serviceCpu(null, now).size).toBe(0);
  });
});
