// Stands in for WeChat's bridge in an ordinary browser whose user agent says MicroMessenger. What the app would check is
// checked by the sandbox; what the app would show is laid over the page.
(() => {
  if (!navigator.userAgent.includes("MicroMessenger") || window.WeixinJSBridge) return;
  // The app's bridge comes a moment after the page; who does not wait for its event is found out.
  const READY_AFTER_MS = 30;
  const failed = (text) => ({ err_msg: "get_brand_wcpay_request:fail", err_desc: text });
  const invoke = sandboxBridge({
    action: "getBrandWCPayRequest",
    address: new URL("pay", document.currentScript.src),
    choices: [["bridge-pay", "Pay 支付", "approve"], ["bridge-cancel", "Cancel 取消", "decline"]],
    left: "decline",
    shown: (cashier) => ({ payee: cashier.mchid, ...cashier }),
    unknown: () => ({ err_msg: "system:function_not_exist" }),
    unanswered: failed,
    busy: failed,
  });

  setTimeout(() => {
    window.WeixinJSBridge = { invoke: (...call) => void invoke(...call) };
    document.dispatchEvent(new Event("WeixinJSBridgeReady"));
  }, READY_AFTER_MS);
})();
