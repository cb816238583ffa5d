// Stands in for WeChat's bridge in an ordinary browser whose user agent says MicroMessenger. What the app would check is
// checked by the sandbox; what the app would show is laid over the page. Styles are set one by one, since a page's
// security policy may forbid written ones.
"use strict";

(() => {
  if (!navigator.userAgent.includes("MicroMessenger") || window.WeixinJSBridge) return;
  const ACTION = "getBrandWCPayRequest";
  const RESULT = "get_brand_wcpay_request";
  // The app's bridge comes a moment after the page; who does not wait for its event is found out.
  const READY_AFTER_MS = 30;
  const address = new URL("pay", document.currentScript.src);
  let busy = false;

  async function ask(parameters, decision) {
    const target = new URL(address);
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
      return { err_msg: `${RESULT}:fail`, err_desc: `the sandbox did not answer: ${error.message}` };
    }
  }

  function element(name, text, style) {
    const made = document.createElement(name);
    made.textContent = text;
    Object.assign(made.style, style);
    return made;
  }

  function button(id, text, style) {
    const made = element("button", text, {
      display: "block", width: "100%", marginTop: "12px", padding: "14px", border: "0", borderRadius: "10px",
      font: "600 16px system-ui, sans-serif", cursor: "pointer", ...style,
    });
    made.id = id;
    made.type = "button";
    return made;
  }

  // Shows what is to be paid; gives the decision.
  function show(cashier) {
    return new Promise((decide) => {
      const overlay = element("div", "", {
        position: "fixed", inset: "0", zIndex: "2147483647", display: "grid", placeItems: "center",
        background: "#f3f4f2", color: "#1c1f23", font: "16px/1.5 system-ui, sans-serif", textAlign: "center",
      });
      overlay.setAttribute("role", "dialog");
      overlay.setAttribute("aria-modal", "true");
      overlay.setAttribute("aria-label", "Payment sandbox");
      const card = element("div", "", { width: "min(24rem, calc(100% - 2rem))" });
      const fen = String(cashier.total_fen % 100).padStart(2, "0");
      const pay = button("bridge-pay", "Pay 支付", { background: "#087f45", color: "#ffffff" });
      const cancel = button("bridge-cancel", "Cancel 取消", { background: "#dfe2de", color: "#1c1f23" });
      const end = (decision) => {
        overlay.remove();
        decide(decision);
      };
      pay.addEventListener("click", () => end("approve"));
      cancel.addEventListener("click", () => end("decline"));
      overlay.addEventListener("keydown", (event) => {
        if (event.key === "Escape") end("decline");
      });
      card.append(
        element("p", "支付沙箱,不会扣款 Payment sandbox: no money moves", { background: "#ffd34d", color: "#3b2c00" }),
        element("p", `付款给商户 Pay to merchant ${cashier.mchid}`, {}),
        element("p", cashier.description, { overflowWrap: "anywhere" }),
        element("p", `¥${Math.floor(cashier.total_fen / 100)}.${fen}`, { font: "600 40px system-ui, sans-serif" }),
        pay,
        cancel,
      );
      overlay.append(card);
      document.body.append(overlay);
      pay.focus();
    });
  }

  async function pay(parameters) {
    const checked = await ask(parameters);
    if (!checked.cashier) return checked;
    return ask(parameters, await show(checked.cashier));
  }

  async function invoke(action, parameters, callback) {
    let result;
    if (action !== ACTION) {
      result = { err_msg: "system:function_not_exist" };
    } else if (busy) {
      result = { err_msg: `${RESULT}:fail`, err_desc: "a payment is being shown already" };
    } else {
      busy = true;
      result = await pay(parameters);
      busy = false;
    }
    if (callback) callback(result);
  }

  setTimeout(() => {
    window.WeixinJSBridge = { invoke: (...call) => void invoke(...call) };
    document.dispatchEvent(new Event("WeixinJSBridgeReady"));
  }, READY_AFTER_MS);
})();
