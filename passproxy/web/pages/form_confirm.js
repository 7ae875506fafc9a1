// Offered once. Until here it stays, so that nothing is lost when somebody else signs in first.
sessionStorage.removeItem("passproxy-form");
