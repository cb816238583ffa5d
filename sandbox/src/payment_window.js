// What both providers' bridges have in common: a call of the page is checked by the sandbox, and shown in a window that is
// laid over the merchant's page, where the app would show its own. Styles are set one by one, since a page's security policy may
// forbid written ones.
"use strict";

// Shows what is to be paid; gives the decision. `choices` are [id, text, decision], the first of which pays; `left` is what
// the Escape key decides.
function sandboxPaymentWindow({ payee, description, total_fen: totalFen }, choices, left) {
  function element(name, text, style) {
    const made = document.createElement(name);
    made.textContent = text;
    Object.assign(made.style, style);
    return made;
  }

  function button([id, text], style) {
    const made = element("button", text, {
      display: "block", width: "100%", marginTop: "12px", padding: "14px", border: "0", borderRadius: "10px",
      font: "600 16px system-ui, sans-serif", cursor: "pointer", ...style,
    });
    made.id = id;
    made.type = "button";
    return made;
  }

  return new Promise((decide) => {
    const overlay = element("div", "", {
      position: "fixed", inset: "0", zIndex: "2147483647", display: "grid", placeItems: "center",
      background: "#f3f4f2", color: "#1c1f23", font: "16px/1.5 system-ui, sans-serif", textAlign: "center",
    });
    overlay.setAttribute("role", "dialog");
    overlay.setAttribute("aria-modal", "true");
    overlay.setAttribute("aria-label", "Payment sandbox");
    const end = (decision) => {
      overlay.remove();
      decide(decision);
    };
    const buttons = choices.map((choice, place) => {
      const [background, color] = place === 0 ? ["#087f45", "#ffffff"] : ["#dfe2de", "#1c1f23"];
      const made = button(choice, { background, color });
      made.addEventListener("click", () => end(choice[2]));
      return made;
    });
    overlay.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end(left);
    });
    const card = element("div", "", { width: "min(24rem, calc(100% - 2rem))" });
    const fen = String(totalFen % 100).padStart(2, "0");
    card.append(
      element("p", "支付沙箱,不会扣款 Payment sandbox: no money moves", { background: "#ffd34d", color: "#3b2c00" }),
      element("p", `付款给商户 Pay to merchant ${payee}`, {}),
      element("p", description, { overflowWrap: "anywhere" }),
      element("p", `¥${Math.floor(totalFen / 100)}.${fen}`, { font: "600 40px system-ui, sans-serif" }),
      ...buttons,
    );
    overlay.append(card);
    document.body.append(overlay);
    buttons[0].focus();
  });
}

// Makes the function that a page calls: `(action, parameters, callback)`. `provider` has the one `action` there is, the sandbox's
// `address` that checks it, the window's `choices` and what the Escape key decides (`left`), how an order is shown (`shown`), and
// the results for another action (`unknown`), without an answer of the sandbox and while a payment is shown (`unanswered`,
// `busy`, of a text).
function sandboxBridge(provider) {
  let busy = false;

  async function ask(parameters, decision) {
    const target = new URL(provider.address);
    if (decision) target.searchParams.set("decision", decision);
    const request = {
      method: "POST",
      credentials: "include",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(parameters ?? null),
    };
    try {
      return await (await fetch(target, request)).json();
    } catch (error) {
      return provider.unanswered(`the sandbox did not answer: ${error.message}`);
    }
  }

  async function pay(parameters) {
    const checked = await ask(parameters);
    if (!checked.cashier) return checked;
    return ask(parameters, await sandboxPaymentWindow(provider.shown(checked.cashier), provider.choices, provider.left));
  }

  return async (action, parameters, callback) => {
    let result;
    if (action !== provider.action) {
      result = provider.unknown(action);
    } else if (busy) {
      result = provider.busy("a payment is being shown already");
    } else {
      busy = true;
      result = await pay(parameters);
      busy = false;
    }
    if (callback) callback(result);
  };
}
