// Which page is shown: claim before there is an owner, login before there is a person, then the address decides.

import { Component, type ComponentChildren } from "preact";
import { sentence } from "./api/client";
import { ClaimPage } from "./pages/claim";
import { AuditPage } from "./pages/audit";
import { AskPage } from "./pages/ask";
import { Connecting, LoginPage } from "./pages/login";
import { LogsPage } from "./pages/logs";
import { ModelsPage } from "./pages/models";
import { OverviewPage } from "./pages/overview";
import { PeoplePage } from "./pages/people";
import { ToolsPage } from "./pages/tools";
import { place, segments } from "./state/router";
import { session } from "./state/session";
import { strings } from "./strings";
import { Shell } from "./ui/shell";
import { Button, Empty, Link, Notice } from "./ui/parts";

export function App() {
  const now = session.value;
  if (!now) return <Connecting />;
  if (!now.claimed) return <ClaimPage session={now} />;
  if (!now.user) return <LoginPage session={now} />;
  const [page = "", detail] = segments(place.value.path);
  return (
    <Shell session={now} user={now.user} page={page || "overview"}>
      <Guard key={page}>
        <Page page={page} detail={detail} />
      </Guard>
    </Shell>
  );
}

function Page({ page, detail }: { page: string; detail: string | undefined }) {
  switch (page) {
    case "":
    case "overview":
      return <OverviewPage />;
    case "ask":
      return <AskPage />;
    case "audit":
      return <AuditPage open={detail === undefined ? null : Number(detail)} />;
    case "logs":
      return <LogsPage />;
    case "models":
      return <ModelsPage />;
    case "people":
      return <PeoplePage />;
    case "tools":
      return <ToolsPage open={detail ?? null} />;
    default:
      return (
        <Empty title={strings.errors.notFound} hint={strings.errors.notFoundHint}>
          <Link to="/" class="link">
            {strings.errors.toOverview}
          </Link>
        </Empty>
      );
  }
}

/** A page that fails must not take the others with it. */
class Guard extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: null as unknown };

  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }

  render() {
    if (this.state.error === null) return this.props.children;
    return (
      <Notice tone="bad" title={`${strings.errors.crashed}: ${sentence(this.state.error)}`} alert>
        <p>{strings.errors.crashedHint}</p>
        <Button small icon="restart" onClick={() => window.location.reload()}>
          {strings.errors.reload}
        </Button>
      </Notice>
    );
  }
}
