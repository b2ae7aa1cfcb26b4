// A form that is checked here before the console is asked: what is wrong stands beside its field, what is refused above all.

import { type Signal, useSignal } from "@preact/signals";
import { sentence } from "../api/client";

type Form<Problems> = {
  /** What is wrong with which field. */
  problems: Signal<Problems>;
  /** What the console said when it refused. */
  refused: Signal<string | null>;
  /** It is being asked. */
  busy: Signal<boolean>;
  submit: (event: Event) => Promise<void>;
};

/** `check` says what is wrong, by the fields' ids without `prefix`; `send` asks the console. */
export function useForm<Problems extends object>(
  prefix: string,
  check: () => Problems,
  send: () => Promise<void>,
): Form<Problems> {
  const problems = useSignal({} as Problems);
  const refused = useSignal<string | null>(null);
  const busy = useSignal(false);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    if (busy.value) return;
    refused.value = null;
    problems.value = check();
    const first = Object.keys(problems.value)[0];
    if (first) {
      document.getElementById(`${prefix}-${first}`)?.focus();
      return;
    }
    busy.value = true;
    try {
      await send();
    } catch (error) {
      refused.value = sentence(error);
    } finally {
      busy.value = false;
    }
  }

  return { problems, refused, busy, submit };
}
