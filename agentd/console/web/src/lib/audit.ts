// The audit chain as people read it: a change that began and ended is one row, and knows whether it was undone.

import type { AuditRecord, CallOutcome, CallRecord, Json } from "../api/types";

export type OutcomeKind = "done" | "denied" | "failed" | "interrupted" | "running";

export type Row = {
  seq: number;
  time_ms: number;
  kind: "opened" | "call" | "change" | "end" | "undo";
  call: CallRecord | null;
  outcome: OutcomeKind;
  /** What came of it, in words. */
  said: string;
  /** The record that this one closes or takes back. */
  of: number | null;
  /** A change that the machine can take back and that nobody has taken back yet. */
  undoable: boolean;
  /** The record that took this change back. */
  undoneBy: number | null;
  /** The records that the row is made of, oldest first. */
  records: AuditRecord[];
};

export function outcomeKind(outcome: CallOutcome): OutcomeKind {
  if (outcome === "Interrupted") return "interrupted";
  if ("Done" in outcome) return "done";
  return "Denied" in outcome ? "denied" : "failed";
}

export function outcomeText(outcome: CallOutcome): string {
  if (outcome === "Interrupted") return "";
  if ("Done" in outcome) return outcome.Done.summary;
  return "Denied" in outcome ? outcome.Denied.reason : outcome.Failed.error;
}

/** Rows, newest first. Records may come in any order and twice; pages may begin between a change and its end. */
export function rowsOf(records: AuditRecord[]): Row[] {
  const rows = new Map<number, Row>();
  const sorted = [...new Map(records.map((record) => [record.seq, record])).values()].sort((a, b) => a.seq - b.seq);
  for (const record of sorted) {
    const row = rowOf(record);
    const began = row.of === null ? undefined : rows.get(row.of);
    if (row.kind === "end" && began) {
      began.outcome = row.outcome;
      began.said = row.said;
      began.undoable = began.undoable && row.outcome === "done";
      began.records.push(record);
      continue;
    }
    if (row.kind === "undo" && began && row.outcome === "done") {
      began.undoneBy = row.seq;
      began.undoable = false;
    }
    rows.set(row.seq, row);
  }
  return [...rows.values()].sort((a, b) => b.seq - a.seq);
}

function rowOf(record: AuditRecord): Row {
  const { seq, time_ms, entry } = record;
  const base = { seq, time_ms, of: null, undoable: false, undoneBy: null, records: [record] };
  if ("Opened" in entry) {
    return { ...base, kind: "opened", call: null, outcome: "done", said: entry.Opened.version };
  }
  if ("Begin" in entry) {
    const { call, undoable } = entry.Begin;
    return { ...base, kind: "change", call, outcome: "running", said: "", undoable };
  }
  const [kind, body] =
    "Call" in entry
      ? (["call", { ...entry.Call, of: null }] as const)
      : "Undone" in entry
        ? (["undo", entry.Undone] as const)
        : (["end", { ...entry.End, call: null }] as const);
  return {
    ...base,
    kind,
    call: body.call,
    outcome: outcomeKind(body.outcome),
    said: outcomeText(body.outcome),
    of: body.of,
  };
}

export type Filter = { tool: string; person: string; outcome: OutcomeKind | ""; text: string };

export const NO_FILTER: Filter = { tool: "", person: "", outcome: "", text: "" };

/** Who asked: the person, or the process that asked for itself. */
export function asker(call: CallRecord): string {
  return call.person?.name ?? call.by;
}

export function matches(row: Row, filter: Filter): boolean {
  if (filter.tool && row.call?.tool !== filter.tool) return false;
  if (filter.person && (!row.call || asker(row.call) !== filter.person)) return false;
  if (filter.outcome && row.outcome !== filter.outcome) return false;
  if (!filter.text) return true;
  const haystack = [
    `#${row.seq}`,
    row.call?.tool,
    row.call?.why,
    row.call && asker(row.call),
    row.call?.by,
    row.call?.incident,
    row.call && JSON.stringify(row.call.args),
    row.said,
  ];
  const needle = filter.text.toLowerCase();
  return haystack.some((text) => text?.toLowerCase().includes(needle));
}

/** Arguments arrive as a JSON value, or as its text where the record must stay as it was hashed. */
export function argsOf(call: CallRecord): Json {
  if (typeof call.args !== "string") return call.args;
  try {
    return JSON.parse(call.args) as Json;
  } catch {
    return call.args;
  }
}

/** The span of records to ask for next when the oldest known one is `oldest`. */
export function pageBefore(oldest: number, size: number): { from: number; limit: number } | null {
  if (oldest <= 0) return null;
  const from = Math.max(0, oldest - size);
  return { from, limit: oldest - from };
}
