import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { chat, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { PROMETHEUS_FILES, type Prometheus, startPrometheus } from '../support/prometheus.ts';
import { type Stack, startStack } from '../support/stack.ts';

interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly legendFormat: string;
}

interface Panel {
  readonly id: number;
  readonly type: 'row' | 'stat' | 'timeseries';
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly targets?: readonly Target[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

interface RuleFile {
  readonly groups: readonly { readonly rules: readonly { readonly expr: string }[] }[];
}

const ROOT = join(import.meta.dirname, '../..');
const dashboard: Dashboard = JSON.parse(readFileSync(join(ROOT, 'deploy/grafana/llm-gateway.json'), 'utf8'));
const rules: RuleFile = parse(readFileSync(join(PROMETHEUS_FILES, 'alerts.yml'), 'utf8'));

const ruleExpressions = rules.groups.flatMap((group) => group.rules.map(({ expr }) => expr));

/** What Grafana puts in the place of variables. */
const VARIABLES: Readonly<Record<string, string>> = {
  $__rate_interval: '1m',
  $job: 'llm-gateway',
  $instance: '.*',
  $model: '.*',
};

function fillIn(expression: string): string {
  const filled = expression.replace(/\$\w+/g, (name) => VARIABLES[name] ?? name);
  expect(filled).not.toContain('$');
  return filled;
}

/** The series that an expression reads, each as it is written there, ranges left out. */
function selectorsOf(expression: string): readonly string[] {
  return expression.match(/\b(?:(?:llm_gateway|nodejs|process|job:|model:)[\w:]+|up\b)(?:\{[^}]*\})?/g) ?? [];
}

const targets = dashboard.panels.flatMap(({ title, type, targets: list = [] }) =>
  list.map(({ refId, expr, legendFormat }) => ({
    name: `${title} (${refId})`,
    type,
    expression: fillIn(expr),
    legendFormat,
  })),
);

let stack: Stack;
let prometheus: Prometheus;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  stack = await startStack({ simulators: [{ parallel: 20 }, { parallel: 20 }] });
  opened.defer(() => stack.close());
  prometheus = await startPrometheus({
    replicas: stack.replicas.map(({ url }) => new URL(url).host),
    nginx: new URL(stack.url).host,
  });
  opened.defer(() => prometheus.stop());
  // Counters are seen to grow from the second look on.
  await untilScraped(await sendTraffic(6));
  await untilScraped(await sendTraffic(90));
}, 60_000);
afterAll(() => opened.disposeAsync());

let sent = 0;

