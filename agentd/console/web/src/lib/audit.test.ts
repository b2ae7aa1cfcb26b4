import { describe, expect, it } from "vitest";
import type { AuditRecord, CallRecord, Entry } from "../api/types";
import { argsOf, matches, NO_FILTER, pageBefore, rowsOf } from "./audit";

const call = (tool: string, person: string | null = "admin"): CallRecord => ({
  tool,
  effect: "reversible",
  args: { path: "/data/note.txt" },
  why: "asked for",
  incident: null,
  by: "agentd",
  person: person === null ? null : { name: person, role: "admin" },
});
const done = { Done: { summary: "did it" } };
const chain = (...entries: Entry[]): AuditRecord[] =>
  entries.map((entry, seq) => ({ seq, time_ms: seq, previous: "", entry, hash: `h${seq}` }));

const CHAIN = chain(
  { Opened: { version: "0.1.0", boot_id: "b" } },
  { Begin: { call: call("fs.write"), undoable: true } },
  { End: { of: 1, outcome: done } },
  { Call: { call: call("disk.usage", null), outcome: { Denied: { reason: "not yours" } } } },
  { Begin: { call: call("fs.write"), undoable: true } },
  { End: { of: 4, outcome: { Failed: { error: "disk full" } } } },
  { Undone: { of: 1, call: call("fs.write"), outcome: done } },
  { Begin: { call: call("fs.write"), undoable: true } },
);

describe("the rows of the audit log", () => {
  it("join a change with its end, newest first", () => {
    const rows = rowsOf(CHAIN);
    expect(rows.map((row) => row.seq)).toEqual([7, 6, 4, 3, 1, 0]);
    expect(rows.map((row) => row.outcome)).toEqual(["running", "done", "failed", "denied", "done", "done"]);
    expect(rows.at(-2)?.records.map((record) => record.seq)).toEqual([1, 2]);
  });

  it("offer undo only for what was done and not taken back", () => {
    expect(rowsOf(CHAIN.slice(0, 6)).find((row) => row.seq === 1)?.undoable).toBe(true);
    const rows = rowsOf(CHAIN);
    expect(rows.find((row) => row.seq === 1)).toMatchObject({ undoable: false, undoneBy: 6 });
    expect(rows.find((row) => row.seq === 4)?.undoable).toBe(false);
  });

  it("come out the same in whatever order and however often records arrive", () => {
    expect(rowsOf([...CHAIN].reverse().concat(CHAIN))).toEqual(rowsOf(CHAIN));
  });

  it("show an end by itself when its beginning is not loaded", () => {
    expect(rowsOf(CHAIN.slice(2, 3))).toMatchObject([{ kind: "end", of: 1, said: "did it" }]);
  });

  it("know an interrupted change", () => {
    const rows = rowsOf(chain({ Begin: { call: call("fs.write"), undoable: true } }, { End: { of: 0, outcome: "Interrupted" } }));
    expect(rows).toMatchObject([{ outcome: "interrupted", undoable: false }]);
  });
});

describe("the filters", () => {
  const rows = rowsOf(CHAIN);
  const seqs = (filter: Partial<typeof NO_FILTER>): number[] =>
    rows.filter((row) => matches(row, { ...NO_FILTER, ...filter })).map((row) => row.seq);

  it("go by tool, asker, outcome and any text of the record", () => {
    expect(seqs({ tool: "disk.usage" })).toEqual([3]);
    expect(seqs({ person: "agentd" })).toEqual([3]);
    expect(seqs({ outcome: "failed" })).toEqual([4]);
    expect(seqs({ text: "DISK FULL" })).toEqual([4]);
    expect(seqs({ text: "/data/note" })).toHaveLength(5);
    expect(seqs({ text: "#7" })).toEqual([7]);
  });
});

describe("small things of the audit log", () => {
  it("take arguments as a value or as its text", () => {
    expect(argsOf({ ...call("x"), args: '{"a":1}' })).toEqual({ a: 1 });
    expect(argsOf({ ...call("x"), args: "not json" })).toBe("not json");
  });

  it("page back to the beginning and no further", () => {
    expect(pageBefore(250, 100)).toEqual({ from: 150, limit: 100 });
    expect(pageBefore(30, 100)).toEqual({ from: 0, limit: 30 });
    expect(pageBefore(0, 100)).toBeNull();
  });
});
