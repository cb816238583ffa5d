// Stands in for WeChat's bridge in an ordinary browser whose user agent says MicroMessenger. What the app would check is
// checked by the sandbox; what the app would show is laid over the page.
(() => {
  if (!navigator.userAgent.includes("MicroMessenger") || window.WeixinJSBridge) return;
  const ACTION = "getBrandWCPayRequest";
  const RESULT = "get_brand_wcpay_request";
  const CHOICES = [["bridge-pay", "Pay 支付", "approve"], ["bridge-cancel", "Cancel 取消", "decline"]];
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

  async function pay(parameters) {
    const checked = await ask(parameters);
    if (!checked.cashier) return checked;
    const shown = { payee: checked.cashier.mchid, ...checked.cashier };
    return ask(parameters, await sandboxPaymentWindow(shown, CHOICES, "decline"));
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
