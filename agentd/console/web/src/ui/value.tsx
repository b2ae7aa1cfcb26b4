// Shows a typed result of unknown type: records as definition lists, lists of records as tables. Text stays text.

import { useSignal } from "@preact/signals";
import type { Json, JsonObject } from "../api/types";
import { isNumeric, label, shapeOf } from "../lib/value";
import { strings } from "../strings";

const FIRST_ROWS = 12;
const DEEPEST = 5;
/** Words up to this length stay on one line in a table. */
const SHORT = 28;

export function Value({ value, name = "", depth = 0 }: { value: Json; name?: string; depth?: number }) {
  if (depth > DEEPEST) return <code class="value-json">{JSON.stringify(value)}</code>;
  const shape = shapeOf(value, name);
  switch (shape.shape) {
    case "empty":
      return <span class="muted">{strings.nothing}</span>;
    case "scalar":
      return <span class={`value-${shape.tone}${shape.text.length <= SHORT ? " value-short" : ""}`}>{shape.text}</span>;
    case "text":
      return <pre class="value-text">{shape.text}</pre>;
    case "words":
      return <Words words={shape.words} />;
    case "object":
      return (
        <dl class="value-object">
          {shape.entries.map(([key, inner]) => (
            <div key={key} class={isWide(inner) ? "wide" : undefined}>
              <dt title={key}>{label(key)}</dt>
              <dd>
                <Value value={inner} name={key} depth={depth + 1} />
              </dd>
            </div>
          ))}
        </dl>
      );
    case "table":
      return <Table columns={shape.columns} rows={shape.rows} depth={depth} />;
    case "list":
      return (
        <ul class="value-list">
          {shape.items.map((item, i) => (
            <li key={i}>
              <Value value={item} depth={depth + 1} />
            </li>
          ))}
        </ul>
      );
  }
}

/** Tables and long texts want the whole width, below their name. */
function isWide(value: Json): boolean {
  const { shape } = shapeOf(value);
  return shape === "table" || shape === "text";
}

function Words({ words }: { words: string[] }) {
  const all = useSignal(false);
  const shown = all.value ? words : words.slice(0, 40);
  return (
    <span class="value-words">
      {shown.map((word, i) => (
        <code key={i}>{word}</code>
      ))}
      <More all={all.value} total={words.length} first={40} toggle={() => (all.value = !all.value)} />
    </span>
  );
}

function Table({ columns, rows, depth }: { columns: string[]; rows: JsonObject[]; depth: number }) {
  const all = useSignal(false);
  const shown = all.value ? rows : rows.slice(0, FIRST_ROWS);
  const numeric = new Set(columns.filter((column) => isNumeric(rows, column)));
  return (
    <div class="value-table">
      <div class="scroll-x" tabIndex={0} role="region" aria-label={strings.ask.details}>
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column} class={numeric.has(column) ? "number" : undefined} scope="col">
                  {label(column)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row, i) => (
              <tr key={i}>
                {columns.map((column) => (
                  <td key={column} class={numeric.has(column) ? "number" : undefined}>
                    <Value value={row[column] ?? null} name={column} depth={depth + 1} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <More all={all.value} total={rows.length} first={FIRST_ROWS} toggle={() => (all.value = !all.value)} />
    </div>
  );
}

function More({ all, total, first, toggle }: { all: boolean; total: number; first: number; toggle: () => void }) {
  if (total <= first) return null;
  return (
    <button type="button" class="link more" onClick={toggle}>
      {all ? strings.showLess : strings.showAll(total)}
    </button>
  );
}

/** Arguments in one line, each named. */
export function Args({ pairs }: { pairs: [string, string][] }) {
  return (
    <span class="args">
      {pairs.map(([name, value]) => (
        <span class="arg" key={name}>
          <span class="arg-name">{name}</span> <code title={value}>{value.length > 120 ? `${value.slice(0, 119)}…` : value}</code>
        </span>
      ))}
    </span>
  );
}
