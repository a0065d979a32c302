import { describe, expect, test } from '@jest/globals';
import type { Abortable } from '../../../src/core/signal.ts';
import { type ErrorCode, GatewayError } from '../../../src/domain/error.ts';
import type { ChatEvent } from '../../../src/domain/event.ts';
import { assertGrammar } from '../../../src/domain/event.ts';
import {
  backend,
  chatRequest,
  collect,
  content,
  createPipeline,
  failing,
  finished,
  model,
  type Pipeline,
  PRINCIPAL,
  type Script,
  started,
  untilAborted,
} from '../../support/pipeline.ts';

const answer: Script = async function* () {
  yield [started(), content('Hi')];
  yield [content(' you'), finished()];
};
const fail =
  (code: ErrorCode): Script =>
  () =>
    failing(new GatewayError(code, code));
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error) => error.code,
  );

describe('a whole answer', () => {
  test('passes through unchanged and leaves one record and one settlement with the real usage', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    const events = await collect(pipeline.run());
    assertGrammar(events as ChatEvent[]);
    expect(events.map((event) => event.type)).toEqual(['started', 'content', 'content', 'finished']);
    expect(pipeline.records).toEqual([
      expect.objectContaining({
        id: 'call_1',
        status: 'ok',
        backend: 'ollama-1',
        finishReason: 'stop',
        usage: { promptTokens: 5, completionTokens: 2 },
      }),
    ]);
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: 7 }]);
  });

  test('that is empty is charged the prompt that the backend counted', async () => {
    const pipeline = createPipeline();
    const reasons = [{ unified: 'stop', raw: 'stop' }] as const;
    pipeline.script('ollama-1', async function* () {
      yield [started(), { type: 'finished', reasons, usage: { promptTokens: 9 }, timings: {} }];
    });
    await collect(pipeline.run());
    expect(pipeline.records).toMatchObject([{ status: 'ok', usage: { promptTokens: 9 } }]);
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: 9 }]);
  });

  test('without the backend’s counts ends with those that it is settled by', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* () {
      const reasons = [{ unified: 'stop', raw: 'stop' }] as const;
      yield [started(), content('a'), content('b')];
      yield [{ type: 'finished', reasons, usage: { cachedTokens: 0 }, timings: {} }];
    });
    const events = await collect(pipeline.run());
    const usage = { promptTokens: expect.any(Number), completionTokens: 2, cachedTokens: 0, estimated: true };
    expect(events.at(-1)).toMatchObject({ type: 'finished', usage });
    const record = pipeline.records[0];
    expect(record?.usage).toEqual(usage);
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: (record?.usage.promptTokens ?? 0) + 2 }]);
  });

  test('ends with the times that only the gateway knows', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* () {
      await pipeline.clock.advance(30);
      yield [started(), content('Hi')];
      await pipeline.clock.advance(70);
      yield [finished()];
    });
    const events = await collect(pipeline.run());
    expect(events.at(-1)).toMatchObject({ timings: { firstTokenMs: 30, totalMs: 100 } });
    expect(pipeline.records[0]?.timings).toEqual({ firstTokenMs: 30, totalMs: 100 });
  });

  test('resolves an abbreviated model name to the full one before the backend sees it', async () => {
    const pipeline = createPipeline();
    const latest = model('phi3:latest');
    pipeline.backends = [backend('ollama-1', { models: new Map([[latest.id, latest]]) })];
    pipeline.script('ollama-1', answer);
    await collect(pipeline.run(chatRequest({ model: 'PHI3' })));
    expect(pipeline.asked[0]?.request.model).toBe('phi3:latest');
    expect(pipeline.records[0]?.model).toBe('phi3:latest');
  });

  test('tells that the model is being loaded where no copy is in memory', async () => {
    const pipeline = createPipeline();
    pipeline.backends = [backend('ollama-1', { loaded: new Set() })];
    pipeline.script('ollama-1', answer);
    const events = await collect(pipeline.run());
    assertGrammar(events as ChatEvent[]);
    expect(events[0]).toEqual({ type: 'loading', model: 'llama3.1:8b' });
  });
});

