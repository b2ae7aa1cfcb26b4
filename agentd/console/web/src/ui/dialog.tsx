// One question before something is done: what will happen, and why it should. The browser's own dialog keeps
// the focus inside and closes with Escape.

import { signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { sentence } from "../api/client";
import { strings } from "../strings";
import { Button } from "./parts";

export type Question = {
  title: string;
  /** What will happen, a paragraph each. */
  text: string[];
  action: string;
  busy?: string;
  danger?: boolean;
  /** Whether a reason is asked for, and what it is when nothing else is typed. */
  reason?: { initial: string } | null;
  /** Does it. What it throws is shown, and the dialog stays open. */
  run: (reason: string) => Promise<void> | void;
};

const open = signal<Question | null>(null);

export function confirm(question: Question): void {
  open.value = question;
}

/** Where the dialog appears; the shell holds exactly one. */
export function DialogHost() {
  const question = open.value;
  return question && <QuestionDialog question={question} key={question.title} />;
}

function QuestionDialog({ question }: { question: Question }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const reason = useSignal(question.reason?.initial ?? "");
  const problem = useSignal<string | null>(null);
  const busy = useSignal(false);

  useEffect(() => {
    dialog.current?.showModal();
  }, []);

  const close = (): void => {
    if (!busy.value) open.value = null;
  };

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    if (busy.value) return;
    if (question.reason && !reason.value.trim()) {
      problem.value = strings.reasonMissing;
      return;
    }
    busy.value = true;
    problem.value = null;
    try {
      await question.run(reason.value.trim());
      open.value = null;
    } catch (error) {
      problem.value = sentence(error);
    } finally {
      busy.value = false;
    }
  }

  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) close();
      }}
      data-testid="dialog"
    >
      <form onSubmit={submit}>
        <h2 id="dialog-title">{question.title}</h2>
        {question.text.map((text) => (
          <p key={text}>{text}</p>
        ))}
        {question.reason && (
          <div class="field">
            <label for="dialog-reason">{strings.reason}</label>
            <input
              id="dialog-reason"
              data-testid="dialog-reason"
              value={reason.value}
              onInput={(event) => {
                reason.value = event.currentTarget.value;
              }}
              autocomplete="off"
              maxLength={400}
              aria-describedby="dialog-reason-note"
            />
            <p class="field-note" id="dialog-reason-note">
              {strings.reasonHint}
            </p>
          </div>
        )}
        {problem.value && (
          <p class="problem" role="alert">
            {problem.value}
          </p>
        )}
        <div class="dialog-actions">
          <Button onClick={close} disabled={busy.value}>
            {strings.cancel}
          </Button>
          <Button kind={question.danger ? "danger" : "primary"} type="submit" busy={busy.value} testid="dialog-confirm">
            {busy.value && question.busy ? question.busy : question.action}
          </Button>
        </div>
      </form>
    </dialog>
  );
}
