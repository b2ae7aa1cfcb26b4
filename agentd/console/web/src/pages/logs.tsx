// The logs as they are written. Pausing keeps the lines still; nothing is lost meanwhile.

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { api, sentence } from "../api/client";
import { follow, type Link } from "../api/follow";
import type { ApiErrorBody, LogLine } from "../api/types";
import { clock, count, moment } from "../lib/format";
import { levelOf, merge } from "../lib/logbook";
import { overview } from "../state/overview";
import { go, place } from "../state/router";
import { strings } from "../strings";
import { Button, Empty, Failure, Loading, PageHead, Status } from "../ui/parts";
import { Choice } from "./audit";

const HISTORY = 500;
/** The machine sends a sign of life every fifteen seconds. */
const SILENCE_MS = 40_000;
const NEAR_END_PX = 48;

export function LogsPage() {
  const words = strings.logs;
  const search = new URLSearchParams(place.value.search);
  const unit = search.get("unit") ?? "";
  const contains = search.get("contains") ?? "";
  const level = Number(search.get("level") ?? 7);

  const lines = useSignal<LogLine[]>([]);
  const held = useSignal<LogLine[]>([]);
  const dropped = useSignal(0);
  const link = useSignal<Link>({ at: "connecting" });
  const problem = useSignal<string | null>(null);
  const loaded = useSignal(false);
  const paused = useSignal(false);
  const box = useRef<HTMLDivElement>(null);
  const stick = useRef(true);

  useEffect(() => {
    const abort = new AbortController();
    lines.value = [];
    held.value = [];
    loaded.value = false;
    problem.value = null;
    stick.current = true;
    // Lines arrive in bursts; the page is drawn once a frame.
    let burst: LogLine[] = [];
    let frame = 0;
    const draw = (): void => {
      frame = 0;
      const target = paused.peek() ? held : lines;
      target.value = merge(target.value, burst);
      burst = [];
    };
    const history = async (): Promise<void> => {
      try {
        const page = await api.logs(unit, contains, HISTORY, abort.signal);
        lines.value = merge(lines.value, page.lines);
        dropped.value = page.dropped;
        problem.value = null;
        loaded.value = true;
      } catch (error) {
        if (!abort.signal.aborted) problem.value = sentence(error);
      }
    };
    const following = follow(
      api.logStreamPath(unit, contains),
      (event) => {
        try {
          if (event.event === "error") problem.value = (JSON.parse(event.data) as ApiErrorBody).message;
          if (event.event !== "line") return;
          burst.push(JSON.parse(event.data) as LogLine);
        } catch {
          return;
        }
        frame ||= requestAnimationFrame(draw);
      },
      (state) => {
        link.value = state;
        // The stream is open first, so that no line falls between history and stream.
        if (state.at === "open") void history();
        if (state.at === "away" && !loaded.value && state.why) problem.value = state.why;
      },
      SILENCE_MS,
    );
    return () => {
      following.stop();
      abort.abort();
      cancelAnimationFrame(frame);
    };
  }, [unit, contains]);

  const visible = lines.value.filter((line) => line.priority <= level);

  useLayoutEffect(() => {
    if (stick.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [visible.length, visible.at(-1)?.seq]);

  function filter(change: Record<string, string>): void {
    const next = new URLSearchParams(place.peek().search);
    for (const [key, value] of Object.entries(change)) {
      if (value) next.set(key, value);
      else next.delete(key);
    }
    const text = next.toString();
    go(text ? `/logs?${text}` : "/logs", true);
  }

  function pause(): void {
    paused.value = !paused.value;
    if (paused.value) return;
    lines.value = merge(lines.value, held.value);
    held.value = [];
    stick.current = true;
  }

  const units = [...new Set(["init", "kernel", ...(overview.value?.services.map((s) => s.name) ?? []), ...(unit ? [unit] : [])])].sort();
  return (
    <div class="logs">
      <PageHead title={words.title}>
        <Status tone={link.value.at === "open" ? (paused.value ? "warn" : "good") : "busy"}>
          {paused.value ? words.paused(held.value.length) : link.value.at === "open" ? words.following : strings.loading}
        </Status>
        <Button icon={paused.value ? "play" : "pause"} onClick={pause} testid="logs-pause">
          {paused.value ? words.follow : words.pause}
        </Button>
      </PageHead>
      <div class="filters" role="search">
        <Contains initial={contains} change={(text) => filter({ contains: text })} />
        <Choice
          label={words.unit}
          value={unit}
          options={units.map((name) => [name, name])}
          change={(value) => filter({ unit: value })}
          all={words.everything}
          testid="logs-unit"
        />
        <Choice
          label={words.level}
          value={String(level)}
          options={words.levels.map((name, i) => [String(i), name])}
          change={(value) => filter({ level: value === "7" ? "" : value })}
          all={null}
          testid="logs-level"
        />
      </div>
      {problem.value && <Failure why={problem.value} />}
      <div
        class="log-lines card"
        ref={box}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label={words.label}
        onScroll={(event) => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          stick.current = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
        }}
      >
        {!loaded.value && !problem.value && <Loading />}
        {loaded.value && visible.length === 0 && <Empty title={words.empty} hint={words.emptyHint} />}
        {dropped.value > 0 && visible.length > 0 && <p class="log-dropped">{words.dropped(count(dropped.value))}</p>}
        {visible.map((line) => (
          <Line key={line.seq} line={line} showUnit={!unit} />
        ))}
      </div>
    </div>
  );
}

function Line({ line, showUnit }: { line: LogLine; showUnit: boolean }) {
  return (
    <p class={`log-line level-${levelOf(line.priority)}`} data-testid="log-line">
      <time title={moment(line.time_ms)}>{clock(line.time_ms)}</time>
      {showUnit && <span class="log-unit">{line.unit}</span>}
      <span class="log-text">{line.text}</span>
    </p>
  );
}

/** The filter is applied when one stops typing for a moment, or at once with Enter. */
function Contains({ initial, change }: { initial: string; change: (text: string) => void }) {
  const text = useSignal(initial);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <input
      type="search"
      placeholder={strings.logs.contains}
      aria-label={strings.logs.contains}
      value={text.value}
      data-testid="logs-contains"
      onInput={(event) => {
        text.value = event.currentTarget.value;
        clearTimeout(timer.current);
        timer.current = setTimeout(() => change(text.value), 300);
      }}
      onKeyDown={(event) => {
        if (event.key !== "Enter") return;
        clearTimeout(timer.current);
        change(text.value);
      }}
    />
  );
}
