// The frame around the pages: where one is, which machine this is, how its model is, who one is.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Person, Session } from "../api/types";
import { machineAway, modelOf, overview, retryNow, watchMachine } from "../state/overview";
import { logout } from "../state/session";
import { THEMES, theme } from "../state/theme";
import { strings } from "../strings";
import { DialogHost } from "./dialog";
import { Icon, Mark, type IconName } from "./icons";
import { modelTone } from "./model";
import { Button, Link } from "./parts";
import { Toasts } from "./toasts";

const PAGES: { page: string; to: string; icon: IconName }[] = [
  { page: "overview", to: "/", icon: "overview" },
  { page: "ask", to: "/ask", icon: "ask" },
  { page: "audit", to: "/audit", icon: "audit" },
  { page: "logs", to: "/logs", icon: "logs" },
  { page: "tools", to: "/tools", icon: "tools" },
  { page: "models", to: "/models", icon: "model" },
  { page: "people", to: "/people", icon: "person" },
];

const media = window.matchMedia("(max-width: 760px)");
const narrow = signal(media.matches);
media.addEventListener("change", (event) => {
  narrow.value = event.matches;
});

type Props = { session: Session; user: Person; page: string; children: ComponentChildren };

export function Shell({ session, user, page, children }: Props) {
  useEffect(watchMachine, []);
  const name = strings.nav[page as "overview"] ?? strings.errors.notFound;
  useEffect(() => {
    document.title = `${name} · ${session.hostname} · ${strings.product}`;
  }, [name, session.hostname]);

  return (
    <div class={narrow.value ? "shell narrow" : "shell"}>
      <a class="skip" href="#content">
        {strings.skipToContent}
      </a>
      {narrow.value ? <TopBar session={session} user={user} /> : <SideBar session={session} user={user} page={page} />}
      <main id="content" tabIndex={-1} class={`page page-${page}`}>
        <ConnectionBanner />
        {children}
      </main>
      {narrow.value && <Navigation page={page} />}
      <Toasts />
      <DialogHost />
    </div>
  );
}

function SideBar({ session, user, page }: { session: Session; user: Person; page: string }) {
  return (
    <aside class="side">
      <Brand session={session} />
      <Navigation page={page} />
      <div class="side-foot">
        <ModelPill />
        <ThemeChoice />
        <Account user={user} />
      </div>
    </aside>
  );
}

function TopBar({ session, user }: { session: Session; user: Person }) {
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event): void => {
      const escaped = event instanceof KeyboardEvent && event.key === "Escape";
      const outside = !(event instanceof KeyboardEvent) && !menu.current?.contains(event.target as Node);
      if (menu.current && (escaped || outside)) menu.current.open = false;
    };
    document.addEventListener("click", close);
    document.addEventListener("keydown", close);
    return () => {
      document.removeEventListener("click", close);
      document.removeEventListener("keydown", close);
    };
  }, []);
  return (
    <header class="top">
      <Brand session={session} />
      <ModelPill />
      <details class="menu" ref={menu}>
        <summary aria-label={strings.nav.account(user.name, strings.roles[user.role])}>
          <Icon name="person" />
        </summary>
        <div class="menu-body">
          <ThemeChoice />
          <Account user={user} />
        </div>
      </details>
    </header>
  );
}

function Brand({ session }: { session: Session }) {
  return (
    <Link to="/" class="brand">
      <Mark />
      <span class="brand-words">
        <strong title={session.hostname}>{session.hostname}</strong>
        <span>
          {strings.product} {session.version}
        </span>
      </span>
    </Link>
  );
}

function Navigation({ page }: { page: string }) {
  return (
    <nav class="nav" aria-label={strings.nav.label}>
      {PAGES.map((entry) => (
        <Link
          key={entry.page}
          to={entry.to}
          class="nav-link"
          aria-current={entry.page === page ? "page" : undefined}
          data-testid={`nav-${entry.page}`}
        >
          <Icon name={entry.icon} />
          <span>{strings.nav[entry.page as "overview"]}</span>
        </Link>
      ))}
    </nav>
  );
}

function ModelPill() {
  // What was last heard of a machine that is gone says nothing about now.
  const state = machineAway.value ? "offline" : modelOf(overview.value).state;
  return (
    <Link to="/" class={`pill ${modelTone(state)}`} data-testid="model-state" data-state={state}>
      <span class="dot" aria-hidden="true" />
      {strings.model.short[state]}
    </Link>
  );
}

function ThemeChoice() {
  return (
    <div class="segments" role="group" aria-label={strings.theme.label}>
      {THEMES.map((choice) => (
        <button
          type="button"
          key={choice}
          aria-pressed={theme.value === choice}
          data-testid={`theme-${choice}`}
          onClick={() => {
            theme.value = choice;
          }}
        >
          {strings.theme[choice]}
        </button>
      ))}
    </div>
  );
}

function Account({ user }: { user: Person }) {
  return (
    <div class="account">
      <Icon name="person" />
      <span class="account-words">
        <strong>{user.name}</strong>
        <span>{strings.roles[user.role]}</span>
      </span>
      <button
        type="button"
        class="icon-button"
        aria-label={strings.nav.logout}
        title={strings.nav.logout}
        data-testid="logout"
        onClick={() => void logout()}
      >
        <Icon name="logout" />
      </button>
    </div>
  );
}

/** Lies over the page, so that nothing moves when the machine goes and comes back. */
function ConnectionBanner() {
  const away = machineAway.value;
  return (
    <div class={away ? "banner shown" : "banner"} role="status" data-testid="connection-away" hidden={!away}>
      {away && (
        <>
          <Icon name="warning" />
          <span>{strings.connection.away}</span>
          <span class="muted">{strings.connection.retrying}</span>
          <Button small onClick={retryNow}>
            {strings.connection.now}
          </Button>
        </>
      )}
    </div>
  );
}
