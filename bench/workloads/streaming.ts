import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Running } from '../contenders/contender.ts';
import type { Protocol } from '../load/clients.ts';
import type { StreamFigures, StreamLoad } from '../load/streams.ts';
import type { Outcome } from '../samples.ts';
import { MODEL } from '../upstream/wire.ts';
import { CHAT_PATH } from './chat.ts';
import type { Setup } from './workload.ts';

const TEXT = 'Tell me a long story about a gateway.';

const SUBSCRIPTION = `subscription ($model: String!, $text: String!) {
  chatCompletion(input: { model: $model, messages: [{ role: USER, content: [{ text: $text }] }] }) {
    __typename
    ... on ChatContentDelta { content }
    ... on ChatFinished { usage { totalTokens } }
    ... on ChatFailed { error { code message } }
  }
}`;

const GRAPHQL = {
  path: '/graphql',
  body: JSON.stringify({ query: SUBSCRIPTION, variables: { model: MODEL, text: TEXT } }),
};

/** Where and how each protocol asks for one stream. */
const REQUESTS: Readonly<Record<Protocol, { readonly path: string; readonly body: string }>> = {
  rest: {
    path: CHAT_PATH,
    body: JSON.stringify({ model: MODEL, stream: true, messages: [{ role: 'user', content: TEXT }] }),
  },
  'graphql-sse': GRAPHQL,
  'graphql-ws': GRAPHQL,
};

/** Many streams at a time, all at one pace. Times in milliseconds. */
export interface PacedStreams {
  readonly streams: number;
  /** Between two tokens of one stream. */
  readonly periodMs: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

/** One turn of a comparison: long enough for all streams to have begun, and for thousands of tokens. */
export const TURN = { warmUpMs: 2000, measureMs: 2500 };

/** Each has so many tokens that it does not end before the measurement does. */
export async function measurePaced(
  { running, upstream }: Setup,
  protocol: Protocol,
  { streams, periodMs, warmUpMs, measureMs }: PacedStreams,
): Promise<Outcome> {
  const tokens = Math.ceil((warmUpMs + measureMs + 1000) / periodMs);
  await upstream.play({ tokens, periodMs });
  return await measure(running, protocol, { streams, tokens, repeat: false, warmUpMs, measureMs });
}

/** One stream after the other, so many at a time. */
export async function measureRepeated(
  { running, upstream }: Setup,
  load: Pick<StreamLoad, 'streams' | 'tokens' | 'warmUpMs' | 'measureMs'>,
): Promise<Outcome> {
  await upstream.play({ tokens: load.tokens });
  return await measure(running, 'rest', { ...load, repeat: true });
}

async function measure(
  running: Running,
  protocol: Protocol,
  load: Omit<StreamLoad, 'protocol' | 'url' | 'headers' | 'body' | 'pid'>,
): Promise<Outcome> {
  const { path, body } = REQUESTS[protocol];
  const { url, headers, pid } = running;
  const figures = await generate({ ...load, protocol, url: url + path, headers, body, pid });
  const { tokens, seconds, residentMb } = figures;
  return {
    metrics: {
      tokensPerSecond: tokens / seconds,
      cpuMicros: figures.cpuMicros / tokens,
      // Bursts carry no times.
      ...(!load.repeat && { p50Ms: figures.addedP50Ms, p99Ms: figures.addedP99Ms }),
      memoryMb: residentMb.peak,
      memoryGrowth: residentMb.last / residentMb.first,
      otherCoreBusy: figures.otherCoreBusy,
    },
    errors: figures.errors,
  };
}

async function generate(load: StreamLoad): Promise<StreamFigures> {
  const program = join(import.meta.dirname, '../load/streams.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [program, JSON.stringify(load)]);
  return JSON.parse(stdout);
}
