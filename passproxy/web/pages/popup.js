const news = { type: "passproxy:login" };
// The opener is lost where the provider's pages cut it off, so every page of this origin is told too.
new BroadcastChannel("passproxy").postMessage(news);
window.opener?.postMessage(news, location.origin);
window.close();