describe('refusals', () => {
  test.each([
    [
      'a key without the scope',
      { principal: { ...PRINCIPAL, scopes: ['models' as const] } },
      {},
      'not_permitted',
    ],
    [
      'a model outside the allow-list',
      { principal: { ...PRINCIPAL, models: ['mistral:*'] } },
      {},
      'not_permitted',
    ],
    ['an unknown model', {}, { model: 'nobody:1b' }, 'model_not_found'],
    [
      'tools on a model without them',
      {},
      { model: 'phi3:mini', tools: [{ name: 'f' }] },
      'capability_missing',
    ],
    ['a gap for a model that cannot fill it', {}, { suffix: '}' }, 'capability_missing'],
    [
      'an image for a model without eyes',
      {},
      {
        messages: [
          {
            role: 'user' as const,
            content: [{ type: 'image' as const, base64: 'AAAA', mediaType: 'image/png' }],
          },
        ],
      },
      'capability_missing',
    ],
    [
      'an image of a tool for a model without eyes',
      {},
      {
        messages: [
          {
            role: 'tool' as const,
            toolCallId: 'x',
            content: [{ type: 'image' as const, base64: 'AAAA', mediaType: 'image/png' }],
          },
        ],
      },
      'capability_missing',
    ],
  ])('%s is refused before anything is claimed, and recorded', async (_, call, request, code) => {
    const pipeline = createPipeline();
    const models = [model('llama3.1:8b'), model('phi3:mini', ['completion'])];
    pipeline.backends = [backend('ollama-1', { models: new Map(models.map((one) => [one.id, one])) })];
    expect(await codeOf(collect(pipeline.run(chatRequest(request), call)))).toBe(code);
    expect(pipeline.claims).toEqual([]);
    expect(pipeline.asked).toEqual([]);
    expect(pipeline.records).toEqual([
      expect.objectContaining({ status: 'error', errorCode: code, usage: {} }),
    ]);
  });

  test('a model pulled a moment ago is found by looking again', async () => {
    const pipeline = createPipeline();
    pipeline.backends = [backend('ollama-1', { models: new Map() })];
    pipeline.refresh = async () => {
      pipeline.backends = [backend('ollama-1')];
    };
    pipeline.script('ollama-1', answer);
    expect(await collect(pipeline.run())).toHaveLength(4);
  });

  test('with no backend there, an unknown model is not called unknown', async () => {
    const pipeline = createPipeline();
    pipeline.backends = [backend('ollama-1', { healthy: false, models: new Map() })];
    expect(await codeOf(collect(pipeline.run()))).toBe('upstream_unavailable');
  });

  test('a reached limit says which and when, reaches no backend and settles nothing', async () => {
    const pipeline = createPipeline();
    pipeline.decide = () => ({
      admitted: false,
      state: { mode: 'exact', requests: { limit: 60, remaining: 0, resetMs: 60_000 } },
      refusedBy: 'requests',
      retryAfterMs: 900,
    });
    const error = await collect(pipeline.run()).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'rate_limited', limit: 'requests', retryAfterMs: 900 });
    expect(pipeline.asked).toEqual([]);
    expect(pipeline.settled).toEqual([]);
    expect(pipeline.limitHits).toEqual(['requests']);
    expect(pipeline.records).toHaveLength(1);
  });

  test('a claim that could never fit is refused for good', async () => {
    const pipeline = createPipeline();
    pipeline.decide = (claim) => ({
      admitted: claim.tokens <= 10_000,
      state: { mode: 'exact' },
      refusedBy: 'tokens',
      retryAfterMs: undefined,
    });
    const request = chatRequest({ sampling: { maxOutputTokens: 50_000 } });
    expect(await codeOf(collect(pipeline.run(request)))).toBe('request_too_large');
  });
});

