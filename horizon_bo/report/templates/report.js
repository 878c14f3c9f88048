"use strict";
// Draws the page's charts in the colours of its theme, copies the config, and, on a live page,
// asks now and then whether there is a later revision.

const POLL_MS = 3000;

function coloured(value, style) {
  if (typeof value === "string" && value.startsWith("$")) {
    return style.getPropertyValue("--" + value.slice(1)).trim();
  }
  if (Array.isArray(value)) return value.map((entry) => coloured(entry, style));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, coloured(v, style)]));
  }
  return value;
}

function dressed(chart) {
  const axis = {
    gridcolor: "$line", linecolor: "$soft", zeroline: false, tickangle: 0, ticks: "outside", tickcolor: "$line",
    automargin: true, fixedrange: !matchMedia("(pointer: fine)").matches,
  };
  const title = (own) => ({ ...own.title, standoff: 10, font: { size: 13, color: "$soft" } });
  const { xaxis, yaxis, ...rest } = chart.layout;
  return {
    data: chart.data,
    layout: {
      margin: { l: 40, r: 14, t: 8, b: 46 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: "$text" },
      hoverlabel: { bgcolor: "$card", bordercolor: "$soft", font: { color: "$text", size: 13 }, align: "left" },
      hovermode: "closest",
      showlegend: false,
      ...rest,
      xaxis: { ...axis, ...xaxis, title: title(xaxis) },
      yaxis: { ...axis, ...yaxis, title: title(yaxis) },
    },
  };
}

// A legend of our own: Plotly's gives every entry the width of the widest.
const SYMBOLS = {
  circle: '<circle cx="11" cy="7" r="4.5"/>',
  square: '<rect x="7" y="3" width="8" height="8"/>',
  diamond: '<path d="M11 1l6 6-6 6-6-6z"/>',
  x: '<path d="M7 3l8 8M15 3l-8 8" stroke-width="3"/>',
  "triangle-up": '<path d="M11 2l5 9H6z"/>',
};

function swatch(trace) {
  const marker = trace.marker || {};
  const color = marker.color || (trace.line && trace.line.color);
  let shape = "";
  if (trace.fill) {
    return `<svg aria-hidden="true"><rect width="22" height="14" fill="${trace.fillcolor}"/></svg>`;
  }
  if (trace.mode.includes("lines")) {
    const dash = trace.line.dash ? 'stroke-dasharray="5 3"' : "";
    shape += `<path d="M0 7h22" stroke-width="3" ${dash}/>`;
  }
  if (trace.mode.includes("markers")) {
    const name = [marker.symbol || "circle"].flat()[0];
    const open = name.endsWith("-open");
    shape += `<g fill-opacity="${open ? 0 : 1}">${SYMBOLS[name.replace("-open", "")]}</g>`;
  }
  return `<svg aria-hidden="true" fill="${color}" stroke="${color}" stroke-width="1.5">${shape}</svg>`;
}

function label(place, traces) {
  const named = traces.filter((trace) => trace.name);
  const entries = named.map((trace) => {
    const entry = document.createElement("li");
    entry.innerHTML = swatch(trace);
    entry.append(trace.name);
    return entry;
  });
  place.closest("figure").querySelector(".legend").replaceChildren(...(named.length > 1 ? entries : []));
}

function drawOne(place, chart, style) {
  const { data, layout } = coloured(dressed(chart), style);
  label(place, data);
  if (document.documentElement.dataset.paper) {
    layout.width = place.clientWidth;
    layout.height = place.clientHeight;
  }
  Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
}

let drawing = 0;

// One chart a turn, so that the page answers meanwhile; a later call takes the place of an earlier.
async function draw() {
  const mine = ++drawing;
  for (const turn of turns()) {
    await new Promise((resolve) => setTimeout(resolve));
    if (mine !== drawing) return;
    turn();
  }
  document.documentElement.dataset.drawn = "yes";
}

// Paper does not wait, and has a width and colours of its own.
function onPaper() {
  drawing++;
  document.documentElement.dataset.paper = "yes";
  for (const turn of turns()) turn();
}

function offPaper() {
  delete document.documentElement.dataset.paper;
  draw();
}

function turns() {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const style = getComputedStyle(document.documentElement);
  const places = [...document.querySelectorAll("[data-chart]")];
  return places.map((place) => () => drawOne(place, charts[place.dataset.chart], style));
}

function listen() {
  const button = document.getElementById("copy");
  const said = document.getElementById("copied");
  const code = document.getElementById("config");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      said.textContent = "Selected: press Ctrl+C";
    }
  });
}

async function follow() {
  const said = document.getElementById("live");
  const main = document.querySelector("main");
  try {
    const answer = await fetch("revision", { cache: "no-cache" });
    if (!answer.ok) throw new Error(answer.statusText);
    const { revision, trouble } = await answer.json();
    if (String(revision) !== main.dataset.revision) {
      const text = await (await fetch("main")).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const part of ["header", "main"]) {
        document.querySelector(part).replaceWith(page.querySelector(part));
      }
      document.title = page.title;
      draw();
      listen();
    }
    const workers = await fetch("workers");
    if (workers.ok) {
      const part = new DOMParser().parseFromString(await workers.text(), "text/html");
      document.getElementById("workers").replaceChildren(...part.body.childNodes);
    }
    said.textContent = trouble ? `the study cannot be read: ${trouble}` : "up to date";
  } catch {
    said.textContent = "the server does not answer; this is its last page";
  }
  setTimeout(follow, POLL_MS);
}

draw();
listen();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("beforeprint", onPaper);
addEventListener("afterprint", offPaper);
if (document.getElementById("live")) follow();
