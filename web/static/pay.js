// Calls the app that shows this page, to pay in it. What it answers proves nothing: the page asks the server again.
"use strict";

(() => {
  /** The app's bridge comes a moment after the page; one that has not come by then does not come, in ms. */
  const BRIDGE_AFTER_MS = 5000;
  /** So long is waited for the server to know of a payment before the button is shown again, in ms. */
  const CONFIRMING_MS = 15000;
  let busy = false;

  function bridge(name) {
    if (window[name]) return Promise.resolve(true);
    return new Promise((resolve) => {
      document.addEventListener(`${name}Ready`, () => resolve(true), { once: true });
      setTimeout(() => resolve(Boolean(window[name])), BRIDGE_AFTER_MS);
    });
  }

  /** What the page shows beside its state: nothing, that the payment is being confirmed, or that no app answered. */
  function say(word) {
    document.documentElement.dataset.paying = word;
  }

  async function pay(call) {
    if (busy) return;
    busy = true;
    if (!(await bridge(call.bridge))) {
      busy = false;
      return say("no-app");
    }
    window[call.bridge][call.function](call.action, call.parameters, () => {
      busy = false;
      say("confirming");
      setTimeout(() => say(""), CONFIRMING_MS);
      // The live page brings what the server finds out; where there is none, it is loaded anew.
      if (!window.EventSource) location.reload();
    });
  }

  // The button is replaced when the page is brought up to date.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-invoke]");
    if (button) pay(JSON.parse(button.dataset.invoke));
  });

  // Whoever just chose a price wants to pay: the app is called at once, but only once for each sale, so that going back or
  // a reload after "cancel" does not call it again.
  const first = document.querySelector("[data-invoke]");
  const key = `called ${location.pathname}`;
  if (first && !sessionStorage.getItem(key)) {
    sessionStorage.setItem(key, "1");
    pay(JSON.parse(first.dataset.invoke));
  }
})();