describe('what a request holds of the limits', () => {
  test('is its prompt estimate and output bound, times its choices', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    await collect(pipeline.run(chatRequest({ sampling: { maxOutputTokens: 100 } })));
    await collect(pipeline.run(chatRequest({ sampling: { maxOutputTokens: 100 }, choices: 3 })));
    const [one, three] = pipeline.claims;
    expect(one?.tokens).toBeGreaterThan(100);
    expect(three?.tokens).toBe(3 * (one?.tokens ?? 0));
  });

  test('is that of images that a tool returned, too', async () => {
    const pipeline = createPipeline();
    const seeing = model('llama3.1:8b', ['completion', 'vision']);
    pipeline.backends = [backend('ollama-1', { models: new Map([[seeing.id, seeing]]) })];
    pipeline.script('ollama-1', answer);
    const image = { type: 'image', base64: 'AAAA', mediaType: 'image/png' } as const;
    for (const images of [[], [image, image]]) {
      const messages = [{ role: 'tool', toolCallId: 'x', content: images }] as const;
      await collect(pipeline.run(chatRequest({ messages })));
    }
    const [without, within] = pipeline.claims.map(({ tokens }) => tokens);
    expect((within ?? 0) - (without ?? 0)).toBe(2 * 768);
  });

  test('is that of what comes after a gap, too', async () => {
    const pipeline = createPipeline();
    const coder = model('llama3.1:8b', ['completion', 'insert']);
    pipeline.backends = [backend('ollama-1', { models: new Map([[coder.id, coder]]) })];
    pipeline.script('ollama-1', answer);
    const sampling = { maxOutputTokens: 100 };
    await collect(pipeline.run(chatRequest({ sampling })));
    await collect(pipeline.run(chatRequest({ sampling, suffix: 'x'.repeat(400) })));
    const [without, within] = pipeline.claims.map(({ tokens }) => tokens);
    expect((within ?? 0) - (without ?? 0)).toBe(100);
  });

  test('never exceeds the whole limit where the caller set no bound', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    const principal = { ...PRINCIPAL, limits: { tokensPerMinute: 50 } };
    await collect(pipeline.run(chatRequest(), { principal }));
    expect(pipeline.claims[0]?.tokens).toBe(50);
  });

  test('is kept alive while the request runs, and no longer', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal) {
      yield [started()];
      await untilAborted(signal);
    });
    const stream = pipeline.run();
    await stream.next();
    await pipeline.clock.advance(9_999);
    expect(pipeline.renewals).toHaveLength(0);
    await pipeline.clock.advance(1);
    expect(pipeline.renewals).toEqual([[expect.objectContaining({ id: 'call_1' })]]);
    await stream.return?.();
    await pipeline.clock.advance(30_000);
    expect(pipeline.renewals).toHaveLength(1);
    expect(pipeline.clock.pending()).toBe(0);
  });

  test('is not asked of a key without limits', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    await collect(pipeline.run(chatRequest(), { principal: { ...PRINCIPAL, limits: {} } }));
    expect(pipeline.claims).toEqual([]);
    expect(pipeline.records).toHaveLength(1);
  });
});

describe('failover', () => {
  const two = () => {
    const pipeline = createPipeline();
    pipeline.backends = [backend('ollama-1'), backend('ollama-2', { inFlight: 1 })];
    return pipeline;
  };

  test.each(['upstream_unavailable', 'upstream_busy', 'upstream_failed', 'upstream_incomplete'] as const)(
    'goes to the next backend on %s before anything was released',
    async (code) => {
      const pipeline = two();
      pipeline.script('ollama-1', fail(code));
      pipeline.script('ollama-2', answer);
      await collect(pipeline.run());
      expect(pipeline.asked.map((one) => one.backend)).toEqual(['ollama-1', 'ollama-2']);
      expect(pipeline.records).toEqual([expect.objectContaining({ status: 'ok' })]);
    },
  );

  test.each(['invalid_request', 'context_length_exceeded', 'upstream_timeout'] as const)(
    'is not tried on %s, which another backend would share',
    async (code) => {
      const pipeline = two();
      pipeline.script('ollama-1', fail(code));
      expect(await codeOf(collect(pipeline.run()))).toBe(code);
      expect(pipeline.asked).toHaveLength(1);
    },
  );

  test('never happens after the first event, and the failure is recorded with what was produced', async () => {
    const pipeline = two();
    pipeline.script('ollama-1', async function* () {
      yield [started(), content('Hi'), content(' you')];
      throw new GatewayError('upstream_incomplete', 'gone');
    });
    expect(await codeOf(collect(pipeline.run()))).toBe('upstream_incomplete');
    expect(pipeline.asked).toHaveLength(1);
    expect(pipeline.records[0]).toMatchObject({
      status: 'error',
      errorCode: 'upstream_incomplete',
      usage: { completionTokens: 2, estimated: true },
    });
    expect(pipeline.settled[0]?.tokens).toBeGreaterThan(2);
  });

  test('tells of loading once, however many backends are tried', async () => {
    const pipeline = two();
    const cold = { loaded: new Set<string>() };
    pipeline.backends = [backend('ollama-1', cold), backend('ollama-2', { ...cold, inFlight: 1 })];
    pipeline.script('ollama-1', fail('upstream_unavailable'));
    pipeline.script('ollama-2', answer);
    const events = await collect(pipeline.run());
    assertGrammar(events as ChatEvent[]);
  });

  test('ends with the last failure where every backend fails', async () => {
    const pipeline = two();
    pipeline.script('ollama-1', fail('upstream_unavailable'));
    pipeline.script('ollama-2', fail('upstream_busy'));
    expect(await codeOf(collect(pipeline.run()))).toBe('upstream_busy');
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: 0 }]);
  });
});

