import { describe, expect, test } from '@jest/globals';
import type { Administration } from '../../../src/core/administration.ts';
import type { Authenticator } from '../../../src/core/authenticate.ts';
import { type Caller, createGateway } from '../../../src/core/gateway.ts';
import type { ChatProvider } from '../../../src/core/ports.ts';
import { GatewayError } from '../../../src/domain/error.ts';
import type { Backend } from '../../../src/domain/model.ts';
import {
  backend,
  chatRequest,
  collect,
  createPipeline,
  finished,
  model,
  PRINCIPAL,
  started,
  untilAborted,
} from '../../support/pipeline.ts';

function setUp() {
  const pipeline = createPipeline();
  const shutdown = new AbortController();
  const provider: Pick<ChatProvider, 'backends' | 'refresh'> = {
    backends: (): readonly Backend[] => pipeline.backends,
    refresh: async () => undefined,
  };
  let ids = 0;
  const gateway = createGateway({
    authenticator: { authenticate: async () => PRINCIPAL } as Partial<Authenticator> as Authenticator,
    administration: {} as Administration,
    limiter: { peek: async () => ({ mode: 'exact', requests: { limit: 60, remaining: 3, resetMs: 100 } }) },
    provider: provider as ChatProvider,
    handler: pipeline.handler,
    clock: pipeline.clock,
    createId: () => `id_${ids++}`,
    report: () => ({ ready: true, draining: false, dependencies: [] }),
    shutdown: shutdown.signal,
  });
  const caller: Caller = {
    principal: PRINCIPAL,
    requestId: 'req_1',
    protocol: 'rest',
    operation: 'chat',
    streamed: true,
    signal: new AbortController().signal,
  };
  return { pipeline, gateway, caller, shutdown };
}

describe('an exchange', () => {
  test('has an id of its own, which is the record’s', async () => {
    const { pipeline, gateway, caller } = setUp();
    pipeline.script('ollama-1', async function* () {
      yield [started(), finished()];
    });
    const exchange = gateway.chat(chatRequest(), caller);
    await collect(exchange.events);
    expect(gateway.chat(chatRequest(), caller).id).not.toBe(exchange.id);
    expect(pipeline.records[0]).toMatchObject({ id: exchange.id, requestId: 'req_1' });
  });

  test('knows the limits once they are decided, not before', async () => {
    const { pipeline, gateway, caller } = setUp();
    const state = { mode: 'exact', requests: { limit: 60, remaining: 59, resetMs: 1000 } } as const;
    pipeline.decide = () => ({ admitted: true, state });
    pipeline.script('ollama-1', async function* () {
      yield [started(), finished()];
    });
    const exchange = gateway.chat(chatRequest(), caller);
    expect(exchange.limits).toBeUndefined();
    await exchange.events.next();
    expect(exchange.limits).toEqual(state);
    await exchange.events.return?.();
  });

  test('ends with the gateway, which says why', async () => {
    const { pipeline, gateway, caller, shutdown } = setUp();
    pipeline.script('ollama-1', async function* (signal) {
      yield [started()];
      await untilAborted(signal);
    });
    const { events } = gateway.chat(chatRequest(), caller);
    await events.next();
    const next = events.next().catch((error) => error);
    shutdown.abort(new GatewayError('shutting_down', 'The gateway is restarting.'));
    expect(await next).toMatchObject({ code: 'shutting_down' });
  });
});

test('the limits as they stand are those of the store', async () => {
  const { gateway } = setUp();
  expect(await gateway.limits(PRINCIPAL)).toMatchObject({ requests: { remaining: 3 } });
});

describe('the catalogue', () => {
  const models = new Map(['b:1', 'a:1', 'c:1'].map((id) => [id, model(id)]));

  test('lists what the caller may use and some healthy backend has, by id', () => {
    const { pipeline, gateway } = setUp();
    pipeline.backends = [
      backend('one', { models }),
      backend('down', { healthy: false, models: new Map([['d:1', model('d:1')]]) }),
    ];
    const ids = (globs: string[]) => gateway.listModels({ ...PRINCIPAL, models: globs }).map((one) => one.id);
    expect(ids([])).toEqual(['a:1', 'b:1', 'c:1']);
    expect(ids(['a:*'])).toEqual(['a:1']);
  });

  test('does not pass for empty where no backend is there to ask', () => {
    const { pipeline, gateway } = setUp();
    pipeline.backends = [backend('down', { healthy: false })];
    expect(() => gateway.listModels(PRINCIPAL)).toThrow(
      expect.objectContaining({ code: 'upstream_unavailable' }),
    );
  });

  test('answers the same for a model that is not there and for one the caller may not know', async () => {
    const { pipeline, gateway } = setUp();
    pipeline.backends = [backend('one', { models })];
    const restricted = { ...PRINCIPAL, models: ['a:*'] };
    const failure = (id: string) => gateway.getModel(restricted, id).catch((error) => error);
    const [hidden, absent] = [await failure('b:1'), await failure('x:1')];
    expect(hidden.code).toBe('model_not_found');
    expect(hidden.message.replace('b:1', 'x:1')).toBe(absent.message);
    expect(await gateway.getModel(restricted, 'A:1')).toMatchObject({ id: 'a:1' });
  });

  test('needs its scope', async () => {
    const { gateway } = setUp();
    const principal = { ...PRINCIPAL, scopes: ['chat' as const] };
    expect(() => gateway.listModels(principal)).toThrow(expect.objectContaining({ code: 'not_permitted' }));
    await expect(gateway.getModel(principal, 'a:1')).rejects.toMatchObject({ code: 'not_permitted' });
  });
});
