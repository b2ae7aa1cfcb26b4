// A conversation as a pure state machine: events of the answer stream in, what the page shows out.

import type { Answer, AskEvent, Json, Scored } from "../api/types";

export type CallResult = {
  value: Json;
  summary: string;
  failed: boolean;
  audit: number | null;
  undoable: boolean;
  ms: number;
  /** The value was too large to survive a reload. */
  dropped?: true;
};

export type CallItem = {
  kind: "call";
  index: number;
  tool: string;
  args: Json;
  why: string;
  result: CallResult | null;
  /** Set once the change was taken back: the record that says so. */
  undone: number | null;
};

export type ProposalItem = {
  kind: "proposal";
  tool: string;
  args: Json;
  why: string;
  state: "open" | "dismissed" | "ran";
};

export type Item =
  | { kind: "note"; text: string }
  | { kind: "considering"; tools: Scored[] }
  | CallItem
  | ProposalItem;

export type TurnState = "running" | "answered" | "failed" | "cancelled";

export type Turn = {
  id: number;
  question: string;
  /** When it was asked, by the browser's clock. */
  time_ms: number;
  state: TurnState;
  items: Item[];
  /** What has arrived of the answer. */
  text: string;
  answer: Answer | null;
  error: string | null;
};

export function ask(id: number, question: string, time_ms: number): Turn {
  return { id, question, time_ms, state: "running", items: [], text: "", answer: null, error: null };
}

/** The turn after an event. What the page does not know is ignored, so that a newer machine still works. */
export function step(turn: Turn, event: AskEvent): Turn {
  if (turn.state !== "running") return turn;
  switch (event.type) {
    case "note":
      return add(turn, { kind: "note", text: event.text });
    case "considering":
      return add(turn, { kind: "considering", tools: event.tools });
    case "call":
      return add(turn, {
        kind: "call",
        index: event.index,
        tool: event.tool,
        args: event.args,
        why: event.why,
        result: null,
        undone: null,
      });
    case "result":
      return mapCall(turn, event.index, (call) => ({
        ...call,
        result: {
          value: event.result,
          summary: event.summary,
          failed: event.failed,
          audit: event.audit,
          undoable: event.undoable,
          ms: event.ms,
        },
      }));
    case "proposal":
      return add(turn, { kind: "proposal", tool: event.tool, args: event.args, why: event.why, state: "open" });
    case "text":
      return { ...turn, text: turn.text + event.text };
    default:
      return turn;
  }
}

export function answered(turn: Turn, answer: Answer): Turn {
  return turn.state === "running" ? { ...turn, state: "answered", answer, text: answer.text } : turn;
}

export function failed(turn: Turn, error: string): Turn {
  return turn.state === "running" ? { ...turn, state: "failed", error } : turn;
}

export function cancelled(turn: Turn): Turn {
  return turn.state === "running" ? { ...turn, state: "cancelled" } : turn;
}

/** The change that a record began was taken back. */
export function undone(turn: Turn, audit: number, by: number): Turn {
  return {
    ...turn,
    items: turn.items.map((item) =>
      item.kind === "call" && item.result?.audit === audit ? { ...item, undone: by } : item,
    ),
  };
}

/** A proposal was answered; running it adds the call that was made. */
export function settle(turn: Turn, at: number, state: "dismissed" | "ran", call?: CallItem): Turn {
  const items = turn.items.map((item, i) => (i === at && item.kind === "proposal" ? { ...item, state } : item));
  return { ...turn, items: call ? [...items, call] : items };
}

/** The call that a person ran from a proposal, as one of the turn's calls. */
export function proposedCall(turn: Turn, proposal: ProposalItem, result: CallResult): CallItem {
  const calls = turn.items.filter((item) => item.kind === "call");
  return {
    kind: "call",
    index: Math.max(-1, ...calls.map((item) => item.index)) + 1,
    tool: proposal.tool,
    args: proposal.args,
    why: proposal.why,
    result,
    undone: null,
  };
}

function add(turn: Turn, item: Item): Turn {
  return { ...turn, items: [...turn.items, item] };
}

function mapCall(turn: Turn, index: number, change: (call: CallItem) => CallItem): Turn {
  return {
    ...turn,
    items: turn.items.map((item) => (item.kind === "call" && item.index === index ? change(item) : item)),
  };
}

const KEPT_TURNS = 40;
const KEPT_RESULT = 20_000;

/** What is kept for a reload: the newest turns, without results too large for the browser's store. */
export function pack(turns: Turn[]): string {
  return JSON.stringify(
    turns.slice(-KEPT_TURNS).map((turn) => ({
      ...turn,
      items: turn.items.map((item) =>
        item.kind === "call" && item.result && JSON.stringify(item.result.value).length > KEPT_RESULT
          ? { ...item, result: { ...item.result, value: null, dropped: true } }
          : item,
      ),
    })),
  );
}

/** The inverse of `pack`. An answer that was still on its way was cut off by the reload. */
export function unpack(text: string | null): Turn[] {
  if (!text) return [];
  try {
    const turns: unknown = JSON.parse(text);
    if (!Array.isArray(turns)) return [];
    return (turns as Turn[])
      .filter((turn) => typeof turn?.question === "string" && Array.isArray(turn.items))
      .map((turn) => (turn.state === "running" ? { ...turn, state: "cancelled" } : turn));
  } catch {
    return [];
  }
}
