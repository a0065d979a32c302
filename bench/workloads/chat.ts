import { runWrk } from '../load/wrk.ts';
import { cpuMicros, residentMb, watchOtherCore } from '../machine.ts';
import type { Outcome } from '../samples.ts';
import { MODEL } from '../upstream/wire.ts';
import { inTurns } from './turns.ts';
import { type Setup, type Workload, warmUpMs } from './workload.ts';

const NAME = 'chat';
export const CHAT_TOKENS = 8;
export const CHAT_PATH = '/v1/chat/completions';
export const CHAT_BODY = JSON.stringify({
  model: MODEL,
  messages: [
    { role: 'system', content: 'You are a helpful assistant. Answer in one sentence.' },
    { role: 'user', content: 'Hello! What can you do for me today?' },
  ],
});

const CONNECTIONS = [1, 64, 300];
const WARM_UP_CONNECTIONS = 64;

/** Short answers in one piece. */
export const chat: Workload = {
  name: NAME,
  about: `Short chats, answered in one piece of ${CHAT_TOKENS} tokens. Each connection asks again as soon as it has its answer.`,
  run(bench) {
    const variants = new Map(
      CONNECTIONS.map((connections) => [
        `${connections} connection${connections === 1 ? '' : 's'}`,
        (setup: Setup) => load(setup, connections, 1),
      ]),
    );
    const entrants = bench.contenders.map(({ name, start }) => ({
      subject: name,
      start,
      variants,
      async warmUp(setup: Setup) {
        await setup.upstream.play({ tokens: CHAT_TOKENS });
        await load(setup, WARM_UP_CONNECTIONS, warmUpMs(bench) / 1000);
      },
    }));
    return inTurns(bench, { workload: NAME, turns: 12, entrants });
  },
};

/** What is still to be done for the requests when their answers are out, such as the ledger, is part of their cost. */
async function load({ running }: Setup, connections: number, seconds: number): Promise<Outcome> {
  const { url, headers, pid } = running;
  const before = cpuMicros(pid);
  const target = { url: url + CHAT_PATH, headers, body: CHAT_BODY };
  const use = watchOtherCore();
  const { requests, errors, ...figures } = await runWrk({ ...target, connections, seconds });
  const otherCoreBusy = use();
  await running.settled();
  return {
    metrics: {
      requestsPerSecond: requests / figures.seconds,
      cpuMicros: (cpuMicros(pid) - before) / requests,
      p50Ms: figures.p50Ms,
      p99Ms: figures.p99Ms,
      memoryMb: residentMb(pid),
      otherCoreBusy,
    },
    errors,
  };
}
