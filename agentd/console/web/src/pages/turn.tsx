// One question and everything that came of it.

import { useSignal } from "@preact/signals";
import { sentence } from "../api/client";
import type { Answer } from "../api/types";
import type { CallItem, ProposalItem, Turn } from "../lib/conversation";
import { clock, duration, moment } from "../lib/format";
import { argsLine } from "../lib/value";
import { dismissProposal, isRunning, put, runProposal, undo } from "../state/conversation";
import { toast } from "../state/toast";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Badge, Button, Link, Spinner } from "../ui/parts";
import { Args, Value } from "../ui/value";

export function TurnView({ turn }: { turn: Turn }) {
  const words = strings.ask;
  const waiting = turn.state === "running" && !turn.text && !turn.items.some((item) => item.kind === "call" && !item.result);
  return (
    <article class="turn" data-testid="ask-turn" data-state={turn.state}>
      <header class="question">
        <p>{turn.question}</p>
        <time class="muted" dateTime={new Date(turn.time_ms).toISOString()} title={moment(turn.time_ms)}>
          {clock(turn.time_ms)}
        </time>
      </header>
      {turn.items.map((item, at) => {
        switch (item.kind) {
          case "note":
            return (
              <p class="turn-note" key={at} data-testid="ask-note">
                {item.text}
              </p>
            );
          case "considering":
            return (
              <p class="turn-considered" key={at} title={item.tools.map((t) => `${t.name} ${t.score.toFixed(2)}`).join("\n")}>
                {words.considered(item.tools.map((tool) => tool.name).join(", "))}
              </p>
            );
          case "call":
            return <CallCard key={at} call={item} stopped={turn.state !== "running"} told={turn.text} />;
          case "proposal":
            return <ProposalCard key={at} turn={turn.id} at={at} proposal={item} />;
        }
      })}
      {waiting && (
        <p class="turn-waiting" role="status">
          <Spinner /> {words.working}
        </p>
      )}
      {turn.text && (
        // The test id belongs to a whole answer: a piece of one must not be taken for it.
        <div class={`answer${turn.state === "running" ? " streaming" : ""}`} data-testid={turn.state === "answered" ? "ask-answer" : "ask-answer-partial"}>
          {turn.text}
        </div>
      )}
      {turn.answer && <AnswerFoot answer={turn.answer} />}
      {turn.error !== null && (
        <p class="problem" role="alert" data-testid="ask-error">
          {turn.error}
        </p>
      )}
      {turn.state === "cancelled" && <p class="turn-note">{words.cancelled}</p>}
      {(turn.state === "failed" || turn.state === "cancelled") && (
        <Button small kind="quiet" icon="restart" disabled={isRunning()} onClick={() => void put(turn.question)}>
          {words.again}
        </Button>
      )}
    </article>
  );
}

function AnswerFoot({ answer }: { answer: Answer }) {
  const words = strings.ask;
  const decider = words.decider[answer.decider];
  const { prompt_tokens, generated_tokens } = answer.usage;
  return (
    <p class="answer-foot">
      <Badge tone={answer.decider === "model" ? "accent" : "idle"} title={decider.tip}>
        {decider.name}
        <span class="hidden">: {decider.tip}</span>
      </Badge>
      <span>{duration(answer.ms)}</span>
      {prompt_tokens + generated_tokens > 0 && <span>{words.usage(prompt_tokens, generated_tokens)}</span>}
    </p>
  );
}

