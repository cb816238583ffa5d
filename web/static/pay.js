// Calls the app that shows this page, to pay in it. What it answers proves nothing: the page asks the server again.
"use strict";

function invoke(call) {
  const run = () => window[call.bridge][call.function](call.action, call.parameters, () => location.reload());
  if (window[call.bridge]) run();
  else document.addEventListener(`${call.bridge}Ready`, run, { once: true });
}

// The button is replaced when the page is brought up to date.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-invoke]");
  if (button) invoke(JSON.parse(button.dataset.invoke));
});
