'use strict';
// The page's own script: draws the timeline, shows what was alive at a moment, sorts and filters tables.
(() => {
  const root = document.documentElement;
  const element = (id) => document.getElementById(id);
  root.classList.add('js');

  // Numbers as `tidegauge` prints them.
  const threeDigits = (value) => {
    const size = Math.abs(value);
    return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
  };
  const bytesText = (bytes) => {
    if (Math.abs(bytes) < 1024) return `${bytes} B`;
    const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    let value = bytes / 1024;
    let unit = 0;
    while (Math.abs(value) >= 1023.5 && unit + 1 < units.length) {
      value /= 1024;
      unit += 1;
    }
    return `${threeDigits(value)} ${units[unit]}`;
  };
  // Times are told finer than in text, since moments may lie close to each other.
  const durationText = (nanos) => {
    const size = Math.abs(nanos);
    const [unit, name] = size >= 1e9 ? [1e9, 's'] : size >= 1e6 ? [1e6, 'ms'] : size >= 1e3 ? [1e3, 'µs'] : [1, 'ns'];
    return `${unit === 1 ? Math.round(nanos) : (nanos / unit).toFixed(3)} ${name}`;
  };

  // Tables: headings sort, long ones can be filtered.
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v === '' ? null : Number(cell.dataset.v);
  };
  const compare = (one, two) => {
    if (one === null || two === null) return (one === null) - (two === null);
    // Differences of infinities are none.
    return typeof one === 'number' && typeof two === 'number' ? (one > two) - (one < two) : String(one).localeCompare(String(two));
  };
  for (const table of document.querySelectorAll('table.data')) {
    const body = table.tBodies[0];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener('click', () => {
        const down = heading.getAttribute('aria-sort') !== 'descending';
        headings.forEach((other) => other.removeAttribute('aria-sort'));
        heading.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const rows = [...body.rows].map((row) => [value(row, column), row]);
        // What is not known comes last, whichever way the rest is sorted.
        rows.sort(([one], [two]) => (one === null || two === null || !down ? compare(one, two) : compare(two, one)));
        body.append(...rows.map(([, row]) => row));
      });
    });
    if (!table.classList.contains('long')) continue;
    const filter = document.createElement('input');
    filter.type = 'search';
    filter.className = 'filter';
    filter.placeholder = 'Filter rows';
    filter.setAttribute('aria-label', `Filter rows: ${table.caption.textContent}`);
    filter.addEventListener('input', () => {
      const wanted = filter.value.toLowerCase();
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    table.parentElement.before(filter);
  }

  const data = JSON.parse(element('data').textContent);
  if (typeof Plotly === 'undefined' || data.figures.length === 0) return;
  const DOUBLE_CLICK_MILLIS = 500;
  const chart = element('chart');
  let shown = null; // The figure that is drawn.
  let chosen = -1; // The number of the moment that is shown.
  let pending; // The redrawing that is to come.

  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const moments = () => {
    const of = data.moments.devices.find((device) => device.device === shown.extra.device);
    return of || { kinds: [], moments: [] };
  };

  // The others are spread over the recording.
  const isPeak = (moment) => moment.why !== 'moment';

  // Colours are those of the page, for its ground, light or dark.
  const painted = (figure) => {
    const ink = style('--ink');
    const traces = [...data.bands, ...figure.data].map((trace) => {
      const colour = style(`--c${trace.meta}`);
      const own = { ...trace };
      if (trace.line) own.line = { ...trace.line, color: colour };
      if (trace.marker) own.marker = { ...trace.marker, color: colour };
      if (trace.fill) own.fillcolor = colour;
      return own;
    });
    const axis = (of) => ({ ...of, gridcolor: style('--grid'), linecolor: style('--muted'), zerolinecolor: style('--muted') });
    // A copy: plotly writes into what it is given.
    const layout = structuredClone(figure.layout);
    layout.xaxis = axis(layout.xaxis);
    layout.yaxis = axis(layout.yaxis);
    layout.font = { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 };
    layout.paper_bgcolor = 'rgba(0,0,0,0)';
    layout.plot_bgcolor = 'rgba(0,0,0,0)';
    layout.hoverlabel = { bgcolor: style('--panel'), bordercolor: style('--muted'), font: { color: ink } };
    return [traces, layout];
  };

  // Bands are closed shapes of four points and a gap.
  const bandsOf = (axis) => {
    const bands = [];
    for (const trace of data.bands.filter((of) => of.yaxis === axis)) {
      for (let at = 0; at + 3 < trace.x.length; at += 5) {
        bands.push({ name: trace.text ? trace.text[at / 5] : trace.name, meta: trace.meta, begin: trace.x[at], end: trace.x[at + 2] });
      }
    }
    return bands;
  };

  const line = (x, colour, dash) => ({
    type: 'line', x0: x, x1: x, yref: 'y domain', y0: 0, y1: 1, line: { color: colour, width: 2, dash },
  });
  const shapes = (range) => {
    const all = shown.extra.ooms.map((x) => line(x, style('--oom'), 'solid'));
    const inside = shown.phases.filter((band) => band.end >= range[0] && band.begin <= range[1]);
    // As many as can be told apart; of more, the strip below the curves tells.
    if (inside.length <= 60) {
      for (const band of inside) {
        all.push({
          type: 'rect', x0: band.begin, x1: band.end, yref: 'y domain', y0: 0, y1: 1, layer: 'below',
          line: { width: 0 }, fillcolor: style(`--c${band.meta}`), opacity: 0.12,
        });
      }
    }
    const moment = moments().moments[chosen];
    if (moment) all.push(line(moment.t / shown.extra.nanos_per_unit, style('--ink'), 'dot'));
    return all;
  };
  const reshape = () => Plotly.relayout(chart, { shapes: shapes(chart.layout.xaxis.range) });

  const nearest = (nanos) => {
    const all = moments().moments;
    let best = -1;
    all.forEach((moment, number) => {
      if (best < 0 || Math.abs(moment.t - nanos) < Math.abs(all[best].t - nanos)) best = number;
    });
    return best;
  };

  const fill = (table, rows, total) => {
    table.tBodies[0].replaceChildren(...rows.map(([name, bytes, blocks]) => {
      const row = document.createElement('tr');
      const cell = (text, exact, title) => {
        const made = document.createElement('td');
        made.textContent = text;
        if (exact !== undefined) {
          made.className = 'n';
          made.dataset.v = exact;
        }
        if (title) made.title = title;
        row.append(made);
      };
      cell(name);
      cell(bytesText(bytes), bytes, `${bytes} bytes`);
      cell(total > 0 ? `${((bytes / total) * 100).toFixed(1)} %` : '–', total > 0 ? bytes / total : '');
      cell(blocks === null ? '–' : String(blocks), blocks === null ? '' : blocks);
      return row;
    }));
  };

  const show = (number, clicked) => {
    const of = moments();
    const moment = of.moments[number];
    if (!moment) return;
    chosen = number;
    element('moment').value = String(number);
    const where = [moment.step === null ? '' : `step ${moment.step}`, moment.phase ? `phase ${moment.phase}` : '', isPeak(moment) ? moment.why : ''].filter(Boolean);
    let text = `Alive at ${durationText(moment.t)}: ${bytesText(moment.bytes)} (${moment.bytes.toLocaleString('en')} bytes) allocated on ${shown.extra.name}`;
    if (where.length) text += `; ${where.join(', ')}`;
    if (!moment.exact) text += '; another event follows at the same time';
    if (clicked !== undefined) text += `; the nearest moment to ${durationText(clicked)}`;
    element('alive-title').textContent = text;
    element('moment').setAttribute('aria-valuetext', text);
    element('alive').dataset.nanos = String(moment.t);
    fill(element('alive-categories'), moment.c.map(([kind, bytes, blocks]) => [of.kinds[kind], bytes, blocks]), moment.bytes);
    const sites = moment.s.map(([site, bytes, blocks]) => [site === null ? '(no site)' : data.moments.sites[site], bytes, blocks]);
    if (moment.more && moment.more[0] > 0) sites.push([`(${moment.more[0]} more)`, moment.more[1], moment.more[2]]);
    fill(element('alive-sites'), sites, moment.bytes);
    // What redraws the chart between two clicks would make a double one of none.
    clearTimeout(pending);
    pending = setTimeout(reshape, clicked === undefined ? 0 : DOUBLE_CLICK_MILLIS + 50);
  };

  const nameAt = (bands, x) => {
    let found = null;
    for (const band of bands) {
      // The innermost is the shortest.
      if (band.begin <= x && x <= band.end && (!found || band.end - band.begin < found.end - found.begin)) found = band;
    }
    return found;
  };
  const plain = (text) => text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

  const pointed = (event) => {
    const axis = chart._fullLayout.xaxis;
    return axis.p2d(event.clientX - chart.getBoundingClientRect().left - axis._offset);
  };

  const draw = () => {
    shown.phases = bandsOf('y3');
    const [traces, layout] = painted(shown.figure);
    layout.shapes = shapes(layout.xaxis.range);
    return Plotly.react(chart, traces, layout, { ...shown.figure.config, doubleClickDelay: DOUBLE_CLICK_MILLIS });
  };

  const choose = (figure) => {
    shown = figure;
    chosen = -1;
    const all = moments().moments;
    element('moment').max = String(Math.max(all.length - 1, 0));
    draw();
    let peak = all.findIndex((moment) => moment.why.split(', ')[0] === 'peak');
    if (peak < 0) peak = all.reduce((best, moment, at) => (best < 0 || moment.bytes > all[best].bytes ? at : best), -1);
    for (const id of ['alive', 'previous', 'next']) element(id).hidden = all.length === 0;
    element('moment').parentElement.hidden = all.length === 0;
    show(peak);
  };

  element('interactive').hidden = false;
  root.classList.add('drawn');
  const select = element('device');
  data.figures.forEach((figure, number) => select.add(new Option(figure.extra.name, String(number))));
  select.parentElement.hidden = data.figures.length < 2;
  select.addEventListener('change', () => choose(data.figures[Number(select.value)]));
  choose(data.figures[0]);

  chart.on('plotly_click', (event) => {
    const nanos = pointed(event.event) * shown.extra.nanos_per_unit;
    show(nearest(nanos), nanos);
  });
  chart.on('plotly_hover', (event) => {
    const x = pointed(event.event);
    const phase = nameAt(shown.phases, x);
    const text = [durationText(x * shown.extra.nanos_per_unit), phase ? `phase ${plain(phase.name)}` : ''];
    element('readout').textContent = text.filter(Boolean).join(', ');
  });
  chart.on('plotly_relayout', (change) => {
    if (Object.keys(change).some((key) => key.startsWith('xaxis'))) reshape();
  });
  element('moment').addEventListener('input', (event) => show(Number(event.target.value)));
  const toPeak = (direction) => {
    const all = moments().moments;
    for (let at = chosen + direction; at >= 0 && at < all.length; at += direction) {
      if (isPeak(all[at])) return show(at);
    }
    return undefined;
  };
  element('whole').addEventListener('click', () => {
    Plotly.relayout(chart, { 'xaxis.range': [...shown.figure.layout.xaxis.range], 'yaxis.autorange': true });
  });
  element('previous').addEventListener('click', () => toPeak(-1));
  element('next').addEventListener('click', () => toPeak(1));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    const range = [...chart.layout.xaxis.range];
    draw().then(() => Plotly.relayout(chart, { 'xaxis.range': range }));
  });
})();
