// How the model is, in a strip: which one, where it runs, and what works without it.

import type { EngineHealth } from "../api/types";
import type { ModelView } from "../state/overview";
import { strings } from "../strings";
import { Badge, Spinner, type Tone } from "./parts";

export function modelTone(state: ModelView["state"] | "offline"): Tone {
  switch (state) {
    case "ready":
      return "good";
    case "loading":
      return "busy";
    case "failed":
    case "away":
      return "bad";
    case "absent":
      return "warn";
    case "unknown":
    case "offline":
      return "idle";
  }
}

export function ModelStrip({ view }: { view: ModelView }) {
  const words = strings.model;
  return (
    <section class={`model-strip ${modelTone(view.state)}`} aria-label={words.title} data-testid="model-strip" data-state={view.state}>
      <span class="model-sign" aria-hidden="true">
        {view.state === "loading" || view.state === "unknown" ? <Spinner /> : <span class="dot" />}
      </span>
      <div class="model-words">
        <Words view={view} />
      </div>
      {"status" in view && <Facts text={view.status.text} embed={view.status.embed} queued={view.status.queued} />}
    </section>
  );
}

function Words({ view }: { view: ModelView }) {
  const words = strings.model;
  if (view.state === "unknown") return <p>{strings.overview.waiting}</p>;
  if (view.state === "away") {
    return (
      <>
        <p>
          <strong>{view.who === "agent" ? words.agentAway(view.why) : words.inferenceAway(view.why)}</strong>
        </p>
        <p class="muted">{view.who === "agent" ? words.agentAwayHint : words.withoutModel}</p>
      </>
    );
  }
  const { text } = view.status;
  const place = text.place === "outside" ? words.outside : words.machine;
  return (
    <>
      <p>
        <strong>{words.short[view.state]}</strong>
        {text.model && <span class="model-name">{text.model}</span>}
      </p>
      <p class="muted">
        {text.detail.replace(/[.\s]*$/, ".")}
        {view.state === "ready" || view.state === "loading" ? ` ${place}` : ` ${words.withoutModel}`}
      </p>
    </>
  );
}

function Facts({ text, embed, queued }: { text: EngineHealth; embed: EngineHealth; queued: number }) {
  const words = strings.model;
  return (
    <div class="model-facts">
      {queued > 0 && <Badge tone="busy">{words.queued(queued)}</Badge>}
      {text.restarts > 0 && <Badge tone="warn">{words.restarts(text.restarts)}</Badge>}
      <Badge tone={modelTone(embed.state)} title={embed.detail}>
        {words.embedding}: {words.short[embed.state].replace(/^\S+ /, "")}
      </Badge>
    </div>
  );
}
