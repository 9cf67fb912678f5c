"use strict";
// Draws the figures, in the colours of the page, light or dark; the first of each group when it comes into view.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const shown = new Map();

  function themed(layout) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), tickcolor: colour("--line") };
    return {
      ...layout,
      font: { ...layout.font, color: colour("--ink") },
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
      hoverlabel: {
        ...layout.hoverlabel, bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") },
      },
    };
  }

  // Left alone, plotly judges the contrast of a cell's text as if nothing were behind its half-transparent colour.
  function legible(trace) {
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
    return trace.type === "heatmap" ? { ...trace, textfont: { ...trace.textfont, color: ink } } : trace;
  }

  function draw(place, key) {
    const figure = figures[place.dataset.group][key];
    shown.set(place, key);
    Plotly.react(place, figure.data.map(legible), themed(figure.layout), { responsive: true, displayModeBar: false });
  }

  const watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      if (!shown.has(target)) draw(target, Object.keys(figures[target.dataset.group])[0]);
    }
  }, { rootMargin: "600px" });

  for (const place of document.querySelectorAll(".plot")) {
    watcher.observe(place);
    for (const control of document.querySelectorAll(`[name="choose-${place.dataset.group}"]`)) {
      control.addEventListener("change", () => draw(place, control.value));
    }
  }
  const redraw = () => shown.forEach((key, place) => draw(place, key));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    for (const place of document.querySelectorAll(".plot")) {
      if (!shown.has(place)) draw(place, Object.keys(figures[place.dataset.group])[0]);
    }
  });
})();
