// One tool: its declaration, the form that follows from it, and the answer.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { api, sentence } from "../api/client";
import type { CallDone, JsonObject, Tool } from "../api/types";
import { duration } from "../lib/format";
import { argsFrom, fieldsOf, textsFrom, type Field as FormField, type FieldProblem } from "../lib/schema";
import { may } from "../state/session";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Button, Failure, Field, Link } from "../ui/parts";
import { Value } from "../ui/value";
import { EffectBadge } from "./tools";

export function ToolDetail({ tool }: { tool: Tool }) {
  const words = strings.tools;
  const fields = useMemo(() => fieldsOf(tool.args_schema), [tool]);
  const values = useSignal<Record<string, string>>({});
  const problems = useSignal<Record<string, FieldProblem>>({});
  const why = useSignal(tool.effect === "read" ? words.whyDefault : "");
  const dry = useSignal(false);
  const busy = useSignal(false);
  const done = useSignal<CallDone | null>(null);
  const refused = useSignal<string | null>(null);
  const needsWhy = useSignal(false);
  const allowed = may(tool.role);

  async function call(args: JsonObject): Promise<void> {
    busy.value = true;
    refused.value = null;
    done.value = null;
    try {
      done.value = await api.call(tool.name, args, why.value.trim(), { dryRun: dry.value });
    } catch (error) {
      refused.value = sentence(error);
    } finally {
      busy.value = false;
    }
  }

  function submit(event: Event): void {
    event.preventDefault();
    const read = argsFrom(fields, values.value);
    problems.value = "problems" in read ? read.problems : {};
    needsWhy.value = !why.value.trim();
    if ("problems" in read || needsWhy.value) return;
    if (tool.effect === "irreversible" && !dry.value) {
      confirm({
        title: words.irreversibleTitle(tool.name),
        text: [tool.summary, words.irreversibleText],
        action: words.runGood,
        danger: true,
        run: () => call(read.args),
      });
      return;
    }
    void call(read.args);
  }

  return (
    <div class="tool">
      <h2 class="tool-name">
        <code>{tool.name}</code>
        <EffectBadge effect={tool.effect} />
      </h2>
      <p>{tool.summary}</p>
      <dl class="value-object">
        <div>
          <dt>{words.touches}</dt>
          <dd>{tool.touches.length ? tool.touches.join(", ") : words.touchesNothing}</dd>
        </div>
        <div>
          <dt>{words.role}</dt>
          <dd>{strings.roles[tool.role]}</dd>
        </div>
        <div>
          <dt>{words.timeout}</dt>
          <dd>{duration(tool.timeout_ms)}</dd>
        </div>
      </dl>
      {tool.examples.length > 0 && (
        <div class="tool-examples">
          <h3>{words.examples}</h3>
          {tool.examples.map((example) => (
            <button
              type="button"
              class="suggestion"
              key={example.ask}
              onClick={() => {
                values.value = textsFrom(fields, example.args);
                problems.value = {};
              }}
            >
              {example.ask}
            </button>
          ))}
        </div>
      )}
      <form onSubmit={submit} noValidate>
        <h3>{words.arguments}</h3>
        {fields.length === 0 && <p class="muted">{words.noArguments}</p>}
        {fields.map((field) => (
          <ArgField
            key={field.name}
            field={field}
            value={values.value[field.name] ?? field.initial}
            problem={problems.value[field.name]}
            change={(text) => {
              values.value = { ...values.value, [field.name]: text };
            }}
          />
        ))}
        <Field id="tool-why" label={strings.why} hint={strings.reasonHint} problem={needsWhy.value ? strings.reasonMissing : null}>
          <input
            id="tool-why"
            data-testid="tool-why"
            value={why.value}
            placeholder={words.whyPlaceholder}
            autocomplete="off"
            maxLength={400}
            onInput={(event) => {
              why.value = event.currentTarget.value;
            }}
          />
        </Field>
        <div class="tool-actions">
          <Button
            kind={tool.effect === "irreversible" && !dry.value ? "danger" : "primary"}
            type="submit"
            busy={busy.value}
            disabled={!allowed}
            testid="tool-run"
          >
            {busy.value ? words.running : words.run}
          </Button>
          {tool.effect !== "read" && (
            <label class="check">
              <input
                type="checkbox"
                checked={dry.value}
                onChange={(event) => {
                  dry.value = event.currentTarget.checked;
                }}
              />
              {words.dryRun}
            </label>
          )}
          {!allowed && <span class="muted">{strings.needsRole(tool.role)}</span>}
        </div>
      </form>
      {refused.value && <Failure why={refused.value} />}
      {done.value && (
        <section class="tool-answer" aria-label={words.answer} data-testid="tool-answer">
          <h3>{done.value.summary}</h3>
          <Value value={done.value.result} />
          <p>
            <Link to={`/audit/${done.value.audit}`} class="link">
              {strings.ask.audit(done.value.audit)}
            </Link>
          </p>
        </section>
      )}
    </div>
  );
}

function ArgField({
  field,
  value,
  problem,
  change,
}: {
  field: FormField;
  value: string;
  problem: FieldProblem | undefined;
  change: (text: string) => void;
}) {
  const words = strings.tools;
  const id = `arg-${field.name}`;
  const shared = { id, "data-testid": id, "aria-describedby": `${id}-note`, "aria-invalid": problem ? ("true" as const) : undefined };
  const kind = field.kind === "lines" ? words.onePerLine : field.kind === "json" ? words.asJson : "";
  const label = (
    <>
      <code>{field.name}</code>
      <span class="muted"> {[field.required ? "" : words.optional, kind].filter(Boolean).join(", ")}</span>
    </>
  );
  return (
    <Field id={id} label={label} hint={field.help || undefined} problem={problem && words.problems[problem]}>
      {field.kind === "choice" || field.kind === "boolean" ? (
        <select {...shared} value={value} onChange={(event) => change(event.currentTarget.value)}>
          {(!field.required || !value) && <option value="">{words.unset}</option>}
          {field.kind === "boolean" ? (
            <>
              <option value="true">{strings.yes}</option>
              <option value="false">{strings.no}</option>
            </>
          ) : (
            field.choices.map((choice) => <option key={choice}>{choice}</option>)
          )}
        </select>
      ) : field.kind === "lines" || field.kind === "json" || field.name === "content" || field.name === "text" ? (
        <textarea {...shared} rows={4} value={value} spellcheck={false} onInput={(event) => change(event.currentTarget.value)} />
      ) : (
        <input
          {...shared}
          inputMode={field.kind === "integer" ? "numeric" : field.kind === "number" ? "decimal" : "text"}
          value={value}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="none"
          onInput={(event) => change(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}
