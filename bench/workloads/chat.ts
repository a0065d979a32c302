import type { Contender, Running } from '../contenders/contender.ts';
import { runWrk } from '../load/wrk.ts';
import { cpuMicros, residentMb, watchOtherCore } from '../machine.ts';
import type { Sample } from '../samples.ts';
import { MODEL } from '../upstream/wire.ts';
import { type Bench, orFailure, type Workload, warmUpMs, withContender } from './workload.ts';

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

/** Short answers in one piece. */
export const chat: Workload = {
  name: NAME,
  about: `Short chats, answered in one piece of ${CHAT_TOKENS} tokens. Each connection asks again as soon as it has its answer.`,
  async *run(bench) {
    for (let round = 0; round < bench.rounds; round++) {
      for (const contender of bench.contenders) {
        bench.note(`${NAME}, round ${round + 1}: ${contender.name}`);
        const place = { workload: NAME, variant: 'all', subject: contender.name, round };
        yield* await orFailure(place, () => measureContender(bench, contender, round));
      }
    }
  },
};

function measureContender(bench: Bench, contender: Contender, round: number): Promise<readonly Sample[]> {
  const seconds = bench.quick ? 2 : 8;
  return withContender(bench, contender.start, { tokens: CHAT_TOKENS }, async (running) => {
    await load(running, 64, warmUpMs(bench) / 1000);
    const samples: Sample[] = [];
    for (const connections of CONNECTIONS) {
      const figures = await load(running, connections, seconds);
      const variant = `${connections} connection${connections === 1 ? '' : 's'}`;
      samples.push({ workload: NAME, variant, subject: contender.name, round, ...figures });
    }
    return samples;
  });
}

/** What is still to be done for the requests when their answers are out, such as the ledger, is part of their cost. */
async function load(
  running: Running,
  connections: number,
  seconds: number,
): Promise<Pick<Sample, 'metrics' | 'errors'>> {
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
