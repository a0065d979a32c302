import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ProbeFigures, ProbeLoad } from '../load/probe.ts';
import { runWrk } from '../load/wrk.ts';
import type { Outcome } from '../samples.ts';
import { CHAT_BODY, CHAT_PATH, CHAT_TOKENS } from './chat.ts';
import { orFailure, type Setup, startSetup, type Workload, warmUpMs } from './workload.ts';

const NAME = 'side';
const CONNECTIONS = 300;
const PATHS = ['/health', '/v1/models'];

/** The small requests that must not wait behind the large ones. */
export const side: Workload = {
  name: NAME,
  about: `What ${PATHS.join(' and ')} take while ${CONNECTIONS} connections ask for short chats without a pause.`,
  async *run(bench) {
    for (let round = 0; round < bench.rounds; round++) {
      for (const { name, start } of bench.contenders.filter(({ own }) => own)) {
        bench.note(`${NAME}, round ${round + 1}: ${name}`);
        const place = { workload: NAME, subject: name, turn: round };
        yield* await orFailure({ ...place, variant: 'all' }, async () => {
          await using setup = await startSetup(bench, start);
          await setup.upstream.play({ tokens: CHAT_TOKENS });
          const figures = await measure(setup, warmUpMs(bench), bench.quick ? 4 : 10);
          return figures.map((figure) => ({ ...place, ...figure }));
        });
      }
    }
  },
};

async function measure(
  { running: { url, headers } }: Setup,
  warmUpMs: number,
  seconds: number,
): Promise<readonly (Outcome & { readonly variant: string })[]> {
  const target = { url: url + CHAT_PATH, headers, body: CHAT_BODY, connections: CONNECTIONS };
  const chats = runWrk({ ...target, seconds: warmUpMs / 1000 + seconds + 2 });
  await new Promise((resolve) => setTimeout(resolve, warmUpMs));
  const figures = await probe({ url, headers, paths: PATHS, seconds });
  const { errors } = await chats;
  return figures.map(({ path, p50Ms, p99Ms, lateMs, errors: own }) => ({
    variant: path,
    metrics: p99Ms === null ? {} : { p50Ms, p99Ms, lateMs },
    errors: { ...errors, ...own, ...(p99Ms === null && { 'too few answers': 1 }) },
  }));
}

async function probe(load: ProbeLoad): Promise<ProbeFigures> {
  const program = join(import.meta.dirname, '../load/probe.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [program, JSON.stringify(load)]);
  return JSON.parse(stdout);
}
