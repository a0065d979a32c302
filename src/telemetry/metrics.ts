import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import { collectDefaultMetrics, Gauge, Registry, register } from 'prom-client';
import type { DependencyState, Telemetry, UsageBacklog } from '../core/ports.ts';
import type { ErrorCode } from '../domain/error.ts';
import type { Backend } from '../domain/model.ts';
import type { UsageRecord } from '../domain/record.ts';
import { createHistogram } from './histogram.ts';
import { createModelLabels } from './models.ts';
import { type Count, createTally } from './tally.ts';

export interface MetricsOptions {
  readonly replica: string;
  readonly version: string;
  /** Read at each scrape. */
  readonly backends: () => readonly Backend[];
  /** What `/ready` says. Read at each scrape. */
  readonly report: () => { readonly ready: boolean; readonly dependencies: readonly DependencyState[] };
  /** Read at each scrape. */
  readonly usageBacklog: () => readonly UsageBacklog[];
  /** How many requests wait for a backend. Read at each scrape. */
  readonly waiting: () => number;
}

export interface Metrics extends Omit<Telemetry, 'log' | 'requestEnded'> {
  requestEnded(record: UsageRecord): void;
  /** Everything in the text format of Prometheus. */
  expose(): Promise<Exposition>;
}

export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

const PREFIX = 'llm_gateway_';

