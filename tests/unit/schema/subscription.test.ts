import { beforeEach, describe, expect, test } from '@jest/globals';
import { GatewayError } from '../../../src/domain/error.ts';
import type { ChatEvent } from '../../../src/domain/event.ts';
import { encodeNodeId } from '../../../src/schema/ids.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';
import { collect, createHarness, type Data, eventOf, type SchemaHarness } from '../../support/schema.ts';

const CHAT = /* GraphQL */ `
  subscription Chat($input: ChatCompletionInput!, $coalesceMs: Int! = 0) {
    chatCompletion(input: $input, coalesceMs: $coalesceMs) {
      __typename
      completionId
      sequence
      ... on ChatQueued { position }
      ... on ChatModelLoading { loading: model }
      ... on ChatStarted { model backend warnings }
      ... on ChatReasoningDelta { choice reasoning }
      ... on ChatContentDelta { choice content logprobs { token logprob bytes topLogprobs { token logprob bytes } } }
      ... on ChatToolCallDelta { choice index id name arguments }
      ... on ChatFinished {
        choices { choice finishReason rawFinishReason }
        usage { promptTokens completionTokens totalTokens reasoningTokens cachedTokens isEstimated }
        timings { queueMs loadMs promptMs firstTokenMs totalMs tokensPerSecond }
      }
      ... on ChatFailed {
        error {
          __typename
          code
          message
          retryable
          ... on InvalidRequestError { path }
          ... on RateLimitedError { retryAfterMs limitName limit remaining resetMs }
          ... on InternalError { requestId }
        }
      }
    }
  }
`;

const INPUT = { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'one two' }] }] };

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
});

function say(...batches: (readonly ChatEvent[])[]): void {
  harness.fake.script = async function* () {
    yield* batches;
  };
}

async function ask(input: Data = INPUT, variables: Data = {}): Promise<Data[]> {
  return await collect(await harness.subscribe(CHAT, { input, ...variables }));
}

const completionId = encodeNodeId('Request', 'x0');

describe('a chat', () => {
  test('is a stream of every kind of event, in order, numbered, each with the id of the completion', async () => {
    const logprob = { token: 'a', logprob: -0.5, bytes: [97], top: [{ token: 'b', logprob: -1 }] };
    say(
      [
        { type: 'queued', position: 2 },
        { type: 'loading', model: 'llama3.1:8b' },
      ],
      [{ ...started(), warnings: ['Seeds have no effect.'] } as ChatEvent],
      [
        { type: 'reasoning', choice: 0, text: 'hm' },
        { type: 'content', choice: 0, text: 'a', logprobs: [logprob] },
        content('b'),
      ],
      [{ type: 'toolCall', choice: 0, index: 0, id: 'call_1', name: 'f', arguments: '{"a":1}' }],
      [finished({ reasons: [{ unified: 'toolCalls', raw: 'stop' }] })],
    );
    const events = await ask();
    expect(events.map((event) => event['sequence'])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(events.map((event) => event['completionId']))).toEqual(new Set([completionId]));
    expect(events.map(({ completionId: _, sequence: __, ...event }) => event)).toEqual([
      { __typename: 'ChatQueued', position: 2 },
      { __typename: 'ChatModelLoading', loading: 'llama3.1:8b' },
      {
        __typename: 'ChatStarted',
        model: 'llama3.1:8b',
        backend: 'ollama-1',
        warnings: ['Seeds have no effect.'],
      },
      { __typename: 'ChatReasoningDelta', choice: 0, reasoning: 'hm' },
      {
        __typename: 'ChatContentDelta',
        choice: 0,
        content: 'a',
        logprobs: [
          { token: 'a', logprob: -0.5, bytes: [97], topLogprobs: [{ token: 'b', logprob: -1, bytes: null }] },
        ],
      },
      { __typename: 'ChatContentDelta', choice: 0, content: 'b', logprobs: null },
      { __typename: 'ChatToolCallDelta', choice: 0, index: 0, id: 'call_1', name: 'f', arguments: '{"a":1}' },
      {
        __typename: 'ChatFinished',
        choices: [{ choice: 0, finishReason: 'TOOL_CALLS', rawFinishReason: 'stop' }],
        usage: {
          promptTokens: 5,
          completionTokens: 3,
          totalTokens: 8,
          reasoningTokens: null,
          cachedTokens: null,
          isEstimated: false,
        },
        timings: { queueMs: 1, loadMs: 2, promptMs: 3, firstTokenMs: 4, totalMs: 10, tokensPerSecond: 30 },
      },
    ]);
  });

  test('reaches the core as a streamed chat of this protocol, under the caller and the request id', async () => {
    await ask();
    expect(harness.fake.callers).toEqual([
      expect.objectContaining({
        protocol: 'graphql',
        operation: 'chat',
        streamed: true,
        requestId: 'req_test',
        principal: harness.context().principal,
      }),
    ]);
  });

  test('leaves the limits that it was admitted under in the context', async () => {
    const context = harness.context();
    harness.fake.limits = harness.limits;
    const events = await harness.subscribe(CHAT, { input: INPUT }, context);
    await events.next();
    expect(context.rateLimit).toBe(harness.limits);
    await events.return(undefined);
  });

  test('with a window, later deltas join up and none is lost', async () => {
    say([started()], [content('a')], [content('b'), content('c')], [content('d')], [finished()]);
    const events = await ask(INPUT, { coalesceMs: 250 });
    expect(events.map((event) => [event['sequence'], event['content'] ?? event['__typename']])).toEqual([
      [0, 'ChatStarted'],
      [1, 'a'],
      [2, 'bcd'],
      [3, 'ChatFinished'],
    ]);
    expect(harness.clock.pending()).toBe(0);
  });
});

