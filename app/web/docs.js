// The key that is entered lives as long as the page: nothing is stored in the browser.

async function ready(headers) {
  return (await fetch("/readyz", { headers })).json();
}

async function show() {
  const spec = await (await fetch("/openapi.json")).json();
  spec.servers = [{ url: "/", description: "This service" }]; // what is tried here is tried on this very service
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#documentation",
    deepLinking: true,
    displayOperationId: true,
    displayRequestDuration: true,
    filter: true,
    validatorUrl: null,
  });

  const keyless = "checks" in (await ready({})); // the details are told to those who need no key
  document.getElementById("keyless").hidden = !keyless;
  const form = document.getElementById("key-form");
  form.hidden = keyless;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = document.getElementById("key").value.trim();
    let known = false;
    try {
      known = "checks" in (await ready({ Authorization: `Bearer ${key}` }));
    } catch {
      // Not even a header can be made of it.
    }
    const state = document.getElementById("key-state");
    state.textContent = known ? "In use for everything below." : "The service does not know this key.";
    state.className = known ? "good" : "bad";
    if (known) ui.preauthorizeApiKey("key", key);
  });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const dim = () => document.documentElement.classList.toggle("dark-mode", dark.matches); // Swagger UI's own word
dark.addEventListener("change", dim);
dim();
show();