function CallCard({ call, stopped, told }: { call: CallItem; stopped: boolean; told: string }) {
  const words = strings.ask;
  const open = useSignal(false);
  const { result } = call;
  const state = result ? (result.failed ? "failed" : "done") : stopped ? "stopped" : "running";
  const expandable = result !== null && !result.failed;
  // The answer below begins with the same sentence, as a sentence; once is enough.
  const isTold = result !== null && told.toLowerCase().includes(result.summary.toLowerCase());
  return (
    <section class={`call ${state}`} data-testid="ask-call" data-tool={call.tool} data-state={state}>
      <div class="call-head">
        <span class="call-sign">
          {state === "running" ? <Spinner /> : <Icon name={state === "done" ? "check" : state === "failed" ? "warning" : "stop"} />}
        </span>
        <code class="call-tool">{call.tool}</code>
        <Args pairs={argsLine(call.args)} />
        <span class="call-time">{result ? duration(result.ms) : state === "running" ? words.running : ""}</span>
      </div>
      {call.why && <p class="call-why">{call.why}</p>}
      {result && (
        <div class="call-result" data-testid="ask-result">
          <p class={result.failed ? "call-summary bad" : "call-summary"}>{isTold ? "" : result.summary}</p>
          <div class="call-actions">
            {expandable && (
              <button
                type="button"
                class="link disclose"
                aria-expanded={open.value}
                onClick={() => {
                  open.value = !open.value;
                }}
                data-testid="ask-details"
              >
                <Icon name="chevron" />
                {words.details}
              </button>
            )}
            {result.audit !== null && (
              <Link to={`/audit/${result.audit}`} class="link" data-testid="ask-audit">
                {words.audit(result.audit)}
              </Link>
            )}
            {call.undone !== null ? (
              <Link to={`/audit/${call.undone}`} class="link">
                {words.undone}
              </Link>
            ) : (
              result.undoable &&
              result.audit !== null && (
                <Button small icon="undo" testid="ask-undo" onClick={() => askUndo(call.tool, result.audit ?? 0)}>
                  {words.undo}
                </Button>
              )
            )}
          </div>
          {open.value && (
            <div class="call-value" data-testid="ask-value">
              {result.value === null ? <p class="muted">{result.dropped ? words.rawResult : words.noResult}</p> : <Value value={result.value} />}
            </div>
          )}
        </div>
      )}
    </section>
  );
}

function askUndo(tool: string, audit: number): void {
  const words = strings.ask;
  confirm({
    title: words.undoTitle(tool),
    text: [words.undoText],
    action: words.undo,
    reason: { initial: "" },
    run: async (why) => {
      await undo(audit, why);
      toast(strings.audit.undone);
    },
  });
}

function ProposalCard({ turn, at, proposal }: { turn: number; at: number; proposal: ProposalItem }) {
  const words = strings.ask;
  const busy = useSignal(false);
  const problem = useSignal<string | null>(null);

  async function run(): Promise<void> {
    busy.value = true;
    problem.value = null;
    try {
      await runProposal(turn, at, proposal);
    } catch (error) {
      problem.value = sentence(error);
    } finally {
      busy.value = false;
    }
  }

  return (
    <section class={`call proposal ${proposal.state}`} data-testid="ask-proposal" data-state={proposal.state}>
      <div class="call-head">
        <Badge tone="warn">{words.proposal}</Badge>
        <code class="call-tool">{proposal.tool}</code>
        {proposal.state !== "open" && <span class="call-time">{proposal.state === "ran" ? words.ran : words.dismissed}</span>}
      </div>
      {proposal.state !== "ran" && (
        // Once it ran, its card below says all of this.
        <dl class="proposal-args">
          {argsLine(proposal.args).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                <code>{value}</code>
              </dd>
            </div>
          ))}
        </dl>
      )}
      {proposal.state === "open" && (
        <>
          {proposal.why && <p class="call-why">{proposal.why}</p>}
          <p class="muted">{words.proposalText}</p>
          {problem.value && (
            <p class="problem" role="alert">
              {problem.value}
            </p>
          )}
          <div class="proposal-actions">
            <Button kind="primary" small busy={busy.value} onClick={() => void run()} testid="ask-proposal-run">
              {words.run}
            </Button>
            <Button small disabled={busy.value} onClick={() => dismissProposal(turn, at)} testid="ask-proposal-dismiss">
              {words.dismiss}
            </Button>
          </div>
        </>
      )}
    </section>
  );
}
