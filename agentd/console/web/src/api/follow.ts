// Keeps an event stream open: when it breaks it is opened again after a growing pause, or at once when the
// browser says that the network is back or a person asks for it.

import { api, ApiError, sentence } from "./client";
import { strings } from "../strings";
import type { SseEvent } from "./sse";

export type Link = { at: "connecting" } | { at: "open" } | { at: "away"; why: string; attempt: number };

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/**
 * The pause before the given attempt (from 1): doubling, with up to a quarter taken off at random, so that
 * many browsers do not come back to a restarted machine in the same instant.
 */
export function pauseMs(attempt: number, random: number): number {
  const whole = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempt - 1));
  return Math.round(whole * (1 - 0.25 * random));
}

export type Following = { stop: () => void; retry: () => void };

/**
 * Opens `path` and keeps it open until stopped. With `silenceMs`, a stream on which nothing arrives for so long
 * counts as broken: a machine that vanished without a word leaves its connection open for minutes.
 */
export function follow(
  path: string,
  take: (event: SseEvent) => void,
  say: (link: Link) => void,
  silenceMs?: number,
): Following {
  let stopped = false;
  let attempt = 0;
  let current: AbortController | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let watchdog: ReturnType<typeof setTimeout> | undefined;

  async function open(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const mine = new AbortController();
    current = mine;
    const heard = (): void => {
      clearTimeout(watchdog);
      if (silenceMs && current === mine) watchdog = setTimeout(() => mine.abort(), silenceMs);
    };
    let why = "";
    try {
      if (attempt === 0) say({ at: "connecting" });
      heard();
      await api.stream(
        path,
        (event) => {
          // A stream that only opens to say why it cannot go on must not be opened again at full speed.
          if (event.event !== "error") attempt = 0;
          if (!stopped) take(event);
        },
        mine.signal,
        () => {
          heard();
          if (!stopped) say({ at: "open" });
        },
        heard,
      );
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) stopped = true;
      why = mine.signal.aborted ? strings.errors.away : sentence(error);
    }
    clearTimeout(watchdog);
    current = null;
    if (stopped) return;
    attempt += 1;
    say({ at: "away", why, attempt });
    timer = setTimeout(open, pauseMs(attempt, Math.random()));
  }

  const retry = (): void => {
    if (timer !== undefined) void open();
  };
  const visible = (): void => {
    if (document.visibilityState === "visible") retry();
  };
  window.addEventListener("online", retry);
  document.addEventListener("visibilitychange", visible);
  void open();

  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      clearTimeout(watchdog);
      current?.abort();
      window.removeEventListener("online", retry);
      document.removeEventListener("visibilitychange", visible);
    },
    retry,
  };
}
