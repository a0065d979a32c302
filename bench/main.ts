/** Measures the gateway next to others: `npm run bench -- --help`. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Contender } from './contenders/contender.ts';
import { createBaseline, gateway } from './contenders/gateway.ts';
import { nginx } from './contenders/nginx.ts';
import { portkey } from './contenders/portkey.ts';
import { relay } from './contenders/relay.ts';
import { describeMachine, leaveMeasuredCore } from './machine.ts';
import { type Report, renderJson, renderText, writeFiles } from './report.ts';
import type { Sample } from './samples.ts';
import { judge } from './targets.ts';
import { admission } from './workloads/admission.ts';
import { burst } from './workloads/burst.ts';
import { chat } from './workloads/chat.ts';
import { graphql } from './workloads/graphql.ts';
import { side } from './workloads/side.ts';
import { startup } from './workloads/startup.ts';
import { streams } from './workloads/streams.ts';
import type { Workload } from './workloads/workload.ts';

/** In the order in which they take turns. */
const CONTENDERS: readonly Contender[] = [nginx, relay, gateway, portkey];
const WORKLOADS: readonly Workload[] = [chat, streams, burst, graphql, side, admission, startup];

const HELP = `npm run bench -- [options]

Runs every contender in turn, each on a core of its own, and prints what it measured.

  --quick            one short round of everything, to see that it works
  --only A,B         some workloads: ${WORKLOADS.map(({ name }) => name).join(', ')}
  --contenders A,B   some contenders: ${CONTENDERS.map(({ name }) => name).join(', ')}
  --baseline DIR     measure the gateway in another checkout as well
  --rounds N         how often each is started and measured; 3 by default
  --check            exit with 1 where a target is missed
  --json             print the report as JSON
  --profile DIR      leave CPU profiles of the Node processes in DIR

The report is written to bench/results as well: full, quick or part, as JSON and SVG.
`;

const RESULTS = join(import.meta.dirname, 'results');

function parseOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      contenders: { type: 'string' },
      baseline: { type: 'string' },
      rounds: { type: 'string' },
      check: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is a number from 1.');
  const baselines = values.baseline === undefined ? [] : [createBaseline(values.baseline)];
  return {
    ...values,
    rounds,
    workloads: choose(WORKLOADS, values.only, '--only'),
    contenders: [...choose(CONTENDERS, values.contenders, '--contenders'), ...baselines],
    isWhole: [values.only, values.contenders, values.baseline].every((one) => one === undefined),
  };
}

function choose<T extends { readonly name: string }>(
  all: readonly T[],
  list: string | undefined,
  option: string,
) {
  if (list === undefined) return all;
  const names = list.split(',').map((name) => name.trim());
  const unknown = names.filter((name) => !all.some((one) => one.name === name));
  if (unknown.length > 0) throw new Error(`${option}: there is no ${unknown.join(', ')}. See --help.`);
  return all.filter(({ name }) => names.includes(name));
}

async function run(options: ReturnType<typeof parseOptions>): Promise<Report> {
  const { workloads, contenders, rounds, quick, profile } = options;
  await leaveMeasuredCore();
  const machine = await describeMachine();
  for (const contender of contenders) await contender.prepare?.();

  const samples: Sample[] = [];
  const note = (text: string) => process.stderr.write(`${text}\n`);
  const bench = { contenders, rounds, quick, note, ...(profile && { profileDirectory: profile }) };
  for (const workload of workloads) {
    for await (const sample of workload.run(bench)) samples.push(sample);
  }
  const verdicts = judge(samples);
  return { takenAt: new Date(), machine, rounds, quick, contenders, workloads, samples, verdicts };
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) return void process.stdout.write(HELP);
  const report = await run(options);
  process.stdout.write(options.json ? renderJson(report) : `${renderText(report)}\n`);
  const name = !options.isWhole ? 'part' : options.quick ? 'quick' : 'full';
  for (const path of writeFiles(report, RESULTS, name)) process.stderr.write(`wrote ${path}\n`);
  if (options.check && report.verdicts.some(({ met }) => met === false)) process.exitCode = 1;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
});