describe('a backend that keeps failing', () => {
  const idleAndBusy = (sick: Script) => {
    const pipeline = createPipeline();
    pipeline.backends = [backend('ollama-1'), backend('ollama-2', { inFlight: 1 })];
    pipeline.script('ollama-1', sick);
    pipeline.script('ollama-2', answer);
    return pipeline;
  };
  const askedOf = (pipeline: Pipeline) => pipeline.asked.map((one) => one.backend);
  const breaksOff: Script = async function* () {
    yield [started(), content('Hi')];
    throw new GatewayError('upstream_failed', 'gone');
  };

  test.each([
    ['at once', fail('upstream_failed')],
    ['in the middle of its answers', breaksOff],
  ])('%s is asked after the others, though it is idle, until a trial succeeds', async (_, sick) => {
    const pipeline = idleAndBusy(sick);
    for (let n = 0; n < 10; n++) await codeOf(collect(pipeline.run()));
    expect(askedOf(pipeline).filter((id) => id === 'ollama-1')).toHaveLength(3);
    pipeline.script('ollama-1', answer);
    await pipeline.clock.advance(5_000);
    pipeline.asked.length = 0;
    for (let n = 0; n < 3; n++) await collect(pipeline.run());
    expect(askedOf(pipeline)).toEqual(['ollama-1', 'ollama-1', 'ollama-1']);
  });

  test('is still asked where there is no other', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', breaksOff, breaksOff, breaksOff, breaksOff, answer);
    for (let n = 0; n < 4; n++) expect(await codeOf(collect(pipeline.run()))).toBe('upstream_failed');
    expect(await codeOf(collect(pipeline.run()))).toBe('no error');
  });

  test('is not one whose callers ask for the impossible, or leave', async () => {
    const pipeline = idleAndBusy(fail('invalid_request'));
    for (let n = 0; n < 4; n++) await codeOf(collect(pipeline.run()));
    pipeline.script('ollama-1', async function* (signal) {
      yield [started()];
      await untilAborted(signal).catch(() => {
        throw new GatewayError('upstream_incomplete', 'gone');
      });
    });
    for (let n = 0; n < 4; n++) {
      const stream = pipeline.run();
      await stream.next();
      await stream.return?.();
    }
    expect(askedOf(pipeline)).toEqual(Array(8).fill('ollama-1'));
  });
});

