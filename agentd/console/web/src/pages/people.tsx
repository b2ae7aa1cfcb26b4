// Who has an account, and one's own password. What is done here are calls of the tools users.*: decided, recorded and undone
// like any other.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, sentence } from "../api/client";
import { ROLES, type Account, type CallDone, type JsonObject, type Role } from "../api/types";
import { NAME } from "../lib/account";
import { may, session } from "../state/session";
import { toast } from "../state/toast";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Button, Failure, Field, Loading, Notice, PageHead, Status } from "../ui/parts";
import { ChoosePassword } from "../ui/password";

/** A password that the machine made; it is said once. */
type Made = { name: string; password: string };

export function PeoplePage() {
  const words = strings.people;
  const people = useSignal<Account[] | null>(null);
  const problem = useSignal<string | null>(null);
  const made = useSignal<Made | null>(null);
  const me = session.value?.user?.name ?? "";

  async function load(): Promise<void> {
    if (!may("operator")) return;
    try {
      const done = await api.call("users.list", {}, words.looked);
      people.value = (done.result as { accounts: Account[] }).accounts;
      problem.value = null;
    } catch (error) {
      problem.value = sentence(error);
    }
  }

  useEffect(() => {
    void load();
  }, []);

  /** Asks for the reason, calls the tool, and shows what came of it. */
  function ask(title: string, text: string[], action: string, tool: string, args: JsonObject, danger = false): void {
    confirm({
      title,
      text,
      action,
      danger,
      busy: words.busy,
      reason: { initial: "" },
      run: async (why) => {
        const done: CallDone = await api.call(tool, args, why);
        const password = (done.result as { one_time_password?: string | null }).one_time_password;
        made.value = password ? { name: String(args["name"]), password } : null;
        toast(done.summary);
        await load();
      },
    });
  }

  return (
    <>
      <PageHead title={words.title} lead={words.lead} />
      {made.value && (
        <Notice tone="good" title={words.madeTitle(made.value.name)} testid="people-made" alert>
          <p>
            <code class="made-password" data-testid="people-password">
              {made.value.password}
            </code>
          </p>
          <p>{words.madeHint}</p>
          <Button
            small
            onClick={() => {
              made.value = null;
            }}
          >
            {words.madeSeen}
          </Button>
        </Notice>
      )}
      {may("operator") && (
        <section class="card services people" aria-labelledby="people-title">
          <div class="card-head">
            <h2 id="people-title">{words.accounts}</h2>
          </div>
          {problem.value !== null && <Failure why={problem.value} retry={() => void load()} />}
          {people.value === null && problem.value === null && <Loading />}
          {people.value && (
            <table class="table stack">
              <thead>
                <tr>
                  <th scope="col">{words.columns.name}</th>
                  <th scope="col">{words.columns.role}</th>
                  <th scope="col">{words.columns.state}</th>
                  <th scope="col" class="number">
                    {words.columns.logins}
                  </th>
                  <th scope="col" class="number">
                    {words.columns.keys}
                  </th>
                  <th scope="col">
                    <span class="hidden">{strings.overview.columns.actions}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {people.value.map((person) => (
                  <Person key={person.name} person={person} me={me} ask={ask} />
                ))}
              </tbody>
            </table>
          )}
          {may("admin") && <Add ask={ask} />}
        </section>
      )}
      <section class="card own-password" aria-labelledby="own-title">
        <div class="card-head">
          <h2 id="own-title">{words.own}</h2>
        </div>
        <p class="muted">{words.ownHint}</p>
        <ChoosePassword
          name={me}
          done={(now) => {
            session.value = now;
            toast(words.ownDone);
          }}
        />
      </section>
    </>
  );
}

type Ask = (title: string, text: string[], action: string, tool: string, args: JsonObject, danger?: boolean) => void;

