try {
  sessionStorage.setItem("passproxy-form", document.getElementById("form").value);
  const link = document.getElementById("login");
  link.href = link.dataset.kept;
  document.getElementById("kept").hidden = false;
  document.getElementById("lost").hidden = true;
} catch {
  // No storage, or no room in it: the page says so as it stands.
}
