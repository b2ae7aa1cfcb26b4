// What a name and a password of an account must be like. The console decides; the page says it before it is asked.

/** A name that the console takes. */
export const NAME = /^[a-z][a-z0-9-]{0,31}$/;

const SHORTEST_PASSWORD = 10;

/** Characters that a password still lacks. */
export function missingCharacters(password: string): number {
  return Math.max(0, SHORTEST_PASSWORD - [...password].length);
}
