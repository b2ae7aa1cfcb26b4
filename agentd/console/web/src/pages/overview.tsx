// The machine at a glance: identity, model, load, disks, and every service that PID 1 keeps.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { MachineStatus, Overview } from "../api/types";
import { age, bytes, clock, duration, percent, share } from "../lib/format";
import type { Sample } from "../lib/ring";
import { link, modelOf, overview, retryNow, ring } from "../state/overview";
import { strings } from "../strings";
import { Chart } from "../ui/chart";
import { ModelStrip } from "../ui/model";
import { Failure, Loading, Meter, Notice, type Tone } from "../ui/parts";
import { Services } from "./services";

export function OverviewPage() {
  const now = overview.value;
  const words = strings.overview;
  const state = link.value;
  if (!now && state.at === "away" && state.attempt > 1) return <Failure why={state.why || strings.connection.away} retry={retryNow} />;
  // All at once: nothing on the page moves when the first measurement comes.
  if (!now) return <Loading text={words.waiting} />;
  return (
    <div class="overview">
      <MachineHead machine={now.machine} />
      {now.machine.data === "memory" && <Notice tone="warn">{words.dataInMemory}</Notice>}
      <ModelStrip view={modelOf(now)} />
      <Gauges now={now} />
      <Disks now={now} />
      {now.refused.length > 0 && (
        <Notice tone="warn" title={words.refused(now.refused.length)} testid="refused">
          <ul class="refused">
            {now.refused.map((text) => (
              <li key={text}>
                <code>{text}</code>
              </li>
            ))}
          </ul>
          <p class="muted">{words.refusedHint}</p>
        </Notice>
      )}
      <Services now={now} />
    </div>
  );
}

function MachineHead({ machine }: { machine: MachineStatus }) {
  const words = strings.overview;
  return (
    <header class="machine">
      <h1>{machine.hostname}</h1>
      <dl class="machine-facts">
        <div>
          <dt>{words.version}</dt>
          <dd>{`${strings.product} ${machine.version}`}</dd>
        </div>
        <div>
          <dt>{words.kernel}</dt>
          <dd>{`Linux ${machine.kernel}`}</dd>
        </div>
        <div>
          <dt>{words.uptimeLabel}</dt>
          <dd>{age(machine.uptime_ms)}</dd>
        </div>
        <div>
          <dt>{words.boot}</dt>
          <dd title={machine.console_ready_ms === null ? undefined : words.bootedIn(duration(machine.console_ready_ms))}>
            {machine.console_ready_ms === null ? "–" : words.bootTime(duration(machine.console_ready_ms))}
          </dd>
        </div>
      </dl>
    </header>
  );
}

function Gauges({ now }: { now: Overview }) {
  const words = strings.overview;
  const used = now.memory.total - now.memory.available;
  const disk = fullest(now);
  return (
    <div class="gauges">
      <Gauge
        name={words.cpu}
        value={percent(now.cpu.percent)}
        detail={words.cpuDetail(now.cpu.cores, now.cpu.load1.toFixed(2))}
        color="--series-cpu"
        series={(sample) => sample.cpu}
        max={100}
        format={percent}
        testid="gauge-cpu"
      />
      <Gauge
        name={words.memory}
        value={bytes(used)}
        detail={words.memoryDetail(bytes(now.memory.available), bytes(now.memory.total))}
        color="--series-memory"
        series={(sample) => sample.memory}
        max={now.memory.total}
        format={bytes}
        testid="gauge-memory"
      />
      <Gauge
        name={words.disk}
        value={disk ? percent(share(disk.total - disk.available, disk.total)) : "–"}
        detail={disk ? words.diskDetail(bytes(disk.available), disk.mount) : words.noDisk}
        color="--series-disk"
        series={(sample) => sample.disk}
        max={100}
        format={percent}
        testid="gauge-disk"
      />
    </div>
  );
}

function fullest(now: Overview) {
  const writable = now.disks.filter((disk) => !disk.read_only);
  const used = (disk: (typeof writable)[number]): number => share(disk.total - disk.available, disk.total);
  return (writable.length ? writable : now.disks).toSorted((a, b) => used(b) - used(a))[0] ?? null;
}

type GaugeProps = {
  name: string;
  value: string;
  detail: string;
  color: string;
  series: (sample: Sample) => number;
  max: number;
  format: (value: number) => string;
  testid: string;
};

function Gauge({ name, value, detail, color, series, max, format, testid }: GaugeProps) {
  const under = useSignal<{ time_ms: number; value: number } | null>(null);
  const newest = ring.newest?.time_ms ?? 0;
  const columns = useMemo(() => ring.columns(series), [newest, ring.length]);
  const at = under.value;
  return (
    <section class="card gauge" data-testid={testid}>
      <h2>{name}</h2>
      <p class="gauge-value">{at ? format(at.value) : value}</p>
      <p class="muted gauge-detail">{at ? strings.overview.at(clock(at.time_ms)) : detail}</p>
      <Chart
        columns={columns}
        max={max}
        format={format}
        color={color}
        label={strings.overview.chartLabel(name, value)}
        hover={(place) => {
          under.value = place;
        }}
      />
    </section>
  );
}

function Disks({ now }: { now: Overview }) {
  const words = strings.overview;
  if (now.disks.length === 0) return null;
  return (
    <section class="card disks" aria-label={words.disks}>
      {now.disks.map((disk) => {
        const used = share(disk.total - disk.available, disk.total);
        return (
          <div class="disk" key={disk.mount}>
            <span class="disk-mount">
              <code>{disk.mount}</code>
              {disk.read_only && <span class="muted">{words.readOnly}</span>}
            </span>
            <Meter percent={used} label={`${disk.mount}: ${percent(used)}`} tone={diskTone(used, disk.read_only)} />
            <span class="disk-words muted">{words.full(bytes(disk.total - disk.available), bytes(disk.total))}</span>
          </div>
        );
      })}
    </section>
  );
}

/** A read-only image is always full; that is no news. */
function diskTone(used: number, readOnly: boolean): Tone {
  if (readOnly) return "idle";
  return used >= 95 ? "bad" : used >= 85 ? "warn" : "accent";
}
