import { totalmem } from 'node:os';
import { describe, expect, test } from '@jest/globals';
import type { DependencyState, UsageBacklog } from '../../../src/core/ports.ts';
import { GatewayError, toGatewayError } from '../../../src/domain/error.ts';
import type { Backend, Model } from '../../../src/domain/model.ts';
import type { UsageRecord } from '../../../src/domain/record.ts';
import { createTelemetry } from '../../../src/telemetry/index.ts';
import type { LogLevel } from '../../../src/telemetry/log.ts';
import { redactText } from '../../../src/telemetry/redact.ts';

const KEY = 'llmgw_canaryA1b2C3d4-e5_f6canary';

function backend(id: string, models: readonly string[], healthy = true): Backend {
  const known = models.map((model): [string, Model] => [model, { id: model, capabilities: [] }]);
  return { id, healthy, models: new Map(known), loaded: new Set(), inFlight: 2 };
}

function start(options: { level?: LogLevel; models?: readonly string[] } = {}) {
  const lines: string[] = [];
  const backends = [backend('ollama-1', options.models ?? ['llama3.1:8b']), backend('ollama-2', [], false)];
  const dependencies: DependencyState[] = [
    { name: 'database', state: 'embedded' },
    { name: 'redis', state: 'down' },
  ];
  const backlog: UsageBacklog[] = [
    { place: 'memory', records: 3 },
    { place: 'redis', records: 40 },
  ];
  const telemetry = createTelemetry({
    level: options.level ?? 'debug',
    replica: 'blue-1',
    version: '1.2.3',
    backends: () => backends,
    report: () => ({ ready: backends.some(({ healthy }) => healthy), dependencies }),
    usageBacklog: () => backlog,
    waiting: () => 3,
    destination: { write: (line) => lines.push(line) },
  });
  return {
    telemetry,
    backends,
    backlog,
    lines,
    line: (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? '{}'),
    samples: async (name: string) =>
      (await telemetry.metrics()).body
        .split('\n')
        .filter((sample) => sample.startsWith(`llm_gateway_${name}`)),
  };
}

const RECORD: UsageRecord = {
  id: 'chat-1',
  requestId: 'req-1',
  keyId: 'key-1',
  protocol: 'rest',
  operation: 'chat',
  model: 'llama3.1:8b',
  backend: 'ollama-1',
  status: 'ok',
  finishReason: 'stop',
  streamed: true,
  usage: { promptTokens: 7, completionTokens: 3, cachedTokens: 2 },
  timings: { queueMs: 5, firstTokenMs: 40, totalMs: 120.001953125, tokensPerSecond: 25 },
  startedAt: new Date(0),
};

describe('the line of a request', () => {
  test('says who asked what of whom, how it ended and what it took', () => {
    const { telemetry, lines, line } = start();
    telemetry.requestEnded(RECORD, undefined);
    expect(lines).toHaveLength(1);
    expect(line()).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      replica: 'blue-1',
      msg: 'request',
      id: 'chat-1',
      request_id: 'req-1',
      key_id: 'key-1',
      protocol: 'rest',
      operation: 'chat',
      model: 'llama3.1:8b',
      backend: 'ollama-1',
      streamed: true,
      status: 'ok',
      finish_reason: 'stop',
      prompt_tokens: 7,
      completion_tokens: 3,
      cached_tokens: 2,
      queue_ms: 5,
      first_token_ms: 40,
      total_ms: 120,
      tokens_per_second: 25,
    });
  });

  test.each([
    ['invalid_request', 'info'],
    ['rate_limited', 'info'],
    ['upstream_failed', 'warn'],
    ['storage_unavailable', 'error'],
    ['internal', 'error'],
  ] as const)('%s is logged as %s', (code, level) => {
    const { telemetry, line } = start();
    const error = new GatewayError(code, 'public', { detail: 'internal detail' });
    telemetry.requestEnded({ ...RECORD, status: 'error', errorCode: code }, error);
    expect(line()).toMatchObject({ level, code, owner: error.owner, detail: 'internal detail' });
  });

  test('a request that its caller left is no failure', () => {
    const { telemetry, line } = start();
    const left = new GatewayError('client_closed', 'gone');
    telemetry.requestEnded({ ...RECORD, status: 'cancelled', errorCode: 'client_closed' }, left);
    expect(line()).toMatchObject({ level: 'info', status: 'cancelled' });
  });

  test('a line without fields is an object all the same', () => {
    const { telemetry, line } = start();
    telemetry.log('info', 'listening');
    expect(Object.keys(line())).toEqual(['level', 'time', 'replica', 'msg']);
  });

  test('lines below the level are not written', () => {
    const { telemetry, lines } = start({ level: 'warn' });
    telemetry.requestEnded(RECORD, undefined);
    telemetry.log('debug', 'x');
    telemetry.log('warn', 'y');
    expect(lines).toHaveLength(1);
  });
});

