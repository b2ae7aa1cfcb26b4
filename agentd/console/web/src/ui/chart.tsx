// A live chart of the last ten minutes. It lives on a canvas; its words are in its label.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock } from "../lib/format";
import { WINDOW_MS } from "../lib/ring";
import { dark } from "../state/theme";

type Props = {
  columns: [number[], (number | null)[]];
  /** The upper end of the scale. */
  max: number;
  /** Words for a value on the scale. */
  format: (value: number) => string;
  /** Name of the custom property that holds the colour. */
  color: string;
  label: string;
  /** Called with what is under the pointer, null when it left. */
  hover: (at: { time_ms: number; value: number } | null) => void;
};

const HEIGHT = 132;

export function Chart(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const isDark = dark.value;

  useEffect(() => {
    const host = box.current;
    if (!host) return;
    const chart = new uPlot(options(host, latest), latest.current.columns as uPlot.AlignedData, host);
    plot.current = chart;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) chart.setSize({ width: entry.contentRect.width, height: HEIGHT * rem() });
    });
    observer.observe(host);
    return () => {
      observer.disconnect();
      plot.current = null;
      chart.destroy();
    };
  }, [isDark]);

  useEffect(() => {
    plot.current?.setData(props.columns as uPlot.AlignedData);
  }, [props.columns]);

  return <div class="chart" ref={box} role="img" aria-label={props.label} />;
}

/** How much larger than usual the page's type is, so that charts grow with it on large screens. */
function rem(): number {
  return Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16 || 1;
}

function options(host: HTMLElement, latest: { current: Props }): uPlot.Options {
  const style = getComputedStyle(host);
  const token = (name: string): string => style.getPropertyValue(name).trim();
  const color = token(latest.current.color);
  const scale = rem();
  const font = `${11 * scale}px ${style.fontFamily}`;
  const axis = {
    stroke: token("--ink-3"),
    font,
    ticks: { show: false },
    border: { show: false },
  };
  return {
    width: host.clientWidth,
    height: HEIGHT * scale,
    padding: [6 * scale, 0, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 7 * scale, fill: color, stroke: token("--surface"), width: 2 },
    },
    scales: {
      x: {
        time: true,
        range: (self) => {
          const end = self.data[0].at(-1) ?? Date.now() / 1000;
          return [end - WINDOW_MS / 1000, end];
        },
      },
      y: { range: () => [0, latest.current.max] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 20 * scale,
        gap: 4 * scale,
        splits: (_self, _axis, min, max) => [min + (max - min) * 0.1, min + (max - min) * 0.5, min + (max - min) * 0.9],
        values: (_self, splits) => splits.map((s) => clock(s * 1000).slice(0, 5)),
      },
      {
        ...axis,
        side: 1,
        size: 54 * scale,
        gap: 6 * scale,
        grid: { stroke: token("--line"), width: 1 },
        splits: () => [0, latest.current.max / 2, latest.current.max],
        values: (_self, splits) => splits.map((s) => latest.current.format(s)),
      },
    ],
    series: [
      {},
      {
        stroke: color,
        width: 1.5 * scale,
        fill: (self) => {
          const fill = self.ctx.createLinearGradient(0, self.bbox.top, 0, self.bbox.top + self.bbox.height);
          fill.addColorStop(0, `${color}38`);
          fill.addColorStop(1, `${color}05`);
          return fill;
        },
        points: { show: false },
      },
    ],
    hooks: {
      setCursor: [
        (self) => {
          const at = self.cursor.idx;
          const time = at == null ? undefined : self.data[0][at];
          const value = at == null ? undefined : self.data[1]?.[at];
          const inside = (self.cursor.left ?? -1) >= 0 && time !== undefined && value != null;
          latest.current.hover(inside ? { time_ms: time * 1000, value } : null);
        },
      ],
    },
  };
}
