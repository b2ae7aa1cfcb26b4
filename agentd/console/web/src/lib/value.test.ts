import { describe, expect, it } from "vitest";
import { isNumeric, label, scalarText, shapeOf } from "./value";

describe("the shape of a value", () => {
  it("is a table for records, words for scalars, a list for the rest", () => {
    expect(shapeOf([{ a: 1 }, { b: 2 }])).toMatchObject({ shape: "table", columns: ["a", "b"] });
    expect(shapeOf(["x", 2])).toEqual({ shape: "words", words: ["x", "2"] });
    expect(shapeOf([{ a: 1 }, "x"]).shape).toBe("list");
    expect(shapeOf([]).shape).toBe("empty");
    expect(shapeOf({}).shape).toBe("empty");
    expect(shapeOf("a\nb").shape).toBe("text");
  });

  it("takes a number's unit from its field's name", () => {
    expect(scalarText(3 * 2 ** 20, "memory_bytes")).toBe("3 MiB");
    expect(scalarText(2 ** 30, "available")).toBe("1 GiB");
    expect(scalarText(42, "total")).toBe("42");
    expect(scalarText(2500, "since_ms")).toBe("2.5 s");
    expect(scalarText(2_500_000, "cpu_usec")).toBe("2.5 s");
    expect(scalarText(12.34, "cpu_percent")).toBe("12 %");
    expect(scalarText(65535, "pid")).toBe("65535");
    expect(scalarText(null, "last_exit")).toBe("–");
    expect(label("memory_bytes")).toBe("memory");
    expect(label("last_exit")).toBe("last exit");
  });

  it("puts columns of numbers on the right", () => {
    const rows = [{ n: 1, t: "a" }, { n: null, t: "b" }];
    expect(isNumeric(rows, "n")).toBe(true);
    expect(isNumeric(rows, "t")).toBe(false);
    expect(isNumeric(rows, "absent")).toBe(false);
  });
});
