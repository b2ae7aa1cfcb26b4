// The log lines that a page holds: history and live lines in one order, without doubles, and not without end.

import type { LogLine } from "../api/types";

/** As many lines as a browser shows without effort. */
export const KEPT = 2000;

/** Both lists by sequence number; a line that is in both appears once; the oldest fall off. */
export function merge(lines: LogLine[], more: LogLine[], keep = KEPT): LogLine[] {
  if (more.length === 0) return lines;
  const last = lines.at(-1);
  const first = more[0];
  // The usual case: live lines follow what is there.
  if (first && (!last || first.seq > last.seq) && isAscending(more)) return [...lines, ...more].slice(-keep);
  const bySeq = new Map([...lines, ...more].map((line) => [line.seq, line]));
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(-keep);
}

function isAscending(lines: LogLine[]): boolean {
  return lines.every((line, i) => i === 0 || line.seq > (lines[i - 1]?.seq ?? -1));
}

export type Level = "error" | "warning" | "notice" | "normal" | "debug";

/** syslog(3) priorities in the steps that the eye can tell apart. */
export function levelOf(priority: number): Level {
  if (priority <= 3) return "error";
  if (priority === 4) return "warning";
  if (priority === 5) return "notice";
  return priority === 6 ? "normal" : "debug";
}
