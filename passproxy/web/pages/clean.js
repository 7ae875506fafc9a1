const link = document.getElementById("onward");
try {
  for (const key of JSON.parse(link.dataset.keys)) {
    localStorage.removeItem(key);
    sessionStorage.removeItem(key);
  }
} catch {
  // A browser that keeps nothing for this site has nothing to remove.
}
location.replace(link.href);