describe('a failure', () => {
  test('before the first event is the one event, and the stream ends in order', async () => {
    harness.fake.limits = { mode: 'exact', requests: { limit: 60, remaining: 0, resetMs: 60_000 } };
    harness.fake.script = async function* () {
      yield* [];
      throw new GatewayError('rate_limited', 'Slow down.', { limit: 'requests', retryAfterMs: 900 });
    };
    expect(await ask()).toEqual([
      {
        __typename: 'ChatFailed',
        completionId,
        sequence: 0,
        error: {
          __typename: 'RateLimitedError',
          code: 'RATE_LIMITED',
          message: 'Slow down.',
          retryable: true,
          retryAfterMs: 900,
          limitName: 'REQUESTS',
          limit: 60,
          remaining: 0,
          resetMs: 60_000,
        },
      },
    ]);
  });

  test('after content comes behind it, with the next number', async () => {
    harness.fake.script = async function* () {
      yield [started(), content('a')];
      throw new GatewayError('upstream_incomplete', 'Cut.');
    };
    const events = await ask();
    expect(events.map((event) => event['__typename'])).toEqual([
      'ChatStarted',
      'ChatContentDelta',
      'ChatFailed',
    ]);
    expect(events[2]).toMatchObject({ sequence: 2, error: { __typename: 'UpstreamFailedError' } });
  });

  test('while deltas wait to be joined comes behind them', async () => {
    harness.fake.script = async function* () {
      yield [started(), content('a'), content('b'), content('c')];
      throw new GatewayError('upstream_incomplete', 'Cut.');
    };
    const events = await ask(INPUT, { coalesceMs: 100 });
    expect(events.map((event) => [event['sequence'], event['content'] ?? event['__typename']])).toEqual([
      [0, 'ChatStarted'],
      [1, 'a'],
      [2, 'bc'],
      [3, 'ChatFailed'],
    ]);
  });

  test('is what a stream that merely ends is', async () => {
    say([started(), content('a')]);
    expect((await ask()).at(-1)).toMatchObject({
      sequence: 2,
      error: { code: 'UPSTREAM_INCOMPLETE', retryable: true },
    });
  });

  test('of the gateway itself tells no more than the request id, and is reported', async () => {
    const bug = new TypeError('secret detail');
    harness.fake.script = async function* () {
      yield [started()];
      throw bug;
    };
    const [, failed] = await ask();
    expect(failed).toMatchObject({
      error: { __typename: 'InternalError', code: 'INTERNAL', requestId: 'req_test' },
    });
    expect(JSON.stringify(failed)).not.toContain('secret');
    expect(harness.bugs).toEqual([bug]);
  });

  test('of the input is an event too, and nothing reaches the core', async () => {
    const events = await ask({ ...INPUT, temperature: 3 });
    expect(events).toEqual([
      expect.objectContaining({
        __typename: 'ChatFailed',
        sequence: 0,
        completionId: expect.stringMatching(/\S/),
        error: expect.objectContaining({ code: 'INVALID_REQUEST', path: 'input.temperature' }),
      }),
    ]);
    expect(harness.fake.requests).toEqual([]);
  });

  test.each([-1, 251])('of the window is an event too: %d', async (coalesceMs) => {
    expect(await ask(INPUT, { coalesceMs })).toEqual([
      expect.objectContaining({ error: expect.objectContaining({ path: 'coalesceMs' }) }),
    ]);
  });

  test('to hold the scope is left to the core, which meters it', async () => {
    const context = harness.context({ principal: { ...harness.context().principal, scopes: [] } });
    await collect(await harness.subscribe(CHAT, { input: INPUT }, context));
    expect(harness.fake.callers).toHaveLength(1);
  });
});

