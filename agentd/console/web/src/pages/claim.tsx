// The first page that a new machine shows: who can read its console becomes its owner.

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { api } from "../api/client";
import type { Session } from "../api/types";
import { missingCharacters, NAME } from "../lib/account";
import { caretAfter, formatCode, isWholeCode } from "../lib/claimcode";
import { forget } from "../state/audit";
import { session as current } from "../state/session";
import { strings } from "../strings";
import { useForm } from "../ui/form";
import { Button, Field } from "../ui/parts";
import { FrontPage } from "./login";

type Problems = { code?: string; name?: string; password?: string; confirm?: string };

export function ClaimPage({ session }: { session: Session }) {
  const words = strings.claim;
  const code = useSignal("");
  const name = useSignal("");
  const password = useSignal("");
  const again = useSignal("");
  const codeInput = useRef<HTMLInputElement>(null);
  const caret = useRef<number | null>(null);

  // Formatting moves the text under the cursor; it goes back behind the letter that was typed.
  useLayoutEffect(() => {
    if (caret.current === null) return;
    codeInput.current?.setSelectionRange(caret.current, caret.current);
    caret.current = null;
  }, [code.value]);

  function check(): Problems {
    const found: Problems = {};
    if (!isWholeCode(code.value)) found.code = words.codeShort;
    if (!NAME.test(name.value)) found.name = words.nameBad;
    const left = missingCharacters(password.value);
    if (left > 0) found.password = words.passwordShort(left);
    if (again.value !== password.value) found.confirm = words.confirmDiffers;
    return found;
  }

  const { problems, refused, busy, submit } = useForm("claim", check, async () => {
    current.value = await api.claim(code.value, name.value, password.value);
    forget();
  });

  const shown = problems.value;
  return (
    <FrontPage session={session} wide>
      <form class="front-card" onSubmit={submit} noValidate>
        <h1>{words.title}</h1>
        <p class="muted">{words.lead}</p>
        {refused.value && (
          <p class="problem" role="alert">
            {refused.value}
          </p>
        )}
        <Field id="claim-code" label={words.code} hint={words.codeHint} problem={shown.code}>
          <input
            id="claim-code"
            data-testid="claim-code"
            ref={codeInput}
            class="code-input"
            value={code.value}
            placeholder="XXXX-XXXX-XXXX"
            onInput={(event) => {
              const typed = event.currentTarget.value;
              caret.current = caretAfter(typed, event.currentTarget.selectionStart ?? typed.length);
              code.value = formatCode(typed);
              event.currentTarget.value = code.value;
              event.currentTarget.setSelectionRange(caret.current, caret.current);
            }}
            autocomplete="one-time-code"
            autocapitalize="characters"
            spellcheck={false}
            aria-describedby="claim-code-note"
            aria-invalid={shown.code ? "true" : undefined}
          />
        </Field>
        <Field id="claim-name" label={words.name} hint={words.nameHint} problem={shown.name}>
          <input
            id="claim-name"
            data-testid="claim-name"
            value={name.value}
            onInput={(event) => {
              name.value = event.currentTarget.value;
            }}
            autocomplete="username"
            autocapitalize="none"
            spellcheck={false}
            maxLength={32}
            aria-describedby="claim-name-note"
            aria-invalid={shown.name ? "true" : undefined}
          />
        </Field>
        <Field id="claim-password" label={words.password} hint={words.passwordHint} problem={shown.password}>
          <input
            id="claim-password"
            data-testid="claim-password"
            type="password"
            value={password.value}
            onInput={(event) => {
              password.value = event.currentTarget.value;
            }}
            autocomplete="new-password"
            aria-describedby="claim-password-note"
            aria-invalid={shown.password ? "true" : undefined}
          />
        </Field>
        <Field id="claim-confirm" label={words.confirm} hint="" problem={shown.confirm}>
          <input
            id="claim-confirm"
            data-testid="claim-confirm"
            type="password"
            value={again.value}
            onInput={(event) => {
              again.value = event.currentTarget.value;
            }}
            autocomplete="new-password"
            aria-describedby="claim-confirm-note"
            aria-invalid={shown.confirm ? "true" : undefined}
          />
        </Field>
        <Button kind="primary" type="submit" busy={busy.value} testid="claim-submit">
          {busy.value ? words.busy : words.submit}
        </Button>
      </form>
      <aside class="front-aside">
        <h2>{words.where}</h2>
        <p>
          {words.whereSerial} <code>aios: claim code XXXX-XXXX-XXXX</code>.
        </p>
        <p>{words.whereTerminal}</p>
        <h2>{words.fingerprint}</h2>
        <Fingerprint text={session.fingerprint} />
        <p class="muted">{words.fingerprintHint}</p>
      </aside>
    </FrontPage>
  );
}

/** In groups of eight bytes, so that the eye finds its place again. */
function Fingerprint({ text }: { text: string }) {
  const bytes = text.split(":");
  const lines = Array.from({ length: Math.ceil(bytes.length / 8) }, (_, i) => bytes.slice(i * 8, i * 8 + 8));
  return (
    <p class="fingerprint" data-testid="claim-fingerprint" aria-label={text}>
      {lines.map((line, i) => (
        <span key={i}>{line.join(":")}</span>
      ))}
    </p>
  );
}

