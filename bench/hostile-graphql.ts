/**
 * What refusing hostile GraphQL requests costs: `node bench/hostile-graphql.ts`. For each, the CPU time of the server,
 * HTTP included, and the longest that another request would have had to wait while eight callers send nothing else.
 */
import { startGraphQLProcess } from '../tests/support/graphql-process.ts';
import { COSTLY_DOCUMENT, HOSTILE_DOCUMENTS, HOSTILE_VARIABLES } from '../tests/support/hostile-documents.ts';

const REQUESTS = 200;
const CALLERS = 8;

const toBody = (query: string) => JSON.stringify({ query });
const cases: readonly (readonly [string, string])[] = [
  ['accepted: a small document', toBody('{ hello }')],
  ['accepted: the most costly document', toBody(COSTLY_DOCUMENT)],
  ...HOSTILE_DOCUMENTS.map(([name, query]) => [`refused: ${name}`, toBody(query)] as const),
  ...HOSTILE_VARIABLES.map(([name, body]) => [`refused: ${name} variables`, body] as const),
];

const server = await startGraphQLProcess();

async function flood(body: string): Promise<void> {
  let left = REQUESTS;
  const call = async () => {
    while (left-- > 0) await (await server.post(body)).arrayBuffer();
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
}

for (const [, body] of cases) await (await server.post(body)).arrayBuffer();
console.log('CPU ms   longest delay ms   peak MB   request');
for (const [name, body] of cases) {
  await server.figures();
  await flood(body);
  const { cpuMs, longestDelayMs, peakBytes } = await server.figures();
  const cells = [(cpuMs / REQUESTS).toFixed(2), longestDelayMs.toFixed(1), (peakBytes / 2 ** 20).toFixed(0)];
  console.log(`${cells[0]?.padStart(6)}   ${cells[1]?.padStart(16)}   ${cells[2]?.padStart(7)}   ${name}`);
}
await server.close();
