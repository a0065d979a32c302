/**
 * What refusing hostile GraphQL requests costs: `node bench/hostile-graphql.ts`. For each, the CPU time of the server,
 * HTTP included, and the longest that another request would have had to wait: while one caller sends nothing else, which
 * is the longest that one refusal holds the event loop, and while eight do. Medians over some rounds.
 *
 * `--check` ends with 1 where a refusal goes beyond the bounds. Only a machine that does nothing else says anything.
 */
import { parseArgs } from 'node:util';
import { startGraphQLProcess } from '../tests/support/graphql-process.ts';
import { COSTLY_DOCUMENT, HOSTILE_BODIES, HOSTILE_DOCUMENTS } from '../tests/support/hostile-documents.ts';

const ROUNDS = 7;
const REQUESTS = 40;
const CALLERS = 8;
const MAX_CPU_MS = 5;
const MAX_DELAY_MS = 20;

interface Case {
  readonly name: string;
  readonly body: string;
  readonly isRefused: boolean;
}

interface Measured {
  readonly cpuMs: number;
  readonly delayMs: number;
}

const accepted = (name: string, body: object): Case => ({
  name: `accepted: ${name}`,
  body: JSON.stringify(body),
  isRefused: false,
});
const refused = (name: string, body: string): Case => ({ name: `refused: ${name}`, body, isRefused: true });

const TAKE = 'mutation($i: Nested!) { take(input: $i) { __typename } }';
const cases: readonly Case[] = [
  accepted('a small document', { query: '{ hello }' }),
  accepted('the most costly document', { query: COSTLY_DOCUMENT }),
  accepted('a megabyte of text', { query: TAKE, variables: { i: { text: 'x'.repeat(1_000_000) } } }),
  ...HOSTILE_DOCUMENTS.map(([name, query]) => refused(name, JSON.stringify({ query }))),
  ...HOSTILE_BODIES.map(([name, body]) => refused(name, body)),
];

const { values: options } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
const server = await startGraphQLProcess();

async function measure(body: string, callers: number): Promise<Measured> {
  let left = REQUESTS;
  const call = async () => {
    while (left-- > 0) await (await server.post(body)).arrayBuffer();
  };
  await server.figures();
  await Promise.all(Array.from({ length: callers }, call));
  const { cpuMs, longestDelayMs } = await server.figures();
  return { cpuMs: cpuMs / REQUESTS, delayMs: longestDelayMs };
}

/** The middle one, so that a pause of the machine's does not count. */
function median(measured: readonly Measured[], figure: keyof Measured): number {
  const sorted = measured.map((one) => one[figure]).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

const row = (...[cpu, alone, together, verdict, name]: readonly string[]) =>
  console.log(cpu?.padStart(6), alone?.padStart(14), together?.padStart(16), verdict?.padEnd(7), name);

// Every code path is compiled before anything counts.
for (const { body } of cases) await measure(body, CALLERS);
row('CPU ms', 'delay by 1 ms', `delay by ${CALLERS} ms`, '', 'request');
let isOver = false;
for (const { name, body, isRefused } of cases) {
  const alone: Measured[] = [];
  const together: Measured[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    alone.push(await measure(body, 1));
    together.push(await measure(body, CALLERS));
  }
  const cpuMs = median(together, 'cpuMs');
  const delayMs = median(together, 'delayMs');
  const isWithin = cpuMs < MAX_CPU_MS && delayMs < MAX_DELAY_MS;
  if (isRefused && !isWithin) isOver = true;
  const verdict = isRefused ? (isWithin ? 'within' : 'OVER') : '';
  row(cpuMs.toFixed(2), median(alone, 'delayMs').toFixed(1), delayMs.toFixed(1), verdict, name);
}
await server.close();
if (options.check && isOver) process.exitCode = 1;
