// Choosing a password of one's own: after a first login, and whenever a person wants to.

import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import type { Session } from "../api/types";
import { missingCharacters } from "../lib/account";
import { strings } from "../strings";
import { useForm } from "./form";
import { Button, Field } from "./parts";

type Problems = { present?: string; new?: string; again?: string };

type Props = {
  name: string;
  /** The present password, where it has just been typed. */
  present?: string;
  done: (session: Session) => void;
};

export function ChoosePassword({ name, present, done }: Props) {
  const words = strings.password;
  const old = useSignal(present ?? "");
  const chosen = useSignal("");
  const again = useSignal("");

  function check(): Problems {
    const found: Problems = {};
    if (!old.value) found.present = words.presentMissing;
    const left = missingCharacters(chosen.value);
    if (left > 0) found.new = strings.claim.passwordShort(left);
    if (again.value !== chosen.value) found.again = strings.claim.confirmDiffers;
    return found;
  }

  const { problems, refused, busy, submit } = useForm("password", check, async () => {
    const session = await api.password(name, old.value, chosen.value);
    old.value = "";
    chosen.value = "";
    again.value = "";
    done(session);
  });

  const shown = problems.value;
  const input = (id: keyof Problems, value: typeof old, autocomplete: "current-password" | "new-password") => (
    <input
      id={`password-${id}`}
      data-testid={`password-${id}`}
      type="password"
      value={value.value}
      onInput={(event) => {
        value.value = event.currentTarget.value;
      }}
      autocomplete={autocomplete}
      aria-describedby={`password-${id}-note`}
      aria-invalid={shown[id] ? "true" : undefined}
    />
  );
  return (
    <form class="password-form" onSubmit={submit} noValidate>
      {refused.value && (
        <p class="problem" role="alert">
          {refused.value}
        </p>
      )}
      {/* For programs that keep passwords. */}
      <input type="text" value={name} autocomplete="username" readOnly hidden />
      {present === undefined && (
        <Field id="password-present" label={words.present} hint="" problem={shown.present}>
          {input("present", old, "current-password")}
        </Field>
      )}
      <Field id="password-new" label={words.chosen} hint={strings.claim.passwordHint} problem={shown.new}>
        {input("new", chosen, "new-password")}
      </Field>
      <Field id="password-again" label={words.again} hint="" problem={shown.again}>
        {input("again", again, "new-password")}
      </Field>
      <Button kind="primary" type="submit" busy={busy.value} testid="password-submit">
        {busy.value ? words.busy : words.submit}
      </Button>
    </form>
  );
}
