// Arithmatex leaves TeX between \( and \) or \[ and \]; KaTeX, which lies beside this file, sets it.
(() => {
  const typeset = () => {
    for (const each of document.querySelectorAll(".arithmatex")) {
      const tex = each.textContent.trim();
      const displayMode = tex.startsWith("\\[");
      katex.render(tex.slice(2, -2), each, { displayMode, throwOnError: false });
    }
  };
  document.addEventListener("DOMContentLoaded", typeset);
})();
