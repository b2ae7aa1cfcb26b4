// Server-sent events (WHATWG HTML, section 9.2) as a pure parser: text comes in pieces, whole events go out.

export type SseEvent = { event: string; data: string };

/** Takes in the stream in pieces of any size and hands out the events that have become whole. */
export class SseParser {
  private rest = "";
  private event = "";
  private data: string[] = [];

  push(piece: string): SseEvent[] {
    const events: SseEvent[] = [];
    this.rest += piece;
    // A CR at the very end may be the first half of CRLF: it waits for the next piece.
    for (;;) {
      const match = /\r\n|\n|\r(?!$)/.exec(this.rest);
      if (!match) return events;
      const line = this.rest.slice(0, match.index);
      this.rest = this.rest.slice(match.index + match[0].length);
      const event = this.line(line);
      if (event) events.push(event);
    }
  }

  private line(line: string): SseEvent | null {
    if (line === "") {
      const event = this.data.length ? { event: this.event || "message", data: this.data.join("\n") } : null;
      this.event = "";
      this.data = [];
      return event;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment, which servers send to keep the connection open
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.event = value;
    if (field === "data") this.data.push(value);
    return null;
  }
}