describe('secrets and content', () => {
  test.each([
    ['in the message', (secret: string) => ({ message: `no key ${secret}!`, fields: {} })],
    ['in a listed field', (secret: string) => ({ message: 'x', fields: { detail: `no key ${secret}!` } })],
    ['in an unlisted field', (secret: string) => ({ message: 'x', fields: { prompt: secret } })],
  ])('a key %s never comes out, at the most talkative level', (_where, place) => {
    const { telemetry, lines } = start({ level: 'trace' });
    for (const level of ['debug', 'info', 'warn', 'error'] as const) {
      const { message, fields } = place(KEY);
      telemetry.log(level, message, fields);
    }
    expect(lines).toHaveLength(4);
    expect(lines.join()).not.toContain('A1b2');
    expect(lines.join()).not.toMatch(/C3d4|e5_f6|canary[^A…]/);
  });

  test('a key in any text of a record never comes out', () => {
    const { telemetry, lines } = start();
    const error = new GatewayError('internal', KEY, {
      detail: `${KEY} ${KEY}`,
      cause: new Error(KEY),
      param: KEY,
    });
    const stained = { ...RECORD, id: KEY, requestId: KEY, model: KEY, backend: KEY };
    telemetry.requestEnded({ ...stained, status: 'error', errorCode: 'internal' }, error);
    expect(lines.join()).not.toMatch(/A1b2|C3d4|e5_f6/);
  });

  test.each([
    ['an Authorization header', 'got "Authorization: Bearer sesame-sesame"', 'sesame'],
    ["another vendor's key", 'invalid key sk-sesame-0123456789abcdef', 'sesame'],
    ['a password in a URL', 'connect postgres://gateway:se/same@db:5432/x', /se\/?same/],
    ['a piece of JSON that does not parse', jsonErrorOf('{"content": sesame }'), 'sesame'],
    ['the beginning of text that is no JSON', jsonErrorOf('sesame'), 'sesame'],
    ['a quotation that does not end', `unexpected "${'open sesame '.repeat(200)}`, 'sesame'],
    ['a long quotation', `unexpected "${'open sesame '.repeat(9)}" here`, 'sesame'],
  ])('%s never comes out', (_what, text, secret) => {
    const { telemetry, lines } = start();
    telemetry.log('error', text, { detail: text });
    telemetry.requestEnded({ ...RECORD, status: 'error' }, toGatewayError(new Error(text)));
    expect(text).toMatch(secret);
    expect(lines.join()).not.toMatch(secret);
  });

  test('text comes out only under a listed name, numbers and booleans under any', () => {
    const { telemetry, line } = start();
    telemetry.log('info', 'x', { prompt: 'canary', error: 'reset', tries: 3, last: true, absent: undefined });
    expect(line()).toMatchObject({ prompt: '[withheld]', error: 'reset', tries: 3, last: true });
    expect(line()).not.toHaveProperty('absent');
  });

  test('a value that the type does not allow is left out', () => {
    const { telemetry, lines } = start();
    const smuggled: Record<string, never> = JSON.parse(
      '{"error": {"prompt": "canary"}, "detail": ["canary"]}',
    );
    telemetry.log('info', 'x', smuggled);
    expect(lines.join()).not.toContain('canary');
  });

  test('text is cut to a bounded length, and a hostile one costs next to nothing', () => {
    const { telemetry, lines } = start();
    for (const text of ['x'.repeat(1e6), '"'.repeat(1e6), '//'.repeat(1e6), 'llmgw_'.repeat(1e6)]) {
      telemetry.log('info', text, { detail: text });
    }
    for (const line of lines) expect(line.length).toBeLessThan(3000);
    // Eight times the text: a search that begins anew at every quotation mark takes five hundred times as long.
    const cost = (text: string) => {
      const times = Array.from({ length: 5 }, () => {
        const before = performance.now();
        for (let n = 0; n < 5; n++) redactText(text);
        return performance.now() - before;
      });
      return Math.min(...times);
    };
    expect(cost('"'.repeat(1000)) / cost('"'.repeat(125))).toBeLessThan(150);
  });

  test('line breaks cannot forge a second line', () => {
    const { telemetry, lines } = start();
    telemetry.log('info', 'a\n{"level":"error"}', { error: 'b\r\nc\u2028d' });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.trimEnd()).not.toMatch(/[\r\n]/);
  });

  function jsonErrorOf(text: string): string {
    try {
      JSON.parse(text);
    } catch (error) {
      return String(error);
    }
    return '';
  }
});

