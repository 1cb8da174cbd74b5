"""Style sheet and script of the report. The charts take text, grid and hover colours from here."""

from __future__ import annotations

STYLE = """
:root { --paper:#fff; --card:#f6f7f9; --ink:#1c2128; --soft:#59636e; --line:#dde1e6;
  --accent:#0072B2; --mark:#fff3d6; --good:#00694d; --bad:#b34400; }
@media (prefers-color-scheme: dark) { :root { --paper:#14171c; --card:#1d2128; --ink:#e8eaed;
  --soft:#a3acb8; --line:#333a44; --accent:#56B4E9; --mark:#3d3216; --good:#3cc79a;
  --bad:#ff9350; } }
@media print { :root { --paper:#fff; --card:#f6f7f9; --ink:#1c2128; --soft:#59636e; --line:#ccd1d7;
  --accent:#0072B2; --mark:#fff3d6; --good:#00694d; --bad:#b34400; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink); line-height:1.55;
  font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif; }
main { max-width:1100px; margin:0 auto; padding:2rem 1.25rem 4rem; }
h1 { font-size:1.75rem; line-height:1.2; margin:0 0 .25rem; overflow-wrap:anywhere; }
h2 { font-size:1.25rem; margin:0 0 .75rem; }
h3 { font-size:1rem; margin:1.25rem 0 .25rem; }
section { margin-top:2.75rem; }
p { margin:.5rem 0; max-width:75ch; }
a { color:var(--accent); }
.lead { font-size:1.1rem; }
.note, .facts { color:var(--soft); font-size:.9rem; }
.facts { display:flex; flex-wrap:wrap; gap:.15rem 1.25rem; margin:.5rem 0 1rem; max-width:none; }
.facts b { color:var(--ink); font-weight:600; overflow-wrap:anywhere; }
.good { color:var(--good); } .bad { color:var(--bad); }
.verdict { border-left:4px solid var(--accent); padding:.25rem 0 .25rem .9rem; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:.75rem;
  margin:1.25rem 0; }
.tile { background:var(--card); border:1px solid var(--line); border-radius:10px;
  padding:.75rem .9rem; }
.tile .value { font-size:1.25rem; font-weight:650; white-space:nowrap;
  font-variant-numeric:tabular-nums; }
.tile .label, .tile .under { color:var(--soft); font-size:.82rem; }
.scroll { overflow-x:auto; max-width:100%; }
table { border-collapse:collapse; font-size:.88rem; font-variant-numeric:tabular-nums; }
.scroll > table { min-width:min(100%,32rem); }
th { text-align:left; color:var(--soft); font-weight:600; vertical-align:bottom; }
th, td { padding:.4rem .9rem .4rem 0; border-bottom:1px solid var(--line); }
td { vertical-align:top; }
td.number { white-space:nowrap; }
th button { all:unset; cursor:pointer; }
th button:focus-visible, .chip:focus-visible, summary:focus-visible {
  outline:2px solid var(--accent); outline-offset:2px; }
th[aria-sort=ascending] button::after { content:" ▲"; font-size:.7em; }
th[aria-sort=descending] button::after { content:" ▼"; font-size:.7em; }
tr.best td:first-child { box-shadow:inset 3px 0 var(--accent); padding-left:.5rem;
  font-weight:650; }
tr.differs td { background:var(--mark); }
tr.differs td:nth-child(2) { font-weight:650; }
tr td:first-child { padding-left:.5rem; } tr th:first-child { padding-left:.5rem; }
td small { color:var(--soft); display:block; }
td details { font-size:.82rem; margin:0; white-space:nowrap; }
.pairs { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));
  gap:.5rem 1.25rem; }
.pairs > * { min-width:0; }
.chips { display:flex; flex-wrap:wrap; gap:.35rem; margin:.5rem 0; }
.chip { font:inherit; font-size:.8rem; color:var(--ink); background:var(--card); cursor:pointer;
  border:1px solid var(--line); border-radius:999px; padding:.1rem .6rem; }
.chip i { display:inline-block; width:.7em; height:.7em; border-radius:50%; margin-right:.4em; }
.chip[aria-pressed=false] { opacity:.4; text-decoration:line-through; }
details { margin:.35rem 0; }
summary { cursor:pointer; }
pre { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:.75rem;
  overflow-x:auto; font-size:.82rem; line-height:1.45; max-height:28rem; }
code { font-size:.92em; overflow-wrap:anywhere; }
.js-plotly-plot .main-svg text { fill:var(--ink) !important; }
.js-plotly-plot .main-svg .xtitle, .js-plotly-plot .main-svg .ytitle {
  fill:var(--soft) !important; }
.js-plotly-plot .gridlayer path { stroke:var(--line) !important; }
.js-plotly-plot .hoverlayer .hovertext path { fill:var(--card) !important;
  stroke:var(--soft) !important; }
.js-plotly-plot .hoverlayer text { fill:var(--ink) !important; }
.js-plotly-plot .legend .bg { fill:transparent !important; }
.js-plotly-plot .updatemenu-item-rect { fill:var(--card) !important;
  stroke:var(--line) !important; }
.js-plotly-plot .modebar-group { background:transparent !important; }
.js-plotly-plot .modebar-btn path { fill:var(--soft) !important; }
.js-plotly-plot .parcoords text { text-shadow:none !important; }
.js-plotly-plot .parcoords .axis path, .js-plotly-plot .parcoords .axis line {
  stroke:var(--soft) !important; }
@media print {
  main { max-width:none; padding:0; } .chips, .modebar-container, .updatemenu-container {
    display:none !important; }
  .tile, .figure, tr { break-inside:avoid; } h2, h3, .note { break-after:avoid; }
  .pairs { display:block; } td details { display:none; }
  pre { max-height:none; white-space:pre-wrap; } .scroll { overflow:visible; }
}
"""

