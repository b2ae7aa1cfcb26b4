// The conversation of this browser tab: survives a reload, ends with a logout, goes on while another page is shown.

import { effect, signal, untracked } from "@preact/signals";
import { api, ApiError, sentence } from "../api/client";
import type { Answer, AskEvent, ApiErrorBody, JsonObject } from "../api/types";
import {
  answered,
  ask,
  cancelled,
  failed,
  pack,
  proposedCall,
  settle,
  step,
  undone,
  unpack,
  type ProposalItem,
  type Turn,
} from "../lib/conversation";
import { isObject } from "../lib/value";
import { strings } from "../strings";
import { session, whenLoggedOut } from "./session";

const KEY = "aios.conversation";
const OWNER = "aios.conversation.owner";

function read(): Turn[] {
  try {
    return unpack(sessionStorage.getItem(KEY));
  } catch {
    return [];
  }
}

export const turns = signal<Turn[]>(read());
/** What stands in the input; it survives a look at another page. */
export const draft = signal("");

let running: { id: number; abort: AbortController } | null = null;

effect(() => {
  const text = pack(turns.value);
  try {
    sessionStorage.setItem(KEY, text);
  } catch {
    // The store is full or switched off: the conversation then lasts as long as the page.
  }
});

whenLoggedOut(clear);

export function clear(): void {
  stop();
  turns.value = [];
  draft.value = "";
}

function change(id: number, next: (turn: Turn) => Turn): void {
  turns.value = turns.value.map((turn) => (turn.id === id ? next(turn) : turn));
}

export function isRunning(): boolean {
  return turns.value.some((turn) => turn.state === "running");
}

/** Asks, and takes in the answer as it comes. One question at a time. */
export async function put(question: string): Promise<void> {
  const text = question.trim();
  if (!text || isRunning()) return;
  const id = (turns.value.at(-1)?.id ?? 0) + 1;
  const abort = new AbortController();
  running = { id, abort };
  turns.value = [...turns.value, ask(id, text, Date.now())];
  try {
    await api.ask(
      text,
      (event) => {
        const body = parse(event.data);
        if (event.event === "event") change(id, (turn) => step(turn, body as AskEvent));
        else if (event.event === "answer") change(id, (turn) => answered(turn, body as Answer));
        else if (event.event === "error") change(id, (turn) => failed(turn, (body as ApiErrorBody).message));
      },
      abort.signal,
    );
    change(id, (turn) => failed(turn, strings.ask.outdated));
  } catch (error) {
    change(id, (turn) => (abort.signal.aborted ? cancelled(turn) : failed(turn, sentence(error))));
  } finally {
    if (running?.id === id) running = null;
  }
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw new ApiError("failed", strings.errors.notJson);
  }
}

/** Stops the answer that is being worked out; the machine notices that nobody listens any more. */
export function stop(): void {
  running?.abort.abort();
}

/** Takes back a change that was made in the conversation. */
export async function undo(audit: number, why: string): Promise<void> {
  const done = await api.undo(audit, why);
  turns.value = turns.value.map((turn) => undone(turn, audit, done.audit));
}

/** Runs a proposal with exactly the arguments that were shown. */
export async function runProposal(id: number, at: number, proposal: ProposalItem): Promise<void> {
  const args: JsonObject = isObject(proposal.args) ? proposal.args : {};
  const began = performance.now();
  const done = await api.call(proposal.tool, args, proposal.why, { asked: true });
  const ms = Math.round(performance.now() - began);
  change(id, (turn) =>
    settle(
      turn,
      at,
      "ran",
      proposedCall(turn, proposal, {
        value: done.result,
        summary: done.summary,
        failed: false,
        audit: done.audit,
        undoable: done.undoable,
        ms,
      }),
    ),
  );
}

export function dismissProposal(id: number, at: number): void {
  change(id, (turn) => settle(turn, at, "dismissed"));
}

// Somebody else logged in on this tab: the conversation is not theirs.
effect(() => {
  const name = session.value?.user?.name;
  if (!name) return;
  try {
    const owner = sessionStorage.getItem(OWNER);
    if (owner !== null && owner !== name) untracked(clear);
    sessionStorage.setItem(OWNER, name);
  } catch {
    // Without a store nothing survived the last login.
  }
});
