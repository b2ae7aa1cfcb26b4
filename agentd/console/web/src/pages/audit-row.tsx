// One row of the audit log, and everything that its records say.

import { useEffect, useRef } from "preact/hooks";
import { api } from "../api/client";
import { argsOf, asker, type OutcomeKind, type Row } from "../lib/audit";
import { clock, day, isToday, moment } from "../lib/format";
import { argsLine } from "../lib/value";
import { loadNewest } from "../state/audit";
import { go } from "../state/router";
import { may } from "../state/session";
import { toast } from "../state/toast";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Badge, Button, Link, Status, type Tone } from "../ui/parts";
import { Args, Value } from "../ui/value";

const TONES: Record<OutcomeKind, Tone> = {
  done: "good",
  denied: "warn",
  failed: "bad",
  interrupted: "warn",
  running: "busy",
};

export function AuditTable({ rows, open }: { rows: Row[]; open: number | null }) {
  const words = strings.audit.columns;
  return (
    <table class="table stack audit-table card">
      <thead>
        <tr>
          <th scope="col">{words.seq}</th>
          <th scope="col">{words.time}</th>
          <th scope="col">{words.what}</th>
          <th scope="col">{words.who}</th>
          <th scope="col">{words.why}</th>
          <th scope="col">{words.outcome}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => {
          const isOpen = open !== null && row.records.some((record) => record.seq === open);
          return [
            <AuditRow key={row.seq} row={row} open={isOpen} />,
            isOpen && (
              <tr class="detail" key={`${row.seq}-detail`}>
                <td colSpan={6}>
                  <Detail row={row} />
                </td>
              </tr>
            ),
          ];
        })}
      </tbody>
    </table>
  );
}

function title(row: Row): string {
  const kinds = strings.audit.kinds;
  if (row.kind === "opened") return kinds.opened;
  if (row.kind === "end") return kinds.end;
  return row.kind === "undo" ? `${kinds.undo}: ${row.call?.tool ?? ""}` : (row.call?.tool ?? "");
}

function AuditRow({ row, open }: { row: Row; open: boolean }) {
  const element = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (!open) return;
    const box = element.current?.getBoundingClientRect();
    if (box && (box.top < 0 || box.bottom > window.innerHeight)) element.current?.scrollIntoView({ block: "center" });
  }, [open]);

  const toggle = (): void => go(open ? "/audit" : `/audit/${row.seq}`, true);
  return (
    <tr
      ref={element}
      class={open ? "row open" : "row"}
      data-testid="audit-row"
      data-seq={row.seq}
      data-outcome={row.outcome}
      onClick={(event) => {
        // A selection of text is not a click, and a link has its own way.
        if ((event.target as HTMLElement).closest("a,button") || window.getSelection()?.toString()) return;
        toggle();
      }}
    >
      <td class="audit-seq">
        <button type="button" class="link disclose" aria-expanded={open} aria-label={strings.audit.open(row.seq)} onClick={toggle}>
          <Icon name="chevron" />
          {row.seq}
        </button>
      </td>
      <td class="audit-time" title={moment(row.time_ms)}>
        {!isToday(row.time_ms) && <span class="muted">{day(row.time_ms)} </span>}
        {clock(row.time_ms)}
      </td>
      <td class="audit-what">
        <code class={row.call ? "tool" : "plain"}>{title(row)}</code>
        {row.call ? <Args pairs={argsLine(argsOf(row.call))} /> : row.kind === "opened" && <span class="muted">{strings.audit.openedBy(row.said)}</span>}
        {row.of !== null && <span class="muted">{strings.audit.ofRecord(row.of)}</span>}
      </td>
      <td class="audit-who">{row.call ? asker(row.call) : "–"}</td>
      <td class="audit-why">{row.call?.why ?? ""}</td>
      <td class="audit-outcome">
        {row.kind !== "opened" && <Status tone={TONES[row.outcome]}>{strings.outcome[row.outcome]}</Status>}
        {row.kind !== "opened" && row.said && <span class="muted audit-said">{row.said}</span>}
        {row.undoneBy !== null && <Badge>{strings.audit.undoneBy(row.undoneBy)}</Badge>}
      </td>
    </tr>
  );
}

function Detail({ row }: { row: Row }) {
  const words = strings.audit;
  const { call } = row;
  return (
    <div class="detail-body" data-testid="audit-detail">
      <dl class="value-object">
        {call && (
          <>
            <Line name={words.columns.why}>{call.why || "–"}</Line>
            <Line name={words.by}>
              {call.by}
              {call.person && `, ${words.onBehalf(call.person.name, strings.roles[call.person.role])}`}
            </Line>
            {call.incident && (
              <Line name={words.incident}>
                <code>{call.incident}</code>
              </Line>
            )}
            <Line name={words.effect}>
              <span title={strings.effect[call.effect].tip}>{strings.effect[call.effect].name}</span>
            </Line>
            <Line name={words.args}>
              <Value value={argsOf(call)} depth={1} />
            </Line>
          </>
        )}
        {row.kind !== "opened" && (
          <Line name={words.result}>
            {strings.outcome[row.outcome]}
            {row.said && `: ${row.said}`}
          </Line>
        )}
        {row.of !== null && (
          <Line name={words.ofRecord(row.of)}>
            <Link class="link" to={`/audit/${row.of}`}>
              #{row.of}
            </Link>
          </Line>
        )}
        {row.undoneBy !== null && (
          <Line name={strings.ask.undone}>
            <Link class="link" to={`/audit/${row.undoneBy}`}>
              {words.undoneBy(row.undoneBy)}
            </Link>
          </Line>
        )}
      </dl>
      {row.records.map((record) => (
        <dl class="value-object hashes" key={record.seq}>
          <Line name={words.record(record.seq)}>{moment(record.time_ms)}</Line>
          <Line name={words.hash}>
            <code class="hash">{record.hash}</code>
          </Line>
          <Line name={words.previous}>
            <code class="hash">{record.previous}</code>
          </Line>
        </dl>
      ))}
      {row.undoable && call && (
        <Button
          small
          icon="undo"
          testid="audit-undo"
          disabled={!may("operator")}
          title={may("operator") ? undefined : strings.needsRole("operator")}
          onClick={() => askUndo(row.seq, call.tool)}
        >
          {words.undo}
        </Button>
      )}
    </div>
  );
}

function Line({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function askUndo(seq: number, tool: string): void {
  confirm({
    title: strings.ask.undoTitle(tool),
    text: [strings.ask.undoText],
    action: strings.audit.undo,
    reason: { initial: "" },
    run: async (why) => {
      await api.undo(seq, why);
      toast(strings.audit.undone);
      void loadNewest();
    },
  });
}