describe('a request for a backend whose places are taken', () => {
  /** A backend with one place, which is taken until `finishFirst`. */
  const busy = async () => {
    const pipeline = createPipeline(undefined, { perModel: 1, maxWaiting: 2 });
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    pipeline.script('ollama-1', async function* (signal) {
      yield [started()];
      await Promise.race([untilAborted(signal), ended]);
      yield [content('Hi'), finished()];
    });
    const first = pipeline.run(undefined, { id: 'first' });
    await first.next();
    const finishFirst = async () => {
      end();
      await collect(first);
    };
    return { pipeline, finishFirst };
  };

  test('is told how many are ahead, and then gets its answer with the time that it has waited', async () => {
    const { pipeline, finishFirst } = await busy();
    const second = collect(pipeline.run());
    pipeline.script('ollama-1', answer);
    await pipeline.clock.advance(1500);
    await finishFirst();
    const events = await second;
    assertGrammar(events as ChatEvent[]);
    expect(events[0]).toEqual({ type: 'queued', position: 0 });
    expect(events.at(-1)).toMatchObject({ type: 'finished', timings: { queueMs: 1500, totalMs: 1500 } });
    expect(pipeline.records.at(-1)).toMatchObject({ status: 'ok', timings: { queueMs: 1500 } });
  });

  test('adds its wait to that which the backend tells of', async () => {
    const { pipeline, finishFirst } = await busy();
    const second = collect(pipeline.run());
    pipeline.script('ollama-1', async function* () {
      yield [started(), { ...finished(), timings: { queueMs: 20, loadMs: 3 } } as ChatEvent];
    });
    await pipeline.clock.advance(1500);
    await finishFirst();
    expect((await second).at(-1)).toMatchObject({ timings: { queueMs: 1520, loadMs: 3 } });
  });

  test('adds up its waits, where the backend that it got fails and it has to wait for another', async () => {
    const { pipeline, finishFirst } = await busy();
    const second = collect(pipeline.run());
    await pipeline.clock.advance(500);
    pipeline.backends = [backend('ollama-1'), backend('ollama-2')];
    pipeline.script('ollama-2', fail('upstream_unavailable'));
    await pipeline.clock.advance(1500);
    expect(pipeline.asked.at(-1)?.backend).toBe('ollama-2');
    pipeline.script('ollama-1', answer);
    await finishFirst();
    expect((await second).at(-1)).toMatchObject({ timings: { queueMs: 2000 } });
  });

  test('goes to the backend that has one, though another is better', async () => {
    const { pipeline } = await busy();
    pipeline.backends = [backend('ollama-1'), backend('ollama-2', { inFlight: 9 })];
    pipeline.script('ollama-2', answer);
    expect((await collect(pipeline.run())).map(({ type }) => type)).not.toContain('queued');
    expect(pipeline.asked.map((one) => one.backend)).toEqual(['ollama-1', 'ollama-2']);
  });

  test('waits for the one that works rather than for the failure of another, and tries that one only once', async () => {
    const { pipeline, finishFirst } = await busy();
    pipeline.backends = [backend('ollama-1'), backend('ollama-2', { loaded: new Set() })];
    pipeline.script('ollama-2', fail('upstream_unavailable'));
    const second = collect(pipeline.run());
    pipeline.script('ollama-1', answer);
    await pipeline.clock.advance(2000);
    await finishFirst();
    assertGrammar((await second) as ChatEvent[]);
    expect(pipeline.asked.map((one) => one.backend)).toEqual(['ollama-1', 'ollama-2', 'ollama-1']);
  });

  test('fails with what the last backend said where the others have gone meanwhile', async () => {
    const { pipeline } = await busy();
    pipeline.backends = [backend('ollama-1'), backend('ollama-2')];
    pipeline.script('ollama-2', fail('upstream_failed'));
    const second = codeOf(collect(pipeline.run()));
    await pipeline.clock.advance(0);
    pipeline.backends = [backend('ollama-1', { healthy: false }), backend('ollama-2')];
    await pipeline.clock.advance(1000);
    expect(await second).toBe('upstream_failed');
  });

  test('is refused where too many wait already, and charged nothing', async () => {
    const { pipeline } = await busy();
    const waiting = [pipeline.run(undefined, { id: 'a' }), pipeline.run(undefined, { id: 'b' })];
    for (const one of waiting) expect((await one.next()).value).toMatchObject([{ type: 'queued' }]);
    const refused = pipeline.run(undefined, { id: 'refused' }).next();
    await expect(refused).rejects.toMatchObject({
      code: 'upstream_busy',
      retryAfterMs: 5000,
      retryable: true,
    });
    expect(pipeline.settled).toEqual([{ id: 'refused', tokens: 0 }]);
    expect(pipeline.records).toEqual([
      expect.objectContaining({ status: 'error', errorCode: 'upstream_busy' }),
    ]);
  });

  test('that is left while it waits never reaches the backend and is charged nothing', async () => {
    const { pipeline, finishFirst } = await busy();
    const second = pipeline.run();
    await second.next();
    const pending = codeOf(second.next());
    await pipeline.clock.advance(0);
    await second.return?.();
    expect(await pending).toBe('client_closed');
    await finishFirst();
    expect(pipeline.asked).toHaveLength(1);
    expect(pipeline.settled[0]).toEqual({ id: 'call_1', tokens: 0 });
    expect(pipeline.records[0]).toMatchObject({ status: 'cancelled', usage: {} });
  });

  test('that is left between two positions leaves the line', async () => {
    const { pipeline } = await busy();
    const second = pipeline.run();
    await second.next();
    expect(pipeline.places.waiting()).toBe(1);
    await second.return?.();
    expect(pipeline.places.waiting()).toBe(0);
  });

  test('ends with the reason for which it is ended while it waits', async () => {
    const { pipeline } = await busy();
    const pending = codeOf(collect(pipeline.run()));
    await pipeline.clock.advance(0);
    pipeline.invalidate(new GatewayError('invalid_api_key', 'revoked'));
    expect(await pending).toBe('invalid_api_key');
  });

  test.each([
    ['before its answer', 'upstream_unavailable' as const],
    ['for good', 'invalid_request' as const],
  ])('gets the place of one that fails %s', async (_, code) => {
    const pipeline = createPipeline(undefined, { perModel: 1 });
    pipeline.script('ollama-1', fail(code));
    for (let n = 0; n < 3; n++) expect(await codeOf(collect(pipeline.run()))).toBe(code);
  });

  test('gets the place of one that is left while its model is loading, and of one left in the middle', async () => {
    const pipeline = createPipeline(undefined, { perModel: 1 });
    pipeline.backends = [backend('ollama-1', { loaded: new Set() })];
    pipeline.script('ollama-1', async function* (signal) {
      yield [started()];
      await untilAborted(signal);
    });
    for (const batches of [1, 2]) {
      const stream = pipeline.run();
      for (let n = 0; n < batches; n++) await stream.next();
      await stream.return?.();
    }
    pipeline.script('ollama-1', answer);
    expect((await collect(pipeline.run())).map(({ type }) => type)).not.toContain('queued');
  });

  test('hears of the wait once, however many choices it asks for, and all of them are answered', async () => {
    const { pipeline, finishFirst } = await busy();
    const second = collect(pipeline.run(chatRequest({ choices: 2 })));
    pipeline.script('ollama-1', answer);
    await pipeline.clock.advance(0);
    await finishFirst();
    const events = await second;
    assertGrammar(events as ChatEvent[]);
    expect(events.filter(({ type }) => type === 'queued')).toEqual([{ type: 'queued', position: 0 }]);
    expect(events.at(-1)).toMatchObject({ type: 'finished', reasons: [{}, {}] });
  });

  test('that is for embeddings waits without a word', async () => {
    const { pipeline, finishFirst } = await busy();
    const able = model('llama3.1:8b', ['embedding']);
    pipeline.backends = [backend('ollama-1', { models: new Map([[able.id, able]]) })];
    const embedded: Script = async function* () {
      yield [{ type: 'embedded', vectors: [], model: 'm', backend: 'b', warnings: [] } as never, finished()];
    };
    const second = collect(pipeline.run({ kind: 'embedding', model: 'llama3.1:8b', inputs: ['a'] } as never));
    pipeline.script('ollama-1', embedded);
    await pipeline.clock.advance(1000);
    await finishFirst();
    expect((await second).map(({ type }) => type)).toEqual(['embedded', 'finished']);
  });
});

