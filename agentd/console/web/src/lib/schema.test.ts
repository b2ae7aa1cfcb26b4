import { describe, expect, it } from "vitest";
import type { Json } from "../api/types";
import { argsFrom, fieldsOf, textsFrom } from "./schema";

const SCHEMA: Json = {
  type: "object",
  required: ["path", "lines", "family", "names"],
  properties: {
    path: { type: "string", description: "Absolute path." },
    lines: { type: "integer", minimum: 1, maximum: 100 },
    ratio: { type: ["number", "null"] },
    deep: { type: "boolean", default: true },
    family: { $ref: "#/$defs/Family" },
    other: { anyOf: [{ $ref: "#/$defs/Family" }, { type: "null" }] },
    names: { type: "array", items: { type: "string" } },
    matrix: { type: "array", items: { type: "array" } },
  },
  $defs: { Family: { oneOf: [{ const: "v4", description: "IPv4" }, { const: "v6" }] } },
};

describe("a form from a schema", () => {
  const fields = fieldsOf(SCHEMA);

  it("knows each field's kind and whether it is needed", () => {
    expect(fields.map((field) => [field.name, field.kind, field.required])).toEqual([
      ["path", "text", true],
      ["lines", "integer", true],
      ["ratio", "number", false],
      ["deep", "boolean", false],
      ["family", "choice", true],
      ["other", "choice", false],
      ["names", "lines", true],
      ["matrix", "json", false],
    ]);
    expect(fields[4]?.choices).toEqual(["v4", "v6"]);
  });

  it("builds typed arguments and leaves out what was not filled in", () => {
    const values = { path: "/etc", lines: "5", family: "v6", names: "a\nb\n", matrix: "[[1]]" };
    expect(argsFrom(fields, values)).toEqual({
      args: { path: "/etc", lines: 5, deep: true, family: "v6", names: ["a", "b"], matrix: [[1]] },
    });
  });

  it("names the field that is wrong", () => {
    const values = { path: "", lines: "1.5", ratio: "x", names: "", matrix: "{" };
    expect(argsFrom(fields, values)).toEqual({
      problems: { lines: "not_whole", ratio: "not_a_number", family: "missing", matrix: "not_json" },
    });
    expect(argsFrom(fields, { lines: "0", family: "v4" })).toEqual({ problems: { lines: "too_small" } });
    expect(argsFrom(fields, { lines: "101", family: "v4" })).toEqual({ problems: { lines: "too_large" } });
  });

  it("fills in an example and gives the same arguments back", () => {
    const args = { path: "/etc", lines: 7, deep: false, family: "v4", names: ["x"], matrix: [[2]] };
    expect(argsFrom(fields, textsFrom(fields, args))).toEqual({ args });
  });

  it("is empty for a schema that says nothing, and survives one that refers to itself", () => {
    expect(fieldsOf({})).toEqual([]);
    expect(fieldsOf(true)).toEqual([]);
    const circle: Json = { properties: { a: { $ref: "#/$defs/A" } }, $defs: { A: { $ref: "#/$defs/A" } } };
    expect(fieldsOf(circle)[0]?.kind).toBe("json");
  });
});
