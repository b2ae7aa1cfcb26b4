// The address of the page as a signal. The server answers every path with the same page.

import { signal } from "@preact/signals";

export type Place = { path: string; search: string };

function current(): Place {
  return { path: window.location.pathname, search: window.location.search };
}

export const place = signal<Place>(current());

window.addEventListener("popstate", () => {
  place.value = current();
});

/** Goes to another page; `replace` when Back should not return to this one. */
export function go(to: string, replace = false): void {
  const here = window.location.pathname + window.location.search;
  if (to === here) return;
  if (replace) window.history.replaceState(null, "", to);
  else window.history.pushState(null, "", to);
  const before = place.value.path;
  place.value = current();
  if (before.split("/")[1] !== place.value.path.split("/")[1]) window.scrollTo(0, 0);
}

/** The parts of a path: `/tools/fs.read` → `["tools", "fs.read"]`. */
export function segments(path: string): string[] {
  return path
    .split("/")
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
}
