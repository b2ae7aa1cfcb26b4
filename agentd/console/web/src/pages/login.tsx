// Before there is a person: waiting for the machine, and logging in.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { api, ApiError, sentence } from "../api/client";
import type { Session } from "../api/types";
import { loadSession, loginNotice, session as current, sessionError } from "../state/session";
import { strings } from "../strings";
import { Mark } from "../ui/icons";
import { Button, Field, Loading, Notice } from "../ui/parts";
import { ChoosePassword } from "../ui/password";

/** The frame of the pages that need no login. */
export function FrontPage({ session, wide, children }: { session: Session | null; wide?: boolean; children: ComponentChildren }) {
  const hostname = session?.hostname;
  useEffect(() => {
    document.title = hostname ? `${hostname} · ${strings.product}` : strings.product;
  }, [hostname]);
  return (
    <main class="front">
      <div class="front-brand">
        <Mark />
        <span class="brand-words">
          <strong>{hostname ?? strings.product}</strong>
          {session && (
            <span>
              {strings.product} {session.version}
            </span>
          )}
        </span>
      </div>
      <div class={wide ? "front-body wide" : "front-body"}>{children}</div>
    </main>
  );
}

/** The machine has not said anything yet; the page asks again by itself. */
export function Connecting() {
  const why = sessionError.value;
  return (
    <FrontPage session={null}>
      <div class="front-card">
        {why === null ? (
          <Loading />
        ) : (
          <>
            <h1>{strings.login.unreachable}</h1>
            <p class="muted">{strings.login.unreachableHint}</p>
            <p class="problem">{why}</p>
            <Button icon="restart" onClick={() => void loadSession()}>
              {strings.connection.now}
            </Button>
          </>
        )}
      </div>
    </FrontPage>
  );
}

export function LoginPage({ session }: { session: Session }) {
  const words = strings.login;
  const name = useSignal("");
  const password = useSignal("");
  const problem = useSignal<string | null>(null);
  const busy = useSignal(false);
  /** The password was right and only serves to choose another. */
  const due = useSignal(false);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    if (busy.value) return;
    if (!name.value.trim() || !password.value) {
      problem.value = words.missing;
      return;
    }
    busy.value = true;
    problem.value = null;
    try {
      current.value = await api.login(name.value.trim(), password.value);
      loginNotice.value = null;
    } catch (error) {
      if (error instanceof ApiError && error.code === "password_due") {
        due.value = true;
        return;
      }
      problem.value = sentence(error);
      password.value = "";
      document.getElementById("login-password")?.focus();
    } finally {
      busy.value = false;
    }
  }

  if (due.value) {
    return (
      <FrontPage session={session}>
        <div class="front-card">
          <h1>{strings.password.dueTitle}</h1>
          <p class="muted">{strings.password.dueLead}</p>
          <ChoosePassword
            name={name.value.trim()}
            present={password.value}
            done={(now) => {
              loginNotice.value = null;
              current.value = now;
            }}
          />
        </div>
      </FrontPage>
    );
  }

  return (
    <FrontPage session={session}>
      <form class="front-card" onSubmit={submit} noValidate>
        <h1>{words.title}</h1>
        {loginNotice.value && !problem.value && <Notice tone="warn">{loginNotice.value}</Notice>}
        {problem.value && (
          <p class="problem" role="alert">
            {problem.value}
          </p>
        )}
        <Field id="login-name" label={words.name}>
          <input
            id="login-name"
            data-testid="login-name"
            value={name.value}
            onInput={(event) => {
              name.value = event.currentTarget.value;
            }}
            autocomplete="username"
            autocapitalize="none"
            spellcheck={false}
            autofocus
          />
        </Field>
        <Field id="login-password" label={words.password}>
          <input
            id="login-password"
            data-testid="login-password"
            type="password"
            value={password.value}
            onInput={(event) => {
              password.value = event.currentTarget.value;
            }}
            autocomplete="current-password"
          />
        </Field>
        <Button kind="primary" type="submit" busy={busy.value} testid="login-submit">
          {busy.value ? words.busy : words.submit}
        </Button>
      </form>
    </FrontPage>
  );
}
