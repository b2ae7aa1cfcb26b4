// The small parts that every page is made of.

import type { ComponentChildren, JSX } from "preact";
import { strings } from "../strings";
import { go } from "../state/router";
import { Icon, type IconName } from "./icons";

type ButtonProps = {
  kind?: "primary" | "plain" | "quiet" | "danger";
  small?: boolean;
  icon?: IconName;
  busy?: boolean;
  testid?: string;
  children?: ComponentChildren;
} & Omit<JSX.IntrinsicElements["button"], "icon">;

export function Button({ kind = "plain", small, icon, busy, testid, children, disabled, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      class={`button ${kind}${small ? " small" : ""}`}
      disabled={disabled || busy}
      aria-busy={busy ? "true" : undefined}
      data-testid={testid}
      {...rest}
    >
      {busy ? <Spinner /> : icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

type LinkProps = {
  to: string;
  class?: string;
  children?: ComponentChildren;
  "aria-current"?: "page" | "true" | undefined;
  "data-testid"?: string;
  "data-state"?: string;
};

/** A link inside the console: no page load, but it opens in a new tab like any other link. */
export function Link({ to, ...rest }: LinkProps) {
  return (
    <a
      {...rest}
      href={to}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        go(to);
      }}
    />
  );
}

export function Spinner() {
  return <span class="spinner" aria-hidden="true" />;
}

export type Tone = "good" | "warn" | "bad" | "busy" | "idle" | "accent";

/** A word with a dot: the colour never says anything that the word does not say. */
export function Status({ tone, children, title }: { tone: Tone; children: ComponentChildren; title?: string | undefined }) {
  return (
    <span class={`status ${tone}`} title={title}>
      <span class="dot" aria-hidden="true" />
      {children}
    </span>
  );
}

export function Badge({ tone = "idle", title, children }: { tone?: Tone; title?: string; children: ComponentChildren }) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

/** One thing that is wrong, or good to know, with what helps. */
export function Notice({
  tone,
  title,
  children,
  alert,
  testid,
}: {
  tone: Tone;
  title?: ComponentChildren;
  children?: ComponentChildren;
  alert?: boolean;
  testid?: string;
}) {
  return (
    <div class={`notice ${tone}`} role={alert ? "alert" : undefined} data-testid={testid}>
      <Icon name={tone === "good" ? "check" : tone === "bad" || tone === "warn" ? "warning" : "overview"} />
      <div class="notice-body">
        {title && <strong>{title}</strong>}
        {children}
      </div>
    </div>
  );
}

export function Empty({ title, hint, children }: { title: string; hint?: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {hint && <p class="muted">{hint}</p>}
      {children}
    </div>
  );
}

export function Loading({ text = strings.loading }: { text?: string }) {
  return (
    <p class="loading" role="status">
      <Spinner /> {text}
    </p>
  );
}

/** What failed, and the way to try again. */
export function Failure({ why, retry }: { why: string; retry?: () => void }) {
  return (
    <Notice tone="bad" alert>
      <p>{why}</p>
      {retry && (
        <Button small icon="restart" onClick={retry}>
          {strings.retry}
        </Button>
      )}
    </Notice>
  );
}

/** A share of a whole as a bar. */
export function Meter({ percent, label, tone = "accent" }: { percent: number; label: string; tone?: Tone }) {
  const width = Math.round(Math.min(100, Math.max(0, percent)));
  return (
    <span
      class={`meter ${tone}`}
      role="meter"
      aria-label={label}
      aria-valuenow={width}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span class="meter-fill" style={{ width: `${width}%` }} />
    </span>
  );
}

/** A label, its control, and one line below: help, or what is wrong. An empty hint keeps the line's place. */
export function Field({
  id,
  label,
  hint,
  problem,
  children,
}: {
  id: string;
  label: ComponentChildren;
  hint?: ComponentChildren;
  problem?: string | null | undefined;
  children: ComponentChildren;
}) {
  return (
    <div class={`field${problem ? " has-problem" : ""}`}>
      <label for={id}>{label}</label>
      {children}
      {(problem || hint !== undefined) && (
        <p class="field-note" id={`${id}-note`}>
          {problem || hint}
        </p>
      )}
    </div>
  );
}

export function PageHead({ title, lead, children }: { title: ComponentChildren; lead?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="page-head">
      <div class={lead ? "page-title with-lead" : "page-title"}>
        <h1>{title}</h1>
        {lead && <p class="muted">{lead}</p>}
      </div>
      {children && <div class="page-actions">{children}</div>}
    </header>
  );
}
