// Runs before the first paint: a chosen theme must not flash in the system's colours.
try {
  var theme = localStorage.getItem("aios.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {}