/** Some of everything: answers and streams, both protocols, refusals, failures, and callers that leave. */
async function sendTraffic(count: number): Promise<number> {
  const { secret } = await stack.createKey();
  const limited = await stack.createKey({ limits: { requestsPerMinute: 1 } });
  const script = { tokens: ['one', ' two', ' three', ' four'], paceMs: 20 };
  const post = (path: string, body: object) =>
    fetch(stack.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const query =
    'mutation { createChatCompletion(input: { model: "llama3.1:8b", messages: [{ role: USER, content: [{ text: "Hello!" }] }] }) { __typename } }';
  const requests: (() => Promise<number>)[] = [
    ...Array.from(
      { length: count },
      (_, index) => () => statusOf(chat(stack, secret, { stream: index % 2 === 0, script })),
    ),
    () => statusOf(post('/graphql', { query })),
    () => statusOf(post('/v1/embeddings', { model: 'nomic-embed-text', input: 'Hello!' })),
    () =>
      statusOf(
        post('/v1/chat/completions', { model: 'no-such-model', messages: [{ role: 'user', content: 'x' }] }),
      ),
    () => statusOf(chat(stack, secret, { script: { errorStatus: 500 } })),
    () => statusOf(chat(stack, limited.secret)),
  ];
  const statuses = await Promise.all(requests.map((send) => send()));
  expect(statuses.slice(-5)).toEqual([200, 200, 404, 502, 200]);
  expect(await statusOf(chat(stack, limited.secret))).toBe(429);
  const stream = await openStream(stack, secret, { script: { tokens: 100_000, paceMs: 20 } });
  await stream.untilEvents(2);
  stream.leave();
  sent += requests.length + 2;
  return sent;
}

async function untilScraped(requests: number): Promise<void> {
  await eventually(`${requests} requests in Prometheus`, async () => {
    const [total] = await prometheus.query('sum(llm_gateway_requests_total)');
    return total?.value === requests;
  });
}

test('Prometheus can tell whether nginx answers', async () => {
  const [nginx] = await prometheus.query('up{job="llm-gateway-nginx"}');
  expect(nginx?.value).toBe(1);
});

describe('the dashboard', () => {
  test.each(targets)('has data for $name', async ({ type, expression, legendFormat }) => {
    const ask = type === 'stat' ? prometheus.query : prometheus.queryRange;
    // A scrape that came too late hides a series until the next one.
    const series = await eventually('data', async () => {
      // A percentile of nothing is not a number: a model that only embeds has no first token.
      const found = (await ask(expression)).filter(({ value }) => Number.isFinite(value));
      return found.length > 0 && found;
    });
    for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
      expect(series.filter(({ labels }) => labels[label] !== undefined)).not.toEqual([]);
    }
  });

  test('asks only for series that there are', async () => {
    const selectors = new Set(targets.flatMap(({ expression }) => selectorsOf(expression)));
    expect(selectors.size).toBeGreaterThan(20);
    await untilAllThere(selectors);
  });

  test('counts as failures what the alerts count', () => {
    const codesOf = (expressions: readonly string[]) =>
      new Set(expressions.flatMap((expression) => expression.match(/code=~"[^"]+"/g) ?? []));
    expect(codesOf(targets.map(({ expression }) => expression))).toEqual(codesOf(ruleExpressions));
  });

  test('has variables with values', async () => {
    const definitions = dashboard.templating.list.flatMap(({ definition }) => definition ?? []);
    expect(definitions).toHaveLength(3);
    for (const definition of definitions) {
      const [, selector = '', label = ''] = /^label_values\((.+), (\w+)\)$/.exec(fillIn(definition)) ?? [];
      const series = await prometheus.query(`count by (${label}) (${selector})`);
      expect(series.map(({ labels }) => labels[label])).not.toContain(undefined);
      expect(series.length).toBeGreaterThan(0);
    }
  });

  test('says of each panel what it shows, and puts none over another', () => {
    const panels = dashboard.panels.filter(({ type }) => type !== 'row');
    expect(panels.filter(({ description = '' }) => description === '')).toEqual([]);
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { h, w, x, y } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)}/${y + Math.floor(cell / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.x + gridPos.w))).toBe(24);
  });
});

/** Until some series fits each of these. */
async function untilAllThere(selectors: Iterable<string>): Promise<void> {
  for (const selector of selectors) {
    await eventually(selector, async () => (await prometheus.query(selector)).length > 0);
  }
}

/** On a machine that is busy enough, this one says so, rightly. */
const BUSY = 'LlmGatewayEventLoopSlow';

async function alertNames(): Promise<readonly string[]> {
  const names = (await prometheus.alerts()).map(({ name }) => name);
  return [...new Set(names)].filter((name) => name !== BUSY).sort();
}

const untilAlerts = (names: readonly string[]) =>
  eventually(
    `the alerts ${names.join(', ')}`,
    async () => (await alertNames()).join() === [...names].sort().join(),
  );

describe('the rules', () => {
  test('read only series that there are', async () => {
    const selectors = new Set(ruleExpressions.flatMap(selectorsOf));
    expect(selectors.size).toBeGreaterThan(15);
    await untilAllThere(selectors);
  });

  test('say nothing of a deployment that serves, whatever its callers do wrong', async () => {
    await untilAlerts([]);
  });

  test('see what fails, and that it is back', async () => {
    await stack.redis.stop();
    await untilAlerts(['LlmGatewayLimitsDegraded']);
    await stack.simulators[1]?.stop();
    await untilAlerts(['LlmGatewayBackendDown', 'LlmGatewayLimitsDegraded']);
    await stack.redis.start();
    await stack.simulators[1]?.restart();
    await untilAlerts([]);
    await stack.postgres.stop();
    await untilAlerts(['LlmGatewayDatabaseDown']);
    await stack.postgres.start();
    await untilAlerts([]);
  });

  test('see a replica that has gone, and that all have', async () => {
    const [first, ...others] = stack.replicas;
    await first?.kill();
    await untilAlerts(['LlmGatewayReplicaNotReady']);
    await Promise.all(others.map((replica) => replica.kill()));
    await untilAlerts(['LlmGatewayDown', 'LlmGatewayReplicaNotReady']);
  });
});
