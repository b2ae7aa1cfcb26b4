// Form fields from a JSON Schema of arguments (2020-12, as schemars writes it). What a form cannot show
// becomes a field for JSON, so that every tool can be called.

import type { Json, JsonObject } from "../api/types";

export type FieldKind = "text" | "integer" | "number" | "boolean" | "choice" | "lines" | "json";

export type Field = {
  name: string;
  kind: FieldKind;
  required: boolean;
  help: string;
  choices: string[];
  initial: string;
  min: number | null;
  max: number | null;
};

export function fieldsOf(schema: Json): Field[] {
  const root = asObject(schema);
  const properties = asObject(root["properties"]);
  const required = new Set(asList(root["required"]).filter((name) => typeof name === "string"));
  return Object.entries(properties).map(([name, value]) => fieldOf(name, asObject(value), root, required.has(name)));
}

function fieldOf(name: string, declared: JsonObject, root: JsonObject, required: boolean): Field {
  const { node, optional } = resolve(declared, root);
  const help = text(declared["description"]) || text(node["description"]);
  const preset = declared["default"] ?? node["default"] ?? null;
  const choices = choicesOf(node);
  const kind = kindOf(node, choices, root);
  return {
    name,
    kind,
    required: required && !optional,
    help,
    choices,
    initial: preset === null ? "" : initialText(preset, kind),
    min: typeof node["minimum"] === "number" ? node["minimum"] : null,
    max: typeof node["maximum"] === "number" ? node["maximum"] : null,
  };
}

/** Follows `$ref`, and takes `anyOf [T, null]` for an optional T. */
function resolve(node: JsonObject, root: JsonObject, depth = 0): { node: JsonObject; optional: boolean } {
  if (depth > 8) return { node, optional: false };
  const reference = text(node["$ref"]);
  if (reference.startsWith("#/$defs/")) {
    return resolve(asObject(asObject(root["$defs"])[reference.slice(8)]), root, depth + 1);
  }
  const union = asList(node["anyOf"]).concat(asList(node["oneOf"])).map(asObject);
  const rest = union.filter((part) => part["type"] !== "null");
  if (union.length > rest.length && rest.length === 1) {
    return { node: resolve(rest[0] ?? {}, root, depth + 1).node, optional: true };
  }
  return { node, optional: asList(node["type"]).includes("null") };
}

function choicesOf(node: JsonObject): string[] {
  const listed = asList(node["enum"]).filter((value) => typeof value === "string");
  if (listed.length) return listed;
  const parts = asList(node["oneOf"]).map(asObject);
  const constants = parts.flatMap((part) =>
    typeof part["const"] === "string" ? [part["const"]] : asList(part["enum"]).filter((v) => typeof v === "string"),
  );
  return constants.length >= parts.length ? constants : [];
}

function kindOf(node: JsonObject, choices: string[], root: JsonObject): FieldKind {
  if (choices.length) return "choice";
  const types = (Array.isArray(node["type"]) ? node["type"] : [node["type"]]).filter((type) => type !== "null");
  if (types.length !== 1) return "json";
  switch (types[0]) {
    case "string":
      return "text";
    case "integer":
      return "integer";
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "array":
      return resolve(asObject(node["items"]), root).node["type"] === "string" ? "lines" : "json";
    default:
      return "json";
  }
}

function initialText(value: Json, kind: FieldKind): string {
  if (kind === "lines" && Array.isArray(value)) return value.join("\n");
  return typeof value === "string" ? value : JSON.stringify(value);
}

export type FieldProblem = "missing" | "not_a_number" | "not_whole" | "too_small" | "too_large" | "not_json";

/** The arguments that the texts of a form mean, or what is wrong with which field. Empty optional fields are left out. */
export function argsFrom(
  fields: Field[],
  values: Record<string, string>,
): { args: JsonObject } | { problems: Record<string, FieldProblem> } {
  const args: JsonObject = {};
  const problems: Record<string, FieldProblem> = {};
  for (const field of fields) {
    const typed = values[field.name] ?? field.initial;
    // A required text may be empty on purpose (an empty file); a choice or a number may not.
    if (typed === "" && !(field.required && field.kind === "text")) {
      if (field.required && field.kind === "lines") args[field.name] = [];
      else if (field.required) problems[field.name] = "missing";
      continue;
    }
    const read = valueOf(field, typed);
    if ("problem" in read) problems[field.name] = read.problem;
    else args[field.name] = read.value;
  }
  return Object.keys(problems).length ? { problems } : { args };
}

function valueOf(field: Field, typed: string): { value: Json } | { problem: FieldProblem } {
  switch (field.kind) {
    case "integer":
    case "number": {
      const value = Number(typed.trim());
      if (!Number.isFinite(value)) return { problem: "not_a_number" };
      if (field.kind === "integer" && !Number.isSafeInteger(value)) return { problem: "not_whole" };
      if (field.min !== null && value < field.min) return { problem: "too_small" };
      if (field.max !== null && value > field.max) return { problem: "too_large" };
      return { value };
    }
    case "boolean":
      return { value: typed === "true" };
    case "lines":
      return { value: typed.split("\n").filter((line) => line !== "") };
    case "json":
      try {
        return { value: JSON.parse(typed) as Json };
      } catch {
        return { problem: "not_json" };
      }
    default:
      return { value: typed };
  }
}

/** The texts with which a form shows given arguments. */
export function textsFrom(fields: Field[], args: Json): Record<string, string> {
  const given = asObject(args);
  const texts: Record<string, string> = {};
  for (const field of fields) {
    const value = given[field.name];
    if (value !== undefined && value !== null) texts[field.name] = initialText(value, field.kind);
  }
  return texts;
}

function asObject(value: Json | undefined): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

function asList(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

function text(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}
