import { expect, it } from "vitest";
import { compare } from "./witness";

const head = { seq: 10, hash: "ten", public_key: "key", signature: "s" };
const memory = { seq: 6, hash: "six", public_key: "key" };

it("a chain that still holds what was seen before is proved", () => {
  expect(compare(head, memory, "six")).toEqual({ kind: "proved", head, before: 6 });
  expect(compare(head, null, null)).toEqual({ kind: "proved", head, before: null });
});

it("a chain that was cut, replaced or made by another key is noticed", () => {
  expect(compare({ ...head, seq: 5 }, memory, null).kind).toBe("shorter");
  expect(compare(head, memory, "other").kind).toBe("replaced");
  expect(compare(head, memory, null).kind).toBe("replaced");
  expect(compare({ ...head, public_key: "new" }, memory, "six").kind).toBe("other_key");
});
