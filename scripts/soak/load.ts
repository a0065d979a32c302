import { streamedByEvents, type Timing } from '../../tests/support/event-stream.ts';
import {
  countTo,
  type Load,
  type LoadOptions,
  type LoadPart,
  startLoad,
  streamedByGraphQL,
  streamedByWebSocket,
  wholeByRest,
} from '../../tests/support/traffic.ts';
import type { Options } from './options.ts';

/** Answers that one WebSocket carries at a time. */
const PER_SOCKET = 5;

/** A failed client waits for so long, so that a deployment that is away is not asked thousands of times a second. */
const LOAD: LoadOptions = { mostFailures: 100_000, pauseMs: 500, rampMs: 5000 };

/** One load, and what its requests are known by in the ledger. */
export interface KeyedLoad {
  readonly load: Load;
  /** Absent for a deployment whose ledger is out of reach. */
  readonly keyId?: string;
  /** Whether the ledger knows each request by the id that its client gave it. */
  readonly hasIds: boolean;
}

/** Of the requests that run at any time, one in ten is over GraphQL, one in twenty is short and in one piece. */
export function startLoads(
  url: string,
  keys: { readonly byId: SoakKey; readonly bySocket: SoakKey },
  { clients, tokensPerSecond }: Options,
  timing: Timing,
): readonly KeyedLoad[] {
  const paceMs = Math.round(1000 / tokensPerSecond);
  const script = (tokens: number) => ({ tokens: countTo(tokens), paceMs });
  const sockets = Math.max(1, Math.round(clients / 20 / PER_SOCKET));
  const events = Math.max(1, Math.round(clients / 20));
  const short = Math.max(1, Math.round(clients / 20));
  const streams = Math.max(1, clients - sockets * PER_SOCKET - events - short);
  const create = (target: { url: string; secret: string }) => streamedByEvents(target, { timing });
  const byRest: Record<string, LoadPart> = {
    graphql: { create: streamedByGraphQL, clients: events, script: script(80) },
    short: { create: wholeByRest, clients: short, script: script(10) },
  };
  // Of several lengths, so that they neither begin nor end together.
  for (const [index, tokens] of [60, 100, 140].entries()) {
    byRest[`stream${tokens}`] = {
      create,
      clients: Math.floor((streams + index) / 3),
      script: script(tokens),
    };
  }
  const bySocket = {
    socket: {
      create: streamedByWebSocket,
      clients: sockets,
      atOnce: PER_SOCKET,
      script: script(100),
    },
  };
  return [
    {
      load: startLoad({ url, secret: keys.byId.secret }, byRest, LOAD),
      keyId: keys.byId.keyId,
      hasIds: true,
    },
    {
      load: startLoad({ url, secret: keys.bySocket.secret }, bySocket, LOAD),
      keyId: keys.bySocket.keyId,
      hasIds: false,
    },
  ];
}

export interface SoakKey {
  readonly keyId: string;
  readonly secret: string;
}

/** Streams over REST alone, of a model that says what it likes. */
export function startLoadOf(
  { url, secret, model }: NonNullable<Options['deployment']>,
  { clients }: Options,
  timing: Timing,
): readonly KeyedLoad[] {
  const question = 'Count from 1 to 50, in words.';
  const create = (target: { url: string; secret: string }) =>
    streamedByEvents(target, { timing, model, question });
  const load = startLoad({ url, secret }, { stream: { create, clients, script: {} } }, LOAD);
  return [{ load, hasIds: true }];
}
