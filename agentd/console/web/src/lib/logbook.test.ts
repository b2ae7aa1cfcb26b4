import { expect, it } from "vitest";
import { levelOf, merge } from "./logbook";

const line = (seq: number) => ({ seq, time_ms: seq, unit: "init", priority: 6, text: `line ${seq}` });
const seqs = (...args: Parameters<typeof merge>): number[] => merge(...args).map((l) => l.seq);

it("history and live lines become one list without doubles, whichever came first", () => {
  const live = [line(4), line(5), line(6)];
  const history = [line(2), line(3), line(4), line(5)];
  expect(seqs(live, history)).toEqual([2, 3, 4, 5, 6]);
  expect(seqs(history, live)).toEqual([2, 3, 4, 5, 6]);
  expect(seqs(history, [line(6), line(7)])).toEqual([2, 3, 4, 5, 6, 7]);
});

it("the oldest lines fall off", () => {
  expect(seqs([line(1), line(2)], [line(3), line(4)], 3)).toEqual([2, 3, 4]);
});

it("priorities come in the steps that the eye can tell apart", () => {
  expect([0, 3, 4, 5, 6, 7].map(levelOf)).toEqual(["error", "error", "warning", "notice", "normal", "debug"]);
});
