// Icons drawn on a 20 px grid with one stroke; they take the colour of the text beside them.

import type { ComponentChildren } from "preact";

const PATHS = {
  overview: <path d="M3 10h3l2.2-5 3.6 10 2.2-5h3" />,
  ask: <path d="M4 4.5h12v8.5H9.5L6 16v-3H4z" />,
  audit: (
    <>
      <path d="M5 3h7l3 3v11H5z" />
      <path d="m7.5 11 1.8 1.8 3.4-3.6" />
    </>
  ),
  logs: <path d="M4 5h12M4 8.5h8M4 12h12M4 15.5h6" />,
  tools: <path d="M12.5 4a3.5 3.5 0 0 0-3.3 4.6L4 13.8 6.2 16l5.2-5.2A3.5 3.5 0 0 0 16 7.5l-2.3 1.2-1.9-1.9L13 4.5z" />,
  model: (
    <>
      <rect x="6" y="6" width="8" height="8" rx="1" />
      <path d="M8.5 3v3M11.5 3v3M8.5 14v3M11.5 14v3M3 8.5h3M3 11.5h3M14 8.5h3M14 11.5h3" />
    </>
  ),
  person: (
    <>
      <circle cx="10" cy="7" r="3" />
      <path d="M4.5 16.5c.8-3 3-4.5 5.5-4.5s4.7 1.5 5.5 4.5" />
    </>
  ),
  check: <path d="m4.5 10.5 3.7 3.7 7.3-8" />,
  cross: <path d="m5.5 5.5 9 9m0-9-9 9" />,
  warning: (
    <>
      <path d="M10 3.5 17.5 16.5h-15z" />
      <path d="M10 8.5v3.5M10 14.3v.1" />
    </>
  ),
  chevron: <path d="m7.5 5 5 5-5 5" />,
  left: <path d="m12.5 5-5 5 5 5" />,
  undo: <path d="M7 4.5 3.5 8 7 11.5M3.5 8H12a4 4 0 0 1 0 8H8" />,
  restart: <path d="M15.5 6.5A6.5 6.5 0 1 0 16.5 10M15.8 3v3.7h-3.7" />,
  send: <path d="M10 16V4.5M5 9.5l5-5 5 5" />,
  stop: <rect x="6" y="6" width="8" height="8" rx="1.5" />,
  download: <path d="M10 3.5V13M5.8 9l4.2 4.2L14.2 9M4 16.5h12" />,
  shield: <path d="M10 3 4.5 5v4.5c0 3.5 2.3 6 5.5 7.5 3.2-1.5 5.5-4 5.5-7.5V5z" />,
  logout: <path d="M8 4H4v12h4M8 10h8.5M13.5 7l3 3-3 3" />,
  pause: <path d="M7.5 5v10M12.5 5v10" />,
  play: <path d="m7 5 8 5-8 5z" />,
  trash: <path d="M4 6h12M8 6V4h4v2M5.5 6l.7 10.5h7.6L14.5 6" />,
} satisfies Record<string, ComponentChildren>;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      {PATHS[name]}
    </svg>
  );
}

/** The mark of the product: a peak over a point that is awake. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect class="mark-ground" width="32" height="32" rx="8" />
      <path class="mark-peak" d="M8 21.5 16 8.5l8 13" />
      <circle class="mark-point" cx="16" cy="21.5" r="2.4" />
    </svg>
  );
}
