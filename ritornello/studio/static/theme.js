// Light or dark, before anything is shown: as the person chose here, or as their system says.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { document.documentElement.dataset.theme = localStorage.getItem("theme") || (system.matches ? "dark" : "light"); };
  system.addEventListener("change", apply);
  apply();
})();
