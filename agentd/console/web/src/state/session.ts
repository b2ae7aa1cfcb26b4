// Who is logged in, and on which machine.

import { signal } from "@preact/signals";
import { api, ApiError, sentence, whenUnauthenticated } from "../api/client";
import { pauseMs } from "../api/follow";
import { ROLES, type Role, type Session } from "../api/types";
import { strings } from "../strings";

/** Null until the machine has said. */
export const session = signal<Session | null>(null);
/** Why there is no session yet. */
export const sessionError = signal<string | null>(null);
/** What the login page says when it was not the person who came to it. */
export const loginNotice = signal<string | null>(null);

let asking = false;
let attempt = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Asks the machine until it answers. */
export async function loadSession(): Promise<void> {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  timer = undefined;
  try {
    session.value = await api.session();
    sessionError.value = null;
    attempt = 0;
  } catch (error) {
    sessionError.value = sentence(error);
    attempt += 1;
    timer = setTimeout(() => void loadSession(), pauseMs(attempt, Math.random()));
  } finally {
    asking = false;
  }
}

window.addEventListener("online", () => {
  if (timer !== undefined) void loadSession();
});

whenUnauthenticated(() => {
  const now = session.value;
  if (!now?.user) return;
  loginNotice.value = strings.errors.loginEnded;
  session.value = { ...now, user: null };
});

/** Ends the login here even when the machine cannot be told; its cookie then ends by itself. */
export async function logout(): Promise<void> {
  try {
    await api.logout();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
  for (const listener of onLogout) listener();
  loginNotice.value = null;
  if (session.value) session.value = { ...session.value, user: null };
}

const onLogout: (() => void)[] = [];

/** What must not stay in the browser after a logout. */
export function whenLoggedOut(listener: () => void): void {
  onLogout.push(listener);
}

/** Whether the person's role reaches the given one. The machine decides; this only spares a refusal. */
export function may(role: Role): boolean {
  const mine = session.value?.user?.role;
  return mine !== undefined && ROLES.indexOf(mine) >= ROLES.indexOf(role);
}
