import { describe, expect, it } from "vitest";
import { SseParser } from "./sse";

describe("the event stream parser", () => {
  const whole = "event: line\ndata: {\"a\":1}\n\n: keep-alive\n\ndata: one\ndata: two\n\n";
  const expected = [
    { event: "line", data: '{"a":1}' },
    { event: "message", data: "one\ntwo" },
  ];

  it("reads events however the network cuts them", () => {
    for (let size = 1; size <= whole.length; size += 1) {
      const parser = new SseParser();
      const events = [];
      for (let at = 0; at < whole.length; at += size) events.push(...parser.push(whole.slice(at, at + size)));
      expect(events).toEqual(expected);
    }
  });

  it("takes CR, LF and CRLF as line ends, also when CRLF is cut in two", () => {
    const parser = new SseParser();
    expect(parser.push("data: a\r")).toEqual([]);
    expect(parser.push("\n\r\n")).toEqual([{ event: "message", data: "a" }]);
    expect(parser.push("data: b\r\rdata: c\n\n")).toEqual([
      { event: "message", data: "b" },
      { event: "message", data: "c" },
    ]);
  });

  it("sends nothing for an event without data or one that is not whole", () => {
    const parser = new SseParser();
    expect(parser.push("event: empty\n\ndata: half\n")).toEqual([]);
  });
});