/** Seconds. Local models answer in anything from milliseconds to half an hour. */
const BUCKETS = {
  request: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800],
  firstToken: [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
  tokenGap: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
  queue: [0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
};

/** Metrics of one gateway. Their labels come from closed sets, so no caller can make their number grow. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const requests = createRequestMetrics(registry);
  const models = createModelMetrics(registry, options.backends);
  const limitsHit = createTally('counter', registry, {
    name: `${PREFIX}limits_hit_total`,
    help: 'Requests refused by a limit.',
    labels: ['limit'],
  });
  for (const limit of ['requests', 'tokens', 'concurrency']) limitsHit.of(limit);
  const recordsLost = createTally('counter', registry, {
    name: `${PREFIX}usage_records_lost_total`,
    help: 'Usage records that no store took and the queue had no room for.',
    labels: [],
  }).of();
  registerStates(registry, options);
  registerMemoryLimits(registry);
  // These describe the process, of which there is one however many gateways it holds.
  if (!register.getSingleMetric('process_start_time_seconds')) collectDefaultMetrics();

  return {
    requestStarted: requests.started,
    requestEnded(record) {
      requests.ended(record);
      models.ended(record);
    },
    firstToken: (model, elapsedMs) => observeMs(models.of(model).firstToken, elapsedMs),
    tokenGap: (model, elapsedMs) => observeMs(models.of(model).tokenGap, elapsedMs),
    keyLookupFailed: requests.keyLookupFailed,
    limitHit(limit) {
      limitsHit.of(limit).value++;
    },
    recordsLost: (count) => addCount(recordsLost, count),
    async expose() {
      const histograms = [...requests.histograms, ...models.histograms].map((one) => one.expose());
      const parts = [await registry.metrics(), ...histograms, await register.metrics()];
      return { contentType: registry.contentType, body: parts.join('\n') };
    },
  };
}

function createRequestMetrics(registry: Registry) {
  const total = createTally('counter', registry, {
    name: `${PREFIX}requests_total`,
    help: 'Requests that ended, by how; under `authenticate` those whose key could not be looked up.',
    labels: ['protocol', 'operation', 'status', 'code'],
  });
  const inFlight = createTally('gauge', registry, {
    name: `${PREFIX}in_flight`,
    help: 'Requests under way.',
    labels: ['protocol', 'operation'],
  });
  // From the start: what scales replicas by this takes one without it for one that it knows nothing of.
  for (const protocol of ['rest', 'graphql']) inFlight.of(protocol, 'chat');
  const duration = createHistogram({
    name: `${PREFIX}request_duration_seconds`,
    help: 'From the arrival of a request to its end.',
    labels: ['protocol', 'operation'],
    buckets: BUCKETS.request,
  });
  return {
    histograms: [duration],
    started({ protocol, operation }: Pick<UsageRecord, 'protocol' | 'operation'>) {
      inFlight.of(protocol, operation).value++;
    },
    keyLookupFailed(code: ErrorCode) {
      total.of('', 'authenticate', 'error', code).value++;
    },
    ended({ protocol, operation, status, errorCode, timings }: UsageRecord) {
      inFlight.of(protocol, operation).value--;
      total.of(protocol, operation, status, errorCode ?? '').value++;
      observeMs(duration.of(protocol, operation), timings.totalMs);
    },
  };
}

function createModelMetrics(registry: Registry, backends: MetricsOptions['backends']) {
  const tokens = createTally('counter', registry, {
    name: `${PREFIX}tokens_total`,
    help: 'Tokens, by kind; reasoning and cached ones are parts of completion and prompt.',
    labels: ['model', 'kind'],
  });
  const firstToken = createHistogram({
    name: `${PREFIX}time_to_first_token_seconds`,
    help: 'From the arrival of a request to the first text, reasoning or tool call.',
    labels: ['model'],
    buckets: BUCKETS.firstToken,
  });
  const tokenGap = createHistogram({
    name: `${PREFIX}time_between_tokens_seconds`,
    help: 'Between two network reads of one answer.',
    labels: ['model'],
    buckets: BUCKETS.tokenGap,
  });
  const queue = createHistogram({
    name: `${PREFIX}queue_seconds`,
    help: 'Waiting before the backend worked on a request.',
    labels: ['model'],
    buckets: BUCKETS.queue,
  });
  const of = createModelLabels(backends, (model) => ({
    prompt: tokens.of(model, 'prompt'),
    completion: tokens.of(model, 'completion'),
    reasoning: tokens.of(model, 'reasoning'),
    cached: tokens.of(model, 'cached'),
    firstToken: firstToken.of(model),
    tokenGap: tokenGap.of(model),
    queue: queue.of(model),
  }));
  return {
    of,
    histograms: [firstToken, tokenGap, queue],
    ended({ model, usage, timings }: UsageRecord) {
      const metrics = of(model);
      addCount(metrics.prompt, usage.promptTokens);
      addCount(metrics.completion, usage.completionTokens);
      addCount(metrics.reasoning, usage.reasoningTokens);
      addCount(metrics.cached, usage.cachedTokens);
      observeMs(metrics.queue, timings.queueMs);
    },
  };
}

/** What is so at the moment of a scrape. */
function registerStates(
  registry: Registry,
  { replica, version, backends, report, usageBacklog, waiting }: MetricsOptions,
): void {
  const registers = [registry];
  new Gauge({
    name: `${PREFIX}info`,
    help: 'Always 1.',
    labelNames: ['version', 'replica'],
    registers,
  }).set({ version, replica }, 1);
  new Gauge({
    name: `${PREFIX}backend_up`,
    help: '1 where the Ollama server answers.',
    labelNames: ['backend'],
    registers,
    collect() {
      this.reset();
      for (const { id, healthy } of backends()) this.set({ backend: id }, healthy ? 1 : 0);
    },
  });
  new Gauge({
    name: `${PREFIX}backend_in_flight`,
    help: 'Requests of this replica that the Ollama server is working on.',
    labelNames: ['backend'],
    registers,
    collect() {
      this.reset();
      for (const { id, inFlight } of backends()) this.set({ backend: id }, inFlight);
    },
  });
  new Gauge({
    name: `${PREFIX}waiting`,
    help: 'Requests that this replica keeps until an Ollama server has a place for them.',
    registers,
    collect() {
      this.set(waiting());
    },
  });
  new Gauge({
    name: `${PREFIX}dependency_up`,
    help: '0 where the dependency is down.',
    labelNames: ['name'],
    registers,
    collect() {
      this.reset();
      for (const { name, state } of report().dependencies) this.set({ name }, state === 'down' ? 0 : 1);
    },
  });
  new Gauge({
    name: `${PREFIX}ready`,
    help: '1 where requests should be sent here.',
    registers,
    collect() {
      this.set(report().ready ? 1 : 0);
    },
  });
  new Gauge({
    name: `${PREFIX}usage_records_waiting`,
    help: 'Usage records on their way to the ledger; those in Redis are the same for every replica.',
    labelNames: ['place'],
    registers,
    collect() {
      this.reset();
      for (const { place, records } of usageBacklog()) this.set({ place }, records);
    },
  });
}

/** What ends this process when it is reached, which is what its memory has to be compared with. */
function registerMemoryLimits(registry: Registry): void {
  const limit = new Gauge({
    name: `${PREFIX}memory_limit_bytes`,
    help: 'Most memory that the process may occupy, and most that its JavaScript heap may.',
    labelNames: ['of'],
    registers: [registry],
  });
  // Without a container's limit this is 0 or astronomical, depending on the system.
  const constrained = process.constrainedMemory();
  limit.set({ of: 'process' }, constrained > 0 ? Math.min(constrained, totalmem()) : totalmem());
  limit.set({ of: 'heap' }, getHeapStatistics().heap_size_limit);
}

/** Measurements come from outside; what is no number, or a negative one, is not one. */
function observeMs(observe: (seconds: number) => void, ms: number | undefined): void {
  if (ms !== undefined && ms >= 0 && ms < Number.POSITIVE_INFINITY) observe(ms / 1000);
}

function addCount(to: Count, count: number | undefined): void {
  if (count !== undefined && count >= 0 && count < Number.POSITIVE_INFINITY) to.value += count;
}
