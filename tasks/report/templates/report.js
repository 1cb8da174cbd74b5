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

// Tables: a click on a column header sorts by the keys of its cells; cells without one stay last.
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

// Paper is narrower than the window, and shows collapsed content.
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