describe('a caller who leaves', () => {
  const hanging = async function* (signal: Abortable) {
    await untilAborted(signal);
    yield [];
  };

  test('before the first event ends the backend’s work at once and is charged nothing', async () => {
    const pipeline = createPipeline();
    let aborted = false;
    pipeline.script('ollama-1', async function* (signal) {
      signal.addEventListener('abort', () => {
        aborted = true;
      });
      yield* hanging(signal);
    });
    const stream = pipeline.run();
    const pending = codeOf(stream.next());
    await pipeline.clock.advance(0);
    await stream.return?.();
    expect(aborted).toBe(true);
    expect(await pending).toBe('client_closed');
    expect(pipeline.records).toEqual([
      expect.objectContaining({ status: 'cancelled', errorCode: 'client_closed', usage: {} }),
    ]);
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: 0 }]);
  });

  test('in mid-stream is charged the prompt and what was produced', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal) {
      yield [started(), content('a'), content('b'), content('c')];
      yield* hanging(signal);
    });
    const stream = pipeline.run();
    await stream.next();
    await stream.return?.();
    expect(pipeline.records[0]).toMatchObject({
      status: 'cancelled',
      usage: { completionTokens: 3, estimated: true },
    });
    const { promptTokens = 0 } = pipeline.records[0]?.usage ?? {};
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: promptTokens + 3 }]);
  });

  test('in the middle of a call that is held back is charged as much of it as was made', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal, _, onRead) {
      yield [started()];
      onRead(2);
      onRead(1);
      yield* hanging(signal);
    });
    const stream = pipeline.run();
    await stream.next();
    const next = codeOf(stream.next());
    await pipeline.clock.advance(0);
    await stream.return?.();
    expect(await next).toBe('client_closed');
    expect(pipeline.records[0]).toMatchObject({ status: 'cancelled', usage: { completionTokens: 3 } });
    expect(pipeline.settled[0]?.tokens).toBeGreaterThan(3);
  });

  test('while the limits are being decided gives back what was taken and reaches no backend', async () => {
    const pipeline = createPipeline();
    const caller = new AbortController();
    pipeline.decide = () => {
      caller.abort();
      return { admitted: true, state: { mode: 'exact' } };
    };
    expect(await codeOf(pipeline.run(chatRequest(), { signal: caller.signal }).next())).toBe('client_closed');
    expect(pipeline.asked).toEqual([]);
    expect(pipeline.settled).toEqual([{ id: 'call_1', tokens: 0 }]);
  });

  test('after the last event has had a whole answer', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    const stream = pipeline.run();
    await stream.next();
    await stream.next();
    await stream.return?.();
    expect(pipeline.records[0]).toMatchObject({ status: 'ok' });
  });

  test('and a gateway that shuts down are told apart', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', hanging);
    const caller = new AbortController();
    const next = codeOf(pipeline.run(chatRequest(), { signal: caller.signal }).next());
    await pipeline.clock.advance(0);
    caller.abort(new GatewayError('shutting_down', 'The gateway is restarting.'));
    expect(await next).toBe('shutting_down');
    expect(pipeline.records[0]).toMatchObject({ status: 'error', errorCode: 'shutting_down' });
  });
});

