import type { Histogram } from './histogram.ts';
import type { SoakResult, StackResult } from './run.ts';

const LABEL_WIDTH = 24;

/** The table, and below it what is wrong. */
export function formatReport(result: SoakResult): string {
  const { options, seconds, completed, failures, injected, firstText, gaps, faults } = result;
  const target = options.deployment?.url ?? 'nginx and three replicas';
  const rows: (readonly [string, string])[] = [
    ['clients', `${options.clients} for ${Math.round(seconds)} s through ${target}`],
    ['requests', `${count(completed)} answered in full, ${count(failures.length)} failed`],
  ];
  for (const [cause, number] of countBy(failures, (failure) => describeFailure(failure))) {
    rows.push(['', `${count(number)} ${cause}`]);
  }
  if (options.faults) {
    const names = [...countBy(injected, ({ name }) => name)].map(([name, number]) => `${name} ${number}×`);
    rows.push(['faults', names.join(', ') || 'none, as there was no time for one']);
  }
  if (result.stack) rows.push(...describeStack(result.stack, seconds));
  rows.push(
    ['first token (ms)', describePercentiles(firstText)],
    ['between tokens (ms)', describePercentiles(gaps)],
  );
  const lines = rows.map(([label, text]) => `  ${label.padEnd(LABEL_WIDTH)}${text}`);
  const verdict = faults.length === 0 ? ['Nothing is wrong.'] : faults;
  return ['', ...lines, '', ...verdict].join('\n');
}

function describeFailure({ cause, fault }: SoakResult['failures'][number]): string {
  return `${cause} (${fault ? fault.name : 'unexplained'})`;
}

function describeStack(
  { samples, atEnd, rows, lostRows, tokens }: StackResult,
  seconds: number,
): readonly (readonly [string, string])[] {
  const { most, memory } = samples;
  return [
    ['tokens', `${count(tokens)}, ${count(Math.round(tokens / seconds))} a second`],
    ['ledger', `${count(rows)} rows, ${count(lostRows)} lost`],
    ['usage records in Redis', `${count(most.entries)} at most, ${atEnd.entries} at the end`],
    ['leases', `${count(most.leases)} at most, ${atEnd.leases} at the end`],
    ['requests under way', `${count(most.inFlight)} at most, ${atEnd.inFlight} at the end`],
    [
      'PostgreSQL connections',
      `${most.postgresConnections} at most, ${atEnd.postgresConnections} at the end`,
    ],
    ['Redis connections', `${most.redisConnections} at most, ${atEnd.redisConnections} at the end`],
    ...memory.map(
      ({ replica, bytes }) =>
        [
          `memory of replica ${replica}`,
          `${megabytes(bytes[0])} at first, ${megabytes(Math.max(...bytes))} at most, ${megabytes(bytes.at(-1))} at the end`,
        ] as const,
    ),
  ];
}

function describePercentiles(histogram: Histogram): string {
  const [p50, p99] = [histogram.percentile(0.5), histogram.percentile(0.99)];
  return p50 === undefined ? 'none' : `p50 ${p50}, p99 ${p99} of ${count(histogram.count)}`;
}

/** Most frequent first. */
function countBy<T>(items: readonly T[], keyOf: (item: T) => string): readonly (readonly [string, number])[] {
  return [...Map.groupBy(items, keyOf)]
    .map(([key, { length }]) => [key, length] as const)
    .sort(([, one], [, other]) => other - one);
}

function count(number: number): string {
  return number.toLocaleString('en');
}

function megabytes(bytes = 0): string {
  return `${Math.round(bytes / 2 ** 20)} MB`;
}
