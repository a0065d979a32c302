import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawCharts } from './chart.ts';
import type { Contender } from './contenders/contender.ts';
import type { Machine } from './machine.ts';
import { METRICS, type Metric, ratioOf, type Sample, type Summary, summarize } from './samples.ts';
import type { Verdict } from './targets.ts';
import type { Workload } from './workloads/workload.ts';

/** Everything about one run. */
export interface Report {
  readonly takenAt: Date;
  readonly machine: Machine;
  readonly rounds: number;
  readonly quick: boolean;
  readonly contenders: readonly Pick<Contender, 'name' | 'about'>[];
  readonly workloads: readonly Pick<Workload, 'name' | 'about'>[];
  readonly samples: readonly Sample[];
  readonly verdicts: readonly Verdict[];
}

/** Above this share of the machine in use before the run, its figures say more about others than about the gateway. */
const BUSY = 0.05;

/** The report for people. */
export function renderText(report: Report): string {
  const { machine, rounds, contenders, workloads, samples, verdicts } = report;
  const summaries = summarize(samples);
  const lines = [
    `${machine.processor}, ${machine.cores} cores, ${machine.memoryGb} GB, Node ${machine.node}; medians of all turns of ${rounds} rounds`,
    ...contenders.map(({ name, about }) => `  ${name.padEnd(8)} ${about}`),
  ];
  if (machine.busyBefore > BUSY) {
    const share = Math.round(machine.busyBefore * 100);
    lines.push(
      `  The machine was ${share} % busy with other things before the run: do not believe absolute figures.`,
    );
  }
  for (const { name, about } of workloads) {
    const rows = groupByVariant(summaries.filter(({ workload }) => workload === name));
    lines.push('', `${name}: ${about}`, ...renderRows(rows, samples));
  }
  lines.push('', ...renderVerdicts(verdicts));
  return lines.join('\n');
}

/** Those that compare with each other next to each other. */
function groupByVariant(rows: readonly Summary[]): readonly Summary[] {
  return [...Map.groupBy(rows, ({ variant }) => variant).values()].flat();
}

function renderRows(rows: readonly Summary[], samples: readonly Sample[]): readonly string[] {
  const names = (Object.keys(METRICS) as Metric[]).filter((name) =>
    rows.some(({ metrics }) => metrics[name] !== undefined),
  );
  const relative = rows.some((row) => row.subject !== 'relay' && overRelay(row, samples) !== undefined);
  const header = [
    '',
    '',
    ...names.map((name) => METRICS[name].label),
    ...(relative ? ['CPU ÷ relay'] : []),
    'errors',
  ];
  const body = rows.map((row) => [
    row.variant,
    row.subject,
    ...names.map((name) => row.metrics[name]?.toFixed(METRICS[name].digits) ?? ''),
    ...(relative ? [overRelay(row, samples)?.toFixed(2) ?? ''] : []),
    Object.entries(row.errors)
      .map(([kind, count]) => `${count} × ${kind}`)
      .join(', ') || 'none',
  ]);
  return align([header, ...body]);
}

function overRelay(row: Summary, samples: readonly Sample[]): number | undefined {
  return ratioOf(samples, row, { ...row, subject: 'relay' }, 'cpuMicros');
}

function renderVerdicts(verdicts: readonly Verdict[]): readonly string[] {
  const measured = verdicts.filter(({ value }) => value !== undefined);
  const rows = measured.map(({ target, value, met }) => [
    met ? 'met' : 'MISSED',
    target.text,
    value?.toFixed(2) ?? '',
    `${target.bound} ${target.limit}`,
  ]);
  const others = verdicts.length - measured.length;
  return [
    ...(rows.length > 0 ? align([['', 'target', '', ''], ...rows]) : []),
    ...(others > 0 ? [`  ${others} of ${verdicts.length} targets need figures that are not there.`] : []),
  ];
}

/** Columns as wide as their widest cell: text to the left, numbers to the right. */
function align(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        const isNumber = rows.slice(1).every((one) => /^[\d.]*$/.test(one[column] ?? ''));
        return isNumber ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd()
      .replace(/^/, '  '),
  );
}

/** The report for programs: what it was made of, and what it comes to. */
export function renderJson({ verdicts, ...report }: Report): string {
  const targets = verdicts.map(({ target: { text, bound, limit }, value, met }) => ({
    text,
    bound,
    limit,
    value,
    met,
  }));
  return `${JSON.stringify({ ...report, summaries: summarize(report.samples), targets }, undefined, 2)}\n`;
}

/** Writes `NAME.json` and `NAME.svg`. @returns their paths. */
export function writeFiles(report: Report, directory: string, name: string): readonly string[] {
  mkdirSync(directory, { recursive: true });
  const json = join(directory, `${name}.json`);
  const svg = join(directory, `${name}.svg`);
  writeFileSync(json, renderJson(report));
  writeFileSync(svg, drawCharts(summarize(report.samples)));
  return [json, svg];
}
