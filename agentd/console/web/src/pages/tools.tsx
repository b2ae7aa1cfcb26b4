// All tools of the machine: what each does, what it may touch, and a form to call it.

import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, sentence } from "../api/client";
import type { Effect, Tool } from "../api/types";
import { strings } from "../strings";
import { Icon } from "../ui/icons";
import { Badge, Empty, Failure, Link, Loading, PageHead, type Tone } from "../ui/parts";
import { ToolDetail } from "./tool";

const tools = signal<Tool[] | null>(null);
const problem = signal<string | null>(null);

async function load(): Promise<void> {
  problem.value = null;
  try {
    tools.value = await api.tools();
  } catch (error) {
    problem.value = sentence(error);
  }
}

export function ToolsPage({ open }: { open: string | null }) {
  const words = strings.tools;
  const search = useSignal("");
  useEffect(() => {
    void load();
  }, []);

  const all = tools.value;
  if (!all) return problem.value ? <Failure why={problem.value} retry={() => void load()} /> : <Loading />;
  const chosen = all.find((tool) => tool.name === open) ?? null;
  const needle = search.value.trim().toLowerCase();
  const shown = all.filter((tool) => `${tool.name} ${tool.summary}`.toLowerCase().includes(needle));
  return (
    <div class={chosen ? "tools has-choice" : "tools"}>
      <PageHead title={words.title} lead={words.lead} />
      <div class="tools-columns">
        <div class="tools-list">
          <input
            type="search"
            placeholder={words.search}
            aria-label={words.search}
            value={search.value}
            data-testid="tools-search"
            onInput={(event) => {
              search.value = event.currentTarget.value;
            }}
          />
          {shown.length === 0 && <p class="muted">{words.none}</p>}
          {families(shown).map(([family, members]) => (
            <section key={family}>
              <h2>{family}</h2>
              <ul>
                {members.map((tool) => (
                  <li key={tool.name}>
                    <Link to={`/tools/${tool.name}`} class="tool-link" aria-current={tool === chosen ? "true" : undefined} data-testid="tool-row">
                      <span class="tool-link-words">
                        <code>{tool.name}</code>
                        <span class="muted">{tool.summary}</span>
                      </span>
                      <EffectBadge effect={tool.effect} />
                    </Link>
                  </li>
                ))}
              </ul>
            </section>
          ))}
        </div>
        <div class="tools-detail card">
          {chosen ? (
            <>
              <Link to="/tools" class="link tools-back">
                <Icon name="left" />
                {words.back}
              </Link>
              <ToolDetail key={chosen.name} tool={chosen} />
            </>
          ) : (
            <Empty title={words.choose} hint={words.chooseHint} />
          )}
        </div>
      </div>
    </div>
  );
}

function families(list: Tool[]): [string, Tool[]][] {
  const groups = new Map<string, Tool[]>();
  for (const tool of list) {
    const family = tool.name.split(".")[0] ?? tool.name;
    groups.set(family, [...(groups.get(family) ?? []), tool]);
  }
  return [...groups].sort(([a], [b]) => a.localeCompare(b));
}

export function EffectBadge({ effect }: { effect: Effect }) {
  const tones: Record<Effect, Tone> = { read: "idle", reversible: "accent", irreversible: "warn" };
  const { name, tip } = strings.effect[effect];
  return (
    <Badge tone={tones[effect]} title={tip}>
      {name}
    </Badge>
  );
}