describe('an answer without end', () => {
  const MEBIBYTE = 'x'.repeat(1024 * 1024);
  const logprob = { token: 'x', logprob: 0, top: [] };
  const endless = (event: ChatEvent, ended: () => void): Script =>
    async function* () {
      try {
        yield [started()];
        for (;;) yield [event];
      } finally {
        ended();
      }
    };

  test.each<[string, ChatEvent]>([
    ['of text', content(MEBIBYTE)],
    ['of reasoning', { type: 'reasoning', choice: 0, text: MEBIBYTE }],
    ['of tool calls', { type: 'toolCall', choice: 0, index: 0, id: '', name: '', arguments: MEBIBYTE }],
    ['of log probabilities', { type: 'content', choice: 0, text: '', logprobs: Array(16_384).fill(logprob) }],
  ])('%s, asked for as a whole, is ended at 16 MiB and paid for', async (_, event) => {
    const pipeline = createPipeline();
    let isEnded = false;
    pipeline.script(
      'ollama-1',
      endless(event, () => {
        isEnded = true;
      }),
    );
    expect(await codeOf(collect(pipeline.run(chatRequest(), { streamed: false })))).toBe(
      'upstream_incomplete',
    );
    expect(isEnded).toBe(true);
    expect(pipeline.records[0]).toMatchObject({ status: 'error', errorCode: 'upstream_incomplete' });
    expect(pipeline.records[0]?.usage.completionTokens).toBe(16);
  });

  test('is ended likewise where it is streamed and kept', async () => {
    const pipeline = createPipeline();
    pipeline.script(
      'ollama-1',
      endless(content(MEBIBYTE), () => undefined),
    );
    const stream = pipeline.run(chatRequest(), { streamed: true, isKept: true });
    expect(await codeOf(collect(stream))).toBe('upstream_incomplete');
  });

  test('is ended by nothing but time where it is streamed and not kept', async () => {
    const pipeline = createPipeline();
    pipeline.script(
      'ollama-1',
      endless(content(MEBIBYTE), () => undefined),
    );
    const stream = pipeline.run();
    for (let batch = 0; batch < 32; batch++) expect((await stream.next()).done).toBe(false);
    await stream.return?.();
  });
});

test('a key that becomes invalid ends what runs under it, at once', async () => {
  const pipeline = createPipeline();
  pipeline.script('ollama-1', async function* (signal) {
    yield [started(), content('a')];
    await untilAborted(signal);
  });
  const stream = pipeline.run();
  await stream.next();
  const next = codeOf(stream.next());
  pipeline.invalidate(new GatewayError('invalid_api_key', 'The API key is not valid.'));
  expect(await next).toBe('invalid_api_key');
  expect(pipeline.records[0]).toMatchObject({ status: 'error', errorCode: 'invalid_api_key' });
});

