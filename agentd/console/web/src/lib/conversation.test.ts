import { describe, expect, it } from "vitest";
import type { AskEvent } from "../api/types";
import { answered, ask, cancelled, failed, pack, proposedCall, settle, step, undone, unpack, type ProposalItem, type Turn } from "./conversation";

const EVENTS: AskEvent[] = [
  { type: "note", text: "looking" },
  { type: "considering", tools: [{ name: "fs.write", score: 0.8 }] },
  { type: "call", index: 0, tool: "fs.write", args: { path: "/data/a" }, why: "asked" },
  { type: "text", text: "Writ" },
  { type: "result", index: 0, result: { bytes: 1 }, summary: "wrote", failed: false, audit: 7, undoable: true, ms: 3 },
  { type: "text", text: "ten." },
];
const ANSWER = { text: "Written.", decider: "rules" as const, usage: { prompt_tokens: 0, reused_tokens: 0, generated_tokens: 0, ms: 0, price_micro: 0 }, ms: 5 };

const play = (events: AskEvent[]): Turn => events.reduce(step, ask(1, "write", 0));

describe("a turn of the conversation", () => {
  it("collects events in order and joins a result to its call", () => {
    const turn = play(EVENTS);
    expect(turn.items.map((item) => item.kind)).toEqual(["note", "considering", "call"]);
    expect(turn.items[2]).toMatchObject({ tool: "fs.write", result: { audit: 7, undoable: true } });
    expect(turn.text).toBe("Written.");
  });

  it("ends with the whole answer, whatever pieces came before", () => {
    const turn = answered(play(EVENTS), ANSWER);
    expect(turn.state).toBe("answered");
    expect(turn.text).toBe("Written.");
  });

  it("ends once: what comes later changes nothing", () => {
    const done = answered(play(EVENTS), ANSWER);
    expect(failed(done, "late")).toBe(done);
    expect(cancelled(done)).toBe(done);
    expect(step(done, { type: "text", text: "late" })).toBe(done);
  });

  it("ignores events that it does not know", () => {
    const turn = ask(1, "x", 0);
    expect(step(turn, { type: "telepathy" } as unknown as AskEvent)).toBe(turn);
  });

  it("remembers that a change was taken back", () => {
    expect(undone(play(EVENTS), 7, 9).items[2]).toMatchObject({ undone: 9 });
    expect(undone(play(EVENTS), 8, 9).items[2]).toMatchObject({ undone: null });
  });

  it("does nothing with a proposal until a person answers it", () => {
    const turn = play([{ type: "proposal", tool: "service.restart", args: { name: "inferd" }, why: "memory" }]);
    const proposal = turn.items[0] as ProposalItem;
    expect(proposal.state).toBe("open");
    const result = { value: {}, summary: "restarted", failed: false, audit: 3, undoable: false, ms: 1 };
    const ran = settle(turn, 0, "ran", proposedCall(turn, proposal, result));
    expect(ran.items).toMatchObject([{ state: "ran" }, { kind: "call", index: 0, args: { name: "inferd" } }]);
    expect(settle(turn, 0, "dismissed").items).toMatchObject([{ state: "dismissed" }]);
  });
});

describe("what a reload keeps", () => {
  it("is everything, but an answer on its way was cut off", () => {
    const done = answered(play(EVENTS), ANSWER);
    const [first, second] = unpack(pack([done, ask(2, "and?", 1)]));
    expect(first).toEqual(done);
    expect(second?.state).toBe("cancelled");
  });

  it("leaves out results that are too large", () => {
    const big: AskEvent = { type: "result", index: 0, result: "x".repeat(50_000), summary: "s", failed: false, audit: 1, undoable: false, ms: 1 };
    const [turn] = unpack(pack([play([...EVENTS.slice(0, 3), big])]));
    expect(turn?.items[2]).toMatchObject({ result: { value: null, summary: "s" } });
  });

  it("survives a store that holds something else", () => {
    for (const text of [null, "", "{", "7", '[{"x":1}]', "[null]"]) expect(unpack(text)).toEqual([]);
  });
});
