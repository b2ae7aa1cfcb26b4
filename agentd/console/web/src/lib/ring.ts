// The last ten minutes of measurements, as the columns that a chart draws.

import type { Overview, ServiceStatus } from "../api/types";
import { share } from "./format";

export const WINDOW_MS = 10 * 60_000;

export type Sample = {
  time_ms: number;
  cpu: number;
  memory: number;
  /** Percent used of the fullest disk that can be written to. */
  disk: number;
};

/** A series that forgets what is older than the window. */
export class Ring {
  private samples: Sample[] = [];

  push(sample: Sample): void {
    const last = this.samples.at(-1);
    // The machine's clock was set back, or another boot began: what came before no longer fits the axis.
    if (last && sample.time_ms <= last.time_ms) {
      if (sample.time_ms === last.time_ms) return;
      this.samples = [];
    }
    this.samples.push(sample);
    const oldest = sample.time_ms - WINDOW_MS;
    const keep = this.samples.findIndex((s) => s.time_ms >= oldest);
    if (keep > 0) this.samples = this.samples.slice(keep);
  }

  get length(): number {
    return this.samples.length;
  }

  get newest(): Sample | undefined {
    return this.samples.at(-1);
  }

  /** Times in seconds, then the values: the two columns of a chart. A hole in time becomes a gap. */
  columns(value: (sample: Sample) => number, holeMs = 7000): [number[], (number | null)[]] {
    const times: number[] = [];
    const values: (number | null)[] = [];
    let previous: Sample | undefined;
    for (const sample of this.samples) {
      if (previous && sample.time_ms - previous.time_ms > holeMs) {
        times.push((previous.time_ms + 1) / 1000);
        values.push(null);
      }
      times.push(sample.time_ms / 1000);
      values.push(value(sample));
      previous = sample;
    }
    return [times, values];
  }
}

/** What the charts show of an overview. */
export function sampleOf(overview: Overview): Sample {
  const writable = overview.disks.filter((disk) => !disk.read_only);
  const disks = writable.length ? writable : overview.disks;
  return {
    time_ms: overview.time_ms,
    cpu: overview.cpu.percent,
    memory: overview.memory.total - overview.memory.available,
    disk: Math.max(0, ...disks.map((disk) => share(disk.total - disk.available, disk.total))),
  };
}

/**
 * Processor time that each service used between two overviews, in percent of one core. A service that was
 * started anew in between has no number: its counter began again.
 */
export function serviceCpu(before: Overview | null, now: Overview): Map<string, number> {
  const result = new Map<string, number>();
  if (!before || before.machine.boot_id !== now.machine.boot_id) return result;
  const elapsedUs = (now.time_ms - before.time_ms) * 1000;
  if (elapsedUs <= 0) return result;
  const old = new Map<string, ServiceStatus>(before.services.map((service) => [service.name, service]));
  for (const service of now.services) {
    const then = old.get(service.name)?.cpu_usec;
    if (then === undefined || then === null || service.cpu_usec === null) continue;
    if (service.cpu_usec >= then) result.set(service.name, (100 * (service.cpu_usec - then)) / elapsedUs);
  }
  return result;
}
