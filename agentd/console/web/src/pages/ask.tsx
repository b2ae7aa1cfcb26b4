// The conversation: a question, every call that was made for it, and the answer.

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { modelOf, overview } from "../state/overview";
import { clear, draft, isRunning, put, stop, turns } from "../state/conversation";
import { place } from "../state/router";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Button, PageHead } from "../ui/parts";
import { TurnView } from "./turn";

/** Nearer to the end than this, one follows what is written; further up, one reads. */
const NEAR_END_PX = 160;

export function AskPage() {
  const words = strings.ask;
  const all = turns.value;
  const stick = useRef(true);
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const asked = new URLSearchParams(place.peek().search).get("q");
    if (asked) draft.value = asked;
    const watch = (): void => {
      const page = document.documentElement;
      stick.current = page.scrollHeight - window.innerHeight - window.scrollY < NEAR_END_PX;
    };
    window.addEventListener("scroll", watch, { passive: true });
    return () => window.removeEventListener("scroll", watch);
  }, []);

  useLayoutEffect(() => {
    if (stick.current && all.length) window.scrollTo(0, document.documentElement.scrollHeight);
  }, [all]);

  return (
    <div class="ask">
      <PageHead title={words.title}>
        {all.length > 0 && (
          <Button kind="quiet" small icon="trash" onClick={askClear} testid="ask-clear">
            {words.clear}
          </Button>
        )}
      </PageHead>
      {all.length === 0 ? (
        <Welcome />
      ) : (
        <div class="turns" role="log" aria-label={words.title}>
          {all.map((turn) => (
            <TurnView key={turn.id} turn={turn} />
          ))}
        </div>
      )}
      <div ref={end} />
      <Composer
        sent={() => {
          stick.current = true;
        }}
      />
    </div>
  );
}

function askClear(): void {
  confirm({ title: strings.ask.clearTitle, text: [strings.ask.clearText], action: strings.ask.clear, run: clear });
}

function Welcome() {
  const words = strings.ask;
  return (
    <div class="welcome">
      <p class="welcome-title">{words.empty}</p>
      <p class="muted">{words.emptyHint}</p>
      <div class="suggestions">
        {words.suggestions.map((text) => (
          <button type="button" class="suggestion" key={text} onClick={() => void put(text)} data-testid="ask-suggestion">
            {text}
            <Icon name="chevron" />
          </button>
        ))}
      </div>
    </div>
  );
}

function Composer({ sent }: { sent: () => void }) {
  const words = strings.ask;
  const input = useRef<HTMLTextAreaElement>(null);
  const composing = useSignal(false);
  const busy = isRunning();
  const loading = modelOf(overview.value).state === "loading";

  useLayoutEffect(() => {
    const box = input.current;
    if (!box) return;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
  }, [draft.value]);

  useEffect(() => {
    // A keyboard that unfolds over half a phone should come when it is wanted.
    if (!window.matchMedia("(pointer: coarse)").matches) input.current?.focus();
  }, []);

  function send(): void {
    const text = draft.value;
    if (!text.trim() || busy) return;
    draft.value = "";
    sent();
    void put(text);
  }

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {loading && <p class="composer-note muted">{words.loading}</p>}
      <div class="composer-box">
        <textarea
          ref={input}
          rows={1}
          value={draft.value}
          placeholder={words.placeholder}
          aria-label={words.input}
          aria-describedby="ask-keys"
          data-testid="ask-input"
          maxLength={4000}
          onInput={(event) => {
            draft.value = event.currentTarget.value;
          }}
          onCompositionStart={() => {
            composing.value = true;
          }}
          onCompositionEnd={() => {
            composing.value = false;
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !composing.value) {
              event.preventDefault();
              send();
            }
            if (event.key === "Escape" && busy) stop();
          }}
        />
        {busy ? (
          <button type="button" class="composer-button" onClick={stop} aria-label={words.stop} title={words.stop} data-testid="ask-stop">
            <Icon name="stop" />
          </button>
        ) : (
          <button
            type="submit"
            class="composer-button primary"
            aria-label={words.send}
            title={words.send}
            disabled={!draft.value.trim()}
            data-testid="ask-send"
          >
            <Icon name="send" />
          </button>
        )}
      </div>
      <p class="composer-keys" id="ask-keys">
        {words.keys}
      </p>
    </form>
  );
}
