// Stands in for Alipay's bridge in an ordinary browser whose user agent says AlipayClient. What the app would check is checked
// by the sandbox; what the app would show is laid over the page.
(() => {
  if (!navigator.userAgent.includes("AlipayClient") || window.AlipayJSBridge) return;
  const ACTION = "tradePay";
  const CHOICES = [
    ["bridge-pay", "Pay 支付", "approve"],
    ["bridge-cancel", "Cancel 取消", "decline"],
    ["bridge-no-network", "No network 网络出错", "no-network"],
  ];
  // The app's bridge comes a moment after the page; who does not wait for its event is found out.
  const READY_AFTER_MS = 30;
  const address = new URL("alipay", document.currentScript.src);
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
      return { resultCode: "6002", memo: `the sandbox did not answer: ${error.message}` };
    }
  }

  async function pay(parameters) {
    const checked = await ask(parameters);
    if (!checked.cashier) return checked;
    return ask(parameters, await sandboxPaymentWindow(checked.cashier, CHOICES, "leave"));
  }

  async function call(action, parameters, callback) {
    let result;
    if (action !== ACTION) {
      result = { error: 1, errorMessage: `${action} is not implemented` };
    } else if (busy) {
      result = { resultCode: "4000", memo: "a payment is being shown already" };
    } else {
      busy = true;
      result = await pay(parameters);
      busy = false;
    }
    if (callback) callback(result);
  }

  setTimeout(() => {
    window.AlipayJSBridge = { call: (...given) => void call(...given) };
    document.dispatchEvent(new Event("AlipayJSBridgeReady"));
  }, READY_AFTER_MS);
})();
