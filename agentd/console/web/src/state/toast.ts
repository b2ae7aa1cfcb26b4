// A short word about what was done, for as long as it takes to read.

import { signal } from "@preact/signals";

export type Toast = { id: number; text: string; tone: "good" | "bad" };

export const toasts = signal<Toast[]>([]);

let next = 0;

export function toast(text: string, tone: Toast["tone"] = "good"): void {
  const id = next++;
  toasts.value = [...toasts.value.slice(-2), { id, text, tone }];
  setTimeout(() => dismiss(id), tone === "bad" ? 9000 : 4500);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((entry) => entry.id !== id);
}
