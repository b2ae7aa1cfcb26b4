import { dismiss, toasts } from "../state/toast";
import { strings } from "../strings";
import { Icon } from "./icons";

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((entry) => (
        <div class={`toast ${entry.tone}`} key={entry.id}>
          <Icon name={entry.tone === "good" ? "check" : "warning"} />
          <span>{entry.text}</span>
          <button type="button" class="icon-button" aria-label={strings.close} onClick={() => dismiss(entry.id)}>
            <Icon name="cross" />
          </button>
        </div>
      ))}
    </div>
  );
}
