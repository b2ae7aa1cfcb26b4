// The audit chain: what was done, by whom and why; its proof; and the way back.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, sentence } from "../api/client";
import { asker, matches, NO_FILTER, rowsOf, type Filter, type OutcomeKind } from "../lib/audit";
import { head, loadBackTo, loading, loadNewest, loadOlder, oldest, problem, records, verdict, verify } from "../state/audit";
import { strings } from "../strings";
import { Icon } from "../ui/icons";
import { Button, Empty, Failure, Loading, PageHead } from "../ui/parts";
import { AuditTable } from "./audit-row";
import { VerdictNotice } from "./verdict";

export function AuditPage({ open }: { open: number | null }) {
  const words = strings.audit;
  const filter = useSignal<Filter>(NO_FILTER);
  const verifying = useSignal(false);
  const refused = useSignal<string | null>(null);
  const rows = useComputed(() => rowsOf(records.value));

  useEffect(() => {
    void loadNewest().then(() => (open === null ? undefined : loadBackTo(open)));
  }, [open]);

  const shown = rows.value.filter((row) => matches(row, filter.value));
  const first = oldest();

  async function prove(): Promise<void> {
    verifying.value = true;
    refused.value = null;
    try {
      await verify();
    } catch (error) {
      verdict.value = null;
      refused.value = sentence(error);
    } finally {
      verifying.value = false;
    }
  }

  return (
    <div class="audit">
      <PageHead title={words.title} lead={words.lead}>
        <Button icon="shield" busy={verifying.value} onClick={() => void prove()} testid="audit-verify">
          {verifying.value ? words.verifying : words.verify}
        </Button>
        <a class="button plain" href={api.exportUrl} download="aios-audit.jsonl" data-testid="audit-export">
          <Icon name="download" />
          <span>{words.export}</span>
        </a>
      </PageHead>
      {refused.value && <Failure why={refused.value} />}
      {verdict.value && <VerdictNotice verdict={verdict.value} />}
      <Filters filter={filter.value} change={(next) => (filter.value = next)} />
      {problem.value && <Failure why={problem.value} retry={() => void loadNewest()} />}
      {rows.value.length === 0 && head.value === null && loading.value && <Loading />}
      {rows.value.length === 0 && head.value !== null && <Empty title={words.empty} hint={words.emptyHint} />}
      {rows.value.length > 0 && (
        <>
          {shown.length === 0 ? (
            <Empty title={words.noMatch} hint={words.noMatchHint(first ?? 0)} />
          ) : (
            <AuditTable rows={shown} open={open} />
          )}
          <div class="list-foot">
            <span class="muted">{words.shown(shown.length, rows.value.length)}</span>
            {first === 0 ? (
              <span class="muted">{words.beginning}</span>
            ) : (
              <Button small busy={loading.value} onClick={() => void loadOlder()} testid="audit-older">
                {words.older}
              </Button>
            )}
          </div>
        </>
      )}
    </div>
  );
}

const OUTCOMES: OutcomeKind[] = ["done", "denied", "failed", "interrupted", "running"];

function Filters({ filter, change }: { filter: Filter; change: (filter: Filter) => void }) {
  const words = strings.audit;
  const calls = useComputed(() => rowsOf(records.value).flatMap((row) => (row.call ? [row.call] : [])));
  const tools = [...new Set(calls.value.map((call) => call.tool))].sort();
  const people = [...new Set(calls.value.map(asker))].sort();
  return (
    <div class="filters" role="search" aria-label={words.filters}>
      <input
        type="search"
        placeholder={words.text}
        aria-label={words.text}
        value={filter.text}
        onInput={(event) => change({ ...filter, text: event.currentTarget.value })}
        data-testid="audit-filter-text"
      />
      <Choice
        label={words.tool}
        value={filter.tool}
        options={tools.map((tool) => [tool, tool])}
        change={(tool) => change({ ...filter, tool })}
        testid="audit-filter-tool"
      />
      <Choice
        label={words.person}
        value={filter.person}
        options={people.map((person) => [person, person])}
        change={(person) => change({ ...filter, person })}
        testid="audit-filter-person"
      />
      <Choice
        label={words.outcome}
        value={filter.outcome}
        options={OUTCOMES.map((outcome) => [outcome, strings.outcome[outcome]])}
        change={(outcome) => change({ ...filter, outcome: outcome as OutcomeKind | "" })}
        testid="audit-filter-outcome"
      />
      {filter !== NO_FILTER && Object.values(filter).some(Boolean) && (
        <Button kind="quiet" small onClick={() => change(NO_FILTER)}>
          {words.clear}
        </Button>
      )}
    </div>
  );
}

export function Choice({
  label,
  value,
  options,
  change,
  testid,
  all = strings.audit.all,
}: {
  label: string;
  value: string;
  options: [string, string][];
  change: (value: string) => void;
  testid?: string;
  all?: string | null;
}) {
  return (
    <label class="choice">
      <span>{label}</span>
      <select value={value} onChange={(event) => change(event.currentTarget.value)} data-testid={testid}>
        {all !== null && <option value="">{all}</option>}
        {options.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}
