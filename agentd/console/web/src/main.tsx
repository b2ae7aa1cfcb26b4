import { render } from "preact";
import { App } from "./app";
import { loadSession } from "./state/session";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/values.css";
import "./styles/shell.css";
import "./styles/overview.css";
import "./styles/ask.css";
import "./styles/lists.css";
import "./styles/models.css";
import "./styles/people.css";

const root = document.getElementById("app");
if (root) {
  void loadSession();
  render(<App />, root);
}
