// How a JSON value of unknown type is shown: which shape, which columns, which words for a number.

import type { Json, JsonObject } from "../api/types";
import { strings } from "../strings";
import { bytes, count, duration, moment, percent } from "./format";

export type Shape =
  | { shape: "scalar"; text: string; tone: "plain" | "muted" | "number" }
  | { shape: "text"; text: string }
  | { shape: "object"; entries: [string, Json][] }
  | { shape: "table"; columns: string[]; rows: JsonObject[] }
  | { shape: "words"; words: string[] }
  | { shape: "list"; items: Json[] }
  | { shape: "empty" };

/** Decides by the value alone, and by the name of the field that holds it for its unit. */
export function shapeOf(value: Json, name = ""): Shape {
  if (Array.isArray(value)) return listShape(value);
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    return entries.length ? { shape: "object", entries } : { shape: "empty" };
  }
  if (typeof value === "string" && (value.includes("\n") || value.length > 160)) return { shape: "text", text: value };
  return scalar(value, name);
}

function listShape(value: Json[]): Shape {
  if (value.length === 0) return { shape: "empty" };
  if (value.every(isObject)) {
    const columns = [...new Set(value.flatMap((row) => Object.keys(row)))];
    return { shape: "table", columns, rows: value };
  }
  if (value.every((item) => !isObject(item) && !Array.isArray(item))) {
    return { shape: "words", words: value.map((item) => scalarText(item, "")) };
  }
  return { shape: "list", items: value };
}

function scalar(value: null | boolean | number | string, name: string): Shape {
  const tone = value === null || value === "" ? "muted" : typeof value === "number" ? "number" : "plain";
  return { shape: "scalar", text: scalarText(value, name), tone };
}

/** Numbers carry their unit in their field's name; that is how the tools declare them. */
export function scalarText(value: Json, name: string): string {
  if (value === null || value === "") return "–";
  if (value === true) return strings.yes;
  if (value === false) return strings.no;
  if (typeof value === "number") return numberText(value, name);
  return typeof value === "string" ? value : JSON.stringify(value);
}

const BYTES = /(^|_)(bytes|rss|pss|swap|memory|size|on_disk)$/;
/** Mostly bytes, but some tools count things with these names; few disks are smaller than this. */
const PERHAPS_BYTES = /(^|_)(total|available|used|free|buffers|cached)$/;
const SURELY_BYTES = 65_536;
const PLAIN = /(^|_)(id|pid|ppid|parent|uid|gid|port|seq|mode|inode|mtu|index|audit|year|number)$/;

function numberText(value: number, name: string): string {
  if (/(^|_)time_ms$|_at_ms$|^(modified|created|installed)_ms$/.test(name) && value > 1e11) return moment(value);
  if (/_ms$/.test(name)) return duration(value);
  if (/_(usec|us)$/.test(name)) return duration(value / 1000);
  if (/_(seconds|secs|s)$/.test(name)) return duration(value * 1000);
  if (/(^|_)percent$/.test(name)) return percent(value);
  if (value >= 0 && (BYTES.test(name) || (PERHAPS_BYTES.test(name) && value >= SURELY_BYTES))) return bytes(value);
  if (/_kib$/.test(name)) return bytes(value * 1024);
  if (PLAIN.test(name)) return String(value);
  return Number.isInteger(value) ? count(value) : String(Math.round(value * 1000) / 1000);
}

/** `memory_bytes` → `memory`, `last_exit` → `last exit`: units are in the value already. */
export function label(name: string): string {
  return name.replace(/_(bytes|ms|usec|us|seconds|secs|kib|percent)$/, "").replace(/_/g, " ");
}

/** Whether a column holds only numbers, and so stands on the right. */
export function isNumeric(rows: JsonObject[], column: string): boolean {
  return rows.every((row) => typeof row[column] === "number" || row[column] == null) &&
    rows.some((row) => typeof row[column] === "number");
}

/** One line of arguments: `path /etc/hosts · limit 20`. */
export function argsLine(args: Json): [string, string][] {
  return isObject(args)
    ? Object.entries(args).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)])
    : [];
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