SCRIPT = """
'use strict';
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const charts = all('script[data-for]').map(source => {
  const chart = document.getElementById(source.dataset.for);
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(chart, figure.data, figure.layout, {
    responsive: true, displaylogo: false,
    // Named one by one: by default there is a button that sends the chart to a web service.
    showSendToCloud: false, plotlyServerURL: '',
    modeBarButtons: [figure.data.some(trace => trace.type === 'parcoords')
      ? ['toImage'] : ['zoom2d', 'pan2d', 'resetScale2d', 'toImage']],
  });
  return chart;
});

// Tables: a click on a head sorts by the cells' keys; cells without one stay last.
for (const table of all('table.sortable')) {
  const heads = all('th', table);
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') !== 'descending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const key = row => row.cells[column].dataset.key;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === '' || y === '') return (x === '') - (y === '');
      const numbers = !isNaN(x) && !isNaN(y);
      return (numbers ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
    };
    const body = table.tBodies[0];
    [...body.rows].sort(order).forEach(row => body.append(row));
  }));
}

// Curves: one legend for all charts of the section.
const curves = charts.filter(chart => chart.closest('#curves'));
const chips = all('.chip[data-trial]');
const show = () => {
  const shown = new Set(chips.filter(c => c.ariaPressed === 'true').map(c => c.dataset.trial));
  for (const chart of curves) {
    if (chart.data.length)
      Plotly.restyle(chart, { visible: chart.data.map(trace => shown.has(trace.meta)) });
  }
};
const press = (chip, on) => chip.setAttribute('aria-pressed', on);
for (const chip of chips) {
  chip.addEventListener('click', () => { press(chip, chip.ariaPressed !== 'true'); show(); });
  chip.addEventListener('dblclick', () => { chips.forEach(c => press(c, c === chip)); show(); });
}
for (const button of all('.chip[data-all]')) {
  button.addEventListener('click', () => {
    chips.forEach(chip => press(chip, button.dataset.all === 'yes')); show();
  });
}

// Paper is narrower than the window, and shows what is folded away.
const PAPER = 680;
const wide = chart => chart.parentElement.classList.contains('scroll');
const resize = (chart, width) => {
  if (wide(chart)) chart.style.zoom = width ? Math.min(1, width / chart.scrollWidth) : '';
  else Plotly.relayout(chart, { width, autosize: !width });
};
addEventListener('beforeprint', () => {
  all('section > details').forEach(item => { item.dataset.was = item.open; item.open = true; });
  charts.forEach(chart => resize(chart, PAPER));
});
addEventListener('afterprint', () => {
  all('section > details').forEach(item => { item.open = item.dataset.was === 'true'; });
  charts.forEach(chart => resize(chart, null));
});
"""