function Person({ person, me, ask }: { person: Account; me: string; ask: Ask }) {
  const words = strings.people;
  const { name, disabled } = person;
  const state = disabled ? words.disabled : person.password_due ? words.due : words.active;
  const action = (text: string, testid: string, run: () => void) => (
    <Button
      kind="quiet"
      small
      testid={testid}
      disabled={!may("admin")}
      title={may("admin") ? undefined : strings.needsRole("admin")}
      aria-label={`${text}: ${name}`}
      onClick={run}
    >
      {text}
    </Button>
  );
  return (
    <tr data-testid="person-row" data-person={name}>
      <th scope="row" class="service-name">
        <span>{name}</span>
        {name === me && <span class="muted">{words.you}</span>}
      </th>
      <td class="person-role" data-label={words.columns.role}>
        <select
          aria-label={`${words.columns.role}: ${name}`}
          data-testid="person-role"
          value={person.role}
          disabled={!may("admin")}
          onChange={(event) => {
            const role = event.currentTarget.value as Role;
            // Until the machine has done it, it is as it was.
            event.currentTarget.value = person.role;
            const title = words.roleTitle(name, strings.roles[role]);
            ask(title, [words.roleText], words.change, "users.modify", { name, role });
          }}
        >
          {ROLES.map((role) => (
            <option key={role} value={role}>
              {strings.roles[role]}
            </option>
          ))}
        </select>
      </td>
      <td class="person-state" data-label={words.columns.state}>
        <Status tone={disabled ? "idle" : person.password_due ? "warn" : "good"}>{state}</Status>
      </td>
      <td class="number" data-label={words.columns.logins}>
        {person.sessions + person.tokens}
      </td>
      <td class="number" data-label={words.columns.keys}>
        {person.keys.length}
      </td>
      <td class="row-actions">
        {disabled
          ? action(words.enable, "person-enable", () =>
              ask(words.enableTitle(name), [], words.enable, "users.modify", { name, disabled: false }),
            )
          : action(words.disable, "person-disable", () =>
              ask(words.disableTitle(name), [words.disableText], words.disable, "users.modify", { name, disabled: true }),
            )}
        {action(words.reset, "person-reset", () =>
          ask(words.resetTitle(name), [words.resetText], words.reset, "users.modify", { name, new_password: true }),
        )}
        {action(words.remove, "person-remove", () =>
          ask(words.removeTitle(name), [words.removeText], words.remove, "users.remove", { name }, true),
        )}
      </td>
    </tr>
  );
}

function Add({ ask }: { ask: Ask }) {
  const words = strings.people;
  const name = useSignal("");
  const role = useSignal<Role>("viewer");
  const problem = useSignal<string | null>(null);

  function submit(event: Event): void {
    event.preventDefault();
    problem.value = NAME.test(name.value) ? null : strings.claim.nameBad;
    if (problem.value) return;
    const args = { name: name.value, role: role.value };
    ask(words.addTitle(name.value, strings.roles[role.value]), [words.addText], words.add, "users.create", args);
  }

  return (
    <form class="add-person" onSubmit={submit} noValidate>
      <Field id="add-name" label={words.name} hint="" problem={problem.value}>
        <input
          id="add-name"
          data-testid="add-name"
          value={name.value}
          onInput={(event) => {
            name.value = event.currentTarget.value;
          }}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          maxLength={32}
          aria-describedby="add-name-note"
          aria-invalid={problem.value ? "true" : undefined}
        />
      </Field>
      <Field id="add-role" label={words.columns.role} hint={words.roleHints[role.value]}>
        <select
          id="add-role"
          data-testid="add-role"
          value={role.value}
          onChange={(event) => {
            role.value = event.currentTarget.value as Role;
          }}
          aria-describedby="add-role-note"
        >
          {ROLES.map((one) => (
            <option key={one} value={one}>
              {strings.roles[one]}
            </option>
          ))}
        </select>
      </Field>
      <Button type="submit" testid="add-submit">
        {words.add}
      </Button>
    </form>
  );
}
