// What a proof of the audit chain proved, and what it did not.

import { count } from "../lib/format";
import type { Verdict } from "../lib/witness";
import { accept } from "../state/audit";
import { strings } from "../strings";
import { Button, Notice } from "../ui/parts";

export function VerdictNotice({ verdict }: { verdict: Verdict }) {
  const words = strings.audit;
  const { head } = verdict;
  return (
    <>
      <Notice tone="good" title={words.proved(count(head.seq + 1))} testid="audit-verified">
        <p>
          {words.provedKey(head.seq)} <code class="hash">{head.public_key}</code>.
        </p>
        <p class="muted">
          {verdict.kind === "proved" && `${verdict.before === null ? words.provedFirst : words.provedSame(verdict.before)} `}
          {words.elsewhere}
        </p>
      </Notice>
      {verdict.kind !== "proved" && (
        // The chain is whole in itself, yet it is another one: only a witness from outside can tell.
        <Notice tone="bad" title={words.broken} alert testid="audit-broken">
          <p>
            {verdict.kind === "shorter"
              ? words.brokenShorter(verdict.seen, head.seq)
              : verdict.kind === "replaced"
                ? words.brokenReplaced(verdict.seen)
                : words.brokenKey}
          </p>
          <Button small onClick={() => accept(head)}>
            {words.forget}
          </Button>
        </Notice>
      )}
    </>
  );
}