describe('metrics', () => {
  test('a request counts while it runs, and then by how it ended', async () => {
    const { telemetry, samples } = start();
    const idle = 'llm_gateway_in_flight{protocol="graphql",operation="chat"} 0';
    expect(await samples('in_flight')).toEqual([
      'llm_gateway_in_flight{protocol="rest",operation="chat"} 0',
      idle,
    ]);
    telemetry.requestStarted(RECORD);
    telemetry.requestStarted(RECORD);
    telemetry.requestEnded({ ...RECORD, status: 'error', errorCode: 'rate_limited' }, undefined);
    expect(await samples('in_flight')).toEqual([
      'llm_gateway_in_flight{protocol="rest",operation="chat"} 1',
      idle,
    ]);
    expect(await samples('requests_total')).toEqual([
      'llm_gateway_requests_total{protocol="rest",operation="chat",status="error",code="rate_limited"} 1',
    ]);
    expect(await samples('request_duration_seconds_sum')).toEqual([expect.stringMatching(/ 0\.12000/)]);
  });

  test('a request whose key could not be looked up counts as one that failed', async () => {
    const { telemetry, samples } = start();
    telemetry.keyLookupFailed('storage_unavailable');
    expect(await samples('requests_total')).toEqual([
      'llm_gateway_requests_total{protocol="",operation="authenticate",status="error",code="storage_unavailable"} 1',
    ]);
  });

  test('tokens and times are kept per model', async () => {
    const { telemetry, samples } = start();
    telemetry.requestEnded(RECORD, undefined);
    telemetry.firstToken('llama3.1:8b', 40);
    telemetry.tokenGap('LLAMA3.1:8b', 20);
    telemetry.tokenGap('llama3.1:8b', 30);
    expect(await samples('tokens_total{model="llama3.1:8b"')).toEqual([
      'llm_gateway_tokens_total{model="llama3.1:8b",kind="prompt"} 7',
      'llm_gateway_tokens_total{model="llama3.1:8b",kind="completion"} 3',
      'llm_gateway_tokens_total{model="llama3.1:8b",kind="reasoning"} 0',
      'llm_gateway_tokens_total{model="llama3.1:8b",kind="cached"} 2',
    ]);
    expect(await samples('time_to_first_token_seconds_sum')).toEqual([expect.stringMatching(/8b"} 0\.04$/)]);
    expect(await samples('time_between_tokens_seconds_sum')).toEqual([expect.stringMatching(/8b"} 0\.05$/)]);
    expect(await samples('time_between_tokens_seconds_count')).toEqual([expect.stringMatching(/8b"} 2$/)]);
    expect(await samples('queue_seconds_sum')).toEqual([expect.stringMatching(/8b"} 0\.005$/)]);
  });

  test('names that callers make up share one series', async () => {
    const { telemetry, samples } = start();
    for (let index = 0; index < 1000; index++)
      telemetry.requestEnded({ ...RECORD, model: `made-up-${index}` }, undefined);
    expect(await samples('queue_seconds_count')).toEqual([
      'llm_gateway_queue_seconds_count{model="other"} 1000',
    ]);
  });

  test('more models than fit share one series', async () => {
    const models = Array.from({ length: 200 }, (_, index) => `model-${index}:latest`);
    const { telemetry, samples } = start({ models });
    for (const model of models) telemetry.requestEnded({ ...RECORD, model }, undefined);
    const series = await samples('queue_seconds_count');
    expect(series).toHaveLength(51);
    expect(series).toContain('llm_gateway_queue_seconds_count{model="other"} 150');
  });

  test('a model gets its own series once some backend has it', async () => {
    const { telemetry, samples, backends } = start({ models: [] });
    telemetry.tokenGap('phi3:mini', 1);
    backends.push(backend('ollama-3', ['phi3:mini']));
    telemetry.tokenGap('phi3:mini', 1);
    expect((await samples('time_between_tokens_seconds_count')).join()).toMatch(
      /"other"} 1,.*"phi3:mini"} 1/,
    );
  });

  test('a model whose name has capitals is no made-up one', async () => {
    const id = 'hf.co/someone/Llama-3.2-1B-GGUF:Q4_K_M';
    const { telemetry, samples } = start({ models: [id] });
    telemetry.tokenGap(id, 1);
    expect((await samples('time_between_tokens_seconds_count')).join()).toContain(`"${id.toLowerCase()}"} 1`);
  });

  test('backends, dependencies and limits are shown as they are at the scrape', async () => {
    const { telemetry, samples, backends } = start();
    telemetry.limitHit('tokens');
    telemetry.recordsLost(4);
    telemetry.recordsLost(0);
    expect(await samples('backend_up')).toEqual([
      'llm_gateway_backend_up{backend="ollama-1"} 1',
      'llm_gateway_backend_up{backend="ollama-2"} 0',
    ]);
    backends.pop();
    expect(await samples('waiting')).toEqual(['llm_gateway_waiting 3']);
    expect(await samples('backend_in_flight')).toEqual([
      'llm_gateway_backend_in_flight{backend="ollama-1"} 2',
    ]);
    expect(await samples('dependency_up')).toEqual([
      'llm_gateway_dependency_up{name="database"} 1',
      'llm_gateway_dependency_up{name="redis"} 0',
    ]);
    expect(await samples('limits_hit_total')).toEqual([
      'llm_gateway_limits_hit_total{limit="requests"} 0',
      'llm_gateway_limits_hit_total{limit="tokens"} 1',
      'llm_gateway_limits_hit_total{limit="concurrency"} 0',
    ]);
    expect(await samples('usage_records_lost_total')).toEqual(['llm_gateway_usage_records_lost_total 4']);
    expect(await samples('info')).toEqual(['llm_gateway_info{version="1.2.3",replica="blue-1"} 1']);
  });

  test('readiness and usage on its way are shown as they are at the scrape', async () => {
    const { samples, backends, backlog } = start();
    expect(await samples('ready')).toEqual(['llm_gateway_ready 1']);
    expect(await samples('usage_records_waiting')).toEqual([
      'llm_gateway_usage_records_waiting{place="memory"} 3',
      'llm_gateway_usage_records_waiting{place="redis"} 40',
    ]);
    backends.shift();
    backlog.pop();
    expect(await samples('ready')).toEqual(['llm_gateway_ready 0']);
    expect(await samples('usage_records_waiting')).toEqual([
      'llm_gateway_usage_records_waiting{place="memory"} 3',
    ]);
  });

  test('memory has the limits that end the process when they are reached', async () => {
    const { samples } = start();
    const limits = (await samples('memory_limit_bytes')).map((sample) => Number(sample.split(' ')[1]));
    expect(limits).toHaveLength(2);
    for (const limit of limits) {
      expect(limit).toBeGreaterThan(process.memoryUsage().heapUsed);
      expect(limit).toBeLessThanOrEqual(2 * totalmem());
    }
  });

  test('measurements that are none change nothing', async () => {
    const { telemetry, samples } = start();
    for (const nonsense of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      telemetry.tokenGap('llama3.1:8b', nonsense);
      telemetry.firstToken('llama3.1:8b', nonsense);
      telemetry.recordsLost(nonsense);
      const usage = { promptTokens: nonsense };
      telemetry.requestEnded(
        { ...RECORD, usage, timings: { totalMs: nonsense, queueMs: nonsense } },
        undefined,
      );
    }
    const kept = [...(await samples('tokens')), ...(await samples('time_')), ...(await samples('queue'))];
    expect(kept.filter((sample) => /_(total|sum|count)\b/.test(sample) && !/ 0$/.test(sample))).toEqual([]);
  });

  test('the process and its event loop are shown, and two gateways in one process do not disturb each other', async () => {
    const { telemetry } = start();
    const second = start();
    second.telemetry.limitHit('tokens');
    const { contentType, body } = await telemetry.metrics();
    expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(body).toContain('nodejs_eventloop_lag_p99_seconds ');
    expect(body).toContain('process_resident_memory_bytes ');
    expect(body).toContain('limits_hit_total{limit="tokens"} 0');
    expect(body.match(/^# TYPE process_start_time_seconds /gm)).toHaveLength(1);
  });
});
