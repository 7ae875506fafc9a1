const kept = sessionStorage.getItem("passproxy-form");
if (kept) {
  document.forms[0].elements.form.value = kept;
  document.forms[0].submit();
}