describe('deadlines', () => {
  const silentAfter = (count: number): Script =>
    async function* (signal) {
      if (count > 0) yield [started()];
      for (let n = 1; n < count; n++) yield [content('x')];
      await untilAborted(signal);
    };

  test.each([
    ['the first event', 0, 60_000],
    ['the next event', 2, 10_000],
  ])(
    'a backend that is silent before %s is given up at its deadline, not before',
    async (_, count, deadline) => {
      const pipeline = createPipeline();
      pipeline.script('ollama-1', silentAfter(count));
      const stream = pipeline.run();
      for (let n = 0; n < count; n++) await stream.next();
      let outcome: unknown;
      const next = codeOf(stream.next()).then((code) => {
        outcome = code;
      });
      await pipeline.clock.advance(deadline - 1);
      expect(outcome).toBeUndefined();
      await pipeline.clock.advance(1);
      await next;
      expect(outcome).toBe('upstream_timeout');
      await pipeline.clock.advance(10_000);
      expect(pipeline.clock.pending()).toBe(0);
    },
  );

  test('output that is held back is a sign of life, and what is left of it is charged', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal, _, onRead) {
      yield [started()];
      for (let n = 0; n < 5; n++) {
        await new Promise<void>((resolve) => void pipeline.clock.after(9_000, resolve));
        onRead(1);
      }
      await untilAborted(signal);
    });
    const stream = pipeline.run();
    await stream.next();
    const next = codeOf(stream.next());
    await pipeline.clock.advance(54_999);
    expect(pipeline.records).toEqual([]);
    await pipeline.clock.advance(1);
    expect(await next).toBe('upstream_timeout');
    expect(pipeline.records[0]?.usage).toMatchObject({ completionTokens: 5, estimated: true });
  });

  test('the first bytes of an answer, be they no event, end the wait for it to begin', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal, _, onRead) {
      onRead(0);
      await untilAborted(signal);
      yield [];
    });
    const next = codeOf(pipeline.run().next());
    await pipeline.clock.advance(10_000);
    expect(await next).toBe('upstream_timeout');
  });

  test('a reader who takes its time is not the backend’s silence', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal) {
      yield [started(), content('Hi')];
      if (signal.aborted) throw signal.reason;
      yield [finished()];
    });
    const stream = pipeline.run();
    await stream.next();
    await pipeline.clock.advance(60_000);
    expect((await stream.next()).done).toBe(false);
  });

  test('an answer that never ends is cut at the total', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', async function* (signal) {
      yield [started()];
      while (!signal.aborted) {
        await new Promise<void>((resolve) => void pipeline.clock.after(5_000, resolve));
        yield [content('x')];
      }
      await untilAborted(signal);
    });
    const all = codeOf(collect(pipeline.run()));
    await pipeline.clock.advance(310_000);
    expect(await all).toBe('upstream_timeout');
  });
});

describe('several choices', () => {
  test('are one stream, numbered by choice, with one end that adds up', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    const events = (await collect(pipeline.run(chatRequest({ choices: 6 })))) as ChatEvent[];
    assertGrammar(events);
    const textOf = (choice: number) =>
      events.map((event) => (event.type === 'content' && event.choice === choice ? event.text : '')).join('');
    expect([0, 1, 2, 3, 4, 5].map(textOf)).toEqual(Array(6).fill('Hi you'));
    expect(events.at(-1)).toMatchObject({ usage: { promptTokens: 30, completionTokens: 12 } });
    expect(pipeline.claims).toHaveLength(1);
    expect(pipeline.records).toHaveLength(1);
  });

  test('differ even where a seed is given', async () => {
    const pipeline = createPipeline();
    pipeline.script('ollama-1', answer);
    await collect(pipeline.run(chatRequest({ choices: 2, sampling: { seed: 7 } })));
    const seeds = pipeline.asked.map(({ request }) => request.kind === 'chat' && request.sampling.seed);
    expect(seeds).toEqual([7, 8]);
  });

  test('fail together, and the failure of one ends the work on the others', async () => {
    const pipeline = createPipeline();
    const aborted: boolean[] = [];
    const hangs: Script = async function* (signal) {
      signal.addEventListener('abort', () => aborted.push(true));
      yield [started()];
      await untilAborted(signal);
    };
    pipeline.script('ollama-1', hangs, hangs, fail('invalid_request'));
    expect(await codeOf(collect(pipeline.run(chatRequest({ choices: 3 }))))).toBe('invalid_request');
    await pipeline.clock.advance(0);
    expect(aborted).toEqual([true, true]);
  });
});

test('an unexpected error becomes an internal one: its place is logged, its message nowhere', async () => {
  const pipeline = createPipeline();
  pipeline.script('ollama-1', () => failing(new TypeError('secret detail')));
  const error = await collect(pipeline.run()).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(GatewayError);
  expect(error.message).not.toContain('secret');
  expect(pipeline.errors[0]?.detail).toMatch(/^TypeError at /);
  expect(pipeline.errors[0]?.detail).not.toContain('secret');
});
