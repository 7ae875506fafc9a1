const link = document.getElementById("login");
// return_to is the last field, so its value goes on; one that has a fragment already keeps it.
const more = link.href.includes("%23") ? "" : encodeURIComponent(location.hash);
location.replace(link.href + more);
