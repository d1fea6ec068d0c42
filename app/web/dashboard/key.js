// The question for a key. It is kept in this tab's session only.

import { Refused, forgetKey, get, keepKey } from "./api.js";
import { h } from "./dom.js";

/** Ask until a key is accepted, then call `entered`. `refused`: one was given before and is not accepted any more. */
export function keyPage(place, { refused, entered }) {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true,
    "aria-describedby": "key-fault" });
  const fault = h("p", { id: "key-fault", class: "fault", role: "alert" });
  const form = h("form", { class: "panel", id: "enter" },
    h("label", { for: "key" }, "Key"), input, h("button", { type: "submit" }, "Enter"), fault);
  place.replaceChildren(h("h1", null, "A key is needed"),
    h("p", null, "One of the keys in API_KEYS; the role read is enough to look. It is kept in this tab until it closes."),
    form);
  if (refused) fault.textContent = "The key was not accepted.";
  input.focus();

  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const key = input.value.trim();
    fault.textContent = "";
    try {
      if (!/^[\x21-\x7e]+$/.test(key)) throw new Refused(401, null, 0);
      keepKey(key);
      await get("/v1/stats");
      entered();
    } catch (error) {
      forgetKey();
      if (!(error instanceof Refused)) throw error;
      fault.textContent = error.status === 401 ? "This key is not known here." : `Not tried: ${error.message}`;
      input.select();
    }
  });
}
