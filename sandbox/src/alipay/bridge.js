// Stands in for Alipay's bridge in an ordinary browser whose user agent says AlipayClient. What the app would check is checked
// by the sandbox; what the app would show is laid over the page.
(() => {
  if (!navigator.userAgent.includes("AlipayClient") || window.AlipayJSBridge) return;
  // The app's bridge comes a moment after the page; who does not wait for its event is found out.
  const READY_AFTER_MS = 30;
  const call = sandboxBridge({
    action: "tradePay",
    address: new URL("alipay", document.currentScript.src),
    choices: [
      ["bridge-pay", "Pay 支付", "approve"],
      ["bridge-cancel", "Cancel 取消", "decline"],
      ["bridge-no-network", "No network 网络出错", "no-network"],
    ],
    left: "leave",
    shown: (cashier) => cashier,
    unknown: (action) => ({ error: 1, errorMessage: `${action} is not implemented` }),
    unanswered: (memo) => ({ resultCode: "6002", memo }),
    busy: (memo) => ({ resultCode: "4000", memo }),
  });

  setTimeout(() => {
    window.AlipayJSBridge = { call: (...given) => void call(...given) };
    document.dispatchEvent(new Event("AlipayJSBridgeReady"));
  }, READY_AFTER_MS);
})();
