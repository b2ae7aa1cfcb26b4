// The part of the audit chain that is loaded, and what this browser remembers of its end.

import { signal } from "@preact/signals";
import { api, sentence } from "../api/client";
import type { AuditRecord, Head } from "../api/types";
import { pageBefore } from "../lib/audit";
import { compare, type Memory, type Verdict } from "../lib/witness";
import { whenLoggedOut } from "./session";

const PAGE = 100;
const KEY = "aios.audit.head";

export const records = signal<AuditRecord[]>([]);
export const head = signal<Head | null>(null);
export const loading = signal(false);
export const problem = signal<string | null>(null);
export const verdict = signal<Verdict | null>(null);

whenLoggedOut(() => {
  records.value = [];
  head.value = null;
  verdict.value = null;
});

async function guarded(work: () => Promise<void>): Promise<void> {
  if (loading.value) return;
  loading.value = true;
  problem.value = null;
  try {
    await work();
  } catch (error) {
    problem.value = sentence(error);
  } finally {
    loading.value = false;
  }
}

/** The newest records; what was loaded before stays. */
export function loadNewest(): Promise<void> {
  return guarded(async () => {
    const known = newest();
    const end = (await api.audit(0, 1)).head;
    const from = Math.max(0, end.seq - PAGE + 1);
    // A hole between what is loaded and the newest page would look like missing records, and a log that is
    // shorter than what is loaded is another log: both begin the list anew.
    const goesOn = known !== null && known <= end.seq && known >= from - 1;
    const first = goesOn ? known + 1 : from;
    const page = first <= end.seq ? await load(first, end.seq - first + 1) : [];
    records.value = goesOn ? [...records.value, ...page] : page;
    head.value = end;
  });
}

export function loadOlder(): Promise<void> {
  return guarded(async () => {
    const page = pageBefore(oldest() ?? 0, PAGE);
    if (page) records.value = [...(await load(page.from, page.limit)), ...records.value];
  });
}

/** Makes sure that a record is loaded, with all that came after it, so that the list has no hole. */
export function loadBackTo(seq: number): Promise<void> {
  return guarded(async () => {
    const first = oldest();
    if (first === null || seq >= first) return;
    records.value = [...(await load(seq, first - seq)), ...records.value];
  });
}

/** Asks until all are there: the machine may send fewer at once than asked for. */
async function load(from: number, limit: number): Promise<AuditRecord[]> {
  const all: AuditRecord[] = [];
  let next = from;
  while (next < from + limit) {
    const page = await api.audit(next, from + limit - next);
    const last = page.records.at(-1);
    if (!last || last.seq < next) break;
    all.push(...page.records);
    next = last.seq + 1;
  }
  return all;
}

export function oldest(): number | null {
  return records.value.reduce<number | null>((low, record) => Math.min(low ?? record.seq, record.seq), null);
}

function newest(): number | null {
  return records.value.reduce<number | null>((high, record) => Math.max(high ?? record.seq, record.seq), null);
}

/** Lets the machine prove its log, and holds the proof against what this browser saw before. */
export async function verify(): Promise<void> {
  const proved = await api.verify();
  const memory = remembered();
  const then = memory && memory.seq <= proved.seq ? (await api.audit(memory.seq, 1)).records[0] : undefined;
  verdict.value = compare(proved, memory, then?.hash ?? null);
  if (verdict.value.kind === "proved") remember(proved);
  void loadNewest();
}

function remembered(): Memory | null {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "null") as Memory | null;
  } catch {
    return null;
  }
}

function remember(proved: Head): void {
  try {
    const memory: Memory = { seq: proved.seq, hash: proved.hash, public_key: proved.public_key };
    localStorage.setItem(KEY, JSON.stringify(memory));
  } catch {
    // Without a memory each proof stands alone; the page says so.
  }
}

/** The owner knows why the log is another one; from now on this end is remembered. */
export function accept(proved: Head): void {
  remember(proved);
  verdict.value = compare(proved, null, null);
}

/** A machine that was just claimed has a log of its own. */
export function forget(): void {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Nothing was remembered.
  }
}
