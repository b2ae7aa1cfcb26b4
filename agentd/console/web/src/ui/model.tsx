// How the models are, in a strip: which one writes, where it runs, and what works without it; below it, each tier and
// what it did.

import type { EngineHealth, TierAccount, TierStatus } from "../api/types";
import { count, duration, price, share } from "../lib/format";
import type { ModelView } from "../state/overview";
import { strings } from "../strings";
import { Badge, Spinner, Status, type Tone } from "./parts";

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
      {"status" in view && <Facts text={view.text} embed={view.status.embed} queued={view.status.queued} />}
      {"status" in view && <Tiers tiers={view.status.tiers} />}
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
  const { text } = view;
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

function Tiers({ tiers }: { tiers: TierStatus[] }) {
  return (
    <ul class="tiers" aria-label={strings.model.tiers}>
      {tiers.map((tier) => (
        <TierLine key={tier.tier} status={tier} />
      ))}
    </ul>
  );
}

function TierLine({ status: { tier, engine, done } }: { status: TierStatus }) {
  const words = strings.model;
  const asked = done.requests + done.failed > 0;
  // A worker that died is absent as well, until it is started again.
  const notSetUp = engine.state === "absent" && engine.restarts === 0 && done.requests === 0;
  const state = notSetUp ? words.notSetUp : engine.state === "absent" ? words.gone : words.state[engine.state];
  return (
    <li class={`tier${notSetUp ? " quiet" : ""}`} data-testid={`tier-${tier}`} data-state={engine.state} title={engine.detail}>
      <span class="tier-name">{words.tierNames[tier]}</span>
      <Status tone={notSetUp ? "idle" : modelTone(engine.state)}>{state}</Status>
      {engine.model === null ? (
        <span class="tier-why">{!notSetUp && engine.detail}</span>
      ) : (
        <span class="tier-model">{engine.model}</span>
      )}
      <span class="tier-did">{asked && did(done)}</span>
    </li>
  );
}

/** What a tier did, in a line. */
export function did(done: TierAccount): string {
  const words = strings.model.did;
  const known = Math.floor(share(done.reused_tokens, done.prompt_tokens));
  const parts = [
    words.requests(done.requests, count(done.requests)),
    done.failed > 0 && words.failed(count(done.failed)),
    done.prompt_tokens > 0 && words.tokens(count(done.prompt_tokens), known, count(done.generated_tokens)),
    done.p95_ms > 0 && words.time(duration(done.p95_ms)),
    done.price_micro > 0 && words.price(price(done.price_micro), price(done.price_micro / Math.max(1, done.requests))),
  ];
  return parts.filter(Boolean).join(" · ");
}
