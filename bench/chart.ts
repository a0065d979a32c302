import type { Metric, Summary } from './samples.ts';

interface Chart {
  readonly title: string;
  readonly workload: string;
  readonly variant: string;
  readonly metric: Metric;
  readonly digits: number;
}

const CHARTS: readonly Chart[] = [
  {
    title: 'Short chats a second, 64 connections (more is better)',
    workload: 'chat',
    variant: '64 connections',
    metric: 'requestsPerSecond',
    digits: 0,
  },
  {
    title: 'CPU per token in µs, 300 streams of 20 tokens/s (less is better)',
    workload: 'streams',
    variant: '300 streams',
    metric: 'cpuMicros',
    digits: 0,
  },
  {
    title: 'Delay of a token in ms, 99th percentile, 300 streams (less is better)',
    workload: 'streams',
    variant: '300 streams',
    metric: 'p99Ms',
    digits: 1,
  },
  {
    title: 'Tokens a second at full speed, 32 streams (more is better)',
    workload: 'burst',
    variant: '32 streams',
    metric: 'tokensPerSecond',
    digits: 0,
  },
  {
    title: 'CPU per token in µs by protocol, 300 streams (less is better)',
    workload: 'graphql',
    variant: '300 streams',
    metric: 'cpuMicros',
    digits: 0,
  },
];

const WIDTH = 720;
const LABEL_WIDTH = 110;
const VALUE_WIDTH = 70;
const BAR = 18;
const GAP = 6;
const TITLE = 34;

/** Bars, a group for each chart whose figures are there. Colours that can be read on light and on dark pages. */
export function drawCharts(summaries: readonly Summary[]): string {
  const parts: string[] = [];
  let top = 8;
  for (const chart of CHARTS) {
    const rows = summaries.filter(
      ({ workload, variant, metrics }) =>
        workload === chart.workload && variant === chart.variant && metrics[chart.metric] !== undefined,
    );
    if (rows.length === 0) continue;
    parts.push(drawChart(chart, rows, top));
    top += TITLE + rows.length * (BAR + GAP) + GAP;
  }
  const style = 'text{font:13px system-ui,sans-serif;fill:#6e7781}.title{font-weight:600}';
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" role="img" aria-label="Benchmark results">` +
    `<style>${style}</style>\n${parts.join('')}</svg>\n`
  );
}

function drawChart({ title, metric, digits }: Chart, rows: readonly Summary[], top: number): string {
  const most = Math.max(...rows.map(({ metrics }) => metrics[metric] ?? 0));
  const room = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  const bars = rows.map(({ subject, metrics }, index) => {
    const value = metrics[metric] ?? 0;
    const y = top + TITLE + index * (BAR + GAP);
    const width = Math.max(1, (value / most) * room);
    const isOurs = ['gateway', 'rest', 'graphql-ws', 'graphql-sse'].includes(subject);
    const text = value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
    const middle = y + BAR - 5;
    return (
      `<text x="${LABEL_WIDTH - 8}" y="${middle}" text-anchor="end">${subject}</text>` +
      `<rect x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2" fill="${isOurs ? '#2f81f7' : '#8c959f'}"/>` +
      `<text x="${(LABEL_WIDTH + width + 8).toFixed(1)}" y="${middle}">${text}</text>\n`
    );
  });
  return `<text class="title" x="0" y="${top + 20}">${title}</text>\n${bars.join('')}`;
}
