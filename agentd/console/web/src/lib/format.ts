// Quantities as people read them. Pure; numbers use the browser's locale.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `1.5 GiB`. Three significant digits are enough to see a change. */
export function bytes(value: number): string {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  const sign = value < 0 ? "−" : "";
  return `${sign}${trimZeros(size.toFixed(digits))} ${UNITS[unit]}`;
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** `37 %`, `4.2 %`: one digit below ten, so that small loads move. */
export function percent(value: number): string {
  return `${value < 9.95 && value !== 0 ? value.toFixed(1) : Math.round(value)} %`;
}

/** The share of a whole in percent, 0 when there is no whole. */
export function share(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, Math.max(0, (100 * part) / whole)) : 0;
}

/** `850 ms`, `4.2 s`, `3 min 12 s`, `2 h 5 min`, `12 d 4 h`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${trimZeros((ms / 1000).toFixed(1))} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return coarse(seconds);
}

/** As `duration`, without parts of a second: for things that count up while one looks. */
export function age(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return seconds < 60 ? `${seconds} s` : coarse(seconds);
}

function coarse(seconds: number): string {
  const steps: [number, string][] = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = steps.findIndex(([size]) => seconds >= size);
  const [size, unit] = steps[first] ?? [1, "s"];
  const [nextSize, nextUnit] = steps[first + 1] ?? [1, ""];
  const whole = Math.floor(seconds / size);
  const rest = Math.floor((seconds % size) / nextSize);
  return rest > 0 && nextUnit ? `${whole} ${unit} ${rest} ${nextUnit}` : `${whole} ${unit}`;
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "2-digit" });

/** `14:03:59` */
export function clock(timeMs: number): string {
  return TIME.format(timeMs);
}

/** `Nov 21, 2026` */
export function day(timeMs: number): string {
  return DAY.format(timeMs);
}

/** Whether a moment lies in the same day as now. */
export function isToday(timeMs: number, nowMs = Date.now()): boolean {
  return DAY.format(timeMs) === DAY.format(nowMs);
}

/** Day and time; a machine that has no clock yet says so by standing in 1970. */
export function moment(timeMs: number): string {
  return `${day(timeMs)}, ${clock(timeMs)}`;
}

/** A count with thousands separated. */
export function count(value: number): string {
  return value.toLocaleString();
}

/** An amount of money, from millionths of its unit. */
export function price(micro: number): string {
  return trimZeros((micro / 1_000_000).toFixed(6));
}