describe('leaving', () => {
  /** A chat that never says more than its beginning. */
  function hang(): { ended: () => boolean } {
    let ended = false;
    harness.fake.script = async function* (_request, signal) {
      try {
        yield [started(), content('a'), content('b')];
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      } finally {
        ended = true;
      }
    };
    return { ended: () => ended };
  }

  test.each([0, 100])(
    'while the next event is awaited ends the exchange at once, window %d',
    async (coalesceMs) => {
      const chat = hang();
      const events = await harness.subscribe(CHAT, { input: INPUT, coalesceMs });
      expect(eventOf((await events.next()).value)).toMatchObject({ __typename: 'ChatStarted' });
      await events.next();
      if (coalesceMs === 0) await events.next();
      const pending = events.next();
      expect(await events.return(undefined)).toMatchObject({ done: true });
      expect(chat.ended()).toBe(true);
      expect(await pending).toMatchObject({ done: true });
      expect(harness.fake.running()).toBe(0);
      expect(harness.clock.pending()).toBe(0);
    },
  );

  test('with events still unread ends the exchange as well', async () => {
    const chat = hang();
    const events = await harness.subscribe(CHAT, { input: INPUT });
    await events.next();
    await events.return(undefined);
    expect(chat.ended()).toBe(true);
    expect(await events.next()).toMatchObject({ done: true });
  });

  test("by the operation's signal ends the stream without a last event", async () => {
    const chat = hang();
    const leaving = new AbortController();
    const events = await harness.subscribe(
      CHAT,
      { input: INPUT },
      harness.context({ signal: leaving.signal }),
    );
    for (let read = 0; read < 3; read++) await events.next();
    const pending = events.next();
    leaving.abort();
    expect(await pending).toMatchObject({ done: true });
    expect(chat.ended()).toBe(true);
  });

  test('a stream that was never read starts nothing', async () => {
    let hasStarted = false;
    harness.fake.script = async function* () {
      hasStarted = true;
      yield [started()];
    };
    const events = await harness.subscribe(CHAT, { input: INPUT });
    await events.return(undefined);
    expect(hasStarted).toBe(false);
  });
});

describe("the viewer's limits", () => {
  const LIMITS = `subscription($everyMs: Int! = 1000) {
    viewerLimits(everyMs: $everyMs) { mode requests { limit remaining resetMs } tokens { limit } concurrency { limit } }
  }`;
  const requests = (remaining: number, resetMs = 0) => ({ limit: 60, remaining, resetMs });

  test('come at once, and again only when something is used or has come back', async () => {
    const context = harness.context();
    const events = await harness.subscribe(LIMITS, {}, context);
    expect(eventOf((await events.next()).value)).toEqual({
      mode: 'EXACT',
      requests: requests(59, 1000),
      tokens: null,
      concurrency: null,
    });
    const changed = events.next();
    harness.limits = { mode: 'exact', requests: requests(59, 400) };
    await harness.clock.advance(1000);
    harness.limits = { mode: 'exact', requests: requests(58, 2000.4) };
    await harness.clock.advance(999);
    expect(await Promise.race([changed, 'nothing yet'])).toBe('nothing yet');
    await harness.clock.advance(1);
    expect(eventOf((await changed).value)).toMatchObject({ requests: requests(58, 2000) });
    expect(context.rateLimit).toBe(harness.limits);

    const degraded = events.next();
    harness.limits = { ...harness.limits, mode: 'degraded' };
    await harness.clock.advance(1000);
    expect(eventOf((await degraded).value)).toMatchObject({ mode: 'DEGRADED' });
    await events.return(undefined);
    expect(harness.clock.pending()).toBe(0);
  });

  test('can be left while nothing changes', async () => {
    const events = await harness.subscribe(LIMITS);
    await events.next();
    const pending = events.next();
    await harness.clock.advance(3000);
    await events.return(undefined);
    expect(await pending).toMatchObject({ done: true });
    expect(harness.clock.pending()).toBe(0);
  });

  test('end by themselves when the gateway drains, which waits for every stream', async () => {
    const draining = new AbortController();
    const events = await harness.subscribe(LIMITS, {}, harness.context({ draining: draining.signal }));
    await events.next();
    const last = events.next();
    draining.abort();
    expect(await last).toMatchObject({ done: true });
    expect(harness.clock.pending()).toBe(0);
  });

  test('come once where the gateway drains already', async () => {
    const events = await harness.subscribe(LIMITS, {}, harness.context({ draining: AbortSignal.abort() }));
    expect(eventOf((await events.next()).value)).toMatchObject({ mode: 'EXACT' });
    expect(await events.next()).toMatchObject({ done: true });
    expect(harness.clock.pending()).toBe(0);
  });

  test.each([249, 60_001])('cannot be looked at every %d ms', async (everyMs) => {
    await expect(harness.subscribe(LIMITS, { everyMs })).rejects.toMatchObject({
      extensions: { code: 'INVALID_REQUEST', argument: 'everyMs' },
    });
  });
});
